// Benchmarks of rewards that `rlar eval --out` wrote: from a tool's scores by subset to its items to the texts of one.

import { address, go } from "./address.js";
import { ask } from "./api.js";
import { count, element, figures, number, percent, problems, shown, table } from "./dom.js";
import { ROWS, chooser, pages } from "./results.js";

const ITEMS = { "": "all", won: "won", shared: "shared", lost: "lost", unscored: "without scores" };

/** The tools' scores on a benchmark of rewards; the items of a tool; an item. */
export async function benchmarkView(runs, parameters) {
  const name = parameters.get("benchmark");
  const [tool, subset, index] = ["tool", "subset", "index"].map((key) => parameters.get(key));
  const view = await ask("benchmark", { result: name });
  const link = (words, more) => element("a", { href: address("evaluations", runs, { benchmark: name, ...more }) }, words);
  const score = (row, subset) => row.scores.find((known) => known.subset === subset)?.score ?? null;
  const section = element(
    "section",
    {},
    element("h2", {}, `Benchmark of rewards: ${name}`),
    problems(view.problems),
    table(
      "Scores by subset; a score leads to its items",
      [
        { title: "Tool", cell: (row) => link(row.tool, { tool: row.tool }) },
        { title: "Mean of the subsets", number: true, cell: (row) => percent(row.mean) },
        ...view.subsets.map((subset) => ({
          title: subset,
          number: true,
          cell: (row) => {
            const value = score(row, subset);
            return value === null ? "–" : link(percent(value), { tool: row.tool, subset, outcome: "lost" });
          },
        })),
        { title: "Items", number: true, cell: (row) => number(row.items) },
        { title: "Without scores", number: true, cell: (row) => number(row.unscored) },
      ],
      view.tools,
    ),
    view.routes.length === 0
      ? null
      : table(
          "Choosing among these tools with the labels known: upper bounds, without Ties",
          [
            { title: "For each item", cell: (row) => row.name },
            { title: "Mean of the subsets", number: true, cell: (row) => percent(row.mean) },
            ...view.subsets.map((subset) => ({ title: subset, number: true, cell: (row) => percent(score(row, subset)) })),
          ],
          view.routes,
        ),
  );
  for (const made of view.tables) section.append(routingTable(made));
  if (tool === null) return section;
  if (index !== null) {
    section.append(benchmarkItem(tool, await ask("item", { result: name, tool, index })));
    return section;
  }
  const outcome = parameters.get("outcome") ?? "";
  const offset = Number(parameters.get("offset") ?? 0);
  const page = await ask("items", { result: name, tool, subset, outcome, offset, limit: ROWS });
  const to = (changes) => go("evaluations", runs, { benchmark: name, tool, subset, outcome, ...changes });
  const subsets = { "": "all", ...Object.fromEntries(view.subsets.map((known) => [known, known])) };
  section.append(
    element("h3", {}, `Items of ${tool}`),
    element(
      "div",
      { class: "tools" },
      chooser("Subset", subsets, subset ?? "", (value) => to({ subset: value })),
      chooser("Items", ITEMS, outcome, (value) => to({ outcome: value })),
    ),
    table(
      `${count(page.matching, "item")} of ${page.total}`,
      [
        { title: "Item", cell: (row) => link(row.id, { tool, index: row.index }) },
        { title: "Subset", cell: (row) => row.subset },
        { title: "Result", number: true, cell: (row) => number(row.result) },
        {
          title: "Right ones",
          cell: (row) =>
            row.scores
              .slice(0, row.right)
              .map((value) => number(value))
              .join(" · "),
        },
        {
          title: "Wrong ones",
          cell: (row) =>
            row.scores
              .slice(row.right)
              .map((value) => number(value))
              .join(" · "),
        },
      ],
      page.rows,
    ),
    pages(offset, page.matching, (next) => to({ offset: next })),
  );
  return section;
}

/** A table of `rlar eval --route` or `--cross-fit`; its first row has the titles. */
function routingTable({ title, note: remark, rows: [titles = [], ...rows] }) {
  const columns = titles.map((name, i) => ({ title: name, number: i > 0, cell: (row) => row[i] ?? "" }));
  return element(
    "div",
    {},
    columns.length === 0 ? null : table(title, columns, rows),
    remark === "" ? null : element("p", { class: "muted" }, remark),
  );
}

function benchmarkItem(tool, item) {
  const completion = (entry, i) =>
    element(
      "article",
      { class: "card" },
      element(
        "h4",
        {},
        `Completion ${i}`,
        ": ",
        element("span", { class: entry.is_right ? "good" : "bad" }, entry.is_right ? "right" : "wrong"),
      ),
      figures([["score", number(entry.score)]]),
      shown(`Text of completion ${i}`, entry.text),
    );
  return element(
    "section",
    {},
    element("h3", {}, `${item.subset}, item ${item.id}, by ${tool}`),
    figures([["result", item.result === null ? "not said" : number(item.result)]]),
    element("h4", {}, "Prompt"),
    shown("Prompt", item.prompt),
    element(
      "div",
      { class: "cards", tabindex: 0, role: "region", "aria-label": "Completions side by side" },
      item.completions.map(completion),
    ),
  );
}
