// The tokens of a reply, coloured by their log-prob or by how far sampler and trainer are apart, and as curves over positions.

import { Chart } from "./chart.js";
import { element, figures, fill, number } from "./dom.js";

// Two ways to colour tokens, from usual to unusual in five classes. Each class differs from the next in the lightness of its ground
// and in its underline, so that colours are not needed to tell them apart.
const LIKELIHOOD = {
  name: "log-prob",
  about: "Probability of each token under the policy that drew it:",
  words: ["at least 90 %", "50 % to 90 %", "10 % to 50 %", "1 % to 10 %", "below 1 %"],
  kind: (logProb) => [-0.105, -0.693, -2.303, -4.605, -Infinity].findIndex((bound) => logProb >= bound),
  text: (logProb) => `log-prob ${number(logProb)}, ${number(100 * Math.exp(logProb), 3)} %`,
};
const RATIO = {
  name: "log-ratio, trainer to sampler",
  about:
    "How far the trainer’s log-prob, computed before the update, is from the sampler’s. Both are of the same tokens; importance " +
    "correction weighs them by this ratio:",
  words: ["within 1 %", "1 % to 5 %", "5 % to 20 %", "20 % to a factor of 2", "more than a factor of 2"],
  kind: (ratio) => [0.01, 0.0488, 0.1823, 0.6931, Infinity].findIndex((bound) => Math.abs(ratio) <= bound),
  text: (ratio) => `log-ratio ${number(ratio, 3)}, the trainer’s probability is ${number(Math.exp(ratio), 3)} of the sampler’s`,
};
const MOST = 4000;

const isKnown = (value) => value !== null && value !== undefined;

/** The class of a log-prob, from 0 (likely) to 4; null if it is not known. */
export function likelihoodClass(logProb) {
  return isKnown(logProb) ? LIKELIHOOD.kind(logProb) : null;
}

/** The class of a log-ratio, from 0 (nearly none) to 4; null if it is not known. */
export function ratioClass(ratio) {
  return isKnown(ratio) ? RATIO.kind(ratio) : null;
}

/** The log-ratios of tokens: log-probs of the trainer minus those of the sampler; null where one of them is not known. */
export function logRatios(trainer, sampler) {
  return sampler.map((value, i) => (isKnown(value) && isKnown(trainer[i]) ? trainer[i] - value : null));
}

/** The tokens of a reply; `made` gets the function that draws the curve. */
export function tokenSection(view, made) {
  const { log_probs: logProbs, trainer_log_probs: trainer, token_ids: ids, token_texts: texts } = view;
  const known = logProbs.filter((value) => value !== null);
  const lowest = logProbs.reduce(
    (best, value, i) => (value !== null && (best === -1 || value < logProbs[best]) ? i : best),
    -1,
  );
  const name = (i) => (texts[i] === undefined ? `id ${ids[i] ?? "unknown"}` : `“${texts[i]}”, id ${ids[i]}`);
  const ratios = logRatios(trainer, logProbs);
  const hasRatios = ratios.some(isKnown);
  const farthest = ratios.reduce(
    (best, value, i) => (isKnown(value) && (best === -1 || Math.abs(value) > Math.abs(ratios[best])) ? i : best),
    -1,
  );
  const chart = new Chart("Log-prob of each token", { open: () => {}, zoom: () => {}, unit: "token" });
  const curve = (label, values) => ({ label, steps: logProbs.map((_, i) => i), mean: values, low: values, high: values });
  const curves = hasRatios
    ? [curve("sampler", logProbs), curve("trainer", logProbs.map((_, i) => trainer[i] ?? null))]
    : [curve("log-prob", logProbs)];
  made(() => chart.show(curves, { smoothing: 0, log: false, marks: [] }));
  const looks = hasRatios ? [LIKELIHOOD, RATIO] : [LIKELIHOOD];
  return element(
    "section",
    {},
    element("h3", {}, "Tokens"),
    figures([
      ["mean log-prob", number(known.reduce((sum, value) => sum + value, 0) / known.length)],
      ["least likely", lowest === -1 ? null : `token ${lowest} (${name(lowest)}), log-prob ${number(logProbs[lowest])}`],
      [
        "farthest from the trainer",
        farthest === -1 ? null : `token ${farthest} (${name(farthest)}), ${RATIO.text(ratios[farthest])}`,
      ],
    ]),
    texts.length === 0 ? null : tokenTexts(looks, [logProbs, ratios], texts, name),
    chart.element,
  );
}

/** The tokens in the first way of colouring, and a choice where there are more; `values` has those of each way. */
function tokenTexts(looks, values, texts, name) {
  const place = element("div");
  const show = (i) => fill(place, colouredTokens(looks[i], values[i], texts, name));
  show(0);
  if (looks.length === 1) return place;
  const choice = element(
    "select",
    { on: { change: (event) => show(Number(event.target.value)) } },
    looks.map((look, i) => element("option", { value: i }, look.name)),
  );
  return element("div", {}, element("label", {}, "Coloured by", choice), place);
}

function colouredTokens(look, values, texts, name) {
  const readout = element(
    "p",
    { class: "readout", role: "status" },
    `Point at a token, or move with the arrows, to read its ${look.name}.`,
  );
  const words = (i) => `token ${i} (${name(i)}): ${isKnown(values[i]) ? look.text(values[i]) : `${look.name} –`}`;
  let chosen = 0;
  const spans = texts.slice(0, MOST).map((text, i) => {
    const kind = isKnown(values[i]) ? look.kind(values[i]) : null;
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
      "aria-label": `Tokens of the reply, coloured by ${look.name}; the arrows move from token to token`,
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
  const legend = look.words.map((range, i) =>
    element("li", {}, element("span", { class: `token likely-${i}` }, "token"), ` ${range}`),
  );
  const left = texts.length - spans.length;
  return element(
    "div",
    {},
    element("p", { class: "muted" }, look.about),
    element("ul", { class: "keys" }, legend),
    text,
    left > 0 ? element("p", { class: "muted" }, `${left} further tokens are left out here; the curve has them.`) : null,
    readout,
  );
}
