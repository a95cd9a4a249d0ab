// What the processes of a run computed on; one that continued the run elsewhere stands out.

import { ask } from "./api.js";
import { count, element, problems, table } from "./dom.js";

/** The builds and machines of a run, closed at first; its heading says whether they changed. */
export async function environmentPart(run, isNamed) {
  const { processes, problems: unread } = await ask("environment", { run });
  const of = isNamed ? `${run} ran` : "Ran";
  if (processes.length === 0)
    return element(
      "div",
      {},
      element("p", { class: "muted" }, `${of} on: not recorded, as in runs of earlier versions.`),
      problems(unread),
    );
  const value = (process, name) => process.facts.find((fact) => fact.name === name)?.value ?? "–";
  const names = [...new Set(processes.flatMap((process) => process.facts.map((fact) => fact.name)))];
  const changed = processes.filter((process) => process.changed.length > 0);
  const words = (process) => `at step ${process.step ?? "–"}: ${process.changed.join(", ")}`;
  const remark =
    changed.length === 0
      ? processes.length === 1
        ? ""
        : `, continued ${count(processes.length - 1, "time")} on the same`
      : `; changed when it was continued ${changed.map(words).join("; ")}`;
  const head = ["CPU", "cores", "GPUs"].map((name) => [name, value(processes[0], name)]).filter(([, known]) => known !== "–");
  const short = head.map(([name, known]) => (name === "cores" ? `${known} cores` : known)).join(", ");
  return element(
    "details",
    { class: "environment" },
    element("summary", {}, `${of} on ${short || value(processes[0], "kernel")}${remark}`),
    table(
      `${run}: what its processes computed on`,
      [
        { title: "Fact", cell: (name) => name },
        ...processes.map((process) => ({
          title: `From step ${process.step ?? "–"} on`,
          cell: (name) =>
            process.changed.includes(name) ? element("strong", {}, value(process, name)) : value(process, name),
        })),
      ],
      names,
    ),
    problems(unread),
  );
}
