// Which tools scored at which steps, and the learned weights over time.

import { address } from "./address.js";
import { ask } from "./api.js";
import { Chart } from "./chart.js";
import { element, number, percent, table } from "./dom.js";
import { openStep } from "./overview.js";

/** The tools of a run with the steps in which they were called. */
export async function serviceSection(run) {
  const { tools, first_step: first, last_step: last } = await ask("service", { run });
  const section = element("section", {}, element("h2", {}, "Tools in use, by step"));
  if (tools.length === 0) {
    section.append(element("p", {}, "No recorded step has calls of a tool."));
    return section;
  }
  const step = (value) => element("a", { href: address("rollouts", [run], { step: value }) }, String(value));
  const spans = (tool) =>
    tool.spans.map((span, i) => [
      i === 0 ? "" : ", ",
      step(span.first),
      span.first === span.last ? "" : [" to ", step(span.last)],
    ]);
  section.append(
    table(
      `Recorded steps ${first} to ${last}`,
      [
        {
          title: "Tool",
          cell: (tool) => element("a", { href: address("rewards", [run], { tool: tool.tool }) }, tool.tool),
        },
        { title: "Called in steps", cell: spans },
        { title: "When", cell: (tool) => strip(tool.spans, first, last) },
        { title: "Steps", number: true, cell: (tool) => number(tool.steps) },
        { title: "Calls", number: true, cell: (tool) => number(tool.calls) },
        { title: "Failed or late", number: true, cell: (tool) => percent(tool.failed / tool.calls) },
        { title: "Abstained", number: true, cell: (tool) => percent(tool.abstained / tool.calls) },
      ],
      tools,
    ),
  );
  return section;
}

/** The spans of steps as a strip; the table beside it says the same in words. */
function strip(spans, first, last) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of Object.entries({ width: 160, height: 12, "aria-hidden": "true", class: "strip" }))
    svg.setAttribute(name, value);
  const steps = Math.max(last - first + 1, 1);
  for (const span of spans) {
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const place = {
      x: (160 * (span.first - first)) / steps,
      y: 2,
      width: Math.max((160 * (span.last - span.first + 1)) / steps, 1),
    };
    for (const [name, value] of Object.entries({ ...place, height: 8 })) bar.setAttribute(name, value);
    svg.append(bar);
  }
  return svg;
}

/** The parts of the name of a column of learned weights, `weights/DOMAIN/TOOL/weight`; null for other columns. */
export function weightColumn(name) {
  if (!name.startsWith("weights/") || !name.endsWith("/weight")) return null;
  const middle = name.slice("weights/".length, -"/weight".length);
  // A domain may have any text, the name of a tool no slash.
  const at = middle.lastIndexOf("/");
  return at < 0 ? null : { domain: middle.slice(0, at), tool: middle.slice(at + 1), base: name.slice(0, -"weight".length) };
}

/** A chart per domain with the weight of each tool and its interval; null without learned weights. `made` gets the functions that draw. */
export async function weightSection(run, names, marks, made) {
  const columns = names.map(weightColumn).filter((column) => column !== null);
  if (columns.length === 0) return null;
  const ends = ["weight", "low", "high"];
  const asked = columns.flatMap((column) => ends.map((end) => column.base + end));
  const data = await ask("metrics", { run, columns: asked.join("\n"), points: 500 });
  const means = new Map(data.columns.map((column) => [column.name, column.mean]));
  const charts = [...new Set(columns.map((column) => column.domain))].map((domain) => {
    const chart = new Chart(`Learned weights, ${domain}`, { open: (step) => openStep(run, step), zoom: () => {} });
    const curves = columns
      .filter((column) => column.domain === domain)
      .map(({ tool, base }) => {
        const [mean, low, high] = ends.map((end) => means.get(base + end) ?? data.last_steps.map(() => null));
        return { label: tool, steps: data.last_steps, mean, low, high };
      });
    made(() => chart.show(curves, { smoothing: 0, log: false, marks, bands: true }));
    return chart.element;
  });
  return element(
    "section",
    {},
    element("h2", {}, "Learned weights"),
    element(
      "p",
      { class: "muted" },
      "Shares of 1 by domain, with their 95 % intervals; dotted lines are drift alerts and replacements.",
    ),
    element("div", { class: "charts" }, charts),
  );
}
