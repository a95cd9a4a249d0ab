// The replies of a step that fit a search: by text, tool, outcome, and in an order.

import { address, go } from "./address.js";
import { ask } from "./api.js";
import { count, element, number, table } from "./dom.js";

const OUTCOMES = { "": "any outcome", scored: "scored", abstained: "abstained", failed: "failed" };
const ORDERS = {
  "": "in the order of the file",
  worst: "lowest reward first",
  best: "highest reward first",
  longest: "longest first",
};

export async function replyList(run, step, parameters) {
  const asked = Object.fromEntries(["search", "tool", "outcome", "sort"].map((name) => [name, parameters.get(name) ?? ""]));
  const text = (name) => element("input", { type: "text", value: asked[name], size: 18 });
  const choice = (name, options) =>
    element(
      "select",
      {},
      Object.entries(options).map(([value, words]) => element("option", { value, selected: asked[name] === value }, words)),
    );
  const fields = {
    search: text("search"),
    tool: text("tool"),
    outcome: choice("outcome", OUTCOMES),
    sort: choice("sort", ORDERS),
  };
  for (const [name, options] of [
    ["outcome", OUTCOMES],
    ["sort", ORDERS],
  ]) {
    if (asked[name] in options) fields[name].value = asked[name];
  }
  const search = (event) => {
    event.preventDefault();
    const values = Object.entries(fields).map(([name, field]) => [name, field.value.trim()]);
    go("rollouts", [run], { step, ...Object.fromEntries(values) });
  };
  const labels = { search: "Text", tool: "Tool", outcome: "Outcome", sort: "Order" };
  const form = element(
    "form",
    { class: "tools", role: "search", on: { submit: search } },
    Object.entries(fields).map(([name, field]) => element("label", {}, labels[name], field)),
    element("button", {}, "Find replies"),
  );
  const section = element("section", {}, element("h2", {}, "Find replies in this step"), form);
  if (Object.values(asked).every((value) => value === "")) return section;
  const found = await ask("replies", { run, step, ...asked, limit: 200 });
  const said = (reply) =>
    (reply.verdicts ?? []).map(
      (verdict) => `${verdict.tool}: ${verdict.score === null ? verdict.outcome : number(verdict.score)}`,
    );
  section.append(
    table(
      `${count(found.matching, "reply", "replies")} of ${found.total}, ${found.replies.length} shown`,
      [
        {
          title: "Reply",
          cell: (reply) =>
            element(
              "a",
              { href: address("rollouts", [run], { step, group: reply.group, row: reply.row }) },
              `Reply ${reply.row}`,
            ),
        },
        { title: "Example", cell: (reply) => reply.example },
        { title: "Text", cell: (reply) => reply.completion.text + (reply.completion.cut ? " …" : "") },
        { title: "Reward", number: true, cell: (reply) => number(reply.reward) },
        { title: "Advantage", number: true, cell: (reply) => number(reply.advantage) },
        { title: "Tokens", number: true, cell: (reply) => number(reply.tokens) },
        { title: "Tools", cell: (reply) => said(reply).join(", ") },
      ],
      found.replies,
    ),
  );
  return section;
}
