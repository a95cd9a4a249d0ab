"""`just results four-domains`: the analysis that experiment.py announces, as tables, CSV and curves."""

import json
import math

from four_domains import analysis, plots
from four_domains.arms import GENERAL_SETTINGS
from four_domains.experiment import ARMS, PILOT_SEED, REWARDED, Experiment, seconds
from four_domains.truth import DOMAINS
from learning_runs import table

HOPE = 10
FIFTH = 5


def four_domains(parent, count):
    experiment, seeds = Experiment(parent), list(range(count))
    choice = experiment.static()
    table(["candidate, pilot", "truth"], [[name, percent(value)] for name, value in choice["pilot"].items()])
    records = [("pilot", name, PILOT_SEED, "mean", "", "truth", value) for name, value in choice["pilot"].items()]
    runs = {arm: {seed: experiment.run(arm, seed) for seed in seeds} for arm in ARMS}
    truth = {arm: {seed: experiment.truth(run, "final", seed) for seed, run in by_seed.items()} for arm, by_seed in runs.items()}
    final_table(experiment, runs, truth, choice["best"])
    compare({arm: final(truth[arm]) for arm in ARMS}, seeds, choice["best"])
    for arm, by_seed in truth.items():
        for seed, parts in by_seed.items():
            means = [(part, domain, analysis.mean(shares)) for part in parts for domain, shares in parts[part].items()]
            records += [(part, arm, seed, domain, "", "truth", value) for part, domain, value in means]
    costs(experiment)
    groups = {arm: {seed: experiment.steps(run) for seed, run in runs[arm].items()} for arm in REWARDED}
    change_tables(groups)
    records += step_records(groups)
    plots.write(experiment.runs.results, "four-domains", records)


def final(by_seed):
    """By seed and domain, the truth of the final prompts alone, without longer operands."""
    return {seed: parts["final"] for seed, parts in by_seed.items()}


def percent(value, signed=False):
    return "" if math.isnan(value) else f"{100 * value:{'+' if signed else ''}.1f}"


def interval(bounds):
    return "unknown" if bounds is None else f"{100 * bounds[0]:+.1f} to {100 * bounds[1]:+.1f}"


def requests(experiment, runs, arm):
    """Number of requests to the language model for an arm: for its library, and of its runs."""
    uses_library = arm in ("uniform", "rlar", "rlar-fixed", "rlar-no-synthesis")
    logs = [folder / "agents.jsonl" for folder in [*([experiment.library()] if uses_library else []), *runs[arm].values()]]
    return sum(len(log.read_text().splitlines()) for log in logs if log.exists())


def final_table(experiment, runs, truth, static):
    """A row for each arm: sampled truth in percent, what is above the best static arm, and what it cost."""
    rows = []
    for arm in ARMS:
        found = final(truth[arm])
        domain_mean = lambda domain: analysis.mean(analysis.mean(domains[domain]) for domains in found.values())
        by_seed = [analysis.over_domains(domains) for domains in found.values()]
        differences = analysis.difference(found, final(truth[static]))
        above = ["", ""]
        if arm != static:
            above = [percent(analysis.over_domains(differences), True), interval(analysis.bootstrap(differences))]
        longer = [share for parts in truth[arm].values() for share in parts.get("longer", {}).get("math", [])]
        time = analysis.mean(map(seconds, runs[arm].values()))
        rows.append([f"{arm} (best static)" if arm == static else arm, *(percent(domain_mean(domain)) for domain in DOMAINS),
                     percent(analysis.mean(by_seed)), ", ".join(map(percent, by_seed)), *above, percent(analysis.mean(longer)),
                     f"{time:.0f} s", requests(experiment, runs, arm)])
    table(["", *DOMAINS, "mean", "mean, by seed", "above best static", "95 %, prompts", "longer operands", "training",
           "LLM requests"], rows)


