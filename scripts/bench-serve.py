#!/usr/bin/env python3
"""Measures `rlar serve`: rates, CPU time per item and latencies under load, beside math-verify in process and behind FastAPI.

    RLAR_ORACLES=FOLDER scripts/bench-serve.py [--python PYTHON] [--seconds 5] [--rounds 3]

PYTHON needs math-verify, fastapi and uvicorn; without it, only rlar is measured. The items are math-verify's own test cases and
GSM8K's solutions (in RLAR_ORACLES), programs with tests and a Python verifier over the same texts. Comparing two strings costs
next to nothing, so the row *exact match* is what the server itself takes. No scores are cached, but for the row that says so.
Load is open: requests are due at fixed times, and a latency counts from then on. For it, the load generator has a CPU of its own,
so that it can send when a request is due however busy the server is. `--json FILE` also writes the figures, and everything that
the load generator said goes to standard error.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import bench_rows
from math_verify_loop import pairs_per_second

ROOT = Path(__file__).resolve().parent.parent
BATCH = 256
CONNECTIONS = 2048
SHARES = (0.5, 0.8, 1.2)  # of capacity
CPUS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

TABLE, PEER, EQUIVALENCE = "rewards over HTTP", "math-verify behind FastAPI", "math equivalence"
OVERHEAD = 30  # µs of the server per item, at most, in batches
SINGLE = 3000  # requests of one item per second, at least
FASTER = 30  # times the items of the peer, at least
LATE = 2  # at 120 % of capacity, the p99 is at most so many times that at 80 %

VERIFIER = """
def same_end(prompts, completions, reference, **kwargs):
    return [float(reply.strip().endswith(right.strip()[-8:])) for reply, right in zip(completions, reference)]
