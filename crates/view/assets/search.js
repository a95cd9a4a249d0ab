// Search: replies of all recorded steps, of the chosen runs or of all runs, the newest steps first.

import { address, go } from "./address.js";
import { ask } from "./api.js";
import { count, element, note, problems, table } from "./dom.js";
import { askedFilters, filterForm } from "./filters.js";
import { replyColumns } from "./replies.js";

const MOST_RUNS = 20;
const FIELDS = ["search", "domain", "tool", "outcome", "least_score", "most_score", "advantage", "finish"];

export async function search(place, { runs, named, summaries, parameters }) {
  const asked = askedFilters(parameters);
  const readable = summaries.filter((run) => run.problem === null).map((run) => run.name);
  // Runs that nobody has chosen are all searched.
  const wanted = named.length > 0 ? runs : readable.slice(0, MOST_RUNS);
  const form = filterForm(asked, { names: FIELDS, button: "Search", find: (values) => go("search", named, values) });
  form.querySelector("input").id = "search-text";
  const scope =
    named.length > 0
      ? [`In ${named.join(", ")}. `, element("a", { href: address("search", [], asked) }, "Search all runs")]
      : `In ${count(wanted.length, "run")}${readable.length > wanted.length ? ` of ${readable.length}; choose others under “Runs”` : ""}.`;
  place.append(form, element("p", { class: "muted" }, scope));
  if (Object.keys(asked).length === 0) {
    place.append(element("p", {}, "Searches prompts and replies of all recorded steps, the newest first."));
    return {};
  }
  const single = wanted.length === 1 ? parameters.get("up_to") : null;
  for (const run of wanted) place.append(await found(run, asked, single, wanted.length));
  return {};
}

async function found(run, asked, upTo, runs) {
  const section = element("section", {}, element("h2", {}, run));
  let page;
  try {
    page = await ask("search", { run, ...asked, up_to: upTo, limit: Math.max(Math.floor(200 / runs), 20) });
  } catch (error) {
    section.append(note(error.message));
    return section;
  }
  const range = page.searched === 0 ? "" : `, ${page.oldest} to ${page.newest}`;
  const more = page.left_out === 0 ? "" : `; ${count(page.left_out, "further one")} in these steps not listed`;
  section.append(
    table(
      `${count(page.replies.length, "reply", "replies")} in ${page.searched} of ${count(page.steps, "recorded step")}${range}${more}`,
      [
        {
          title: "Step",
          number: true,
          cell: (reply) => element("a", { href: address("rollouts", [run], { step: reply.step }) }, `Step ${reply.step}`),
        },
        ...replyColumns(run, (reply) => reply.step),
      ],
      page.replies,
    ),
  );
  if (page.next !== null)
    section.append(
      element(
        "p",
        {},
        "The search stopped here, so that it does not take too long. ",
        element("a", { href: address("search", [run], { ...asked, up_to: page.next }) }, `Search on from step ${page.next}`),
      ),
    );
  const unread = problems(page.problems);
  if (unread !== null) section.append(unread);
  return section;
}
