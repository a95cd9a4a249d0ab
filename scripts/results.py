#!/usr/bin/env python3
"""The learning experiments of docs/results: runs what is missing, then writes the table, the curves and their data.

    pip install matplotlib                       for the curves; without it only their data is written
    cargo build --release
    scripts/results.py NAME [--seeds N] [--rlar PATH] [--runs FOLDER] [--smallest] [--arms ARM ...]

    math        configs/math.yaml with three seeds
    ablations   the same from the same warm-ups, without KL, without clip-higher, with groups of 2, 4 and 16
    smollm2     configs/smollm2-arithmetic.yaml, one seed; scripts/fetch-smollm2.sh fetches the model
    failures    a reward that fails at random for one reply in five: failures left out against failures that score 0
    four-domains  one policy for four domains: rewards that agents choose against one static reward (four_domains/experiment.py)
    instructions  the same with prompts that also ask for a form of the reply (four_domains/instructions.py)
    real-model  Qwen2.5-Coder-0.5B on GSM8K or MBPP, with rewards that agents provide and with a rule (real_model.py)

An experiment may be stopped and started at any time: an unfinished run is resumed (`--resume auto`), a finished one is not
repeated. Curves go to docs/results/NAME.png (or .svg), their data to docs/results/NAME.csv, the table to standard output.

`--smallest` takes two steps of every run, to see that the script works, and writes curves and data to the folder of runs.
"""

import argparse
import csv
import importlib.util
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path

from config_files import without
from four_domains.instructions import instructions
from four_domains.report import four_domains
from learning_runs import ROOT, Runs, table
from real_model import ARMS, real_model

FAILING = """\
import os, random, re
draw = random.Random(int.from_bytes(os.urandom(8), "little"))

def compute_answer(prompt, candidate_response, reference_response):
    if draw.random() < {share}:
        {failure}
    numbers = re.findall(r"-?\\d+", candidate_response)
    return float(bool(numbers) and int(numbers[-1]) == int(reference_response))
"""
CARD = """\
name: failing
kind: verifier
role: correctness
measures: Whether the last number is the reference; fails at random.
tasks: [expressions, word problems]
needs_reference: true
range: [0, 1]
function: compute_answer
file: verifier.py
origin: scripts/results.py
"""
FAILURE_SHARE = 0.2


def report(run):
    """Held-out accuracy in percent: sampled before and after, greedy before and after; seconds of training."""
    r = json.loads((run / "report.json").read_text())
    of = lambda when, how: 100 * r["measured"][when][how]["all"]["right"] / r["measured"][when][how]["all"]["answers"]
    seconds = sum(r["seconds"][part] for part in ("sampling", "scoring", "training"))
    return dict(before=of(0, "sampled"), after=of(1, "sampled"), greedy_before=of(0, "greedy"),
                greedy_after=of(1, "greedy"), steps=r["steps"], seconds=seconds)


