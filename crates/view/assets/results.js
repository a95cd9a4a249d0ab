// What `rlar eval --out` wrote below the folder, and the results of a suite: from a figure to its replies to one of them.

import { address, go } from "./address.js";
import { ask } from "./api.js";
import { count, element, figures, note, number, shown, table } from "./dom.js";

/** Number of rows of a page. */
export const ROWS = 50;
const REPLIES = { "": "all", right: "right", wrong: "wrong", unscored: "without a score" };

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

/** A choice among options, `{ value: words }`; `to(value)` is called with the one that someone takes. */
export function chooser(label, options, chosen, to) {
  const made = element(
    "select",
    { on: { change: (event) => to(event.target.value) } },
    Object.entries(options).map(([value, words]) => element("option", { value }, words)),
  );
  made.value = chosen in options ? chosen : "";
  return element("label", {}, label, made);
}

/** Buttons to the page before and the page after; `to(offset)` goes there. */
export function pages(offset, matching, to) {
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
        { title: "Text of the prompt", text: true, cell: (reply) => reply.prompt.text + (reply.prompt.cut ? " …" : "") },
        {
          title: "Reply",
          text: true,
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
