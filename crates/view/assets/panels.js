// Which curves are shown together, and under which names.

import { CUT_OFF } from "./filters.js";

/**
 * The panels of the overview, in order. `columns` are names in `metrics.jsonl`; `*` stands for any name. `source` is the kind of
 * accuracy, of which is said by which tools it is measured; `filter` chooses the replies to which its curves lead. The
 * values of `isStacked` are parts of a whole.
 */
export const PANELS = [
  { title: "Mean reward", columns: ["reward/mean"] },
  { title: "Accuracy", columns: ["accuracy"], source: "accuracy" },
  { title: "Held-out accuracy", columns: ["eval/accuracy"], source: "heldout" },
  { title: "Replies cut off (share)", columns: ["cut_off"], filter: CUT_OFF },
  { title: "Groups without spread (share)", columns: ["zero_spread_groups"] },
  { title: "KL to the reference, k3 (nats per token)", columns: ["kl/k3"] },
  { title: "Entropy of the next token (nats)", columns: ["entropy"] },
  { title: "Gradient norm", columns: ["grad_norm"] },
  { title: "Length of replies (tokens)", columns: ["reply_tokens/mean"] },
  { title: "Loss", columns: ["loss"] },
  { title: "Margin of the pairs", columns: ["margin"] },
  { title: "Replies without a score", columns: ["unscored"] },
  { title: "Scores of the tools (means)", columns: ["tools/*/score/mean"] },
  { title: "Reward by domain", columns: ["domains/*/reward"] },
  { title: "Audit", columns: ["audit"] },
  { title: "Tokens per second", columns: ["tokens_per_second/step"] },
  {
    title: "Seconds by phase",
    columns: ["seconds/sampling", "seconds/scoring", "seconds/training", "seconds/evaluation", "seconds/other"],
    isStacked: true,
  },
  { title: "Sampler and trainer apart (nats)", columns: ["sampler_trainer_gap"] },
  { title: "Learning rate", columns: ["learning_rate"] },
  { title: "Tokens of the language model by role, so far", columns: ["agents/*/tokens"] },
];

/** The columns of a panel that a run has, with the words that tell them apart. */
export function columnsOf(panel, names) {
  return panel.columns.flatMap((column) => {
    const [before, after] = column.split("*");
    if (after === undefined) {
      const label = panel.columns.length > 1 ? column.split("/").at(-1) : "";
      return names.includes(column) ? [{ name: column, label }] : [];
    }
    const matching = names.filter(
      (name) => name.startsWith(before) && name.endsWith(after) && name.length > before.length + after.length,
    );
    return matching.map((name) => ({ name, label: name.slice(before.length, name.length - after.length) }));
  });
}
