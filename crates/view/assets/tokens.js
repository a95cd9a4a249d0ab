// The tokens of a reply, coloured by their log-prob, and as a curve over their positions.

import { Chart } from "./chart.js";
import { element, figures, number } from "./dom.js";

// Classes of log-probs, from likely to unlikely: the bound is the lowest log-prob of the class. Each class differs from the
// next in the lightness of its ground and in its underline, so that colours are not needed to tell them apart.
const CLASSES = [
  { bound: -0.105, words: "at least 90 %" },
  { bound: -0.693, words: "50 % to 90 %" },
  { bound: -2.303, words: "10 % to 50 %" },
  { bound: -4.605, words: "1 % to 10 %" },
  { bound: -Infinity, words: "below 1 %" },
];
const MOST = 4000;

/** The class of a log-prob, from 0 (likely) to 4; null if it is not known. */
export function likelihoodClass(logProb) {
  return logProb === null || logProb === undefined ? null : CLASSES.findIndex(({ bound }) => logProb >= bound);
}

/** The tokens of a reply; `made` gets the function that draws the curve. */
export function tokenSection(view, made) {
  const { log_probs: logProbs, token_ids: ids, token_texts: texts } = view;
  const known = logProbs.filter((value) => value !== null);
  const lowest = logProbs.reduce(
    (best, value, i) => (value !== null && (best === -1 || value < logProbs[best]) ? i : best),
    -1,
  );
  const name = (i) => (texts[i] === undefined ? `id ${ids[i] ?? "unknown"}` : `“${texts[i]}”, id ${ids[i]}`);
  const chart = new Chart("Log-prob of each token", { open: () => {}, zoom: () => {}, unit: "token" });
  const curve = { label: "log-prob", steps: logProbs.map((_, i) => i), mean: logProbs, low: logProbs, high: logProbs };
  made(() => chart.show([curve], { smoothing: 0, log: false, marks: [] }));
  return element(
    "section",
    {},
    element("h3", {}, "Tokens"),
    figures([
      ["mean log-prob", number(known.reduce((sum, value) => sum + value, 0) / known.length)],
      ["least likely", lowest === -1 ? null : `token ${lowest} (${name(lowest)}), log-prob ${number(logProbs[lowest])}`],
    ]),
    texts.length === 0 ? null : colouredTokens(logProbs, texts, name),
    chart.element,
  );
}

function colouredTokens(logProbs, texts, name) {
  const readout = element(
    "p",
    { class: "readout", role: "status" },
    "Point at a token, or move with the arrows, to read its log-prob.",
  );
  const words = (i) => {
    const value = logProbs[i];
    const chance = value === null || value === undefined ? "" : `, ${number(100 * Math.exp(value), 3)} %`;
    return `token ${i} (${name(i)}): log-prob ${number(value)}${chance}`;
  };
  let chosen = 0;
  const spans = texts.slice(0, MOST).map((text, i) => {
    const kind = likelihoodClass(logProbs[i]);
    return element(
      "span",
      { class: `token${kind === null ? "" : ` likely-${kind}`}`, "data-token": i, title: words(i) },
      text === "" ? "·" : text,
    );
  });
  const choose = (i) => {
    spans[chosen]?.classList.remove("chosen");
    chosen = Math.min(Math.max(i, 0), spans.length - 1);
    spans[chosen]?.classList.add("chosen");
    readout.textContent = words(chosen);
  };
  const keys = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -10, ArrowDown: 10, Home: -Infinity, End: Infinity };
  const text = element(
    "div",
    {
      class: "tokens",
      tabindex: 0,
      role: "group",
      "aria-label": "Tokens of the reply, coloured by log-prob; the arrows move from token to token",
      on: {
        mouseover: (event) => event.target.dataset.token !== undefined && choose(Number(event.target.dataset.token)),
        focus: () => choose(chosen),
        keydown: (event) => {
          if (!(event.key in keys)) return;
          event.preventDefault();
          choose(chosen + keys[event.key]);
        },
      },
    },
    spans,
  );
  const legend = CLASSES.map(({ words: range }, i) =>
    element("li", {}, element("span", { class: `token likely-${i}` }, "token"), ` ${range}`),
  );
  const left = texts.length - spans.length;
  return element(
    "div",
    {},
    element("p", { class: "muted" }, "Probability of each token under the policy that drew it:"),
    element("ul", { class: "keys" }, legend),
    text,
    left > 0 ? element("p", { class: "muted" }, `${left} further tokens are left out here; the curve has them.`) : null,
    readout,
  );
}
