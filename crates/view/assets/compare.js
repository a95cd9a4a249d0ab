// Compare: how the configs of runs differ, their curves, what was measured, and who wins prompt by prompt.

import { ask } from "./api.js";
import { count, element, note, number, table } from "./dom.js";
import { evaluationTables } from "./evaluations.js";
import { curvesOf, openStep, panelChart, readMetrics } from "./overview.js";
import { sourceRemarks } from "./measured_by.js";
import { PANELS } from "./panels.js";
import { sameValue } from "./paths.js";
import { suiteWins, trainingWins } from "./wins.js";

const LAST = 10;
const MOST = 6;

export async function compare(place, { runs: chosen, summaries }) {
  if (chosen.length < 2) {
    place.append(
      note(
        summaries.length < 2
          ? "There is only one run here. View a folder with several runs to compare them."
          : "Choose two or more runs under “Runs” above.",
      ),
    );
    return {};
  }
  const runs = chosen.slice(0, MOST);
  if (chosen.length > MOST)
    place.append(element("p", { class: "muted" }, `This compares the first ${MOST} of the chosen runs: ${runs.join(", ")}.`));
  const [configs, data, measured] = await Promise.all([
    Promise.all(runs.map(async (run) => (await ask("config", { run })).values)),
    Promise.all(runs.map((run) => readMetrics(run, PANELS))),
    Promise.all(runs.map((run) => ask("evaluations", { run }))),
  ]);
  const sources = measured.map((view) => view.measured_by);
  const [figures, training, suites] = await Promise.all([figureTable(runs, data), trainingWins(runs), suiteWins(runs)]);
  figures.append(...["accuracy", "heldout"].flatMap((kind) => sourceRemarks(kind, runs, sources) ?? []));
  place.append(configTable(runs, configs), figures, suites, training);
  const charts = [];
  const grid = element("div", { class: "charts" });
  const panels = PANELS.filter((panel) => curvesOf(panel, runs, data).length > 0);
  for (const panel of panels) {
    const chart = panelChart(panel, { open: (step, curve) => openStep(curve.run, step, panel.filter), zoom: () => {} });
    if (panel.source !== undefined) chart.remark(sourceRemarks(panel.source, runs, sources));
    charts.push({ chart, panel });
    grid.append(chart.element);
  }
  const draw = () =>
    charts.forEach(({ chart, panel }) => chart.show(curvesOf(panel, runs, data), { smoothing: 0, log: false, marks: [] }));
  draw();
  place.append(
    element("h2", {}, "Curves"),
    grid,
    element("h2", {}, "Evaluations"),
    ...runs.flatMap((run, i) => evaluationTables(run, measured[i])).filter((part) => part !== null),
  );
  return { recoloured: draw };
}

function configTable(runs, configs) {
  const maps = configs.map((values) => new Map(values.map((entry) => [entry.key, entry])));
  const keys = [...new Set(configs.flatMap((values) => values.map(({ key }) => key)))];
  const text = (map, key) => map.get(key)?.value ?? "–";
  const differing = keys.filter((key) => maps.some((map) => !sameValue(maps[0].get(key), map.get(key))));
  const spelled = keys.filter((key) => !differing.includes(key) && maps.some((map) => text(map, key) !== text(maps[0], key)));
  const section = element("section", {}, element("h2", {}, "Configs"));
  if (differing.length === 0) section.append(element("p", {}, "The configs are the same."));
  else
    section.append(
      table(
        `${count(differing.length, "key")} ${differing.length === 1 ? "differs" : "differ"}`,
        [
          { title: "Key", cell: (key) => key },
          ...runs.map((run, i) => ({ title: run, text: true, cell: (key) => text(maps[i], key) })),
        ],
        differing,
      ),
    );
  if (spelled.length > 0)
    section.append(element("p", { class: "muted" }, `The same under other names, so no difference: ${spelled.join(", ")}.`));
  return section;
}

/** Means over the last steps of the runs. */
async function figureTable(runs, data) {
  const names = PANELS.flatMap((panel) => panel.columns).filter((name) => data.some((metrics) => metrics.names.includes(name)));
  const last = await Promise.all(
    runs.map((run, i) =>
      ask("metrics", {
        run,
        columns: names.join("\n"),
        points: 1,
        from: Math.max((data[i].last_step ?? 0) - LAST + 1, 0),
      }),
    ),
  );
  const value = (metrics, name) => metrics.columns.find((column) => column.name === name)?.mean[0] ?? null;
  const difference = (i) => ({
    title: runs.length === 2 ? "Difference" : `${runs[i]} above ${runs[0]}`,
    number: true,
    cell: (name) => {
      const [one, other] = [value(last[0], name), value(last[i], name)];
      return one === null || other === null ? "–" : number(other - one);
    },
  });
  return element(
    "section",
    {},
    element("h2", {}, "Metrics"),
    table(
      `Means over the last ${LAST} steps`,
      [
        { title: "Metric", cell: (name) => name },
        ...runs.map((run, i) => ({ title: run, number: true, cell: (name) => number(value(last[i], name)) })),
        ...runs.slice(1).map((_, i) => difference(i + 1)),
      ],
      names,
    ),
  );
}
