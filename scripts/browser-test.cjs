// The test of scripts/browser-test.sh, which says what it needs. Exits with 1 when something is wrong.
//
//     --rlar PATH           the program; target/release/rlar when absent
//     --view PATH           another program that shows the folder in its argument and prints its address
//     --runs FOLDER         a folder with the runs `one` and `two` instead of two that are trained now
//     --assets FOLDER       takes the page's files from a folder instead of from the program
//     --chromium PATH       the browser; /usr/bin/chromium when absent
//     --short               one colour scheme, and no limits on times
//     --screenshots FOLDER  writes a picture of every page there
//     --big FOLDER          measures the page on a run of 10,000 steps with a million replies instead; the run is written to the
//                           folder unless it is there
//     --writer PATH         the program that writes it; target/release/examples/big_run when absent

const assert = require("node:assert/strict");
const { execFileSync, spawn } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const readline = require("node:readline");
const { chromium } = require("playwright-core");

const TEXTS = ["rlar", "view", "runs", "assets", "chromium", "screenshots", "big", "writer"];
const { values: options } = require("node:util").parseArgs({
  options: { ...Object.fromEntries(TEXTS.map((name) => [name, { type: "string" }])), short: { type: "boolean" } },
});
const FLAGS =
  "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking " +
  "--disable-component-update --disable-sync";
const MARKUP = `<img src=x onerror="window.broken=1">`;
// The budgets, in milliseconds: the first paint, and every further panel.
const [FIRST, PANEL] = options.short ? [Infinity, Infinity] : [1000, 200];
// Memory of the server on the large run, in MiB.
const MEMORY = 512;

/** A folder with the runs `one` and `two`, and a third one with markup wherever a run has texts. */
function makeRuns() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "rlar-browser-"));
  if (options.runs !== undefined) fs.cpSync(options.runs, folder, { recursive: true });
  else {
    for (const [name, seed] of [
      ["one", 0],
      ["two", 1],
    ]) {
      const rlar = path.resolve(options.rlar ?? "target/release/rlar");
      execFileSync(rlar, [
        "train",
        "--config",
        "configs/smoke.yaml",
        "--seed",
        String(seed),
        "--run",
        path.join(folder, name),
        "--quiet",
      ]);
    }
  }
  addResults(path.join(folder, "one"), [1, 0, 1], "a reply");
  addResults(path.join(folder, "two"), [1, 1, 0], MARKUP);
  addWeights(path.join(folder, "one", "metrics.jsonl"));
  const hostile = path.join(folder, MARKUP.replaceAll("/", ""));
  fs.cpSync(path.join(folder, "one"), hostile, { recursive: true });
  const lines = fs.readFileSync(path.join(hostile, "metrics.jsonl"), "utf8").trim().split("\n");
  const last = JSON.parse(lines.at(-1));
  lines.push(JSON.stringify({ ...last, step: last.step + 1, news: [MARKUP], tools: { [MARKUP]: { score: { mean: 0.5 } } } }));
  fs.writeFileSync(path.join(hostile, "metrics.jsonl"), `${lines.join("\n")}\n{"step": NaN}\n{"cut`);
  const assignment = { example: MARKUP, tools: [{ tool: MARKUP, weight: 1 }], by: MARKUP, why: MARKUP };
  fs.writeFileSync(path.join(hostile, "assignments.jsonl"), `${JSON.stringify(assignment)}\n`);
  fs.writeFileSync(
    path.join(hostile, "agents.jsonl"),
    `${JSON.stringify({ role: MARKUP, model: MARKUP, error: MARKUP, messages: [] })}\n`,
  );
  return { folder, hostile: path.basename(hostile) };
}

