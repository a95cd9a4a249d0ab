"""`just results real-model`: Qwen2.5-Coder-0.5B-Instruct on a published data set, with rewards that agents provide and with a rule.

    scripts/fetch-qwen-coder.sh && scripts/fetch-qwen-coder.sh --small
    RLAR_ORACLES=FOLDER scripts/results.py real-model      FOLDER/data holds gsm8k/ and mbpp/ as published

GSM8K or MBPP is taken: the one with more prompts of which some replies are right and some are wrong, in a pilot on training
prompts. An adapter of the model's quantised weights is trained from the same start for the same minutes:

    rule, rule-slower
             the tool of the suite of that name (configs/suites): equality of numbers for GSM8K, the tests for MBPP
    agents, agents-slower
             Qwen2.5-Coder-1.5B-Instruct writes verifiers and chooses among them and rlar's own tools, of which that of the other
             arms is taken away: with it all arms would have the same reward

`--arms` takes some of them; `-slower` has a lower learning rate.

The truth is that rule on 100 prompts of the published test set, which no arm has seen. Prompts are compared in pairs. Each tool
of an arm also scores these replies, before and after, so that a reward that rises while the truth falls shows; and the pilot's, to
see how often it ranks a right reply above a wrong one to the same prompt. What every step of an arm did is written to
docs/results/real-model.csv and drawn in real-model.svg.
"""

import json
import os
import random
import shutil
import sys
import time
from pathlib import Path

import config_files
import curves
from four_domains import analysis
from learning_runs import ROOT, table
from public_tasks import TASKS, gsm8k, lines, mbpp

POLICY = ROOT / "models/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
AGENT = ROOT / "models/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
# The published test rows of the data sets.
TEST_ROWS = dict(gsm8k=lambda folder: gsm8k(folder, "test"), mbpp=lambda folder: mbpp(folder, range(11, 511)))
NAMES = tuple(TEST_ROWS)
# Learning rates, by arm. With 1e-4 the policy of `rule` left its way of writing in the first five steps.
ARMS = {"agents": 1e-4, "agents-slower": 2e-5, "rule": 1e-4, "rule-slower": 2e-5}
PILOT = dict(prompts=24, samples=8)
TRAINING_PROMPTS, TEST_PROMPTS, MINUTES = 300, 100, 45
MAX_TOKENS = 256
# What is drawn of every step, by name.
FIGURES = {"reward, mean": lambda record: record["reward"]["mean"], "reply, tokens": lambda record: record["reply_tokens"]["mean"],
           "cut off": lambda record: record["cut_off"], "entropy, nats": lambda record: record["entropy"]}
# What `--smallest` takes.
SMALLEST = dict(prompts=2, samples=2, test=2, steps=1)


def asked(row, name):
    """A row with its domain, and GSM8K's question with the instruction of configs/suites/gsm8k.yaml; a program of MBPP has one
    already."""
    if name == "gsm8k":
        row["prompt"] += '\n\nThink step by step, then end with "The answer is" and the number.'
    return dict(row, domain=TASKS[name].domain)


