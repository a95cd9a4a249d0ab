"""The runs of `just results four-domains`: rewards that agents choose against one static reward, judged by a truth that no arm
trains on.

**Primary figure**, in percentage points: the mean over the four domains of the sampled truth at the end of training, `rlar` minus
the best static arm, mean of the seeds 0, 1 and 2. The truth is in `truth.py`. *Sampled* is four replies to each final held-out
prompt at temperature 1. More than +10 points is hoped for; the figure is reported whatever it is.

**Best static arm**: one reward for all prompts. The candidates are the general reward model with each of six settings, and chrF.
All of them train a policy with the seed 100, and the one with the highest mean truth on the pilot prompts is taken. The pilot
prompts are a quarter of the held-out ones and are measured on for nothing else. The choice is kept in `static.json` and not made
again.

**Arms**, which share policy, prompts, algorithm, steps, and for each seed the warm-up (`start`):

    sft                demonstrations of the warm-up, for the minutes that `rlar` samples, scores and learns
    sft-chosen         the chosen replies of all preference pairs, for the same minutes
    general-rm         one reward model of all preference pairs, with the settings that are best in the pilot
    chrf               chrF where there is a reference
    uniform            all applicable tools of the library of `rlar`, with equal weights
    builtin            rules choose among the curated tools and the reward models; no language model has a part in it
    rlar               tools and choices of a recorded language model, weights learned
    rlar-fixed         the same tools with the weights that the language model gave them
    rlar-no-synthesis  the tools and choices of `rlar` without the verifiers that the language model wrote
    hand-written       a rule for each domain, written by a person (the bound)

**Analysis** (`report.py`). Seeds are paired: arms are compared on the same warm-up and prompts. Two 95 % intervals are given:
over prompts, which are drawn again 2,000 times within each domain after averaging over the seeds, and over seeds (Student's t).
Secondary figures: the worst domain, the share of the gap between the best static arm and `hand-written` that `rlar` closes,
arithmetic with longer operands, and by domain truth, reward, and AUC of the reward within the replies to a prompt, in the first
and the last fifth of the steps.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time

import config_files
from four_domains import analysis, arms, data, rollouts
from four_domains.judge import Judge
from four_domains.truth import DOMAINS
from learning_runs import ROOT, Runs

PILOT_SEED = 100
SAMPLES = 4
ARMS = ("start", "sft", "sft-chosen", "general-rm", "chrf", "uniform", "builtin", "rlar", "rlar-fixed", "rlar-no-synthesis",
        "hand-written")
REWARDED = ARMS[3:]
# What `--smallest` takes: steps of every run, and one in so many held-out prompts.
SMALLEST = dict(steps=2, every=40)


class Experiment:
    """The runs of the experiment in a folder, each made once."""

    def __init__(self, parent, name="four-domains"):
        # Runs of two steps must not be taken for finished ones.
        folder = parent.folder / (f"{name}-smallest" if parent.smallest else name)
        self.runs, self.folder, self.is_smallest = Runs(parent.rlar, folder, parent.smallest), folder, parent.smallest
        self.data = self.folder / "data"
        if not (self.data / "final.jsonl").exists():
            self.build()
        self.judge = Judge(self.runs)
        self.rows = {row["id"]: row for row in self.all_rows()}
        # Models that the agents retrieve are in a cache of the experiment's own, and nothing is asked of another Hub.
        os.environ.update(HF_HOME=str(self.folder / "hf"), HF_HUB_OFFLINE="1")

    def build(self, change=lambda rows: rows):
        """Writes the data; `change` takes the rows of the prompts to train on, the demonstrations and the final prompts."""
        data.build(self.data, SMALLEST["every"] if self.is_smallest else 1, change)

    def all_rows(self):
        for name in (*(f"{domain}/train" for domain in DOMAINS), "pilot", "final"):
            yield from data.read(self.data / f"{name}.jsonl")

    # Reward models and libraries

    def reward_model(self, name, pairs, shape, steps, rate):
        """A trained reward model on disk."""
        heldout = pairs.parent / "heldout-preferences.jsonl"
        config = arms.reward_model_config(pairs, heldout, shape, SMALLEST["steps"] if self.is_smallest else steps, rate)
        return self.runs.train(name, config, command="train-rm") / "final"

    def specialists(self):
        """The reward models of single domains, by domain."""
        pairs = {domain: self.data / domain / "preferences.jsonl" for domain in DOMAINS}
        return {domain: self.reward_model(f"rm-{domain}", pairs[domain], arms.SPECIALIST, 400, 1e-3) for domain in DOMAINS}

    def general(self, name):
        return self.reward_model(name, self.data / "preferences.jsonl", arms.GENERAL, **arms.GENERAL_SETTINGS[name])

    def model_card(self, name, model, pairs, tasks):
        """A card for a reward model, scaled by its scores of held-out pairs."""
        scale = self.folder / f"{name}.scale.json"
        if not scale.exists():
            held, path = data.read(pairs / "heldout-preferences.jsonl"), self.folder / f"{name}.replies.jsonl"
            data.write(path, [dict(prompt=pair["prompt"], response=pair[key]) for pair in held for key in ("chosen", "rejected")])
            output = self.runs.command("score", "--model", model, "--data", path)
            scores = [json.loads(line)["score"] for line in output.splitlines()]
            center = analysis.mean(scores)
            spread = analysis.mean((score - center) ** 2 for score in scores) ** 0.5
            scale.write_text(json.dumps(dict(center=center, scale=max(spread, 1e-6))))
        known = dict(name=name.replace("-", "_"), path=model, data=pairs.name, tasks=", ".join(tasks))
        return arms.MODEL_CARD.format(**known, **json.loads(scale.read_text()))

    def specialist_cards(self):
        card = lambda domain, model: self.model_card(f"reward-{domain}", model, self.data / domain, [domain])
        return {f"reward_{domain}": card(domain, model) for domain, model in self.specialists().items()}

    def llm(self, variant):
        """The recorded language model of a variant of the arm `rlar`; see scripts/record-four-domains.py."""
        recorded = ROOT / f"configs/exchanges/{variant}.yaml"
        if not recorded.exists() and self.is_smallest:
            recorded = ROOT / "configs/exchanges/qwen-coder-1.5b.yaml"
        if not recorded.exists():
            sys.exit(f"{recorded} does not exist: `scripts/record-four-domains.py` records what the language model replies")
        return dict(replay=str(recorded))

    def fetch_config(self, llm):
        """The config of `rlar fetch-rewards`. Where references are missing, the chosen replies of preferences are the good
        replies on which tools are examined."""
        base = arms.policy_config(self.data, 0)
        for domain, files in zip(DOMAINS, base["data"]["mixture"]):
            if domain not in arms.WITH_REFERENCE:
                files["demonstrations"] = str(self.data / domain / "good.jsonl")
        hub = dict(licences=["mit"], max_megabytes=100, web=False)
        return dict(base, rewards=dict(library=str(self.folder / "library"), agent="llm", llm=llm, hub=hub))

    def library(self, llm=None):
        """The library that the agents fill: verifiers that the language model wrote, reward models of a Hub that has those of the
        domains, and curated tools."""
        folder, done = self.folder / "library", self.folder / "library.done"
        if not done.exists():
            path, output = self.folder / "fetch.yaml", self.folder / "fetch.txt"
            config_files.write(path, self.fetch_config(llm or self.llm("four-domains")))
            started = time.time()
            with self.hub(), output.open("w") as file:
                process = subprocess.run([self.runs.rlar, "fetch-rewards", "--config", path], cwd=ROOT, stdout=file)
            # Reward models of two steps are refused, so that small talk has no tool.
            if process.returncode != 0 and not self.is_smallest:
                sys.exit(f"`rlar fetch-rewards --config {path}` ended with exit code {process.returncode}; see {output}")
            if self.is_smallest:
                arms.library(folder, cards=self.specialist_cards())
            done.write_text(json.dumps(dict(seconds=time.time() - started)) + "\n")
        return folder

    @contextlib.contextmanager
    def hub(self):
        """Serves the reward models of the domains as a Hub."""
        folder = self.folder / "hub"
        for domain, model in self.specialists().items():
            home = folder / "example" / f"reward-{domain}"
            shutil.copytree(model, home, dirs_exist_ok=True)
            (home / "README.md").write_text(f"---\nlicense: mit\n---\nA small reward model for {domain}.\n")
        server = subprocess.Popen([self.runs.rlar, "hub", "serve", folder], stdout=subprocess.PIPE, text=True)
        try:
            endpoint = server.stdout.readline().strip().removeprefix("HF_ENDPOINT=")
            os.environ.update(HF_ENDPOINT=endpoint, HF_HUB_OFFLINE="0")
            yield
        finally:
            os.environ["HF_HUB_OFFLINE"] = "1"
            server.terminate()
            server.wait()

    def rewards(self, arm, setting):
        """The rewards of an arm, as in a config; `setting` names that of the general reward model."""
        place = self.folder / f"library-{setting or arm}"
        if arm == "general-rm":
            card, name = self.model_card(setting, self.general(setting), self.data, ["any"]), setting.replace("-", "_")
            return arms.same_for_all(arms.library(place, cards={name: card}), name)
        if arm == "chrf":
            return arms.same_for_all(arms.library(place, cards=dict(likeness=arms.CHRF_CARD)), "likeness")
        if arm == "hand-written":
            curated = [name for name in arms.RULES.values() if (arms.CURATED / name).exists()]
            own = [name for name in arms.RULES.values() if name not in curated]
            return arms.hand_written(arms.library(place, curated, own))
        if arm == "builtin":
            curated = sorted(path.parent.name for path in arms.CURATED.glob("*/tool.yaml"))
            return arms.builtin(arms.library(place, curated, cards=self.specialist_cards()))
        if arm == "uniform":
            return arms.uniform(self.library())
        if arm == "rlar":
            return self.agents_choose(self.library(), self.llm("four-domains"))
        if arm == "rlar-fixed":
            return dict(self.rewards("rlar", None), weights="fixed")
        if arm == "rlar-no-synthesis":
            return self.agents_choose(arms.without_synthesis(self.library(), place), self.llm("four-domains-no-synthesis"))
        raise ValueError(f"no arm {arm}")

    def agents_choose(self, library, llm):
        rewards = arms.chosen_by_agents(library, llm)
        return dict(rewards, unadmitted="allow") if self.is_smallest else rewards

    # Policies

    def base(self, seed):
        base = arms.policy_config(self.data, seed)
        if self.is_smallest:
            base["train"]["steps"] = base["warmup"]["steps"] = SMALLEST["steps"]
        return base

    def warm(self, seed):
        """The policy after the warm-up with a seed."""
        base = self.base(seed)
        config = dict(base, train=dict(base["train"], steps=0), rewards=self.rewards("hand-written", None))
        return self.runs.train(f"start-{seed}", config) / "final"

    def rewarded(self, arm, seed, setting=None):
        """The run of an arm that learns from rewards."""
        base, rewards = self.base(seed), self.rewards(arm, setting)
        if rewards.get("weights") == "learned":
            base["data"]["preferences"] = str(self.data / "evidence.jsonl")
        config = dict(base, rewards=rewards)
        name = f"{setting or arm}-{seed}"
        return self.runs.train(name, config, "--model", self.warm(seed))

    def imitating(self, arm, seed):
        """The run of an arm that imitates, for as long as `rlar` took with the same seed."""
        minutes = seconds(self.rewarded("rlar", seed)) / 60
        part = "sft" if arm == "sft" else "good"
        demonstrations = [self.data / domain / f"{part}.jsonl" for domain in DOMAINS]
        config = arms.sft_config(self.base(seed), demonstrations, minutes)
        if self.is_smallest:
            config["train"]["steps"] = SMALLEST["steps"]
        return self.runs.train(f"{arm}-{seed}", config, "--model", self.warm(seed), command="sft")

    def run(self, arm, seed):
        if arm == "start":
            return self.warm(seed).parent
        if arm.startswith("sft"):
            return self.imitating(arm, seed)
        return self.rewarded(arm, seed, self.static()["general-rm"] if arm == "general-rm" else None)

    # Truth

    def truth(self, run, name, seed):
        """By part of the held-out prompts (`final` and `longer`, or `pilot`) and domain, the share of right replies to each."""
        found = self.folder / f"{run.name}.{name}.truth.json"
        if not found.exists():
            shares, parts = {}, {}
            verdicts = self.replies(run, name, seed)
            right = self.judge([(self.rows[verdict["id"]], verdict["reply"]) for verdict in verdicts])
            for verdict, is_right in zip(verdicts, right):
                shares.setdefault(verdict["id"], []).append(is_right)
            for key in sorted(shares):
                row = self.rows[key]
                parts.setdefault(row["part"], {}).setdefault(row["domain"], []).append(analysis.mean(shares[key]))
            found.write_text(json.dumps(parts))
        return json.loads(found.read_text())

    def replies(self, run, name, seed):
        """What the policy at the end of a run replies to the prompts in `NAME.jsonl`."""
        out, suite = self.folder / "replies" / run.name, self.folder / f"{name}.suite.yaml"
        # A suite needs a tool; what it says is not used.
        config_files.write(suite, dict(
            version=1, name=name, data=str(self.data / f"{name}.jsonl"), prompt="{{ prompt }}", tools=[dict(tool="brevity")],
            sampling=dict(samples=SAMPLES, temperature=1.0, max_tokens=arms.MAX_TOKENS), metrics=["score"],
        ))
        self.runs.command("eval", suite, "--model", run / "final", "--out", out, "--seed", seed, "--batch", 128, "--bootstrap", 0)
        verdicts = data.read(out / name / "verdicts.jsonl")
        missing = [verdict["id"] for verdict in verdicts if verdict["reply"] is None]
        if missing:
            sys.exit(f"{out}: {len(missing)} replies are missing, the first to {missing[0]}; run the same command again")
        return verdicts

    def static(self):
        """The best static arm and the best settings of the general reward model, chosen on the pilot prompts, once."""
        path = self.folder / "static.json"
        if not path.exists():
            candidates = {setting: self.rewarded("general-rm", PILOT_SEED, setting) for setting in arms.GENERAL_SETTINGS}
            candidates["chrf"] = self.rewarded("chrf", PILOT_SEED)
            pilot = {name: self.truth(run, "pilot", PILOT_SEED)["pilot"] for name, run in candidates.items()}
            means = {name: analysis.over_domains(truth) for name, truth in pilot.items()}
            general = max(arms.GENERAL_SETTINGS, key=means.get)
            best = "chrf" if means["chrf"] > means[general] else "general-rm"
            path.write_text(json.dumps({"best": best, "general-rm": general, "pilot": means}, indent=1) + "\n")
        return json.loads(path.read_text())

    def steps(self, run):
        """What happened to the replies of a run's steps: per step and prompt its id and domain, and per reply truth (`right`), reward
        (`believed`) and the score of each tool."""
        path = self.folder / f"{run.name}.steps.json"
        if not path.exists():
            known = [(found["step"], reply) for found in rollouts.read(self.runs.rlar, run) for reply in found["replies"]]
            right = self.judge([(self.rows[reply["example"]], reply["completion"]["text"]) for _, reply in known])
            groups = {}
            for (step, reply), is_right in zip(known, right):
                domain = self.rows[reply["example"]]["domain"]
                group = groups.setdefault((step, reply["group"]), dict(step=step, example=reply["example"], domain=domain, replies=[]))
                scores = {said["tool"]: said["score"] for said in reply["verdicts"] or [] if said["score"] is not None}
                group["replies"].append(dict(right=is_right, believed=rollouts.believed(reply), scores=scores))
            path.write_text(json.dumps(list(groups.values())))
        return json.loads(path.read_text())


def seconds(run):
    """Seconds of sampling, scoring and training."""
    parts = json.loads((run / "report.json").read_text())["seconds"]
    return sum(parts[part] for part in ("sampling", "scoring", "training"))