/** Results of a suite, and of two tools on a benchmark of rewards, as `rlar eval --out` writes them. */
function addResults(run, scores, reply) {
  const write = (name, value) => {
    const file = path.join(run, "eval", name);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, value);
  };
  const value = scores.reduce((sum, score) => sum + score, 0) / scores.length;
  const figures = { accuracy: { value, interval: [value - 0.1, value + 0.1] } };
  write("sums/results.json", JSON.stringify({ suite: "sums", engine: "a model", prompts: 3, figures }));
  const line = (score, i) =>
    JSON.stringify({ id: `sum ${i}`, sample: 0, prompt: `${i} + ${i}`, reply, score, right: score === 1 });
  write("sums/verdicts.jsonl", `${scores.map(line).join("\n")}\n`);
  const said = (content) => [
    { role: "user", content: "Which one?" },
    { role: "assistant", content },
  ];
  const columns = {
    id: ["0", "1"],
    subset: ["Math", "Focus"],
    num_correct: [1, 1],
    text: [0, 1].map(() => [said("right"), said(reply)]),
  };
  write(
    "rewards/eval-set-scores/rlar/tool.json",
    JSON.stringify({
      ...columns,
      scores: [
        [1, 0],
        [0, 1],
      ],
      results: [1, 0],
    }),
  );
  write(
    "rewards/eval-set-scores/rlar/other.json",
    JSON.stringify({
      ...columns,
      scores: [
        [0, 1],
        [1, 0],
      ],
      results: [0, 1],
    }),
  );
}

/** Gives the records of a run learned weights. */
function addWeights(file) {
  const weight = (weight) => ({ weight, low: weight - 0.1, high: weight + 0.1 });
  const lines = fs.readFileSync(file, "utf8").trim().split("\n");
  const added = lines.map((line) =>
    JSON.stringify({ ...JSON.parse(line), weights: { "a/b": { first: weight(0.75), second: weight(0.25) } } }),
  );
  fs.writeFileSync(file, `${added.join("\n")}\n`);
}

async function startServer(folder) {
  const rlar = path.resolve(options.rlar ?? "target/release/rlar");
  const server =
    options.view === undefined ? spawn(rlar, ["view", folder, "--port", "0", "--no-browser"]) : spawn(options.view, [folder]);
  server.stderr.pipe(process.stderr);
  for await (const line of readline.createInterface({ input: server.stdout })) return { server, url: line.trim() };
  throw new Error("the server printed no address");
}

/** Opens a view, waits until it is complete, and returns the milliseconds that this took. */
function opener(page, url) {
  return async (view, runs, more = {}, wanted = "h1") => {
    const query = new URLSearchParams(more);
    for (const run of runs) query.append("run", run);
    const began = performance.now();
    const hash = `#/${view}?${query}`;
    await page.goto(`${url}${hash}`);
    await page.waitForFunction((hash) => document.getElementById("main").dataset.shown === hash, hash);
    await page.locator(`main ${wanted}`).first().waitFor();
    return performance.now() - began;
  };
}

async function main() {
  if (options.big !== undefined) return measureBig();
  const { folder, hostile } = makeRuns();
  const { server, url } = await startServer(folder);
  const browser = await chromium.launch({ executablePath: options.chromium ?? "/usr/bin/chromium", args: FLAGS.split(" ") });
  const wrong = [];
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    page.on("pageerror", (error) => wrong.push(`error in the page: ${error.message}`));
    page.on("console", (message) => message.type() === "error" && wrong.push(`console: ${message.text()}`));
    if (options.assets !== undefined) {
      await page.route("**/page/**", (route) =>
        route.fulfill({ path: path.join(options.assets, new URL(route.request().url()).pathname.slice(6)) }),
      );
    }
    const open = opener(page, url);
    await follow(page, open);
    await calculate(page);
    await overlayAndGrow(page, open, folder);
    await find(page, open);
    await keys(page, open);
    await explain(page, open);
    await compareRuns(page, open, hostile);
    await everyPage(page, open, wrong);
    await open("overview", [hostile], {}, ".marks");
    assert.match(await page.locator(".marks").innerText(), /onerror/);
    for (const view of ["rewards", "rollouts", "evaluations", "search"]) await open(view, [hostile]);
    await open("search", [hostile], { search: "1" }, "table");
    await open("evaluations", ["two"], { result: "two/eval/sums", line: 1 }, ".card");
    assert.match(await page.locator("main .card").innerText(), /onerror/);
    await open("evaluations", ["two"], { benchmark: "two/eval/rewards", tool: "rlar/tool", index: 0 }, ".card");
    assert.equal(await page.evaluate(() => window.broken), undefined, "markup of a run was executed");
    assert.equal(await page.locator("main img").count(), 0);
    await gone(page, open, folder, hostile);
    const left = wrong.filter((text) => !text.includes("410 (Gone)"));
    assert.deepEqual(left, []);
    console.log("the page passed");
  } finally {
    await browser.close();
    server.kill("SIGTERM");
    fs.rmSync(folder, { recursive: true });
  }
}

