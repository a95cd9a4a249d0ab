// The learned weights of the tools over time.

import { ask } from "./api.js";
import { Chart } from "./chart.js";
import { element } from "./dom.js";
import { openStep } from "./overview.js";

/** The parts of the name of a column of learned weights, `weights/DOMAIN/TOOL/weight`; null for other columns. */
export function weightColumn(name) {
  if (!name.startsWith("weights/") || !name.endsWith("/weight")) return null;
  const middle = name.slice("weights/".length, -"/weight".length);
  // A domain may have any text, the name of a tool no slash.
  const at = middle.lastIndexOf("/");
  return at < 0 ? null : { domain: middle.slice(0, at), tool: middle.slice(at + 1), base: name.slice(0, -"weight".length) };
}

/**
 * A chart per domain with the weight of each tool and its interval; null without learned weights. `made` gets the functions
 * that draw.
 */
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
