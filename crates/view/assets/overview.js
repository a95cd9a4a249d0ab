// Overview: the curves of one or several runs.

import { address, go } from "./address.js";
import { ask } from "./api.js";
import { Chart, swatch } from "./chart.js";
import { element, fill, note, number, problems, table } from "./dom.js";
import { environmentPart } from "./environment.js";
import { CUT_OFF } from "./filters.js";
import { readSources, sourceRemarks } from "./measured_by.js";
import { PANELS, columnsOf } from "./panels.js";
import { PhaseChart } from "./phases.js";
import { nearest } from "./series.js";

const POINTS = 500;

/** Curves of a panel over some runs: `{ run, name, label, steps, mean, low, high }`. `data` is a list of the runs' metrics. */
export function curvesOf(panel, runs, data) {
  return runs.flatMap((run, i) =>
    columnsOf(panel, data[i].names).map(({ name, label }) => {
      const column = data[i].columns.find((column) => column.name === name);
      const words = [runs.length > 1 ? run : "", label].filter((word) => word !== "").join(" · ");
      return { run, name, label: words, steps: data[i].last_steps, ...(column ?? { mean: [], low: [], high: [] }) };
    }),
  );
}

/** The chart of a panel; `hooks` are those of a chart of curves. */
export function panelChart(panel, hooks) {
  return panel.isStacked ? new PhaseChart(panel.title) : new Chart(panel.title, hooks);
}

/** The metrics of a run: all columns that the panels show. */
export async function readMetrics(run, panels, { from, to } = {}) {
  const { names } = await ask("metrics", { run, points: 1 });
  const columns = panels.flatMap((panel) => columnsOf(panel, names).map((column) => column.name));
  return ask("metrics", { run, columns: columns.join("\n"), points: POINTS, from, to });
}

/** Opens the replies of the step nearest to a chosen one that has replies in a file; with a filter, those that fit it. */
export async function openStep(run, step, filter = {}) {
  const { steps } = await ask("steps", { run });
  const found = nearest(
    steps.map((known) => known.step),
    step,
  );
  go("rollouts", [run], { step: found ?? step, ...filter });
}

