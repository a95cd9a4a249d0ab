"""`just results instructions`: the prompts of four-domains, a quarter of which also say what form the reply has to have.

The instruction stands in the prompt, and in the columns `instruction_id_list` and `kwargs` as IFEval has them. A domain has both
kinds of prompts, so no choice of tools for a whole domain fits all of them. What is compared, with the warm-up, the steps and the
seeds of four-domains:

    start           the policy after the warm-up, whose demonstrations follow every other instruction
    chrf            one static reward: chrF where there is a reference
    rlar-by-domain  tools and choices of the recorded language model, one choice for each domain
    builtin         fixed rules choose for every prompt, and tools that check its instructions are added
    rlar            the choices of rlar-by-domain, and tools that check a prompt's instructions are added

A reply to a prompt with an instruction is right if it has the form, and what is in it is right by `truth.py`. **Primary figure**:
sampled truth of the prompts with an instruction, mean of the domains that have such, `rlar` less `rlar-by-domain`. That of the other
prompts is reported beside it. The truth of the replies of every fifth step is written to docs/results/instructions.csv and drawn in
instructions.svg. The tools of the library are those of four-domains: no reward model has seen a reply in such a form.
"""

import json
import os
import random
import shutil

import curves
from four_domains import analysis, arms, data
from four_domains.experiment import Experiment
from four_domains.report import interval, percent
from four_domains.truth import DOMAINS
from learning_runs import table

ARMS = ("start", "chrf", "rlar-by-domain", "builtin", "rlar")
SHARE = 1 / 4


class Form:
    """An instruction: its words, how IFEval names it, and how a reply gets the form and loses it again."""

    def __init__(self, words, id, wrap, unwrap, domains, arguments=None):
        self.words, self.id, self.wrap, self.unwrap, self.domains = words, id, wrap, unwrap, domains
        self.arguments = arguments or {}


def unquoted(reply):
    reply = reply.strip()
    return reply[1:-1] if len(reply) > 1 and reply[0] == reply[-1] == '"' else None


def without_ending(reply):
    reply = reply.strip()
    return reply.removesuffix(ENDING).rstrip() if reply.endswith(ENDING) else None


def in_json(reply):
    try:
        found = json.loads(reply)
    except ValueError:
        return None
    return found["reply"] if isinstance(found, dict) and list(found) == ["reply"] and isinstance(found["reply"], str) else None


ENDING = "Thank you"
FORMS = (
    Form("Use double quotes.", "startend:quotation", lambda reply: f'"{reply}"', unquoted, ("math", "translation", "dialogue")),
    Form(f"End with {ENDING}", "startend:end_checker", lambda reply: f"{reply} {ENDING}", without_ending,
         ("math", "translation", "dialogue"), dict(end_phrase=ENDING)),
    Form("As JSON.", "detectable_format:json_format", lambda reply: json.dumps(dict(reply=reply), ensure_ascii=False), in_json,
         ("translation", "dialogue")),
)


def form_of(row):
    """The instruction of a row; `None` for a row without."""
    return next((form for form in FORMS if form.id in row.get("instruction_id_list", ())), None)


def instructed(rows):
    """The rows, of which about every fourth gets an instruction. About every other demonstration follows its instruction."""
    draw, found = random.Random(data.SEED), []
    for row in rows:
        forms = [form for form in FORMS if row["domain"] in form.domains]
        if not forms or row.get("part") == "longer" or draw.random() >= SHARE:
            found.append(row)
            continue
        form = draw.choice(forms)
        row = dict(row, prompt=f"{row['prompt']} {form.words}", plain=row["prompt"], instruction_id_list=[form.id],
                   kwargs=[form.arguments])
        if "demonstration" in row and draw.random() < 0.5:
            row["demonstration"] = form.wrap(row["demonstration"])
        found.append(row)
    return found


def content(row, reply):
    """The row without its instruction, and what is in a reply that has the form; `None` for a reply that has it not."""
    form = form_of(row)
    return (row, reply) if form is None else (dict(row, prompt=row["plain"]), form.unwrap(reply))


class FormJudge:
    """Judges replies: one that lacks the form that its row asks for is wrong, of others what is in it is judged."""

    def __init__(self, judge):
        self.judge = judge

    def __call__(self, items):
        found = [content(row, reply) for row, reply in items]
        right = iter(self.judge([(row, reply) for row, reply in found if reply is not None]))
        return [reply is not None and next(right) for _, reply in found]


