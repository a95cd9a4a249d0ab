#!/usr/bin/env python3
"""What `--dry-run` says about memory, beside the measured peak of the job, for ten configs that are shortened to a few steps.

    cargo build --release
    scripts/bench-memory.py [--rlar PATH] [--steps 3] [--json FILE] [NAME ...]

For each config: the estimate (`memory`, at most), the peak of the dry run, which takes one step (`peak`), and the peak that the
job's last step records in `metrics.jsonl`, in MB. The goal is a difference of at most 25 % between the dry run and the job.
"""

import argparse
import json
import re
import subprocess
import tempfile
from pathlib import Path

import bench_rows

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ["smoke", "math", "code", "evolve", "translation", "hacked", "sft", "reward-model", "rm-dialogue",
           "rm-translation"]
LIMIT = 1200  # seconds of one command
WITHIN = 0.25  # how far the dry run may be from the job


def shortened(name, steps):
    """The text of a config with this number of warm-up and training steps."""
    text = (ROOT / f"configs/{name}.yaml").read_text()
    return re.sub(r"(?m)^(  steps:) \d+", rf"\1 {steps}", text)


def run(rlar, *arguments):
    """Standard output of a command, which must succeed. It runs in the root, because configs name files relative to it."""
    done = subprocess.run([rlar, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)
    if done.returncode:
        raise SystemExit(f"rlar {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def number(pattern, text):
    """The number that a pattern finds in a text; None if it finds nothing."""
    found = re.search(pattern, text, re.MULTILINE)
    return int(found[1]) if found else None


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rlar", type=Path, default=ROOT / "target/release/rlar")
    arguments.add_argument("--steps", type=int, default=3)
    arguments.add_argument("names", nargs="*", default=CONFIGS)
    bench_rows.add_option(arguments)
    chosen, rows = arguments.parse_args(), bench_rows.Rows()
    rlar, within = chosen.rlar.resolve(), 0
    print(f"{'config':16} {'estimate':>9} {'dry run':>9} {'job':>9}  dry run / job")
    with tempfile.TemporaryDirectory() as scratch:
        for name in chosen.names:
            config, folder = Path(scratch) / f"{name}.yaml", Path(scratch) / name
            config.write_text(shortened(name, chosen.steps))
            told = run(rlar, "train", "--config", config, "--run", folder, "--dry-run")
            estimate, dry = number(r"^memory .*: at most (\d+) MB", told), number(r"^peak +(\d+) MB", told)
            run(rlar, "train", "--config", config, "--run", folder)
            last = (folder / "metrics.jsonl").read_text().splitlines()[-1]
            peak = json.loads(last)["memory"]["peak"] / (1 << 20)
            ratio = dry / peak if dry else float("nan")
            within += abs(ratio - 1) <= WITHIN
            job, goals = dict(name="the job", value=peak), [dict(of="ratio", at_least=1 - WITHIN, at_most=1 + WITHIN)]
            rows.add("memory that a dry run says", name, "peak of the dry run", "MB", dry, beside=job, goals=goals)
            rows.add("memory that a dry run says", name, "estimate before anything runs", "MB", estimate, beside=job)
            print(f"{name:16} {estimate:6} MB {dry or '-':>6} MB {peak:6.0f} MB  {ratio:.2f}", flush=True)
    print(f"{within} of {len(chosen.names)} within {WITHIN:.0%}")
    rows.write(chosen.json)


if __name__ == "__main__":
    main()
