// Compare: how the configs of two runs differ, their curves, and what was measured.

import { ask } from "./api.js";
import { Chart } from "./chart.js";
import { element, note, number, table } from "./dom.js";
import { evaluationTables } from "./evaluations.js";
import { curvesOf, openStep, readMetrics } from "./overview.js";
import { PANELS } from "./panels.js";

const LAST = 10;

export async function compare(place, { runs, summaries }) {
  if (runs.length < 2) {
    place.append(
      note(
        summaries.length < 2
          ? "There is only one run here. View a folder with several runs to compare them."
          : "Choose two runs under “Runs” above.",
      ),
    );
    return {};
  }
  const pair = runs.slice(0, 2);
  if (runs.length > 2)
    place.append(element("p", { class: "muted" }, `This compares the first two of the chosen runs: ${pair.join(" and ")}.`));
  const [configs, data, measured] = await Promise.all([
    Promise.all(pair.map(async (run) => (await ask("config", { run })).values)),
    Promise.all(pair.map((run) => readMetrics(run, PANELS))),
    Promise.all(pair.map((run) => ask("evaluations", { run }))),
  ]);
  place.append(configTable(pair, configs), await figureTable(pair, data));
  const charts = [];
  const grid = element("div", { class: "charts" });
  const panels = PANELS.filter((panel) => curvesOf(panel, pair, data).length > 0);
  for (const panel of panels) {
    const chart = new Chart(panel.title, { open: (step) => openStep(pair[0], step), zoom: () => {} });
    charts.push({ chart, panel });
    grid.append(chart.element);
  }
  const draw = () =>
    charts.forEach(({ chart, panel }) => chart.show(curvesOf(panel, pair, data), { smoothing: 0, log: false, marks: [] }));
  draw();
  place.append(
    element("h2", {}, "Curves"),
    grid,
    element("h2", {}, "Evaluations"),
    ...pair.flatMap((run, i) => evaluationTables(run, measured[i])).filter((part) => part !== null),
  );
  return { recoloured: draw };
}

function configTable(pair, configs) {
  const maps = configs.map((values) => new Map(values.map(({ key, value }) => [key, value])));
  const keys = [...new Set(configs.flatMap((values) => values.map(({ key }) => key)))];
  const differing = keys.filter((key) => maps[0].get(key) !== maps[1].get(key));
  const section = element("section", {}, element("h2", {}, "Configs"));
  if (differing.length === 0) section.append(element("p", {}, "The configs are the same."));
  else
    section.append(
      table(
        `${differing.length} keys differ`,
        [
          { title: "Key", cell: (key) => key },
          ...pair.map((run, i) => ({ title: run, cell: (key) => maps[i].get(key) ?? "–" })),
        ],
        differing,
      ),
    );
  return section;
}

/** Means over the last steps of both runs. */
async function figureTable(pair, data) {
  const names = PANELS.flatMap((panel) => panel.columns).filter((name) => data.some((metrics) => metrics.names.includes(name)));
  const last = await Promise.all(
    pair.map((run, i) =>
      ask("metrics", {
        run,
        columns: names.join("\n"),
        points: 1,
        from: Math.max((data[i].last_step ?? 0) - LAST + 1, 0),
      }),
    ),
  );
  const value = (metrics, name) => metrics.columns.find((column) => column.name === name)?.mean[0];
  return element(
    "section",
    {},
    element("h2", {}, "Metrics"),
    table(
      `Means over the last ${LAST} steps`,
      [
        { title: "Metric", cell: (name) => name },
        ...pair.map((run, i) => ({ title: run, number: true, cell: (name) => number(value(last[i], name)) })),
        {
          title: "Difference",
          number: true,
          cell: (name) => {
            const [one, other] = last.map((metrics) => value(metrics, name));
            return one === undefined || other === undefined || one === null || other === null ? "–" : number(other - one);
          },
        },
      ],
      names,
    ),
  );
}