class Instructions(Experiment):
    """The experiment of four-domains on prompts of which some have instructions, with its library and reward models."""

    def __init__(self, parent):
        self.whole = Experiment(parent)
        super().__init__(parent, "instructions")
        self.judge = FormJudge(self.judge)
        # The reward models that the agents retrieved are in the cache of the other experiment.
        os.environ["HF_HOME"] = str(self.whole.folder / "hf")

    def build(self):
        super().build(instructed)

    def specialists(self):
        return self.whole.specialists()

    def library(self, llm=None):
        return self.whole.library(llm)

    def rewards(self, arm, setting):
        if not arm.startswith("rlar"):
            return super().rewards(arm, setting)
        place = self.folder / f"library-{arm}"
        shutil.copytree(self.library(), place, dirs_exist_ok=True)
        # `rlar fetch-rewards` takes this tool where prompts list instructions, which those of four-domains do not.
        arms.library(place, ["instructions"] if arm == "rlar" else [])
        return self.agents_choose(place, self.llm("four-domains"))

    def final_rows(self):
        """The final rows of each domain, in the order of their truth."""
        rows = [row for row in self.rows.values() if row.get("part") == "final"]
        return {domain: sorted((row for row in rows if row["domain"] == domain), key=lambda row: row["id"]) for domain in DOMAINS}


def instructions(parent, count):
    experiment, seeds = Instructions(parent), list(range(count))
    rows = experiment.final_rows()
    runs = {arm: {seed: experiment.run(arm, seed) for seed in seeds} for arm in ARMS}
    truth = {arm: {seed: experiment.truth(run, "final", seed)["final"] for seed, run in by_seed.items()} for arm, by_seed in runs.items()}
    trained = {arm: [group for run in runs[arm].values() for group in experiment.steps(run)] for arm in ARMS[1:]}
    curves.write(parent.results, "instructions", {
        f"truth, prompts {title(has_form)}": {arm: truth_by_step(experiment, groups, has_form) for arm, groups in trained.items()}
        for has_form in (True, False)})
    for has_form in (True, False):
        part = {arm: {seed: part_of(rows, shares, has_form) for seed, shares in by_seed.items()} for arm, by_seed in truth.items()}
        report(title(has_form), part, seeds)


def title(has_form):
    return "with an instruction" if has_form else "without"


def truth_by_step(experiment, groups, has_form):
    """Step and share of right replies of all seeds, to the drawn prompts with an instruction or to those without."""
    by_step = {}
    for group in groups:
        if (form_of(experiment.rows[group["example"]]) is not None) == has_form:
            by_step.setdefault(group["step"], []).extend(reply["right"] for reply in group["replies"])
    return [(step, analysis.mean(by_step[step])) for step in sorted(by_step)]


def part_of(rows, shares, has_form):
    """By domain, the shares of right replies to the rows with an instruction, or to those without."""
    of = lambda domain: [share for row, share in zip(rows[domain], shares[domain]) if (form_of(row) is not None) == has_form]
    return {domain: of(domain) for domain in DOMAINS if of(domain)}


def report(title, by_arm, seeds):
    """A row for each arm about prompts with or without an instruction, and how far `rlar` is above the others."""
    domains = list(by_arm["start"][seeds[0]])
    rows = []
    for arm, by_seed in by_arm.items():
        mean = lambda domain: analysis.mean(analysis.mean(shares[domain]) for shares in by_seed.values())
        by_seed_mean = [analysis.over_domains(shares) for shares in by_seed.values()]
        above = [""] * 3
        if arm != "rlar":
            differences = analysis.difference(by_arm["rlar"], by_seed)
            gains = [analysis.over_domains(by_arm["rlar"][seed]) - analysis.over_domains(by_seed[seed]) for seed in seeds]
            above = [percent(analysis.over_domains(differences), True), interval(analysis.bootstrap(differences)),
                     interval(analysis.over_seeds(gains))]
        rows.append([arm, *(percent(mean(domain)) for domain in domains), percent(analysis.mean(by_seed_mean)),
                     ", ".join(map(percent, by_seed_mean)), *above])
    table([f"prompts {title}", *domains, "mean", "mean, by seed", "rlar is above by", "95 %, prompts", "seeds"], rows)
