// Which tools the accuracies are measured by, and whether the policy is trained on them.

import { ask } from "./api.js";
import { element } from "./dom.js";

/** What the accuracies of some runs are measured by, one answer per run. */
export function readSources(runs) {
  return Promise.all(runs.map((run) => ask("measured_by", { run })));
}

/** Sentences on an accuracy (`accuracy` or `heldout`) of some runs; those of several runs have their names. */
export function sourceWords(kind, runs, sources) {
  return runs
    .map((run, i) => ({ run, text: sources[i]?.[kind]?.text }))
    .filter(({ text }) => text !== undefined)
    .map(({ run, text }) => (runs.length > 1 ? `${run}: ${text}` : text));
}

/** Remarks that say it below a figure; null where nothing is known. */
export function sourceRemarks(kind, runs, sources) {
  const words = sourceWords(kind, runs, sources);
  return words.length === 0 ? null : words.map((text) => element("p", { class: "muted remark" }, text));
}
