// Evaluations: held-out data and suites before, during and after training.

import { address } from "./address.js";
import { ask } from "./api.js";
import { benchmarkView } from "./benchmark.js";
import { Chart } from "./chart.js";
import { element, figures, inPercent, percent, table } from "./dom.js";
import { sourceRemarks } from "./measured_by.js";
import { openStep } from "./overview.js";
import { runPhases } from "./phases.js";
import { measured, resultTables, suiteReplies } from "./results.js";

const share = (counts) => (counts === null ? null : counts.right / Math.max(counts.answers, 1));
const right = (counts) =>
  counts === null
    ? "–"
    : `${percent(share(counts))} (${counts.right} of ${counts.answers}${counts.unscored === 0 ? "" : `, ${counts.unscored} without a score`})`;
/** The tables of a run's evaluations before and after training; `results` are those whose replies can be shown. */
export function evaluationTables(run, view, results = []) {
  const replies = (row) => {
    const found = results.filter((result) => result.run === run && result.suite === row.suite && result.has_replies);
    if (found.length === 0) return "not in a file";
    return found.map((result) => [
      element("a", { href: address("evaluations", [run], { result: result.name }) }, result.name),
      " ",
    ]);
  };
  const change = (row) =>
    row.before === null || row.after === null ? "–" : `${inPercent(share(row.after) - share(row.before))} points`;
  return [
    view.heldout.length === 0
      ? null
      : table(
          `${run}: held-out accuracy by kind of task`,
          [
            { title: "Kind", cell: (row) => row.kind },
            { title: "Decoding", cell: (row) => row.decoding },
            { title: "Before", number: true, cell: (row) => right(row.before) },
            { title: "After", number: true, cell: (row) => right(row.after) },
            { title: "Change", number: true, cell: change },
          ],
          view.heldout,
        ),
    view.heldout.length === 0 ? null : element("div", {}, sourceRemarks("heldout", [run], [view.measured_by])),
    view.suites.length === 0
      ? null
      : table(
          `${run}: suites, with 95 % intervals`,
          [
            { title: "Suite", cell: (row) => row.suite },
            { title: "Figure", cell: (row) => row.figure },
            { title: "Before", number: true, cell: (row) => measured(row.before) },
            { title: "After", number: true, cell: (row) => measured(row.after) },
            { title: "Replies", cell: replies },
          ],
          view.suites,
        ),
    view.preferred.length === 0
      ? null
      : figures(
          view.preferred.map((value, i) => [`held-out pairs ranked right ${["before", "after"][i] ?? ""}`, percent(value)]),
        ),
  ];
}

export async function evaluations(place, { runs, parameters }) {
  for (const [name, part] of [
    ["result", suiteReplies],
    ["benchmark", benchmarkView],
  ]) {
    if (!parameters.has(name)) continue;
    place.append(
      element("p", {}, element("a", { href: address("evaluations", runs) }, "All evaluations")),
      await part(runs, parameters),
    );
    return {};
  }
  const charts = [];
  const results = await ask("results");
  for (const run of runs) {
    const view = await ask("evaluations", { run });
    const tables = evaluationTables(run, view, results.suites).filter((part) => part !== null);
    place.append(
      element("h2", {}, run),
      element(
        "p",
        {},
        view.ended === null ? "The run has not ended; what was measured before it is below." : `Ended: ${view.ended}.`,
      ),
      ...tables,
    );
    if (tables.length === 0 && view.during.length === 0)
      place.append(
        element(
          "p",
          {},
          "Nothing was measured: the config has no held-out data and no suites, or the run has not come so far.",
        ),
      );
    const during = view.during.filter(({ eval: measure }) => measure.accuracy !== null && measure.accuracy !== undefined);
    if (during.length > 0) {
      const values = during.map(({ eval: measure }) => measure.accuracy);
      const chart = new Chart(`${run}: held-out accuracy during training`, {
        open: (step) => openStep(run, step),
        zoom: () => {},
      });
      const draw = () =>
        chart.show([{ label: "accuracy", steps: during.map(({ step }) => step), mean: values, low: values, high: values }], {
          smoothing: 0,
          log: false,
          marks: [],
        });
      chart.remark(sourceRemarks("heldout", [run], [view.measured_by]));
      charts.push({ chart, draw });
      place.append(element("div", { class: "charts" }, chart.element));
      draw();
    }
    if (view.seconds !== null && typeof view.seconds === "object") place.append(runPhases(run, view.seconds));
  }
  place.append(resultTables(runs, results));
  return { recoloured: () => charts.forEach(({ draw }) => draw()) };
}