export async function overview(place, { runs, summaries, parameters }) {
  const look = { smoothing: Number(parameters.get("smooth") ?? 0), log: parameters.get("log") === "1" };
  const range = { from: parameters.get("from"), to: parameters.get("to") };
  const own = (changes) => ({ smooth: look.smoothing || null, log: look.log ? 1 : null, ...range, ...changes });
  const charts = new Map();
  const [about, machines, remarks] = [element("div"), element("div"), element("div")];
  const grid = element("div", { class: "charts" });
  const remember = () => history.replaceState(null, "", address("overview", runs, own({})));
  let data = [];
  let marks = [];
  let sources = [];

  const draw = () => {
    for (const panel of PANELS) {
      const curves = curvesOf(panel, runs, data);
      if (curves.length === 0) continue;
      if (!charts.has(panel.title)) {
        const chart = panelChart(panel, {
          open: (step, curve) => openStep(curve.run, step, panel.filter),
          zoom: (from, to) => go("overview", runs, own({ from, to })),
        });
        charts.set(panel.title, chart);
        grid.append(chart.element);
      }
      const chart = charts.get(panel.title);
      chart.show(curves, { ...look, marks: marks.flatMap((list) => list) });
      if (panel.source !== undefined) chart.remark(sourceRemarks(panel.source, runs, sources));
      if (panel.filter !== undefined) chart.remark(replyLinks(runs, panel.filter));
    }
    if (charts.size === 0) fill(grid, note("No step is recorded yet. The curves begin with the first step."));
    else grid.querySelector(":scope > .note")?.remove();
  };

  const read = async (list) => {
    data = await Promise.all(runs.map((run) => readMetrics(run, PANELS, range)));
    let parts;
    [marks, sources, parts] = await Promise.all([
      Promise.all(runs.map(async (run) => (await ask("hints", { run })).marks)),
      readSources(runs),
      Promise.all(runs.map((run) => environmentPart(run, runs.length > 1))),
    ]);
    fill(about, summary(runs, list));
    // What someone has opened stays open while the run grows.
    if (machines.querySelector("details[open]") === null) fill(machines, parts);
    fill(
      remarks,
      data.map((metrics) => problems(metrics.problems)),
      runs.map((run, i) => markList(run, marks[i], runs.length > 1)),
    );
    draw();
  };

  const smoothing = element("input", {
    type: "range",
    min: 0,
    max: 0.99,
    step: 0.01,
    value: look.smoothing,
    on: {
      input: (event) => {
        look.smoothing = Number(event.target.value);
        remember();
        draw();
      },
    },
  });
  const log = element("input", {
    type: "checkbox",
    checked: look.log,
    on: {
      change: (event) => {
        look.log = event.target.checked;
        remember();
        draw();
      },
    },
  });
  const zoomed =
    range.from === null
      ? null
      : element(
          "button",
          { type: "button", on: { click: () => go("overview", runs, own({ from: null, to: null })) } },
          `Show all steps, not only ${range.from} to ${range.to}`,
        );
  place.append(
    about,
    machines,
    element(
      "div",
      { class: "tools" },
      element("label", {}, "Smoothing", smoothing),
      element("label", {}, log, "Logarithmic"),
      zoomed,
      element(
        "span",
        { class: "muted" },
        "Click on a curve (or Enter on it) for the replies behind it; arrows move along it; drag to zoom.",
      ),
    ),
    remarks,
    grid,
  );
  await read(summaries);
  return { grown: read, recoloured: draw };
}

/** Links to the newest replies in a file that fit a filter. */
function replyLinks(runs, filter) {
  const link = (run, i) => [i === 0 ? "" : ", ", element("a", { href: address("rollouts", [run], filter) }, run)];
  return element("p", { class: "muted remark" }, "The newest of these replies: ", runs.map(link));
}

function summary(runs, summaries) {
  const known = runs.map((name, i) => ({ name, i, ...summaries.find((run) => run.name === name) }));
  return table(
    "The chosen runs",
    [
      {
        title: "Run",
        cell: (run) => [
          runs.length > 1 ? swatch(run.i) : null,
          " ",
          element("a", { href: address("rollouts", [run.name]) }, run.name),
        ],
      },
      { title: "Method", cell: (run) => run.method },
      { title: "Seed", number: true, cell: (run) => number(run.seed) },
      { title: "Step", number: true, cell: (run) => `${number(run.last_step)} of ${number(run.steps)}` },
      {
        title: "State",
        cell: (run) =>
          run.ended ?? { active: "going on", still: "not ended, and nothing has changed for two minutes" }[run.state] ?? "",
      },
      { title: "Folder", text: true, cell: (run) => run.path },
    ],
    known,
  );
}

/** The filter for the replies that a mark is about. */
function repliesOf({ kind, text }) {
  return kind === "hint" && text.includes("cut off at `sampling.max_tokens`") ? CUT_OFF : {};
}

/** What stands out in a run, with links to the replies. */
export function markList(run, marks, isNamed) {
  if (marks.length === 0) return null;
  const words = { hint: "hint", news: "agents", suspended: "suspended" };
  const item = (mark) =>
    element(
      "li",
      {},
      element("a", { href: address("rollouts", [run], { step: mark.step, ...repliesOf(mark) }) }, `Step ${mark.step}`),
      `, ${words[mark.kind] ?? mark.kind}: ${mark.text}`,
    );
  return element(
    "section",
    {},
    element("h2", {}, isNamed ? `What stands out in ${run}` : "What stands out"),
    element("ul", { class: "marks" }, marks.slice(-30).map(item)),
  );
}
