// Where the time goes: seconds by phase, always in the same order, as stacked areas over the steps and as shares.

import { element, fill, number, percent, table } from "./dom.js";

// The phases of a step in `metrics.jsonl`, the lowest area first.
const OF_STEP = ["sampling", "scoring", "training", "evaluation", "other"];
// The phases of a whole run in `report.json`, with their words.
const OF_RUN = {
  warmup: "warm-up",
  sampling: "sampling",
  scoring: "scoring after the last reply",
  training: "training",
  evaluation: "evaluation",
  keeping: "journal, records, checkpoints",
  outside: "loading and saving",
};
const [WIDTH, HEIGHT] = [600, 150];

/** Values with their shares of the sum, `{ name, seconds, share }`; a share is null where the sum is 0. */
export function shares(entries) {
  const sum = entries.reduce((all, { seconds }) => all + seconds, 0);
  return entries.map((entry) => ({ ...entry, share: sum > 0 ? entry.seconds / sum : null }));
}

/** The edges of stacked areas: for each list of values the sums up to it. Values that are not known count as 0. */
export function stacked(lists) {
  const sums = [];
  return lists.map((values) =>
    values.map((value, i) => {
      sums[i] = (sums[i] ?? 0) + (value ?? 0);
      return sums[i];
    }),
  );
}

function phaseTable(caption, title, entries) {
  const mark = (entry) => (entry.index === undefined ? null : element("span", { class: `phase phase-${entry.index}` }));
  return table(
    caption,
    [
      { title: "Phase", cell: (entry) => [mark(entry), " ", entry.name] },
      { title, number: true, cell: (entry) => number(entry.seconds, 3) },
      { title: "Share", number: true, cell: (entry) => percent(entry.share) },
    ],
    shares(entries),
  );
}

/** The seconds of a whole run, as `report.json` has them. */
export function runPhases(run, seconds) {
  const known = Object.keys(OF_RUN).filter((phase) => phase in seconds);
  const others = Object.keys(seconds).filter((phase) => !(phase in OF_RUN));
  const entry = (phase) => ({ name: OF_RUN[phase] ?? phase, seconds: seconds[phase] ?? 0 });
  return phaseTable(`${run}: seconds by phase, over all processes of the run`, "Seconds", [...known, ...others].map(entry));
}

/** Seconds by phase over the steps of some runs, each as stacked areas with a table of means. It is shown like a chart. */
export class PhaseChart {
  constructor(title) {
    this.place = element("div");
    this.element = element("section", { class: "chart", "aria-label": title }, element("h2", {}, title), this.place);
  }

  /** Shows curves, whose names are those of columns such as `seconds/sampling`. */
  show(curves) {
    const runs = [...new Set(curves.map((curve) => curve.run))];
    const of = (run) => OF_STEP.map((phase) => curves.find((c) => c.run === run && c.name === `seconds/${phase}`));
    fill(
      this.place,
      runs.map((run) => runAreas(runs.length > 1 ? run : "", of(run))),
    );
  }
}

function runAreas(run, curves) {
  const known = curves.map((curve, index) => ({ curve, index, name: OF_STEP[index] }));
  const phases = known.filter(({ curve }) => curve !== undefined);
  const steps = phases[0].curve.steps;
  const edges = stacked(phases.map(({ curve }) => curve.mean));
  const most = Math.max(...edges.at(-1), 0);
  const mean = (values) => values.reduce((sum, value) => sum + (value ?? 0), 0) / Math.max(values.length, 1);
  const entries = phases.map(({ curve, index, name }) => ({ index, name, seconds: mean(curve.mean) }));
  const about = `steps ${steps[0] ?? "–"} to ${steps.at(-1) ?? "–"}`;
  return element(
    "div",
    {},
    run === "" ? null : element("h3", {}, run),
    most > 0 ? areas(edges, phases, most) : null,
    element("p", { class: "muted remark" }, `Stacked over ${about}, up to ${number(most, 3)} s per step.`),
    phaseTable(`${run === "" ? "" : `${run}: `}means over ${about}`, "Seconds per step", entries),
  );
}

/** The areas as a picture; the table below it says the same in words. */
function areas(edges, phases, most) {
  const made = (tag, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };
  const size = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none" };
  const svg = made("svg", { ...size, class: "areas", "aria-hidden": "true" });
  const last = Math.max(edges[0].length - 1, 1);
  // A single step is drawn as wide as the picture.
  const points = (values) =>
    (values.length === 1 ? [values[0], values[0]] : values).map((value, i) =>
      [(WIDTH * i) / last, HEIGHT * (1 - value / most)].map((place) => place.toFixed(1)).join(","),
    );
  edges.forEach((upper, i) => {
    const lower = i === 0 ? upper.map(() => 0) : edges[i - 1];
    const outline = [...points(upper), ...points(lower).reverse()].join(" ");
    svg.append(made("polygon", { points: outline, class: `phase-${phases[i].index}` }));
  });
  return svg;
}
