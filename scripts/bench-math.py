#!/usr/bin/env python3
"""Time to compare two mathematical answers: rlar's `math_equivalence` beside math-verify, on math-verify's own test cases.

    pip install math-verify
    cargo build --release -p rlar-metrics --example math
    RLAR_ORACLES=FOLDER scripts/bench-math.py [--rounds 2] [--json FILE]
    scripts/bench-math.py --alone [--json FILE]          rlar alone; without RLAR_ORACLES on four easy cases only

Both sides run in one thread and take turns; the table has medians over rounds. math-verify runs as TRL calls it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import bench_rows
from math_verify_loop import pairs_per_second

ROOT = Path(__file__).resolve().parent.parent
TABLE = "mathematical equivalence"


def read(folder):
    """The test cases that are two texts."""
    lines = [line for name in ("cases", "cases_rest")
             for line in (folder / f"data/math_verify_cases/{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    cases = [json.loads(line) for line in lines if line.strip()]
    return [case for case in cases if isinstance(case.get("gold"), str) and isinstance(case.get("pred"), str)]


def rlar(example, *arguments):
    done = subprocess.run([str(example), *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{example}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    oracles = os.environ.get("RLAR_ORACLES")
    options.add_argument("--math", type=Path, default=ROOT / "target/release/examples/math", help="the example's path")
    options.add_argument("--data", type=Path, default=oracles and Path(oracles), help="the folder of RLAR_ORACLES")
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--alone", action="store_true", help="rlar alone, without math-verify")
    bench_rows.add_option(options)
    options, rows = options.parse_args(), bench_rows.Rows()
    if not options.math.exists():
        sys.exit(f"{options.math} is missing; `cargo build --release -p rlar-metrics --example math` builds it")
    if not options.data and not options.alone:
        sys.exit("--data is missing: name the folder with the test cases, or set RLAR_ORACLES")
    cases, ours, theirs, easy = read(options.data) if options.data else [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cases.jsonl"
        file.write_text("".join(json.dumps(dict(gold=case["gold"], pred=case["pred"])) + "\n" for case in cases))
        for _ in range(options.rounds):
            found = rlar(options.math, *([file] if cases else []))
            easy.append(found["easy_per_second"])
            if cases:
                ours.append(found["us_per_case"])
            if not options.alone:
                theirs.append(1e6 / pairs_per_second(sys.executable, [(case["gold"], case["pred"]) for case in cases]))
    if cases:
        title, beside = f"{len(cases)} test cases of math-verify", None
        print(f"{title}: rlar {statistics.median(ours):.1f} µs each")
        if theirs:
            beside = dict(name="math-verify", value=statistics.median(theirs))
            print(f"math-verify {beside['value']:.0f} µs each")
        rows.add(TABLE, title, "time per case", "µs", statistics.median(ours), "lower", beside)
    print(f"four easy cases: rlar {statistics.median(easy):.0f} per second")
    rows.add(TABLE, "four easy cases", "rate", "cases/s", statistics.median(easy), "higher")
    rows.write(options.json)


if __name__ == "__main__":
    main()
