#!/usr/bin/env python3
"""Seconds from the start of `rlar train` to its first recorded step: the smoke job from random weights, and from a policy on
disk. With `--large`, also the policy on disk with 500,000 prompts in JSONL and with 2,000,000 in Parquet: seconds and the peak
of the process's memory up to the end of the first step, and the size of its `assignments.jsonl`.

    cargo build --release && cargo build --release -p rlar-data --example sums_as_parquet
    scripts/bench-start.py [--rlar PATH] [--rounds 7] [--large [--rows 500000] [--parquet-rows 2000000]]
                           [--json FILE]
"""

import argparse
import json
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import bench_rows
import config_files

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 300  # seconds until the first step
SECONDS, MEGABYTES = 6, 300  # the goals of a file of 500,000 rows in JSONL
TABLE = "from the start to the first step"


def first_record(rlar, folder, config, records):
    """Seconds until a run of `config` has written to its file `records`, and the first line of that file."""
    run = folder / "timed"
    shutil.rmtree(run, ignore_errors=True)
    began = time.monotonic()
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process = subprocess.Popen([rlar, "train", "--config", config, "--run", run], cwd=folder, **quiet)
    try:
        while True:
            written = (run / records).read_bytes() if (run / records).exists() else b""
            if b"\n" in written:
                break
            if process.poll() is not None:
                raise SystemExit(f"{config} ended before its first step")
            if time.monotonic() - began > LIMIT:
                raise SystemExit(f"{config} took no step in {LIMIT} seconds")
            time.sleep(0.002)
        return time.monotonic() - began, json.loads(written.split(b"\n")[0])
    finally:
        process.kill()
        process.wait()


def write_jsonl(path, rows):
    """Writes sums with their answers, about 62 bytes each."""
    numbers = random.Random(0)
    with path.open("w") as file:
        for i in range(rows):
            a, b = numbers.randint(1, 9999), numbers.randint(1, 9999)
            file.write(json.dumps({"id": f"train-{i}", "prompt": f"{a} + {b} =", "reference": str(a + b)}) + "\n")


def write_parquet(example, path, rows):
    """Writes sums with their answers by the example of the crate `rlar-data`, because Python has no Parquet of its own."""
    if not example.exists():
        raise SystemExit(f"{example} is missing; `cargo build --release -p rlar-data --example sums_as_parquet` builds it")
    subprocess.run([example, str(rows), path], check=True)


def measure_large(rlar, sums, folder, loaded, rounds, sizes, rows):
    """Prints a line for each file: its rows, seconds to the first step, memory and the size of the assignments."""
    print(f"goal for 500,000 rows: {SECONDS} s, {MEGABYTES} MB")
    for name in ("train.jsonl", "train.parquet"):
        path = folder / name
        write_jsonl(path, sizes[name]) if path.suffix == ".jsonl" else write_parquet(sums, path, sizes[name])
        data = dict(loaded["data"], train=name)
        job = dict(loaded, data=data, train=dict(loaded["train"], steps=2))
        config_files.write(folder / "large.yaml", job)
        measured = [first_record(rlar, folder, "large.yaml", "metrics.jsonl") for _ in range(rounds)]
        seconds = statistics.median(seconds for seconds, _ in measured)
        peak = max(record["memory"]["peak"] for _, record in measured)
        assigned = (folder / "timed/assignments.jsonl").stat().st_size
        print(f"{name}, {sizes[name]} rows, {path.stat().st_size / 1e6:.0f} MB: median {seconds:.2f} s to the first step, "
              f"peak {peak / 1e6:.0f} MB, assignments.jsonl {assigned / 1e3:.0f} kB", flush=True)
        goals = lambda most: [bench_rows.at_most(most)] if sizes[name] == 500_000 else []
        title = f"{name}, {sizes[name]} rows"
        rows.add(TABLE, title, "start to the first GRPO step", "s", seconds, "lower", goals=goals(SECONDS))
        rows.add(TABLE, title, "peak memory", "MB", peak / 1e6, "lower", goals=goals(MEGABYTES))
        path.unlink()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rlar", type=Path, default=ROOT / "target/release/rlar")
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--large", action="store_true", help="measure large data sets, too, in at most three rounds")
    arguments.add_argument("--sums", type=Path, default=ROOT / "target/release/examples/sums_as_parquet",
                           help="the example that writes Parquet, for --large")
    arguments.add_argument("--rows", type=int, default=500_000, help="rows of the large JSONL file")
    arguments.add_argument("--parquet-rows", type=int, default=2_000_000, help="rows of the large Parquet file")
    bench_rows.add_option(arguments)
    chosen, rows = arguments.parse_args(), bench_rows.Rows()
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
            times = [first_record(rlar, folder, config, records)[0] for _ in range(chosen.rounds)]
            print(f"{title}: median {statistics.median(times):.2f} s, {min(times):.2f} to {max(times):.2f}", flush=True)
            start, what = title.split(", to ")
            rows.add(TABLE, start, f"start to {what}", "s", statistics.median(times), "lower")
        if chosen.large:
            sizes = {"train.jsonl": chosen.rows, "train.parquet": chosen.parquet_rows}
            measure_large(rlar, chosen.sums.resolve(), folder, loaded, min(chosen.rounds, 3), sizes, rows)
    rows.write(chosen.json)


if __name__ == "__main__":
    main()
