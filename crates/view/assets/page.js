// The page: its navigation, the runs that are chosen, and which view is shown.

import { address, current, go } from "./address.js";
import { ask, listen } from "./api.js";
import { onColours } from "./chart.js";
import { element, fill, note, number } from "./dom.js";
import { compare } from "./compare.js";
import { evaluations } from "./evaluations.js";
import { overview } from "./overview.js";
import { rewards } from "./rewards.js";
import { rollouts } from "./rollouts.js";
import { search } from "./search.js";
import { areShortcutsOn, shortcutChoice } from "./shortcuts.js";

// A view is a function `(place, context)` that fills its place. It may return functions: `grown(summaries)` for more data,
// `recoloured()` for other colours.
const VIEWS = {
  overview: { title: "Overview", show: overview },
  rollouts: { title: "Rollouts", show: rollouts },
  rewards: { title: "Rewards", show: rewards },
  compare: { title: "Compare", show: compare },
  evaluations: { title: "Evaluations", show: evaluations },
  search: { title: "Search", show: search },
};

const main = document.getElementById("main");
let runs = [];
let shown = {};
let turn = 0;
// The runs of the last view before a search.
let before = [];
// Whether someone asked for the search with its key, and will type.
let isSearching = false;

/** The chosen runs that exist; if none is chosen, the one that changed last. A search over all runs chooses none. */
function chosen() {
  const names = runs.map((run) => run.name);
  const { view, runs: wanted } = current();
  if (wanted.length > 0) return wanted;
  if (view === "search" && before.some((name) => names.includes(name))) return before;
  const newest = [...runs].sort((a, b) => (b.updated ?? 0) - (a.updated ?? 0)).find((run) => run.problem === null);
  return newest === undefined ? names.slice(0, 1) : [newest.name];
}

async function show(movesFocus) {
  const mine = ++turn;
  const { view, parameters } = current();
  const { title, show: render } = VIEWS[view] ?? VIEWS.overview;
  const selected = chosen();
  if (view !== "search") before = selected;
  document.title = `${title} · ${selected.join(", ")} · rlar`;
  navigation(view in VIEWS ? view : "overview", selected);
  const place = element("div", {}, element("h1", {}, title));
  shown = {};
  try {
    if (selected.length === 0) throw new Error("There is no run here yet. The page shows runs as soon as they begin.");
    const made = await render(place, { runs: selected, named: current().runs, summaries: runs, parameters });
    if (mine !== turn) return;
    shown = made ?? {};
  } catch (error) {
    if (mine !== turn) return;
    place.append(note(error.message));
  }
  fill(main, place);
  // Says which address is shown by now.
  main.dataset.shown = location.hash;
  const field = isSearching ? document.getElementById("search-text") : null;
  isSearching = false;
  if (field !== null) field.focus();
  else if (movesFocus && !document.getElementById("runs").contains(document.activeElement)) main.focus({ preventScroll: true });
}

function navigation(view, selected) {
  const link = ([name, { title }]) =>
    element(
      "li",
      {},
      element(
        "a",
        { href: address(name, name === "search" ? [] : selected), "aria-current": name === view ? "page" : null },
        title,
      ),
    );
  fill(document.getElementById("pages"), Object.entries(VIEWS).map(link));
  document.getElementById("runs-summary").textContent = `Runs: ${selected.join(", ") || "none"}`;
  const list = document.getElementById("runs-list");
  // Someone who is choosing runs must not lose their place.
  if (!list.contains(document.activeElement))
    fill(
      list,
      runs.map((run) => runChoice(run, selected.includes(run.name))),
    );
}

function runChoice(run, isChosen) {
  const change = (event) => {
    const others = chosen().filter((name) => name !== run.name);
    const { view } = current();
    const keeps = view === "overview" || view === "compare";
    go(view, event.target.checked ? [...others, run.name] : others, keeps ? Object.fromEntries(currentOwn()) : {});
  };
  const box = element("input", { type: "checkbox", checked: isChosen, on: { change } });
  return element("div", {}, element("label", {}, box, `${run.name}: ${words(run)}`));
}

/** The parameters of the address apart from the runs. */
function currentOwn() {
  return [...current().parameters].filter(([name]) => name !== "run");
}

function words(run) {
  if (run.problem !== null) return run.problem;
  const steps = run.steps === null ? number(run.last_step) : `${run.last_step ?? 0} of ${run.steps}`;
  const state = { ended: "ended", active: "going on", still: "not ended" }[run.state];
  return `${run.method || "no method known"}, step ${steps}, ${state}`;
}

async function readRuns() {
  const answer = await ask("runs");
  runs = answer.runs;
}

let showing = null;
let isReading = false;
let isWanted = false;

/** Shows what has grown. While it is being read, further news are put together. */
async function grow(names) {
  const { runs: wanted } = current();
  const mine = wanted.length > 0 ? wanted : chosen();
  if (
    names !== null &&
    !names.some((name) => mine.includes(name)) &&
    names.every((name) => runs.some((run) => run.name === name))
  )
    return;
  if (isReading) {
    isWanted = true;
    return;
  }
  isReading = true;
  try {
    await showing;
    await readRuns();
    // A remark in the place of a view says that something is not there, which may have come by now.
    if (shown.grown === undefined && main.querySelector(":scope > div > .note") !== null) await show(false);
    else await shown.grown?.(runs);
    navigation(current().view in VIEWS ? current().view : "overview", chosen());
  } catch (error) {
    live(error.message);
  } finally {
    isReading = false;
  }
  if (isWanted) {
    isWanted = false;
    await grow(null);
  }
}

function live(text) {
  const place = document.getElementById("live");
  if (place.textContent !== text) place.textContent = text;
}

addEventListener("hashchange", () => {
  showing = show(true);
});
onColours(() => shown.recoloured?.());
document.getElementById("skip").addEventListener("click", (event) => {
  // The address after `#` is the view's.
  event.preventDefault();
  main.focus();
});
document.getElementById("shortcuts").append(shortcutChoice());
addEventListener("keydown", (event) => {
  const isTyped = event.target.closest("input, select, textarea, [contenteditable]") !== null;
  if (!areShortcutsOn() || isTyped || event.altKey || event.ctrlKey || event.metaKey) return;
  const views = Object.keys(VIEWS).filter((name) => name !== "search");
  const view = event.key === "/" ? "search" : views[Number(event.key) - 1];
  if (view === undefined) return;
  event.preventDefault();
  isSearching = view === "search";
  const to = address(view, isSearching ? [] : chosen());
  if (location.hash === to) showing = show(true);
  else location.hash = to;
});

try {
  await readRuns();
} catch (error) {
  fill(main, note(error.message));
}
// Listening begins before the page is complete, so that nothing is missed that a run writes meanwhile.
showing = show(false);
listen(grow, (isLive) => live(isLive ? "live" : "the server does not answer; trying again"));