"""


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def corpora(folder):
    """The items of each measurement, by name."""
    cases = [dict(prompt="Solve it.", reference=row["gold"], response=row["pred"], tools=["math_equivalence"])
             for name in ("cases", "cases_rest") for row in lines(folder / f"data/math_verify_cases/{name}.jsonl")
             if isinstance(row.get("gold"), str) and isinstance(row.get("pred"), str) and row["gold"].strip()]
    for row in lines(folder / "data/gsm8k/test.jsonl" if (folder / "data/gsm8k/test.jsonl").exists() else
                     folder / "data/gsm8k/train.jsonl")[:800]:
        solution, answer = row["answer"].rsplit("####", 1)
        response = f"{solution.strip()}\nThe answer is $\\boxed{{{answer.strip()}}}$."
        cases.append(dict(prompt=row["question"], reference=answer.strip().replace(",", ""), response=response,
                          tools=["math_equivalence"]))
    python = [{**{key: value for key, value in case.items() if key != "tools"}, "tools": ["same_end"]} for case in cases]
    code = [dict(prompt=f"Write add{i}(a, b).", response=f"```python\ndef add{i}(a, b):\n    return a + b\n```",
                 tests=[f"assert add{i}(1, {i}) == {1 + i}"], tools=["code_tests"]) for i in range(400)]
    exact = [{**case, "tools": ["exact_match"]} for case in cases]
    return {"exact match": exact, "math equivalence": cases, "Python verifier": python, "code tests": code}


def on(cpus):
    """What a child process does before it starts, to run on these CPUs only; nothing if there are none to choose from."""
    return (lambda: os.sched_setaffinity(0, cpus)) if cpus and len(CPUS) > 1 else None


class Server:
    """A server as a child process, whose address is the first line of its output, or known."""

    def __init__(self, command, address=None, cpus=()):
        words = [str(word) for word in command]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, preexec_fn=on(cpus))
        self.address = address or self.process.stdout.readline().strip().removeprefix("http://")
        if not self.address:
            sys.exit(f"{command[0]} did not start")

    def __enter__(self):
        # A FastAPI server says nothing when it listens.
        deadline = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"http://{self.address}/healthz", timeout=5).close()
            except urllib.error.HTTPError:
                return self
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    sys.exit(f"no server at {self.address}")
                time.sleep(0.1)
            else:
                return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


def load(options, server, items, cpus=(), **settings):
    """What the load generator measured."""
    words = [f"{key}={value}" for key, value in settings.items()]
    command = [options.load, f"url={server.address}", f"items={items}", f"pid={server.process.pid}", *words]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, preexec_fn=on(cpus))
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def table(head, rows):
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print()


def rates(options, server, items):
    """Batches and single requests as fast as they are answered."""
    batch = load(options, server, items, batch=BATCH, connections=2, seconds=options.seconds)
    single = load(options, server, items, batch=1, connections=16, seconds=options.seconds)
    return batch, single


def row_of(name, batch, single):
    cpu = lambda r: f"{r['server_cpu_us_per_item']:.1f}"
    return [name, f"{batch['items_per_second']:.0f}", cpu(batch), f"{single['requests_per_second']:.0f}", cpu(single)]


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    oracles = os.environ.get("RLAR_ORACLES")
    options.add_argument("--rlar", type=Path, default=ROOT / "target/release/rlar")
    options.add_argument("--load", type=Path, default=ROOT / "target/release/examples/load")
    options.add_argument("--data", type=Path, default=oracles and Path(oracles))
    options.add_argument("--python", type=Path, help="a Python with math-verify, fastapi and uvicorn")
    options.add_argument("--seconds", type=float, default=5.0)
    options.add_argument("--rounds", type=int, default=3, help="rounds of open load")
    bench_rows.add_option(options)
    options = options.parse_args()
    if not options.data:
        sys.exit("--data is missing: name the folder with the corpora, or set RLAR_ORACLES")
    report, rows, figures = {}, [], bench_rows.Rows()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "reward.py").write_text(VERIFIER)
        config = folder / "rewards.yaml"
        config.write_text("version: 1\nrewards:\n  python: reward.py:same_end\n  unadmitted: allow\n")
        files = {}
        for name, items in corpora(options.data).items():
            files[name] = folder / f"{name.replace(' ', '-')}.jsonl"
            files[name].write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
        for name, file in files.items():
            arguments = ["--config", config] if name == "Python verifier" else []
            with Server([options.rlar, "serve", "--port", "0", "--quiet", *arguments]) as server:
                batch, single = rates(options, server, file)
                report[name] = dict(batch=batch, single=single)
                rows.append(row_of(name, batch, single))
        with Server([options.rlar, "serve", "--port", "0", "--quiet", "--cache", folder / "scores.sqlite"]) as server:
            load(options, server, files["math equivalence"], batch=BATCH, connections=1, seconds=2)
            batch, single = rates(options, server, files["math equivalence"])
            report["cached"] = dict(batch=batch, single=single)
            rows.append(row_of("math equivalence, cached", batch, single))
        if options.python:
            pairs = [(item["reference"], item["response"]) for item in lines(files[EQUIVALENCE])]
            alone = pairs_per_second(options.python, pairs)
            report["math-verify in process"] = alone
            rows.append(["math-verify in process", f"{alone:.0f}", f"{1e6 / alone:.1f}", "", ""])
            with Server([options.python, ROOT / "scripts/fastapi_math_verify.py", "8097"], "127.0.0.1:8097") as server:
                batch, single = rates(options, server, files["math equivalence"])
                report[PEER] = dict(batch=batch, single=single)
                rows.append(row_of(PEER, batch, single))
        print(f"Rates: {BATCH} items a request over 2 connections, and one item a request over 16\n")
        table(["what", "items/s in batches", "server CPU µs per item", "single requests/s", "server CPU µs per request"], rows)
        open_load(options, files[EQUIVALENCE], report)
    add_rows(figures, report, options.rounds)
    figures.write(options.json)
    print(json.dumps(report), file=sys.stderr)


def add_rows(figures, report, rounds):
    """The rows for scripts/bench.py. What is compared is math equivalence."""
    peer, alone = report.get(PEER), report.get("math-verify in process")
    measured = {name: sides for name, sides in report.items() if isinstance(sides, dict) and "single" in sides}
    batches, singles = f"{BATCH} items a request", "one item a request"
    for name, sides in measured.items():
        if name == PEER:
            continue
        is_compared = name == EQUIVALENCE

        def add(metric, unit, side, key, better, *goals):
            beside = dict(name=PEER, value=peer[side][key]) if peer and is_compared else None
            figures.add(TABLE, name, metric, unit, sides[side][key], better, beside, goals)

        cpu = "server_cpu_us_per_item"
        overhead = [bench_rows.at_most(OVERHEAD)] if name == "exact match" else []
        faster, enough = [bench_rows.at_least(FASTER)], [bench_rows.at_least(SINGLE, "value")]
        add(batches, "items/s", "batch", "items_per_second", "higher", *(faster if is_compared else []))
        add(f"server's CPU time, {batches}", "µs/item", "batch", cpu, "lower", *overhead)
        add(singles, "requests/s", "single", "requests_per_second", "higher", *(enough if is_compared else []))
        add(f"server's CPU time, {singles}", "µs/item", "single", cpu, "lower")
        if alone and is_compared:
            figures.add(TABLE, f"{name}, beside a loop", batches, "items/s", sides["batch"]["items_per_second"], "higher",
                        dict(name="math-verify in process", value=alone))
    load = lambda share, key: [report[f"load {share}, round {round}"][key] for round in range(1, rounds + 1)]
    # A round without an answer has no latency, and its median none either.
    median = lambda values: None if None in values else statistics.median(values)
    calm = median(load(0.8, "p99_ms"))
    for share in SHARES:
        title = f"{EQUIVALENCE}, {share:.0%} of capacity"
        scored = [count / seconds for count, seconds in zip(load(share, "scored"), load(share, "seconds"))]
        figures.add(TABLE, title, "scored", "requests/s", median(scored), "higher")
        is_over = share > 1
        figures.add(TABLE, title, "p99 of answers", "ms", median(load(share, "p99_ms")),
                    beside=dict(name="rlar at 80 %", value=calm) if is_over else None,
                    goals=[bench_rows.at_most(LATE, "ratio")] if is_over else [])


def open_load(options, file, report):
    """Latencies at 50, 80 and 120 % of the rate at which 32 connections get their answers. At 120 %, the clients say how long
    they wait: scoring must begin within a quarter of the time in which 99 % were answered at 80 %."""
    rows, deadline = [], {}
    with Server([options.rlar, "serve", "--port", "0", "--quiet"], cpus=CPUS[:-1]) as server:
        settings = dict(batch=1, warmup=min(options.seconds / 3, 2), seconds=options.seconds, cpus=CPUS[-1:])
        capacity = load(options, server, file, connections=32, **settings)["requests_per_second"]
        for round, share in itertools.product(range(1, options.rounds + 1), SHARES):
            rate, waits = share * capacity, deadline if share > 1 else {}
            got = load(options, server, file, connections=CONNECTIONS, rate=rate, **waits, **settings)
            report[f"load {share}, round {round}"] = got
            per_second = lambda count: f"{count / got['seconds']:.0f}"
            rows.append([round, f"{100 * share:.0f} %", f"{rate:.0f}", f"{waits['deadline'] * 1e3:.1f}" if waits else "120,000",
                         per_second(got["scored"]), per_second(got["statuses"].get("429", 0)),
                         f"{got['p50_ms'] or 0:.2f}", f"{got['p99_ms'] or 0:.2f}", f"{got['late_p99_ms']:.2f}"])
            if share == 0.8:
                deadline = dict(deadline=got["p99_ms"] / 4e3)
    print(f"Open load, one item a request, math equivalence; {max(len(CPUS) - 1, 1)} CPU for the server, another for the load\n")
    table(["round", "of capacity", "due per second", "`deadline_s` in ms", "scored per second", "429 per second", "p50 ms of 200",
           "p99 ms of 200", "p99 ms sent late"], rows)


if __name__ == "__main__":
    main()
