#!/usr/bin/env python3
"""Seconds from the start of `rlar train` to its first recorded step: the smoke job from random weights, and from a policy on
disk.

    cargo build --release
    scripts/bench-start.py [--rlar PATH] [--rounds 7]
"""

import argparse
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import config_files

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 300  # seconds until the first step


def first_record(rlar, folder, config, records):
    """Seconds until a run of `config` has written to its file `records`."""
    run = folder / "timed"
    shutil.rmtree(run, ignore_errors=True)
    began = time.monotonic()
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process = subprocess.Popen([rlar, "train", "--config", config, "--run", run], cwd=folder, **quiet)
    try:
        while not ((run / records).exists() and (run / records).stat().st_size):
            if process.poll() is not None:
                raise SystemExit(f"{config} ended before its first step")
            if time.monotonic() - began > LIMIT:
                raise SystemExit(f"{config} took no step in {LIMIT} seconds")
            time.sleep(0.002)
        return time.monotonic() - began
    finally:
        process.kill()
        process.wait()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rlar", type=Path, default=ROOT / "target/release/rlar")
    arguments.add_argument("--rounds", type=int, default=7)
    chosen = arguments.parse_args()
    rlar = chosen.rlar.resolve()
    smoke = config_files.read(ROOT / "configs/smoke.yaml")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([rlar, "train", "--config", "smoke.yaml", "--run", "base", "--steps", "1"], cwd=folder,
                       check=True, capture_output=True, timeout=LIMIT)
        loaded = dict(config_files.without(smoke, "warmup"), model=dict(path="base/start"))
        config_files.write(folder / "loaded.yaml", loaded)
        for title, config, records in [("from random weights, to the first warm-up step", "smoke.yaml", "warmup.jsonl"),
                                       ("from a policy on disk, to the first GRPO step", "loaded.yaml", "metrics.jsonl")]:
            times = [first_record(rlar, folder, config, records) for _ in range(chosen.rounds)]
            print(f"{title}: median {statistics.median(times):.2f} s, {min(times):.2f} to {max(times):.2f}")


if __name__ == "__main__":
    main()
