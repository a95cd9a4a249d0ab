// Rollouts: from a step to its groups, from a group to its replies, from a reply to the reasons of its reward.

import { address, go } from "./address.js";
import { ask } from "./api.js";
import { count, element, note, number, percent, table } from "./dom.js";
import { CUT_OFF } from "./filters.js";
import { promptHistory } from "./history.js";
import { groupView, replyView } from "./reply.js";
import { replyList } from "./replies.js";
import { nearest } from "./series.js";

export async function rollouts(place, { runs, parameters }) {
  const run = runs[0];
  if (runs.length > 1) place.append(element("p", { class: "muted" }, `Of the chosen runs, this shows the first: ${run}.`));
  const { steps } = await ask("steps", { run });
  if (steps.length === 0) {
    place.append(
      note("This run has no replies in files yet; `run.rollouts_every` in its config says after how many steps they are kept."),
    );
    return {};
  }
  let draw = () => {};
  const made = (drawn) => {
    draw = drawn;
    drawn();
  };
  const example = parameters.get("example");
  if (example !== null) {
    place.append(await promptHistory(run, example, parameters.get("up_to"), made));
    return { recoloured: () => draw() };
  }
  const numbers = steps.map((known) => known.step);
  const wanted = parameters.has("step") ? Number(parameters.get("step")) : numbers.at(-1);
  const step = nearest(numbers, wanted);
  place.append(stepChooser(run, numbers, step));
  if (step !== wanted)
    place.append(element("p", { class: "muted" }, `Step ${wanted} has no replies in a file; this is the nearest that has.`));
  const [group, row] = [parameters.get("group"), parameters.get("row")];
  if (row !== null) place.append(trail(run, step, group), await replyView(run, step, Number(row), made));
  else if (group !== null) place.append(trail(run, step, null), await groupView(run, step, Number(group)));
  else place.append(await replyList(run, step, parameters), await groupTable(run, step, parameters.get("domain")));
  return { recoloured: () => draw() };
}

/** Chooses a step: the one before, the one after, or any. */
function stepChooser(run, numbers, step) {
  const at = numbers.indexOf(step);
  const to = (next) => go("rollouts", [run], { step: next });
  const button = (text, index) =>
    element(
      "button",
      { type: "button", disabled: numbers[index] === undefined, on: { click: () => to(numbers[index]) } },
      text,
    );
  const input = element("input", { type: "number", min: numbers[0], max: numbers.at(-1), value: step });
  const form = element(
    "form",
    {
      class: "tools",
      on: {
        submit: (event) => {
          event.preventDefault();
          to(Number(input.value));
        },
      },
    },
    element("label", {}, "Step", input),
    element("button", {}, "Go"),
    button("Earlier", at - 1),
    button("Later", at + 1),
    element("span", { class: "muted" }, `${count(numbers.length, "step")} with replies, ${numbers[0]} to ${numbers.at(-1)}`),
  );
  return form;
}

function trail(run, step, group) {
  return element(
    "p",
    {},
    element("a", { href: address("rollouts", [run], { step }) }, `All groups of step ${step}`),
    group === null ? null : [" · ", element("a", { href: address("rollouts", [run], { step, group }) }, `Group ${group}`)],
  );
}

async function groupTable(run, step, domain) {
  const { groups: all } = await ask("groups", { run, step });
  const groups = all.filter((group) => domain === null || group.domain === domain);
  const link = (group) =>
    element("a", { href: address("rollouts", [run], { step, group: group.group }) }, `Group ${group.group}`);
  const spread = (group) => (group.zero_spread ? element("span", { class: "bad" }, "none") : "yes");
  return element(
    "section",
    {},
    element("h2", {}, "Groups"),
    table(
      `${count(groups.length, "group")} of step ${step}${domain === null ? "" : ` in the domain ${domain}`}: the replies to one prompt each`,
      [
        { title: "Group", cell: link },
        {
          title: "Example",
          cell: (group) => element("a", { href: address("rollouts", [run], { example: group.example }) }, group.example),
        },
        {
          title: "Domain",
          cell: (group) =>
            group.domain === ""
              ? ""
              : element("a", { href: address("rollouts", [run], { step, domain: group.domain }) }, group.domain),
        },
        { title: "Prompt", text: true, cell: (group) => group.prompt.text + (group.prompt.cut ? " …" : "") },
        { title: "Replies", number: true, cell: (group) => number(group.replies) },
        { title: "Mean reward", number: true, cell: (group) => number(group.mean) },
        { title: "Lowest", number: true, cell: (group) => number(group.lowest) },
        { title: "Highest", number: true, cell: (group) => number(group.highest) },
        { title: "Spread", cell: spread },
        {
          title: "Cut off",
          number: true,
          cell: (group) =>
            group.cut_off === 0
              ? percent(0)
              : element("a", { href: address("rollouts", [run], { step, ...CUT_OFF }) }, percent(group.cut_off / group.replies)),
        },
        { title: "No score", number: true, cell: (group) => number(group.unscored) },
        { title: "Tokens", number: true, cell: (group) => number(group.tokens) },
        { title: "Tools", cell: (group) => group.tools.join(", ") },
      ],
      groups,
    ),
  );
}
