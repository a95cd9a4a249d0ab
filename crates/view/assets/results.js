// What `rlar eval --out` wrote below the folder: suites and benchmarks of rewards, from a figure to its items to a reply.

import { address, go } from "./address.js";
import { ask } from "./api.js";
import { count, element, figures, note, number, percent, problems, shown, table } from "./dom.js";

const ROWS = 50;
const REPLIES = { "": "all", right: "right", wrong: "wrong", unscored: "without a score" };
const ITEMS = { "": "all", won: "won", shared: "shared", lost: "lost", unscored: "without scores" };

/** A figure with its interval. */
export function measured(figure) {
  if (figure === null) return "–";
  return `${number(figure.value)}${figure.low === null ? "" : ` (${number(figure.low)} to ${number(figure.high)})`}`;
}

/** Tables of all results of some runs, and of those that belong to no run. */
export function resultTables(runs, { suites, benchmarks }) {
  const belongs = (result) => result.run === null || runs.includes(result.run);
  const [ofSuites, ofBenchmarks] = [suites.filter(belongs), benchmarks.filter(belongs)];
  const open = (result) => element("a", { href: address("evaluations", runs, { result: result.name }) }, result.name);
  const section = element("section", {}, element("h2", {}, "Results of `rlar eval` in this folder"));
  if (ofSuites.length === 0 && ofBenchmarks.length === 0) {
    section.append(
      element("p", {}, "None. With `--out RUN/eval`, `rlar eval` writes results that are shown here, with every reply."),
    );
    return section;
  }
  const rows = ofSuites.flatMap((result) => result.figures.map((figure) => ({ result, figure })));
  if (rows.length > 0)
    section.append(
      table(
        "Suites, with 95 % intervals",
        [
          { title: "Results", cell: ({ result }) => open(result) },
          { title: "Suite", cell: ({ result }) => result.suite },
          { title: "Run", cell: ({ result }) => result.run ?? "" },
          { title: "By", cell: ({ result }) => result.engine },
          { title: "Figure", cell: ({ figure }) => figure.name },
          { title: "Value", number: true, cell: ({ figure }) => measured(figure.value) },
          { title: "Prompts", number: true, cell: ({ result }) => number(result.prompts) },
          { title: "Without a score", number: true, cell: ({ result }) => number(result.without_score) },
        ],
        rows,
      ),
    );
  if (ofBenchmarks.length > 0)
    section.append(
      element("h3", {}, "Benchmarks of rewards"),
      element(
        "ul",
        {},
        ofBenchmarks.map((result) =>
          element("li", {}, element("a", { href: address("evaluations", runs, { benchmark: result.name }) }, result.name)),
        ),
      ),
    );
  return section;
}

function chooser(label, options, chosen, to) {
  const made = element(
    "select",
    { on: { change: (event) => to(event.target.value) } },
    Object.entries(options).map(([value, words]) => element("option", { value }, words)),
  );
  made.value = chosen in options ? chosen : "";
  return element("label", {}, label, made);
}

function pages(offset, matching, to) {
  const button = (words, next, isOff) =>
    element("button", { type: "button", disabled: isOff, on: { click: () => to(next) } }, words);
  return element(
    "div",
    { class: "tools" },
    button("Earlier", Math.max(offset - ROWS, 0), offset === 0),
    button("Later", offset + ROWS, offset + ROWS >= matching),
  );
}

/** The replies of a suite, or one of them. */
export async function suiteReplies(runs, parameters) {
  const [result, line] = [parameters.get("result"), parameters.get("line")];
  const { suites } = await ask("results");
  const about = suites.find((known) => known.name === result);
  if (about === undefined) return note(`There are no results of a suite called ${result}.`);
  const asked = { result, outcome: parameters.get("outcome") ?? "", search: parameters.get("search") ?? "" };
  const offset = Number(parameters.get("offset") ?? 0);
  const to = (changes) => go("evaluations", runs, { ...asked, ...changes });
  const section = element(
    "section",
    {},
    element("h2", {}, `${about.suite}: ${result}`),
    figures([
      ["by", about.engine],
      ["run", about.run],
      ...about.figures.map((figure) => [figure.name, measured(figure.value)]),
      ["replies without a score", number(about.without_score)],
    ]),
    about.groups.length === 0
      ? null
      : table(
          `${about.figures[0]?.name ?? "the first figure"} by group`,
          [
            { title: "Group", cell: (group) => group.name },
            { title: "Value", number: true, cell: (group) => measured(group.value) },
          ],
          about.groups,
        ),
  );
  if (!about.has_replies) {
    section.append(note("The replies of these results are in no file."));
    return section;
  }
  if (line !== null) {
    section.append(suiteReply(await ask("suite_reply", { result, line })));
    return section;
  }
  const page = await ask("suite_replies", { ...asked, offset, limit: ROWS });
  const field = element("input", { type: "text", value: asked.search, size: 24 });
  const said = (reply) => (reply.right === null ? "" : reply.right ? "right" : element("span", { class: "bad" }, "wrong"));
  section.append(
    element(
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
      element("label", {}, "Text", field),
      element("button", {}, "Find replies"),
      chooser("Replies", REPLIES, asked.outcome, (outcome) => to({ outcome })),
    ),
    table(
      `${count(page.matching, "reply", "replies")} of ${page.total}${page.unread === 0 ? "" : `; ${count(page.unread, "line")} could not be read`}`,
      [
        {
          title: "Prompt",
          cell: (reply) => element("a", { href: address("evaluations", runs, { result, line: reply.line }) }, reply.id),
        },
        { title: "Text of the prompt", cell: (reply) => reply.prompt.text + (reply.prompt.cut ? " …" : "") },
        {
          title: "Reply",
          cell: (reply) => (reply.reply === null ? reply.why : reply.reply.text + (reply.reply.cut ? " …" : "")),
        },
        { title: "Score", number: true, cell: (reply) => number(reply.score) },
        { title: "Verdict", cell: said },
      ],
      page.rows,
    ),
    pages(offset, page.matching, (next) => to({ offset: next })),
  );
  return section;
}

function suiteReply(reply) {
  return element(
    "article",
    { class: "card" },
    element("h3", {}, `Reply ${reply.sample} to ${reply.id}`),
    figures([
      ["score", reply.score === null ? "none" : number(reply.score)],
      ["verdict", reply.right === null ? null : reply.right ? "right" : "wrong"],
      ["why", reply.why],
    ]),
    reply.prompt.text === "" ? null : [element("h4", {}, "Prompt"), shown("Prompt", reply.prompt)],
    element("h4", {}, "Reply"),
    reply.reply === null ? note("There is no reply.") : shown("Reply", reply.reply),
  );
}

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
