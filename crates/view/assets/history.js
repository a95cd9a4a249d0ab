// The same prompt over time: what the policy replied at every recorded step.

import { address, go } from "./address.js";
import { ask } from "./api.js";
import { Chart } from "./chart.js";
import { count, element, number, percent, problems, shown, table } from "./dom.js";

/** The steps with a prompt, the newest first, as a curve and a table; `made` gets the function that draws the curve. */
export async function promptHistory(run, example, upTo, made) {
  const history = await ask("prompt", { run, example, up_to: upTo, limit: 50 });
  const steps = [...history.steps].reverse();
  const chart = new Chart("Mean reward of this prompt", {
    open: (step) => {
      const found = steps.find((known) => known.step === step);
      go("rollouts", [run], { step, group: found?.group });
    },
    zoom: () => {},
  });
  const column = (name) => steps.map((step) => step[name]);
  const curve = {
    label: "reward",
    steps: column("step"),
    mean: column("mean"),
    low: column("lowest"),
    high: column("highest"),
  };
  made(() => chart.show([curve], { smoothing: 0, log: false, marks: [] }));
  const left =
    history.left_out === 0
      ? ""
      : ` The index holds ${history.of - history.left_out} of ${history.of} steps; the oldest are left out.`;
  return element(
    "section",
    {},
    element("h2", {}, `Example ${history.example} over time`),
    shown("Prompt", history.prompt),
    element(
      "p",
      { class: "muted" },
      `${count(history.with_prompt, "recorded step")} of ${history.of} have this prompt, ${history.steps.length} are shown.${left}`,
    ),
    element("div", { class: "charts" }, chart.element),
    table(
      "The reply that stands for a group is its first one with a reward",
      [
        {
          title: "Step",
          cell: (step) =>
            element("a", { href: address("rollouts", [run], { step: step.step, group: step.group }) }, `Step ${step.step}`),
        },
        { title: "Replies", number: true, cell: (step) => number(step.replies) },
        { title: "Mean reward", number: true, cell: (step) => number(step.mean) },
        { title: "Lowest", number: true, cell: (step) => number(step.lowest) },
        { title: "Highest", number: true, cell: (step) => number(step.highest) },
        { title: "Cut off", number: true, cell: (step) => percent(step.cut_off / step.replies) },
        { title: "No score", number: true, cell: (step) => number(step.unscored) },
        {
          title: "A reply",
          text: true,
          cell: (step) => [
            element(
              "a",
              { href: address("rollouts", [run], { step: step.step, group: step.group, row: step.sample }) },
              `Reply ${step.sample}`,
            ),
            ` (${number(step.reward)}): ${step.completion.text}${step.completion.cut ? " …" : ""}`,
          ],
        },
      ],
      history.steps,
    ),
    history.next === null
      ? null
      : element(
          "p",
          {},
          element("a", { href: address("rollouts", [run], { example, up_to: history.next }) }, `Steps up to ${history.next}`),
        ),
    problems(history.problems),
  );
}
