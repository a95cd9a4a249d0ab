// What the agents and judges asked a language model, without what looks like a secret.

import { address } from "./address.js";
import { ask } from "./api.js";
import { element, figures, number, problems, shown, table } from "./dom.js";

const ROWS = 25;

export async function exchangeSection(run, opened, before) {
  const page = await ask("exchanges", { run, offset: before, limit: ROWS });
  const section = element("section", {}, element("h2", {}, "Exchanges with the language model"), problems(page.problems));
  if (page.total === 0) {
    section.append(
      element("p", {}, "No agent asked a language model in this run; what judges were asked is shown beside the replies."),
    );
    return section;
  }
  section.append(
    table(
      "Requests by role",
      [
        { title: "Role", cell: (role) => role.role },
        { title: "Requests", number: true, cell: (role) => number(role.requests) },
        { title: "Failed", number: true, cell: (role) => number(role.failed) },
        { title: "Prompt tokens", number: true, cell: (role) => number(role.prompt_tokens) },
        { title: "Reply tokens", number: true, cell: (role) => number(role.completion_tokens) },
        { title: "Seconds", number: true, cell: (role) => number(role.seconds) },
      ],
      page.roles,
    ),
    figures([
      ["requests", number(sum(page.roles, "requests"))],
      ["prompt tokens", number(sum(page.roles, "prompt_tokens"))],
      ["reply tokens", number(sum(page.roles, "completion_tokens"))],
      ["cost by the prices in the config", page.cost === null ? null : number(page.cost)],
    ]),
  );
  if (opened !== null) section.append(await exchange(run, Number(opened)));
  section.append(
    table(
      `${page.total} exchanges, the newest first, from ${before + 1} on`,
      [
        {
          title: "Time",
          cell: (row) =>
            element(
              "a",
              { href: address("rewards", [run], { exchange: row.line, before: before || null }) },
              row.time || `line ${row.line}`,
            ),
        },
        { title: "Role", cell: (row) => row.role },
        { title: "About", cell: (row) => row.task },
        { title: "Attempt", number: true, cell: (row) => number(row.attempt) },
        { title: "Model", cell: (row) => row.model },
        { title: "Seconds", number: true, cell: (row) => number(row.seconds) },
        { title: "Tokens", number: true, cell: (row) => `${row.prompt_tokens} + ${row.completion_tokens}` },
        { title: "Error", text: true, cell: (row) => row.error ?? "" },
      ],
      page.rows,
    ),
    element(
      "p",
      {},
      before === 0
        ? null
        : element("a", { href: address("rewards", [run], { before: Math.max(before - ROWS, 0) || null }) }, "Newer"),
      " ",
      before + ROWS >= page.total
        ? null
        : element("a", { href: address("rewards", [run], { before: before + ROWS }) }, "Older"),
    ),
  );
  return section;
}

function sum(roles, name) {
  return roles.reduce((all, role) => all + role[name], 0);
}

async function exchange(run, line) {
  const view = await ask("exchange", { run, line });
  return element(
    "article",
    { class: "card" },
    element("h3", {}, `Exchange on line ${line}`),
    figures([
      ["role", view.role],
      ["about", view.task],
    ]),
    exchangeParts(view, `line ${line}`),
  );
}

/** What was asked and answered in an exchange; `name` tells its texts apart from those of others on the page. */
export function exchangeParts(view, name) {
  const message = (entry, i) => [
    element("h4", {}, entry.role),
    shown(`${name}, message ${i + 1}, ${entry.role}`, entry.content),
  ];
  const calls = () =>
    element("pre", { tabindex: 0, role: "region", "aria-label": `${name}, calls` }, JSON.stringify(view.calls, null, 2));
  return [
    figures([
      ["model", view.model],
      ["time", view.time],
      ["seconds", number(view.seconds)],
      ["tokens", `${view.prompt_tokens} + ${view.completion_tokens}`],
      ["error", view.error],
    ]),
    view.messages.map(message),
    view.reply === null ? null : [element("h4", {}, "Reply"), shown(`${name}, reply`, view.reply)],
    // A reply without calls has an empty list.
    view.calls === null || view.calls.length === 0 ? null : [element("h4", {}, "Function calls"), calls()],
  ];
}
