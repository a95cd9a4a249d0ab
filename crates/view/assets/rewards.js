// Rewards: the tools with their admission, who chose which for what and why, how far they agree, and what was replaced.

import { go } from "./address.js";
import { ask } from "./api.js";
import { Chart } from "./chart.js";
import { count, element, figures, note, number, percent, problems, shown, table } from "./dom.js";
import { distributionSection } from "./distributions.js";
import { exchangeSection } from "./exchanges.js";
import { curvesOf, markList, openStep, readMetrics } from "./overview.js";
import { PANELS } from "./panels.js";
import { correlation } from "./series.js";
import { serviceSection } from "./service.js";
import { weightSection } from "./weights.js";

const SCORES = PANELS.find((panel) => panel.columns[0] === "tools/*/score/mean");

export async function rewards(place, { runs, parameters }) {
  const run = runs[0];
  if (runs.length > 1) place.append(element("p", { class: "muted" }, `Of the chosen runs, this shows the first: ${run}.`));
  const page = { search: parameters.get("search"), offset: parameters.get("offset"), limit: 25 };
  const [library, assigned, metrics, hints] = await Promise.all([
    ask("library", { run }),
    ask("assignments", { run, ...page }),
    readMetrics(run, [SCORES]),
    ask("hints", { run }),
  ]);
  place.append(toolSection(library, assigned, parameters.get("tool")));
  const marks = hints.marks.filter((mark) => mark.kind !== "hint");
  const draws = [];
  const made = (draw) => {
    draws.push(draw);
    draw();
  };
  const curves = curvesOf(SCORES, [run], [metrics]);
  if (curves.length > 0) {
    const chart = new Chart(SCORES.title, { open: (step) => openStep(run, step), zoom: () => {} });
    place.append(element("div", { class: "charts" }, chart.element));
    made(() => chart.show(curves, { smoothing: 0, log: false, marks }));
  }
  const sections = await Promise.all([
    weightSection(run, metrics.names, marks, made),
    serviceSection(run),
    distributionSection(run, parameters),
    agreement(run),
    assignmentSection(run, assigned, parameters),
    replacementSection(run, library, marks),
    exchangeSection(run, parameters.get("exchange"), Number(parameters.get("before") ?? 0)),
  ]);
  place.append(...sections.filter((section) => section !== null));
  return { recoloured: () => draws.forEach((draw) => draw()) };
}

/** How often a good reply scores above a bad one in the admission checks, or why that is not known. */
function auc(admission) {
  if (admission === null) return null;
  return admission.auc === null ? `not known, because ${admission.auc_unknown}` : number(admission.auc);
}

function toolSection(library, assigned, opened) {
  const uses = (tool) => assigned.tools.find((entry) => entry.name === tool.name)?.count ?? 0;
  const detail = (tool) => {
    const checks = tool.admission?.checks ?? [];
    const check = (entry) =>
      element(
        "li",
        {},
        element("span", { class: entry.passed ? "good" : "bad" }, entry.passed ? "passed" : "failed"),
        `: ${entry.name}${entry.evidence === "" ? "" : ` (${entry.evidence})`}`,
      );
    const spreads = Object.entries(tool.calibration ?? {});
    const scores = ([task, spread]) =>
      element(
        "li",
        {},
        `${task}: ${count(spread.scores, "score")}, mean ${number(spread.mean)}, ` +
          `lowest to highest ${(spread.quantiles ?? []).map((value) => number(value)).join(" · ")}`,
      );
    return element(
      "details",
      { open: tool.name === opened, id: `tool-${tool.name}` },
      element("summary", {}, element("strong", {}, tool.name), `: ${tool.measures}`),
      figures([
        ["kind", tool.kind],
        ["role", tool.role],
        ["range", tool.range.map((end) => number(end)).join(" to ")],
        ["tasks", tool.tasks.join(", ")],
        ["origin", tool.origin],
        ["prompts", uses(tool)],
        ["admission", tool.admission?.status ?? "no report"],
        ["AUC on good and bad replies", auc(tool.admission)],
      ]),
      checks.length === 0
        ? null
        : element(
            "details",
            {},
            element("summary", {}, `${checks.filter((c) => c.passed).length} of ${checks.length} admission checks passed`),
            element("ul", {}, checks.map(check)),
          ),
      spreads.length === 0 ? null : [element("h3", {}, "Scores in this run, by task"), element("ul", {}, spreads.map(scores))],
      element(
        "details",
        {},
        element("summary", {}, tool.source.file),
        shown(`${tool.name}, ${tool.source.file}`, tool.source.text),
      ),
    );
  };
  const [used, others] = [true, false].map((isUsed) => library.tools.filter((tool) => uses(tool) > 0 === isUsed));
  const known = library.tools.some((tool) => tool.name === opened);
  return element(
    "section",
    {},
    element("h2", {}, "Tools"),
    problems(library.problems),
    opened !== null && !known
      ? note(
          `The run's library has no tool called ${opened}; rules of the config, such as the overlong penalty, score without a card.`,
        )
      : null,
    used.length === 0 ? element("p", {}, "No tool of the run's library scores a prompt that was seen.") : used.map(detail),
    others.length === 0
      ? null
      : element(
          "details",
          { open: others.some((tool) => tool.name === opened) },
          element("summary", {}, `${count(others.length, "further tool")} of the library, which no prompt that was seen has`),
          others.map(detail),
        ),
  );
}