def compare(found, seeds, static):
    """Prints the primary figure, and the secondary ones that are differences of arms."""
    mean_of = lambda arm, seed: analysis.over_domains(found[arm][seed])
    gains = lambda arm, other: [mean_of(arm, seed) - mean_of(other, seed) for seed in seeds]
    over_prompts = lambda other: interval(analysis.bootstrap(analysis.difference(found["rlar"], found[other])))
    primary = gains("rlar", static)
    print(f"Primary figure, rlar less {static}, mean of the domains: {percent(analysis.mean(primary), True)} points; seeds "
          f"{', '.join(percent(value, True) for value in primary)}; 95 % over prompts {over_prompts(static)}, over seeds "
          f"{interval(analysis.over_seeds(primary))}. Hoped for: above +{HOPE}.")
    differences = analysis.difference(found["rlar"], found[static])
    by_domain = {domain: analysis.mean(prompts) for domain, prompts in differences.items()}
    listed = ", ".join(f"{domain} {percent(value, True)}" for domain, value in by_domain.items())
    print(f"By domain: {listed}; the worst is {min(by_domain, key=by_domain.get)}. Hoped for: none below 0.")
    room = analysis.mean(gains("hand-written", static))
    closed = f"{100 * analysis.mean(primary) / room:.0f} %" if room > 0 else "there is none"
    print(f"Share of the gap between {static} and hand-written rules that is closed: {closed}. Hoped for: 90 %.")
    for other in ("sft-chosen", "uniform", "builtin", "rlar-fixed", "rlar-no-synthesis"):
        gain = percent(analysis.mean(gains("rlar", other)), True)
        print(f"rlar less {other}: {gain} points, 95 % over prompts {over_prompts(other)}")
    print()


def costs(experiment):
    """Prints what the reward models and the library cost, which the training of the policies does not count."""
    general = [seconds(experiment.general(name).parent) for name in GENERAL_SETTINGS]
    single = [seconds(model.parent) for model in experiment.specialists().values()]
    filling = json.loads((experiment.folder / "library.done").read_text())["seconds"]
    print(f"Reward models: {sum(single):.0f} s for the four domains, {sum(general):.0f} s for the general one with six settings; "
          f"filling the library from recorded replies: {filling:.0f} s.\n")


def part_of(groups, is_late):
    """The groups of the first or of the last fifth of the steps that were kept."""
    steps = sorted({group["step"] for group in groups})
    count = max(1, len(steps) // FIFTH)
    return [group for group in groups if group["step"] in (steps[-count:] if is_late else steps[:count])]


def summary(groups, tool=None):
    """Mean truth, mean reward, and AUC of the reward within the replies to a prompt; of a tool's score instead of the reward if a
    tool is named. Replies without it are left out of the latter two."""
    score = lambda reply: reply["believed"] if tool is None else reply["scores"].get(tool)
    scored = [[(score(reply), reply["right"]) for reply in group["replies"] if score(reply) is not None] for group in groups]
    return dict(truth=analysis.mean(reply["right"] for group in groups for reply in group["replies"]),
                reward=analysis.mean(value for group in scored for value, _ in group), auc=analysis.group_auc(scored))


def change_tables(groups):
    """How truth, reward and AUC change from the first to the last fifth of the steps, by arm and domain, and the AUC of each tool
    where several score."""
    rows, of_tools = [], []
    arrow = lambda values: " → ".join(map(percent, values))
    for arm, by_seed in groups.items():
        for domain in DOMAINS:
            of_domain = lambda late: [g for seed in by_seed for g in part_of(by_seed[seed], late) if g["domain"] == domain]
            parts = of_domain(False), of_domain(True)
            found = [summary(part) for part in parts]
            rows.append([arm, domain, *(arrow(values[key] for values in found) for key in ("truth", "reward", "auc"))])
            tools = sorted({tool for part in parts for group in part for reply in group["replies"] for tool in reply["scores"]})
            for tool in tools if len(tools) > 1 else []:
                of_tools.append([arm, domain, tool, arrow(summary(part, tool)["auc"] for part in parts)])
    table(["first → last fifth", "", "truth, %", "reward, %", "AUC of the reward, %"], rows)
    if of_tools:
        table(["first → last fifth", "", "tool", "AUC, %"], of_tools)


def step_records(groups):
    """Truth, reward and AUC of every step that was kept, by arm, seed and domain."""
    records = []
    for arm, by_seed in groups.items():
        for seed, of_seed in by_seed.items():
            for step in sorted({group["step"] for group in of_seed}):
                for domain in DOMAINS:
                    found = summary([group for group in of_seed if group["step"] == step and group["domain"] == domain])
                    records += [("step", arm, seed, domain, step, key, value) for key, value in found.items()]
    return records
