// Which of two runs does better, prompt by prompt: on suites whose replies are in files, and on the prompts of training.

import { address } from "./address.js";
import { ask } from "./api.js";
import { count, element, number, table } from "./dom.js";

const ROWS = 20;
// Means that differ by no more are the same: the order in which scores are added changes their last digits.
const ROUNDING = 1e-9;

/** Counts of prompts with a higher, lower and equal second value; `pairs` are `{ first, second }`. */
export function winCounts(pairs) {
  const tally = (holds) => pairs.filter(({ first, second }) => holds(second - first)).length;
  return {
    wins: tally((d) => d > ROUNDING),
    losses: tally((d) => d < -ROUNDING),
    ties: tally((d) => Math.abs(d) <= ROUNDING),
  };
}

const COUNTS = [
  { title: "Prompts of both", number: true, cell: (row) => number(row.prompts) },
  { title: "Higher", number: true, cell: (row) => number(row.wins) },
  { title: "Lower", number: true, cell: (row) => number(row.losses) },
  { title: "Equal", number: true, cell: (row) => number(row.ties) },
];

/** The runs' results of the same suites, each against the first run's. */
export async function suiteWins(runs) {
  const section = element("section", {}, element("h2", {}, "Wins and losses by prompt: held-out replies"));
  const { suites } = await ask("results");
  const usable = suites.filter((result) => result.has_replies);
  const pairs = usable
    .filter((result) => result.run === runs[0])
    .flatMap((first) =>
      usable
        .filter((second) => second.suite === first.suite && second.run !== runs[0] && runs.includes(second.run))
        .map((second) => ({ first, second })),
    );
  if (pairs.length === 0) {
    section.append(
      element(
        "p",
        {},
        "No suite has replies of both runs in files. `rlar eval SUITE --model RUN/final --out RUN/eval` writes them.",
      ),
    );
    return section;
  }
  const rows = await Promise.all(
    pairs.map(async ({ first, second }) => {
      const outcomes = await ask("paired", { result: first.name, other: second.name, limit: ROWS });
      return { first, second, ...outcomes };
    }),
  );
  const mean = ({ difference }) =>
    difference === null
      ? "–"
      : `${number(difference.value)}${difference.low === null ? "" : ` (${number(difference.low)} to ${number(difference.high)})`}`;
  section.append(
    table(
      `Mean scores by prompt against ${runs[0]}, with 95 % intervals of the mean difference`,
      [
        { title: "Suite", cell: (row) => row.first.suite },
        { title: "Run", cell: (row) => row.second.run },
        ...COUNTS,
        { title: "Difference", number: true, cell: mean },
        { title: "Not comparable", number: true, cell: (row) => number(row.unpaired) },
      ],
      rows,
    ),
  );
  const reply = (result, line, score) =>
    element("a", { href: address("evaluations", [result.run], { result: result.name, line }) }, number(score));
  for (const { first, second, rows: prompts } of rows.filter((row) => row.rows.length > 0)) {
    section.append(
      table(
        `${first.suite}: the prompts that differ most; a score leads to its reply`,
        [
          { title: "Prompt", cell: (row) => row.id },
          { title: first.run, number: true, cell: (row) => reply(first, row.first_line, row.first) },
          { title: second.run, number: true, cell: (row) => reply(second, row.second_line, row.second) },
        ],
        prompts,
      ),
    );
  }
  return section;
}

/** The prompts of training that the last recorded steps of two runs have in common. */
export async function trainingWins(runs) {
  const means = await Promise.all(runs.map((run) => ask("prompt_means", { run })));
  const section = element("section", {}, element("h2", {}, "Wins and losses by prompt: training"));
  // Runs on other data may have other prompts under the same id.
  const key = ({ example, prompt }) => JSON.stringify([example, prompt.text, prompt.chars]);
  const first = new Map(means[0].prompts.map((prompt) => [key(prompt), prompt]));
  const compared = runs.slice(1).map((run, i) => {
    const both = means[i + 1].prompts.filter((prompt) => first.has(key(prompt)));
    const pairs = both.map((prompt) => {
      const one = first.get(key(prompt));
      return { example: prompt.example, prompt: one.prompt, first: one.mean, second: prompt.mean };
    });
    return { run, pairs, prompts: pairs.length, ...winCounts(pairs) };
  });
  if (compared.every(({ pairs }) => pairs.length === 0)) {
    section.append(element("p", {}, "The last recorded steps of these runs have no prompt in common."));
    return section;
  }
  const span = (i) =>
    `${runs[i]}: ${count(means[i].steps.length, "step")}, ${means[i].steps.at(-1) ?? "–"} to ${means[i].steps[0] ?? "–"}`;
  section.append(
    element(
      "p",
      { class: "muted" },
      `Mean rewards of the last recorded steps (${runs.map((_, i) => span(i)).join("; ")}). Rewards compare only where both runs have the same tools.`,
    ),
    table(`Mean rewards by prompt against ${runs[0]}`, [{ title: "Run", cell: (row) => row.run }, ...COUNTS], compared),
  );
  const history = (run, row, value) =>
    element("a", { href: address("rollouts", [run], { example: row.example }) }, number(value));
  for (const { run, pairs } of compared.filter((entry) => entry.pairs.length > 0)) {
    const differing = pairs.filter((pair) => Math.abs(pair.second - pair.first) > ROUNDING);
    differing.sort((a, b) => Math.abs(b.second - b.first) - Math.abs(a.second - a.first));
    if (differing.length === 0) continue;
    section.append(
      table(
        `${run} and ${runs[0]}: the prompts that differ most; a reward leads to the prompt over time`,
        [
          { title: "Prompt", text: true, cell: (row) => row.prompt.text + (row.prompt.cut ? " …" : "") },
          { title: runs[0], number: true, cell: (row) => history(runs[0], row, row.first) },
          { title: run, number: true, cell: (row) => history(run, row, row.second) },
        ],
        differing.slice(0, ROWS),
      ),
    );
  }
  return section;
}
