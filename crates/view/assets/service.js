// Which tools scored at which steps.

import { address } from "./address.js";
import { ask } from "./api.js";
import { element, number, percent, table } from "./dom.js";

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
