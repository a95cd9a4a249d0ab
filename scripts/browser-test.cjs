// The test of scripts/browser-test.sh, which says what it needs. Exits with 1 when something is wrong.
//
//     --rlar PATH           the program; target/release/rlar when absent
//     --view PATH           another program that shows the folder in its argument and prints its address
//     --runs FOLDER         a folder with the runs `one` and `two` instead of two that are trained now
//     --assets FOLDER       takes the page's files from a folder instead of from the program
//     --chromium PATH       the browser; /usr/bin/chromium when absent
//     --screenshots FOLDER  writes a picture of every page there

const assert = require("node:assert/strict");
const { execFileSync, spawn } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const readline = require("node:readline");
const { chromium } = require("playwright-core");

const { values: options } = require("node:util").parseArgs({
  options: Object.fromEntries(
    ["rlar", "view", "runs", "assets", "chromium", "screenshots"].map((name) => [name, { type: "string" }]),
  ),
});
const FLAGS =
  "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking " +
  "--disable-component-update --disable-sync";
const MARKUP = `<img src=x onerror="window.broken=1">`;
// The budgets, in milliseconds: the first paint, and every further panel.
const [FIRST, PANEL] = [1000, 200];

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

async function startServer(folder) {
  const rlar = path.resolve(options.rlar ?? "target/release/rlar");
  const server =
    options.view === undefined ? spawn(rlar, ["view", folder, "--port", "0", "--no-browser"]) : spawn(options.view, [folder]);
  server.stderr.pipe(process.stderr);
  for await (const line of readline.createInterface({ input: server.stdout })) return { server, url: line.trim() };
  throw new Error("the server printed no address");
}

async function main() {
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
    const open = async (view, runs, more = {}, wanted = "h1") => {
      const query = new URLSearchParams(more);
      for (const run of runs) query.append("run", run);
      const began = performance.now();
      const hash = `#/${view}?${query}`;
      await page.goto(`${url}${hash}`);
      await page.waitForFunction((hash) => document.getElementById("main").dataset.shown === hash, hash);
      await page.locator(`main ${wanted}`).first().waitFor();
      return performance.now() - began;
    };
    await follow(page, open);
    await overlayAndGrow(page, open, folder);
    await everyPage(page, open, wrong);
    await open("overview", [hostile], {}, ".marks");
    assert.match(await page.locator(".marks").innerText(), /onerror/);
    for (const view of ["rewards", "rollouts", "evaluations"]) await open(view, [hostile]);
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

async function overlayAndGrow(page, open, folder) {
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

/** Opens every page in both colour schemes, measures it, and looks for barriers. */
async function everyPage(page, open, wrong) {
  const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
  const pages = [
    { name: "overview", view: "overview", runs: ["one", "two"], wanted: ".chart canvas" },
    { name: "rollouts", view: "rollouts", runs: ["one"], wanted: "table" },
    { name: "found", view: "rollouts", runs: ["one"], more: { step: 1, sort: "worst" }, wanted: "table" },
    { name: "group", view: "rollouts", runs: ["one"], more: { step: 1, group: 0 }, wanted: ".card" },
    { name: "reply", view: "rollouts", runs: ["one"], more: { step: 1, group: 0, row: 0 }, wanted: ".verdicts" },
    { name: "rewards", view: "rewards", runs: ["one"], wanted: "table" },
    { name: "compare", view: "compare", runs: ["one", "two"], wanted: "table" },
    { name: "evaluations", view: "evaluations", runs: ["one"], wanted: "table" },
  ];
  for (const colorScheme of ["light", "dark"]) {
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