/** How the tools of the last replies agree: the correlation of their scores, over replies that both scored. */
async function agreement(run) {
  const section = element("section", {}, element("h2", {}, "Agreement between tools"));
  const { steps } = await ask("steps", { run });
  if (steps.length === 0) return section.append("No replies are in files yet.") ?? section;
  const step = steps.at(-1).step;
  const { replies, total } = await ask("replies", { run, step, limit: 500 });
  const names = [...new Set(replies.flatMap((reply) => (reply.verdicts ?? []).map((verdict) => verdict.tool)))];
  if (names.length < 2) {
    section.append(
      element(
        "p",
        {},
        names.length === 0 ? "No tool scored the last replies." : `Only ${names[0]} scored the replies of step ${step}.`,
      ),
    );
    return section;
  }
  const score = (reply, tool) => (reply.verdicts ?? []).find((verdict) => verdict.tool === tool)?.score ?? null;
  const cell = (one, other) => {
    const both = replies.map((reply) => [score(reply, one), score(reply, other)]).filter(([a, b]) => a !== null && b !== null);
    return both.length < 3
      ? "–"
      : number(
          correlation(
            both.map(([a]) => a),
            both.map(([, b]) => b),
          ),
          2,
        );
  };
  section.append(
    table(
      `Correlation of scores over ${replies.length} of ${total} replies of step ${step}; – where one is constant, or fewer than three replies have both`,
      [
        { title: "Tool", cell: (name) => name },
        ...names.map((other) => ({ title: other, number: true, cell: (name) => cell(name, other) })),
      ],
      names,
    ),
  );
  return section;
}

function assignmentSection(run, assigned, parameters) {
  const offset = Number(parameters.get("offset") ?? 0);
  const field = element("input", { type: "text", value: parameters.get("search") ?? "", size: 24 });
  const to = (changes) => go("rewards", [run], { search: parameters.get("search"), ...changes });
  const form = element(
    "form",
    {
      class: "tools",
      role: "search",
      on: {
        submit: (event) => {
          event.preventDefault();
          to({ search: field.value });
        },
      },
    },
    element("label", {}, "Example, tool, chooser or reason", field),
    element("button", {}, "Find assignments"),
  );
  const step = (text, next, isOff) =>
    element("button", { type: "button", disabled: isOff, on: { click: () => to({ offset: next }) } }, text);
  const tools = (row) =>
    row.tools
      .map((tool) => `${tool.tool} × ${number(tool.weight)}${tool.combine === "term" ? "" : ` (${tool.combine})`}`)
      .join(", ");
  const share = (entry) =>
    `${entry.name}: ${count(entry.count, "prompt")} (${percent(entry.count / Math.max(assigned.total, 1))})`;
  return element(
    "section",
    {},
    element("h2", {}, "Who chose what, and why"),
    problems(assigned.problems),
    element(
      "p",
      {},
      `${count(assigned.total, "prompt")} so far: the held-out ones, and those that were drawn. Chosen by ${assigned.choosers.map(share).join(", ") || "nobody"}.`,
    ),
    form,
    table(
      `${count(assigned.matching, "assignment")}, from ${assigned.matching === 0 ? 0 : offset + 1} on`,
      [
        { title: "Example", cell: (row) => row.example },
        { title: "Tools", cell: (row) => tools(row) || element("span", { class: "bad" }, "none fits") },
        { title: "Chosen by", cell: (row) => row.by },
        { title: "Why", text: true, cell: (row) => row.why.text + (row.why.cut ? " …" : "") },
      ],
      assigned.rows,
    ),
    element(
      "div",
      { class: "tools" },
      step("Earlier", Math.max(offset - 25, 0), offset === 0),
      step("Later", offset + 25, offset + 25 >= assigned.matching),
    ),
  );
}

function replacementSection(run, library, marks) {
  if (library.replacements.length === 0 && marks.length === 0) return null;
  const page = (entry) =>
    element(
      "details",
      {},
      element("summary", {}, `Step ${entry.step ?? "unknown"}: ${entry.file}`),
      shown(entry.file, entry.text),
    );
  return element(
    "section",
    {},
    element("h2", {}, "Drift alerts and replacements"),
    markList(run, marks, false),
    library.replacements.map(page),
  );
}
