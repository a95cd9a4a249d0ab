// Lists of replies: those of a step that fit a filter, and the cells that every list of replies has.

import { address, go } from "./address.js";
import { ask } from "./api.js";
import { count, element, number, table } from "./dom.js";
import { askedFilters, filterForm } from "./filters.js";

/** The columns of a list of replies; `step(reply)` gives its step. */
export function replyColumns(run, step) {
  const said = (reply) =>
    (reply.verdicts ?? []).map(
      (verdict) => `${verdict.tool}: ${verdict.score === null ? verdict.outcome : number(verdict.score)}`,
    );
  const link = (reply) => ({ step: step(reply), group: reply.group, row: reply.row });
  return [
    {
      title: "Reply",
      cell: (reply) => element("a", { href: address("rollouts", [run], link(reply)) }, `Reply ${reply.row}`),
    },
    { title: "Example", cell: (reply) => reply.example },
    { title: "Domain", cell: (reply) => reply.domain },
    { title: "Text", text: true, cell: (reply) => reply.excerpt || reply.completion.text + (reply.completion.cut ? " …" : "") },
    { title: "Reward", number: true, cell: (reply) => number(reply.reward) },
    { title: "Advantage", number: true, cell: (reply) => number(reply.advantage) },
    { title: "Tokens", number: true, cell: (reply) => number(reply.tokens) },
    { title: "Tools", cell: (reply) => said(reply).join(", ") },
  ];
}

/** The form that finds replies of a step, and what it found. */
export async function replyList(run, step, parameters) {
  const asked = askedFilters(parameters);
  const form = filterForm(asked, { button: "Find replies", find: (values) => go("rollouts", [run], { step, ...values }) });
  const section = element("section", {}, element("h2", {}, "Find replies in this step"), form);
  if (Object.keys(asked).length === 0) return section;
  const found = await ask("replies", { run, step, ...asked, limit: 200 });
  section.append(
    table(
      `${count(found.matching, "reply", "replies")} of ${found.total}, ${found.replies.length} shown`,
      replyColumns(run, () => step),
      found.replies,
    ),
    element("p", {}, element("a", { href: address("search", [run], asked) }, "The same in all recorded steps")),
  );
  return section;
}
