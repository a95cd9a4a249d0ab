// The distribution of each tool's scores over a range of steps; a bar leads to the replies behind it.

import { address, go } from "./address.js";
import { ask } from "./api.js";
import { count, element, number, percent, problems } from "./dom.js";

export async function distributionSection(run, parameters) {
  const [from, to] = ["from", "to"].map((name) => parameters.get(name) ?? "");
  const view = await ask("scores", { run, from, to });
  const bound = (name, value) => element("input", { type: "number", min: 0, value, name });
  const [first, last] = [bound("from", from), bound("to", to)];
  const form = element(
    "form",
    {
      class: "tools",
      on: {
        submit: (event) => {
          event.preventDefault();
          go("rewards", [run], { from: first.value, to: last.value });
        },
      },
    },
    element("label", {}, "Scores from step", first),
    element("label", {}, "to step", last),
    element("button", {}, "Show scores"),
  );
  const some = view.steps.length < view.in_range ? ` of ${view.in_range}, in equal distances` : "";
  const counted =
    view.steps.length === 0
      ? "No step of this range has replies in files."
      : `Replies of ${count(view.steps.length, "step")}${some}, ${view.steps[0]} to ${view.steps.at(-1)}. A bar leads to such replies of step ${view.steps.at(-1)}.`;
  return element(
    "section",
    {},
    element("h2", {}, "Distribution of scores"),
    form,
    element("p", { class: "muted" }, counted),
    element(
      "div",
      { class: "charts" },
      view.tools.map((tool) => distribution(run, view.steps.at(-1), tool)),
    ),
    problems(view.problems),
  );
}

function distribution(run, step, tool) {
  const most = Math.max(1, ...tool.bars.map((bar) => bar.count));
  const range = (bar) => (bar.least === bar.most ? number(bar.least) : `${number(bar.least)} to ${number(bar.most)}`);
  const link = (bar) => address("rollouts", [run], { step, tool: tool.tool, least_score: bar.least, most_score: bar.most });
  const line = (bar) =>
    element(
      "li",
      {},
      bar.count === 0 ? element("span", {}, range(bar)) : element("a", { href: link(bar) }, range(bar)),
      // A meter without a label of its own: the text beside it says the same.
      element("progress", { max: most, value: bar.count, "aria-hidden": "true" }),
      ` ${bar.count} (${percent(bar.count / tool.scored)})`,
    );
  const without = [
    tool.abstained === 0 ? null : `${tool.abstained} abstained`,
    tool.failed === 0 ? null : `${tool.failed} failed`,
  ].filter((words) => words !== null);
  return element(
    "section",
    { class: "chart", "aria-label": `Scores of ${tool.tool}` },
    element("h3", {}, tool.tool),
    element("p", { class: "muted" }, [`${count(tool.scored, "score")}, mean ${number(tool.mean)}`, ...without].join(", ")),
    element("ul", { class: "bars" }, tool.bars.map(line)),
  );
}
