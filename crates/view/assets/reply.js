// Replies with what every tool said of them and why: side by side in their group, or alone with the data of their tokens.

import { address } from "./address.js";
import { ask } from "./api.js";
import { count, element, figures, note, number, problems, shown } from "./dom.js";
import { exchangeParts } from "./exchanges.js";
import { tokenSection } from "./tokens.js";

/** The prompt of a group, and its replies side by side. */
export async function groupView(run, step, group) {
  const view = await ask("group", { run, step, group });
  const card = (reply) =>
    element(
      "article",
      { class: "card" },
      element(
        "h3",
        {},
        element("a", { href: address("rollouts", [run], { step, group, row: reply.row }) }, `Reply ${reply.row}`),
      ),
      replyFigures(reply),
      shown(`Text of reply ${reply.row}`, reply.completion),
      verdictList(run, reply),
    );
  return element(
    "section",
    {},
    element(
      "h2",
      {},
      `Group ${group}: ${count(view.replies.length, "reply", "replies")} to example ${view.replies[0].example}`,
    ),
    promptParts(view),
    overTime(run, view.replies[0].example),
    element("h2", {}, "Replies side by side"),
    element(
      "div",
      { class: "cards", tabindex: 0, role: "region", "aria-label": "Replies side by side" },
      view.replies.map(card),
    ),
  );
}

/** One reply with everything that is known of it; `made` gets the function that draws its curve. */
export async function replyView(run, step, row, made) {
  const [view, judged] = await Promise.all([ask("reply", { run, step, row }), ask("judged", { run, step, row })]);
  const reply = view.replies[0];
  return element(
    "section",
    {},
    element("h2", {}, `Reply ${row} of step ${step}, to example ${reply.example}`),
    replyFigures(reply),
    overTime(run, reply.example),
    element("h3", {}, "Reply"),
    shown("Reply", reply.completion),
    element("h3", {}, "Scores and their reasons"),
    verdictList(run, reply),
    judgedParts(judged),
    promptParts(view),
    view.log_probs.some((value) => value !== null) ? tokenSection(view, made) : null,
  );
}

function overTime(run, example) {
  return element("p", {}, element("a", { href: address("rollouts", [run], { example }) }, "The same prompt over time"));
}

/** What the judges were asked about the reply and answered. */
function judgedParts({ judges, exchanges, problems: unread }) {
  if (judges.length === 0) return null;
  const part = (exchange, i) =>
    element(
      "details",
      {},
      element("summary", {}, `What ${exchange.task} was asked and said${exchange.time === "" ? "" : `, ${exchange.time}`}`),
      exchangeParts(exchange, `${exchange.task}, exchange ${i + 1}`),
    );
  const none =
    `The run has no record of what ${judges.join(", ")} was asked about this reply: the log has the newest exchanges, ` +
    "a score from the cache was asked for earlier, and earlier versions kept none.";
  return element(
    "div",
    {},
    element("h3", {}, "Exchanges with the judge"),
    exchanges.length === 0 ? element("p", { class: "muted" }, none) : exchanges.map(part),
    problems(unread),
  );
}

function replyFigures(reply) {
  const ends = { length: "cut off at the length limit", stop: "an end token or stop text", cancelled: "cancelled" };
  return figures([
    ["domain", reply.domain],
    ["reward", reply.reward === null ? "none: a tool gave no score" : number(reply.reward)],
    ["advantage", number(reply.advantage)],
    ["tokens", number(reply.tokens)],
    ["ended by", ends[reply.finish] ?? reply.finish],
    ["audit", reply.audit === null ? null : number(reply.audit)],
  ]);
}

/** What every tool said, with the reason. */
function verdictList(run, reply) {
  if (reply.verdicts === null) return note("The verdicts of this reply cannot be read.");
  if (reply.verdicts.length === 0) return note("No tool scored this reply: its prompt has none.");
  const item = (verdict) =>
    element(
      "li",
      {},
      element("a", { href: address("rewards", [run], { tool: verdict.tool }) }, verdict.tool),
      ": ",
      verdict.score === null
        ? element(
            "span",
            { class: "bad" },
            `${verdict.outcome === "failed" ? "it" : `${verdict.outcome}:`} ${verdict.why ?? ""}`,
          )
        : element("strong", {}, number(verdict.score)),
      verdict.weight === 0 ? " (gate or veto)" : ` × weight ${number(verdict.weight)}`,
      element("p", { class: "reason" }, verdict.reason ?? (verdict.score === null ? "" : "The tool gives no reason.")),
    );
  return element("ul", { class: "verdicts" }, reply.verdicts.map(item));
}

function promptParts(view) {
  const rendered =
    view.rendered_prompt.text === ""
      ? null
      : element(
          "details",
          {},
          element("summary", {}, "Prompt as the model got it"),
          shown("Prompt as the model got it", view.rendered_prompt),
        );
  const reference = view.reference.text === "" ? null : [element("h3", {}, "Reference"), shown("Reference", view.reference)];
  return element("div", {}, element("h3", {}, "Prompt"), shown("Prompt", view.prompt), rendered, reference);
}