/** From the curve of the reward to a reply and the reason of its reward, with the keyboard alone. */
async function follow(page, open) {
  await open("overview", ["one"], {}, ".chart canvas");
  const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
  console.log(`first paint after ${Math.round(paint)} ms`);
  const phases = await page.locator("main section[aria-label='Seconds by phase'] tbody td:first-child").allInnerTexts();
  assert.deepEqual(
    phases.map((text) => text.trim()),
    ["sampling", "scoring", "training", "evaluation", "other"],
  );
  assert.match(
    await page.locator("main section[aria-label='Accuracy'] .remark").innerText(),
    /measured by .* cannot show that the reward was hacked/,
  );
  const machine = page.locator("main details.environment");
  await machine.locator("summary").click();
  assert.match(await machine.innerText(), /From step 0 on[^]*cores/);
  await machine.locator("summary").click();
  assert.ok(paint < FIRST, `the first paint took ${paint} ms`);
  const tab = async (wanted, most = 80) => {
    for (let i = 0; i < most; i += 1) {
      await page.keyboard.press("Tab");
      const text = await page.evaluate(
        () => document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent,
      );
      if (wanted.test(text)) return;
    }
    throw new Error(`no place called ${wanted} can be reached with Tab`);
  };
  await tab(/^Mean reward/);
  await page.keyboard.press("Home");
  const first = await page.locator(".readout").first().innerText();
  await page.keyboard.press("ArrowRight");
  assert.notEqual(await page.locator(".readout").first().innerText(), first);
  await page.keyboard.press("Home");
  await page.keyboard.press("Enter");
  await page.getByRole("link", { name: "Group 0", exact: true }).waitFor();
  assert.match(page.url(), /#\/rollouts\?run=one&step=1$/);
  await tab(/^Group 0$/);
  await page.keyboard.press("Enter");
  await page.locator(".card").first().waitFor();
  assert.ok((await page.locator(".card").count()) > 1, "the replies of a group are side by side");
  await tab(/^Reply 1$/);
  await page.keyboard.press("Enter");
  await page.getByText("Scores and their reasons").waitFor();
  const reason = await page.locator(".verdicts .reason").first().innerText();
  assert.notEqual(reason.trim(), "");
  console.log(`a reply's reason: ${reason}`);
  await page.keyboard.press("3");
  await page.getByRole("heading", { name: "Rewards", exact: true }).waitFor();
}

/** A click on a curve opens the run of that curve: at the upper edge that of the higher one, at the lower edge the other. */
async function clickCurves(page, open) {
  for (const isUpper of [true, false]) {
    await open("overview", ["one", "two"], {}, ".chart canvas");
    const box = await page.locator(".chart .u-over").first().boundingBox();
    const y = box.y + (isUpper ? 3 : box.height - 3);
    for (const share of [0.3, 0.4, 0.5, 0.6, 0.7]) {
      await page.mouse.move(box.x + share * box.width, y);
      const text = await page.locator(".readout").first().innerText();
      const [one, two] = ["one", "two"].map((run) => Number(text.match(new RegExp(`${run} ([0-9.]+)`))?.[1]));
      if (!(Math.abs(one - two) > 0)) continue;
      await page.mouse.click(box.x + share * box.width, y);
      await page.getByRole("link", { name: "Group 0", exact: true }).waitFor();
      assert.match(page.url(), new RegExp(`run=${one > two === isUpper ? "one" : "two"}&`), text);
      break;
    }
    assert.match(page.url(), /rollouts/, "the curves differ somewhere");
  }
}

async function overlayAndGrow(page, open, folder) {
  await clickCurves(page, open);
  await open("overview", ["one", "two"], {}, ".chart canvas");
  assert.equal(await page.locator(".chart").first().locator(".keys li").count(), 2);
  const file = path.join(folder, "two", "metrics.jsonl");
  const last = JSON.parse(fs.readFileSync(file, "utf8").trim().split("\n").at(-1));
  const step = last.step + 1;
  fs.appendFileSync(file, `${JSON.stringify({ ...last, step })}\n`);
  await page.getByRole("cell", { name: new RegExp(`^${step} of`) }).waitFor({ timeout: 10_000 });
  await page
    .locator(".readout", { hasText: `step ${step}:` })
    .first()
    .waitFor();
}

/** What the page computes by itself. */
async function calculate(page) {
  const made = await page.evaluate(async () => {
    const [paths, wins, weights, tokens, phases, dom] = await Promise.all(
      ["paths", "wins", "weights", "tokens", "phases", "dom"].map((name) => import(`/page/${name}.js`)),
    );
    return {
      paths: ["./data//a/../b", "../x/./y/", "/a/../b", "http://a//b", "a text"].map(paths.plainPath),
      same: [
        paths.sameValue({ value: "./a/b" }, { value: "a/b" }),
        paths.sameValue({ value: "x", data: "1" }, { value: "y", data: "1" }),
        paths.sameValue({ value: "x", data: "1" }, { value: "y", data: "2" }),
        paths.sameValue({ value: "x" }, undefined),
      ],
      wins: wins.winCounts([0, 1, 2, 2].map((second) => ({ first: 1, second }))),
      columns: ["weights/a/b/tool/weight", "weights//tool/weight", "weights/a/tool/low", "reward/mean"].map(
        weights.weightColumn,
      ),
      classes: [0, -0.5, -1, -3, -9, null].map(tokens.likelihoodClass),
      ratios: tokens.logRatios([-1, null, -3], [-1.5, -1, -1, -2]),
      ratioClasses: [0, -0.02, 0.1, -0.5, 2, null].map(tokens.ratioClass),
      percents: [153 / 400, 23 / 80, 763 / 2000, 1 / 3, -0.00375, -1e-9, null].map(dom.percent),
      edges: phases.stacked([
        [1, null],
        [2, 3],
      ]),
      shares: [[3, 1], [0]].map((list) => phases.shares(list.map((seconds) => ({ seconds }))).map(({ share }) => share)),
    };
  });
  assert.deepEqual(made, {
    paths: ["data/b", "../x/y", "/b", "http://a//b", "a text"],
    same: [true, true, false, false],
    wins: { wins: 2, losses: 1, ties: 1 },
    columns: [
      { domain: "a/b", tool: "tool", base: "weights/a/b/tool/" },
      { domain: "", tool: "tool", base: "weights//tool/" },
      null,
      null,
    ],
    classes: [0, 1, 2, 3, 4, null],
    ratios: [0.5, null, -2, null],
    ratioClasses: [0, 1, 2, 3, 4, null],
    percents: ["38.2 %", "28.8 %", "38.2 %", "33.3 %", "-0.4 %", "0.0 %", "–"],
    edges: [
      [1, 0],
      [3, 3],
    ],
    shares: [[0.75, 0.25], [null]],
  });
}

/** Filters, a search over all steps and runs, tokens, and the same prompt over time. */
async function find(page, open) {
  await open("rollouts", ["one"], { step: 1, advantage: "positive" }, "table");
  const advantages = await page.locator("main table").first().locator("tbody tr td:nth-child(6)").allInnerTexts();
  assert.ok(advantages.length > 0 && advantages.every((text) => Number(text) > 0), `advantages ${advantages}`);
  await page.getByRole("link", { name: "The same in all recorded steps" }).click();
  await page.getByRole("heading", { name: "Search", exact: true }).waitFor();
  const steps = await page.locator("main table").first().locator("tbody tr td:first-child").allInnerTexts();
  assert.ok(new Set(steps).size > 1, "the search finds replies of several steps");

  // Every reply ended in one of the ways that the filter knows.
  const ended = async (finish) => {
    await open("rollouts", ["one"], { step: 1, finish }, "table");
    return Number.parseInt(await page.locator("main table caption").first().innerText(), 10);
  };
  const counts = [await ended("length"), await ended("stop"), await ended("cancelled")];
  await open("rollouts", ["one"], { step: 1, sort: "best" }, "table");
  const all = Number.parseInt(await page.locator("main table caption").first().innerText(), 10);
  assert.equal(counts.reduce((sum, count) => sum + count), all);

  await open("rollouts", ["one"], { step: 1, group: 0, row: 0 }, ".tokens .token");
  assert.equal(await page.locator("main .keys .token").count(), 5);
  const tokens = page.locator("main .tokens");
  await tokens.focus();
  const readout = page.locator("main .readout[role=status]");
  assert.match(await readout.innerText(), /^token 0 .*log-prob/);
  await page.keyboard.press("ArrowRight");
  assert.match(await readout.innerText(), /^token 1 /);

  await page.getByRole("link", { name: "The same prompt over time" }).click();
  await page.getByRole("heading", { name: /over time$/ }).waitFor();
  const rows = page.locator("main table tbody tr");
  assert.ok((await rows.count()) > 1, "the prompt has several steps");
  await rows
    .last()
    .getByRole("link", { name: /^Reply/ })
    .click();
  await page.getByText("Scores and their reasons").waitFor();
}

/** The keys of one character: typed into a field they are text, they can be switched off, and `/` searches all runs. */
async function keys(page, open) {
  await open("overview", ["one"], {}, ".chart canvas");
  await page.keyboard.press("/");
  await page.locator("#search-text:focus").waitFor();
  await page.keyboard.type("1");
  assert.match(page.url(), /#\/search/);
  assert.equal(await page.locator("#search-text").inputValue(), "1");
  await page.locator("#search-text").press("Enter");
  await page.getByRole("heading", { name: "two", exact: true }).waitFor();
  assert.ok((await page.locator("main section").count()) > 1, "the search is over several runs");
  const box = page.getByRole("checkbox", { name: /^Keys 1 to 5/ });
  await box.uncheck();
  await page.reload();
  await page.locator("main h1").waitFor();
  assert.equal(await box.isChecked(), false);
  await page.locator("main").focus();
  await page.keyboard.press("3");
  await page.keyboard.press("/");
  assert.match(page.url(), /#\/search\?search=1$/);
  await box.check();
  await page.locator("main").focus();
  await page.keyboard.press("3");
  await page.getByRole("heading", { name: "Rewards", exact: true }).waitFor();
}

/** From the distribution of scores to its replies; learned weights; tools by step; from a benchmark to a text. */
async function explain(page, open) {
  await open("rewards", ["one"], {}, ".bars");
  assert.match(await page.locator("main section[aria-label='Learned weights, a/b'] .keys").innerText(), /first[^]*second/);
  const weights = await page.locator("main section[aria-label='Learned weights, a/b'] .readout").innerText();
  assert.match(weights, /first 0.75 \(0.65 to 0.85\)/);
  assert.ok((await page.locator("main .strip rect").count()) > 0, "the tools are drawn over the steps");
  const bar = page.locator("main .bars li").first();
  const counted = Number((await bar.innerText()).match(/(\d+) \(/)[1]);
  await bar.getByRole("link").click();
  await page.getByRole("heading", { name: "Find replies in this step" }).waitFor();
  const found = await page.locator("main table caption").first().innerText();
  assert.ok(Number.parseInt(found, 10) <= counted, `${found}, of ${counted} in the bar`);

  await open("evaluations", ["one"], {}, "table");
  await page.getByRole("link", { name: "one/eval/rewards" }).click();
  await page
    .getByRole("row", { name: /^rlar\/tool/ })
    .getByRole("link", { name: "0.0 %", exact: true })
    .click();
  await page.getByRole("heading", { name: "Items of rlar/tool" }).waitFor();
  await page.locator("main table").last().getByRole("link").first().click();
  await page.getByRole("heading", { name: /^Focus, item 1/ }).waitFor();
  assert.match(await page.locator("main .card").first().innerText(), /right/);
}

/** Three runs side by side, and who wins prompt by prompt. */
async function compareRuns(page, open, hostile) {
  await open("compare", ["one", "two", hostile], {}, "table");
  const wins = page.getByRole("region", { name: /^Mean scores by prompt against one/ });
  assert.match(await wins.innerText(), /sums\s+two\s+3\s+1\s+1\s+1/);
  const configs = await page.getByRole("region", { name: /keys? differ/ }).innerText();
  assert.match(configs, /seed/);
  assert.equal(await page.locator("main .chart").first().locator(".keys li").count(), 3);
  await page
    .getByRole("region", { name: /^sums: the prompts that differ most/ })
    .first()
    .getByRole("link")
    .first()
    .click();
  await page.getByRole("heading", { name: /^Reply 0 to sum/ }).waitFor();
}

/** Measures the page on a run of 10,000 steps with a million replies. */
async function measureBig() {
  const writer = path.resolve(options.writer ?? "target/release/examples/big_run");
  execFileSync(writer, [options.big], { stdio: "inherit" });
  const { server, url } = await startServer(options.big);
  const browser = await chromium.launch({ executablePath: options.chromium ?? "/usr/bin/chromium", args: FLAGS.split(" ") });
  const wrong = [];
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    const open = opener(page, url);
    const step = 5000;
    const pages = [
      { name: "overview", view: "overview", wanted: ".chart canvas" },
      { name: "rollouts", view: "rollouts", wanted: "table" },
      { name: "group", view: "rollouts", more: { step, group: 0 }, wanted: ".card" },
      { name: "reply", view: "rollouts", more: { step, group: 0, row: 0 }, wanted: ".verdicts" },
      { name: "the same prompt over time", view: "rollouts", more: { example: "example-7" }, wanted: "table" },
      { name: "rewards", view: "rewards", wanted: "table" },
      { name: "compare with itself", view: "compare", runs: ["big", "big"], wanted: "table" },
      { name: "evaluations", view: "evaluations", wanted: "h2" },
      { name: "search", view: "search", more: { search: "the answer of step 9990 is" }, wanted: "table", isSearch: true },
      { name: "search without a find", view: "search", more: { search: "nothing has this" }, wanted: "h2", isSearch: true },
    ];
    for (const { name, view, runs = ["big"], more, wanted, isSearch } of pages) {
      const first = await open(view, runs, more, wanted);
      // The same page again, from another one; only its first opening makes an index.
      const again = [];
      for (let i = 0; i < 3; i += 1) {
        await open("search", ["big"]);
        again.push(await open(view, runs, more, wanted));
      }
      const best = Math.min(...again);
      console.log(`${name}: ${Math.round(first)} ms at first, then ${again.map(Math.round).join(", ")} ms`);
      if (name === "overview") {
        const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
        console.log(`first paint after ${Math.round(paint)} ms`);
        if (paint >= FIRST) wrong.push(`the first paint took ${paint} ms`);
      }
      if (!isSearch && best > PANEL) wrong.push(`${name} took ${Math.round(best)} ms`);
    }
    const [, kibibytes] = fs.readFileSync(`/proc/${server.pid}/status`, "utf8").match(/VmHWM:\s+(\d+) kB/);
    console.log(`the server took at most ${Math.round(kibibytes / 1024)} MiB`);
    if (kibibytes / 1024 > MEMORY) wrong.push(`the server took ${Math.round(kibibytes / 1024)} MiB`);
    assert.deepEqual(wrong, []);
    console.log("the page passed");
  } finally {
    await browser.close();
    server.kill("SIGTERM");
  }
}

/** Opens every page in both colour schemes, measures it, and looks for barriers. */
async function everyPage(page, open, wrong) {
  const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
  const pages = [
    { name: "overview", view: "overview", runs: ["one", "two"], wanted: ".chart canvas" },
    { name: "rollouts", view: "rollouts", runs: ["one"], wanted: "table" },
    { name: "found", view: "rollouts", runs: ["one"], more: { step: 1, sort: "worst" }, wanted: "table" },
    { name: "group", view: "rollouts", runs: ["one"], more: { step: 1, group: 0 }, wanted: ".card" },
    { name: "reply", view: "rollouts", runs: ["one"], more: { step: 1, group: 0, row: 0 }, wanted: ".verdicts" },
    { name: "over time", view: "rollouts", runs: ["one"], more: { example: "train-00" }, wanted: "h2" },
    { name: "search", view: "search", runs: ["one"], more: { search: "1" }, wanted: "table" },
    { name: "rewards", view: "rewards", runs: ["one"], wanted: "table" },
    { name: "compare", view: "compare", runs: ["one", "two"], wanted: "table" },
    { name: "evaluations", view: "evaluations", runs: ["one"], wanted: "table" },
    { name: "suite", view: "evaluations", runs: ["one"], more: { result: "one/eval/sums" }, wanted: "table" },
    {
      name: "benchmark",
      view: "evaluations",
      runs: ["one"],
      more: { benchmark: "one/eval/rewards", tool: "rlar/tool" },
      wanted: "table",
    },
    {
      name: "item",
      view: "evaluations",
      runs: ["one"],
      more: { benchmark: "one/eval/rewards", tool: "rlar/tool", index: 0 },
      wanted: ".card",
    },
  ];
  for (const colorScheme of options.short ? ["light"] : ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const { name, view, runs, more, wanted } of pages) {
      const took = await open(view, runs, more, wanted);
      console.log(`${name}, ${colorScheme}: ${Math.round(took)} ms`);
      if (took > PANEL && view !== "overview" && view !== "compare") wrong.push(`${name} took ${Math.round(took)} ms`);
      // Every text of a view is in an element of its own; what JavaScript makes of a part that is missing is not.
      const stray = await page.evaluate(() =>
        [...document.querySelector("main > div").childNodes].filter((node) => node.nodeType === 3).map((node) => node.data),
      );
      assert.deepEqual(stray, [], name);
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => window.axe.run());
      for (const { id, help, nodes } of violations)
        wrong.push(`axe on ${name}, ${colorScheme}: ${id}: ${help}: ${nodes[0].html}`);
      if (options.screenshots !== undefined) {
        fs.mkdirSync(options.screenshots, { recursive: true });
        await page.screenshot({ path: path.join(options.screenshots, `${name}-${colorScheme}.png`) });
      }
    }
  }
}

/** A run that is deleted while it is viewed is named. */
async function gone(page, open, folder, name) {
  fs.rmSync(path.join(folder, name), { recursive: true });
  await open("rollouts", [name], { step: 1 }, ".note");
  assert.match(await page.locator("main .note").innerText(), /deleted while it was viewed/);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