class RealModel:
    def __init__(self, runs):
        self.runs, self.folder, self.is_smallest = runs, runs.folder / "real-model", runs.smallest
        self.data = Path(os.environ.get("RLAR_ORACLES", ".")) / "data"
        for path in (POLICY, AGENT, *(self.data / name for name in NAMES)):
            if not path.exists():
                sys.exit(f"{path} is missing; see the head of scripts/real_model.py")
        self.size = SMALLEST if runs.smallest else dict(**PILOT, test=TEST_PROMPTS, steps=10_000)
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        for name in NAMES:
            self.draw(name)

    def rows(self, name, part):
        return self.folder / f"data/{name}-{part}.jsonl"

    def draw(self, name):
        """Training, pilot and test rows; the pilot's are not trained on."""
        rows, test = list(TASKS[name].read(self.data)), list(TEST_ROWS[name](self.data))
        for part in (rows, test):
            random.Random(0).shuffle(part)
        pilot = self.size["prompts"]
        for part, chosen in dict(pilot=rows[:pilot], train=rows[pilot:pilot + TRAINING_PROMPTS], test=test[:self.size["test"]]).items():
            text = "".join(json.dumps(asked(row, name)) + "\n" for row in chosen)
            self.rows(name, part).write_text(text)

    def rule(self, name):
        return TASKS[name].metric

    def evaluate(self, label, name, part, model, **sampling):
        """The verdicts of the suite's rule on a model's replies, by prompt, the share of replies that were cut off, and seconds."""
        path, out = self.folder / f"{label}.suite.yaml", self.folder / "replies" / label
        config_files.write(path, dict(version=1, name=label, data=str(self.rows(name, part)), prompt="{{ prompt }}",
                                      reference="{{ reference }}", tools=[dict(tool=self.rule(name))], metrics=["accuracy"],
                                      sampling=dict(max_tokens=MAX_TOKENS, **sampling)))
        if not (out / "seconds.json").exists():
            started = time.time()
            self.runs.command("eval", path, "--model", model, "--out", out, "--batch", 32, "--bootstrap", 0)
            (out / "seconds.json").write_text(json.dumps(time.time() - started))
        verdicts = {}
        for verdict in lines(out / label / "verdicts.jsonl"):
            verdicts.setdefault(verdict["id"], []).append(float(verdict["right"]))
        results = json.loads((out / label / "results.json").read_text())
        replies = sum(map(len, verdicts.values()))
        return dict(right=verdicts, cut_off=results["cut_off"] / replies, seconds=json.loads((out / "seconds.json").read_text()))

    def pilot(self):
        """The data set with the larger share of prompts whose replies are partly right."""
        rows, spread = [], {}
        for name in NAMES:
            found = self.evaluate(f"pilot-{name}", name, "pilot", POLICY, samples=self.size["samples"], temperature=1.0)
            shares = [analysis.mean(right) for right in found["right"].values()]
            spread[name] = analysis.mean(0 < share < 1 for share in shares)
            rows.append([TASKS[name].title, percent(analysis.mean(shares)), percent(spread[name]), percent(found["cut_off"]),
                         f"{found['seconds']:.0f} s"])
        table(["pilot", "right, %", "prompts with right and wrong replies, %", "cut off, %", "seconds"], rows)
        return max(NAMES, key=spread.get)

    def config(self, name, rewards, learning_rate):
        return dict(
            version=1, run=dict(checkpoint_every=5, keep_last=1),
            model=dict(path=str(POLICY), lora=dict(rank=16, quantised=True)),
            data=dict(train=str(self.rows(name, "train")), columns=dict(reference="{{ reference }}")), rewards=rewards,
            sampling=dict(max_tokens=MAX_TOKENS),
            train=dict(steps=self.size["steps"], prompts=2, group_size=8, max_minutes=MINUTES),
            algorithm=dict(dynamic_sampling=2, clip_high=0.28), optimizer=dict(learning_rate=learning_rate, warmup_steps=2),
        )

    def rewards(self, arm, name):
        if arm.startswith("rule"):
            return dict(assign={TASKS[name].domain: [dict(tool=self.rule(name))]})
        llm = dict(local=str(AGENT), context=4096, first_token=600, next_token=120, deadline=3600)
        rewards = dict(library=str(self.folder / "library"), agent="llm", llm=llm, weights="learned")
        done = self.folder / "library.done"
        if not done.exists():
            path, started = self.folder / "fetch.yaml", time.time()
            config_files.write(path, self.config(name, rewards, ARMS[arm]))
            (self.folder / "fetch.txt").write_text(self.runs.command("fetch-rewards", "--config", path))
            shutil.rmtree(self.folder / "library" / self.rule(name), ignore_errors=True)
            done.write_text(json.dumps(dict(seconds=time.time() - started)))
        return rewards

    def start(self):
        """The policy before training in the form of those after it."""
        if not (self.folder / "start/config.json").exists():
            self.runs.command("convert", "--model", POLICY, "--output", self.folder / "start")
        return self.folder / "start"

    def truth(self, model, label, name):
        """Sampled and greedy verdicts on the test prompts."""
        return dict(sampled=self.evaluate(f"{label}-sampled", name, "test", model, samples=2, temperature=1.0),
                    greedy=self.evaluate(f"{label}-greedy", name, "test", model))

    def believed(self, arm, run, name):
        """Rows about the tools of an arm: what they say of the pilot's replies and of those to the test prompts."""
        tools = sorted({tool for record in lines(run / "metrics.jsonl") for tool in record["tools"]})
        library = ["--library", self.folder / "library"] if arm.startswith("agents") else []

        def scored(label, part):
            """By tool, the scores of an evaluation's replies to each prompt, each with whether the reply is right."""
            examples = {row["id"]: row for row in lines(self.rows(name, part))}
            verdicts = lines(self.folder / "replies" / label / label / "verdicts.jsonl")
            path = self.folder / f"{label}.replies.jsonl"
            path.write_text("".join(json.dumps(dict(examples[v["id"]], response=v["reply"])) + "\n" for v in verdicts))
            chosen = [word for tool in tools for word in ("--tool", tool)]
            output = map(json.loads, self.runs.command("score", *chosen, *library, "--data", path).splitlines())
            groups = {tool: {} for tool in tools}
            for verdict, said in zip(verdicts, output, strict=True):
                for tool in tools:
                    of_tool = said[tool] if len(tools) > 1 else said
                    if "score" in of_tool:  # a reply that a tool could not score has none
                        groups[tool].setdefault(verdict["id"], []).append((of_tool["score"], verdict["right"]))
            return groups

        replies = dict(pilot=(f"pilot-{name}", "pilot"))
        replies |= {(when, how): (f"{when}-{name}-{how}", "test") for when in ("start", arm) for how in ("sampled", "greedy")}
        found = {key: scored(*where) for key, where in replies.items()}
        average = lambda key, tool: analysis.mean(score for group in found[key][tool].values() for score, _ in group)
        moved = lambda how, tool: f"{average(('start', how), tool):.3f} → {average((arm, how), tool):.3f}"
        return [[arm, f"`{tool}`", f"{analysis.group_auc(found['pilot'][tool].values()):.3f}", moved("sampled", tool), moved("greedy", tool)]
                for tool in tools]

    def report(self):
        name, steps = self.pilot(), {}
        before, rows, tools = self.truth(self.start(), f"start-{name}", name), [], []
        for arm in self.runs.arms or ARMS:
            run = self.runs.train(f"real-model/{arm}-{name}", self.config(name, self.rewards(arm, name), ARMS[arm]))
            after = self.truth(run / "final", f"{arm}-{name}", name)
            tools += self.believed(arm, run, name)
            steps[arm] = lines(run / "metrics.jsonl")
            rows.append([arm, *training(run), *(cell for how in before for cell in change(before[how], after[how]))])
        curves.write(self.runs.results, "real-model", {
            figure: {arm: [(record["step"], of(record)) for record in records] for arm, records in steps.items()}
            for figure, of in FIGURES.items()})
        head = ["groups with spread, %", "reward, first → last fifth", "steps", "s/step", "sampled, %", "change (95 %)",
                "greedy, %", "change (95 %)"]
        print(f"{TASKS[name].title}, {self.size['test']} prompts of its test set:\n")
        table(["", *head], rows)
        table(["", "tool", "pilot: AUC within prompts", "test, sampled: mean score", "test, greedy: mean score"], tools)
        filling = json.loads((self.folder / "library.done").read_text())["seconds"]
        print(f"Filling the library with {AGENT.name}: {filling:.0f} s")