def curve(run):
    """Two lists of step and accuracy: of the drawn replies, as the mean of ten steps, and of held-out prompts."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    drawn = [(r["step"], r["accuracy"]) for r in records if r["accuracy"] is not None]
    smooth = [(step, statistics.mean(a for _, a in drawn[max(0, i - 9):i + 1])) for i, (step, _) in enumerate(drawn)]
    return smooth, [(r["step"], r["eval"]["accuracy"]) for r in records if "eval" in r]


def draw(runs, name, title, curves):
    """Writes curves, by label, as CSV and, where matplotlib is installed, as PNG."""
    runs.results.mkdir(exist_ok=True)
    with (runs.results / f"{name}.csv").open("w") as file:
        out = csv.writer(file)
        out.writerow(["run", "step", "accuracy"])
        for label, points in curves.items():
            out.writerows([label, step, f"{value:.4f}"] for step, value in points)
    if not importlib.util.find_spec("matplotlib"):
        print("matplotlib is missing: no curves are drawn", file=sys.stderr)
        return
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for label, points in curves.items():
        axes.plot(*zip(*points), label=label, linewidth=1)
    axes.set(xlabel="step", ylabel="accuracy", title=title, ylim=(0, 1))
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(runs.results / f"{name}.png", dpi=100)


def math_job(runs, seeds):
    base, curves, rows = runs.load("math.yaml"), {}, []
    for seed in range(seeds):
        run = runs.train(f"math-{seed}", dict(base, seed=seed))
        r, curves[f"seed {seed}"] = report(run), curve(run)[0]
        rows.append([seed, f"{r['before']:.1f} %", f"{r['after']:.1f} %", f"{r['after'] - r['before']:+.1f}",
                     f"{r['greedy_before']:.1f} %", f"{r['greedy_after']:.1f} %", f"{r['seconds']:.0f} s"])
    draw(runs, "math", "configs/math.yaml: accuracy of the drawn replies", curves)
    table(["seed", "before", "after", "change", "greedy before", "after", "training"], rows)


def ablations(runs, seeds):
    base = runs.load("math.yaml")
    replies = base["train"]["prompts"] * base["train"]["group_size"]
    algorithm, kl = base["algorithm"], base["algorithm"]["kl"]
    group = lambda size: dict(train=dict(base["train"], group_size=size, prompts=replies // size))
    variants = {
        "as it is (groups of 8)": {},
        "no KL": dict(algorithm=dict(algorithm, kl=dict(kl, estimator="none"))),
        "no clip-higher": dict(algorithm=without(algorithm, "clip_high")),
        **{f"groups of {size}": group(size) for size in (2, 4, 16)},
    }
    curves, rows = {}, []
    for label, change in variants.items():
        results = []
        for seed in range(seeds):
            name = "".join(c if c.isalnum() else "-" for c in label) + f"-{seed}"
            run = runs.train(name, dict(base, seed=seed, **change), "--model", runs.warm(base, seed))
            results.append(report(run))
            curves.setdefault(label, curve(run)[0] if seed == 0 else None)
        mean = lambda key: statistics.mean(r[key] for r in results)
        rows.append([label, *(f"{mean(key):.1f} %" for key in ("before", "after", "greedy_after")),
                     ", ".join(f"{r['after']:.1f}" for r in results), f"{mean('seconds'):.0f} s"])
    draw(runs, "ablations", "Ablations of configs/math.yaml, seed 0", curves)
    table(["", "before", "after", "greedy after", "after, by seed", "training"], rows)


def smollm2(runs, _):
    run = runs.train("smollm2", runs.load("smollm2-arithmetic.yaml"))
    r, (drawn, held) = report(run), curve(run)
    draw(runs, "smollm2", "SmolLM2-135M-Instruct, two-digit addition", {"drawn replies": drawn, **({"held out": held} if held else {})})
    table(["", "before", "after"],
          [["sampled", f"{r['before']:.1f} %", f"{r['after']:.1f} %"], ["greedy", f"{r['greedy_before']:.1f} %", f"{r['greedy_after']:.1f} %"]])
    print(f"{r['steps']} steps, {r['seconds'] / 60:.1f} minutes of sampling, scoring and training")


def failures(runs, seeds):
    base = runs.load("math.yaml")
    data = runs.folder / "data"
    if not (data / "arithmetic/heldout.jsonl").exists():
        rows = "20" if runs.smallest else "2000"
        subprocess.run([sys.executable, ROOT / "scripts/make-arithmetic.py", data, "--heldout", rows], check=True)
    held = dict(base, data=dict(base["data"], heldout=str(data / "arithmetic/heldout.jsonl")), eval=dict(samples=1, limit=0))
    treatments = {"left out": "raise RuntimeError('the service is down')", "turned into 0": "return 0.0"}
    rows, curves, after = [], {}, {label: [] for label in treatments}
    for seed in range(seeds):
        warm = runs.warm(base, seed)
        for label, failure in treatments.items():
            name = f"failures-{label.replace(' ', '-')}-{seed}"
            tool = runs.folder / f"tools-{label.replace(' ', '-')}" / "failing"
            tool.mkdir(parents=True, exist_ok=True)
            (tool / "tool.yaml").write_text(CARD)
            (tool / "verifier.py").write_text(FAILING.format(share=FAILURE_SHARE, failure=failure))
            config = dict(base, seed=seed, rewards=dict(library=str(tool.parent), failure_limit=1.0, unadmitted="allow"),
                          data=without(base["data"], "heldout"))
            run = runs.train(name, config, "--model", warm)
            after[label].append(runs.accuracy(name, held, run / "final"))
            curves[f"{label}, seed {seed}"] = curve(run)[0]
        rows.append([seed, *(f"{after[label][-1][how]:.1f} %" for how in (0, 1) for label in treatments)])
    draw(runs, "failures", f"A reward that fails for {FAILURE_SHARE:.0%} of the replies", curves)
    table(["seed", *(f"{how}, {label}" for how in ("sampled", "greedy") for label in treatments)], rows)
    for how, name in ((0, "sampled"), (1, "greedy")) if seeds > 1 else ():
        differences = [a[how] - b[how] for a, b in zip(*after.values())]
        mean, spread = statistics.mean(differences), statistics.stdev(differences) / math.sqrt(len(differences))
        # Student's t for 95 %, by degrees of freedom.
        t = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36}.get(len(differences) - 1, 1.96)
        print(f"{name}: left out is better by {mean:+.2f} points, 95 % interval {mean - t * spread:+.2f} to "
              f"{mean + t * spread:+.2f} ({len(differences)} pairs, {after['left out'][0][2]} held-out items)")
    print()
    bias(base["train"]["group_size"])


def bias(size):
    """Prints the expected advantage of a right and of a wrong reply: exact, over all outcomes of the rest of its group."""
    def advantage(scores, score):
        known = [s for s in scores if s is not None]
        if score is None or len(known) < 2 or len(set(known)) == 1:
            return 0.0
        return (score - statistics.mean(known)) / (statistics.stdev(known) + 1e-4)

    def expected(score, p, failed):
        total = 0.0
        # Of the group's other replies, `right` are right and scored, `wrong` are wrong and scored; the rest failed.
        for right in range(size):
            for wrong in range(size - right):
                lost = size - 1 - right - wrong
                ways = math.comb(size - 1, right) * math.comb(size - 1 - right, wrong)
                chance = ways * (p * (1 - FAILURE_SHARE)) ** right * ((1 - p) * (1 - FAILURE_SHARE)) ** wrong * FAILURE_SHARE ** lost
                for mine, weight in ((score, 1 - FAILURE_SHARE), (failed, FAILURE_SHARE)):
                    scores = [mine] + [1.0] * right + [0.0] * wrong + [failed] * lost
                    total += chance * weight * advantage(scores, mine)
        return total

    def clean(score, p):
        return sum(math.comb(size - 1, k) * p**k * (1 - p) ** (size - 1 - k)
                   * advantage([score] + [1.0] * k + [0.0] * (size - 1 - k), score) for k in range(size))

    def lost(p):
        """The expected advantage of a right reply whose score failed and became 0."""
        total = 0.0
        for k in range(size):
            seen = p * (1 - FAILURE_SHARE)
            chance = math.comb(size - 1, k) * seen**k * (1 - seen) ** (size - 1 - k)
            total += chance * advantage([0.0] + [1.0] * k + [0.0] * (size - 1 - k), 0.0)
        return total

    rows = []
    for p in (0.1, 0.3, 0.5, 0.7, 0.9):
        gap = lambda f: f(1.0) - f(0.0)
        true, masked, zeros = (gap(lambda score: clean(score, p)), gap(lambda score: expected(score, p, None)),
                               gap(lambda score: expected(score, p, 0.0)))
        rows.append([f"{p:.0%}", f"{true:.3f}", f"{masked:.3f} ({masked / true:.0%})", f"{zeros:.3f} ({zeros / true:.0%})",
                     "0", f"{lost(p):+.3f}"])
    table(["right replies", "right less wrong, no failures", "left out", "turned into 0", "a right reply that failed: left out",
           "turned into 0"], rows)


EXPERIMENTS = {"math": (math_job, 3), "ablations": (ablations, 3), "smollm2": (smollm2, 1), "failures": (failures, 5),
               "four-domains": (four_domains, 3), "instructions": (instructions, 3), "real-model": (real_model, 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=EXPERIMENTS)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--rlar", type=Path, default=ROOT / "target/release/rlar")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/results")
    parser.add_argument("--smallest", action="store_true", help="two steps of every run")
    parser.add_argument("--arms", nargs="+", choices=ARMS, help="of real-model: only these arms")
    options = parser.parse_args()
    if options.arms and options.name != "real-model":
        parser.error(f"--arms is for real-model; {options.name} has no arms to choose")
    experiment, seeds = EXPERIMENTS[options.name]
    runs = Runs(options.rlar.resolve(), options.runs.resolve(), options.smallest, options.arms)
    experiment(runs, options.seeds or (1 if options.smallest else seeds))


if __name__ == "__main__":
    main()
