// The form that says which replies are listed, in a step and in a search over steps.

import { element } from "./dom.js";

const OUTCOMES = { "": "any outcome", scored: "scored", abstained: "abstained", failed: "failed" };
const ADVANTAGES = {
  "": "any advantage",
  positive: "above 0",
  negative: "below 0",
  zero: "0",
  none: "none: not trained on",
};
const ENDS = {
  "": "any way",
  length: "the length limit: cut off",
  stop: "an end token or stop text",
  cancelled: "being cancelled",
};
const ORDERS = {
  "": "in the order of the file",
  worst: "lowest reward first",
  best: "highest reward first",
  longest: "longest first",
};

const FIELDS = {
  search: { label: "Text", size: 18 },
  domain: { label: "Domain", size: 10 },
  tool: { label: "Tool", size: 14 },
  outcome: { label: "Outcome", options: OUTCOMES },
  least_score: { label: "Score from", isNumber: true },
  most_score: { label: "to", isNumber: true, name: "Score to" },
  advantage: { label: "Advantage", options: ADVANTAGES },
  least_advantage: { label: "from", isNumber: true, name: "Advantage from" },
  most_advantage: { label: "to", isNumber: true, name: "Advantage to" },
  finish: { label: "Ended by", options: ENDS },
  sort: { label: "Order", options: ORDERS },
};

/** The filter for replies that were cut off at the length limit. */
export const CUT_OFF = { finish: "length" };

/** The values of an address that choose replies, as texts; without those that are empty. */
export function askedFilters(parameters) {
  const known = Object.keys(FIELDS).map((name) => [name, parameters.get(name) ?? ""]);
  return Object.fromEntries(known.filter(([, value]) => value !== ""));
}

/** A form with these fields; `find(values)` is called with what someone chose. */
export function filterForm(asked, { names = Object.keys(FIELDS), button, find }) {
  const fields = Object.fromEntries(names.map((name) => [name, field(FIELDS[name], asked[name] ?? "")]));
  return element(
    "form",
    {
      class: "tools",
      role: "search",
      on: {
        submit: (event) => {
          event.preventDefault();
          find(Object.fromEntries(names.map((name) => [name, fields[name].value.trim()])));
        },
      },
    },
    names.map((name) => element("label", {}, FIELDS[name].label, fields[name])),
    element("button", {}, button),
  );
}

function field({ size, options, isNumber, name }, value) {
  if (isNumber) return element("input", { type: "number", step: "any", value, "aria-label": name ?? null });
  if (options === undefined) return element("input", { type: "text", value, size });
  const made = element(
    "select",
    {},
    Object.entries(options).map(([option, words]) => element("option", { value: option }, words)),
  );
  if (value in options) made.value = value;
  return made;
}