def training(run):
    """Cells about the training: share of groups with spread, reward, steps and seconds per step."""
    records = lines(run / "metrics.jsonl")
    fifth = max(1, len(records) // 5)
    reward = lambda part: analysis.mean(record["reward"]["mean"] for record in part)
    spread = analysis.mean(1 - record["zero_spread_groups"] for record in records)
    seconds = analysis.mean(sum(record["seconds"][key] for key in ("sampling", "scoring", "training")) for record in records)
    return [percent(spread), f"{reward(records[:fifth]):.3f} → {reward(records[-fifth:]):.3f}", len(records), f"{seconds:.0f}"]


def change(before, after):
    """Cells with the share of right replies before and after, and the change with its interval over paired prompts."""
    differences = {"": [analysis.mean(after["right"][key]) - analysis.mean(shares) for key, shares in before["right"].items()]}
    low, high = analysis.bootstrap(differences)
    share = lambda found: percent(analysis.mean(map(analysis.mean, found["right"].values())))
    return [f"{share(before)} → {share(after)}",
            f"{percent(analysis.mean(differences['']), True)} ({percent(low, True)} to {percent(high, True)})"]


def percent(value, signed=False):
    return f"{100 * value:{'+' if signed else ''}.1f}"


def real_model(runs, _):
    RealModel(runs).report()
