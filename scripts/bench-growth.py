#!/usr/bin/env python3
"""How the cost of a GRPO step grows: prompts, group size, reply length and width of the model, each doubled alone.

    cargo build --release
    scripts/bench-growth.py [--rlar PATH] [--shape s] [--doublings 2] [--steps 8] [--json FILE]

The job is configs/smoke.yaml without warm-up, on a policy with random weights that never ends a reply, so that every reply has
the same length. Each job runs in its own process. Seconds of a step are those that rlar records in `metrics.jsonl`, without
evaluation: the median of the steps after the first two. Memory is the peak of the whole process. The ratio is to the job in which
nothing is doubled.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

import bench_model
import bench_rows
import config_files
from watched import watched

ROOT = Path(__file__).resolve().parent.parent
WARM_UP = 2  # steps that do not count
PROMPT = 16  # tokens
BASES = dict(smoke=dict(prompts=4, group=4, reply=8, width=1), s=dict(prompts=16, group=8, reply=32, width=1))
NAMES = dict(prompts="prompts", group="group size", reply="reply length", width="width")
TABLE = "how cost grows"


def jobs(base, doublings):
    """The job in which nothing is doubled, and those in which one size is, once or more often; by title."""
    found = {"base": base}
    for key, name in NAMES.items():
        found.update({f"{name} × {2**i}": dict(base, **{key: base[key] * 2**i}) for i in range(1, doublings + 1)})
    return found


def config(folder, job, steps):
    """The config of a job in a folder that has its model and its prompts."""
    smoke = config_files.without(config_files.read(ROOT / "configs/smoke.yaml"), "warmup")
    return dict(
        smoke, run=dict(folder=f"{folder}/run", checkpoint_every=1_000_000, rollouts_every=1_000_000),
        model=dict(path=f"{folder}/model"),
        data=dict(train=f"{folder}/train.jsonl", heldout=f"{folder}/heldout.jsonl", format="plain"),
        rewards=dict(assign=dict(bench=[dict(tool="token_f1")])), sampling=dict(max_tokens=job["reply"]),
        train=dict(steps=steps, prompts=job["prompts"], group_size=job["group"]), eval=dict(samples=1, limit=1))


def measure(rlar, shape, job, steps):
    """Median seconds of a step, and the peak memory in MB."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        wide = bench_model.doubled(bench_model.SHAPES[shape], job["width"])
        bench_model.write_model(folder / "model", wide)
        train = folder / "train.jsonl"
        bench_model.write_prompts(train, wide["vocab"], [PROMPT] * job["prompts"])
        (folder / "heldout.jsonl").write_text(train.read_text().splitlines(keepends=True)[0])
        config_files.write(folder / "job.yaml", config(folder, job, steps))
        _, took, _ = watched([rlar, "train", "--config", folder / "job.yaml"], os.environ)
        records = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    if len(records) != steps:
        sys.exit(f"{len(records)} records of {steps} steps")
    for record in records:
        if record["reply_tokens"]["min"] != job["reply"] or record["unscored"]:
            sys.exit(f"step {record['step']}: a reply of another length than {job['reply']}, or without a score")
    seconds = [sum(record["seconds"][part] for part in ("sampling", "scoring", "training", "other")) for record in records]
    return dict(seconds=statistics.median(seconds[WARM_UP:]), peak=took["peak"], others=took["others"])


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rlar", type=Path, default=ROOT / "target/release/rlar")
    options.add_argument("--shape", default="s", choices=BASES, help="the model that is widened, and the size of the job")
    options.add_argument("--doublings", type=int, default=2)
    options.add_argument("--steps", type=int, default=8, help=f"steps that count, after {WARM_UP} that do not")
    bench_rows.add_option(options)
    options, rows = options.parse_args(), bench_rows.Rows()
    base, first, others = BASES[options.shape], None, 0.0
    print(f"base: {base['prompts']} prompts of {PROMPT} tokens, groups of {base['group']}, replies of {base['reply']} tokens, "
          f"width {bench_model.SHAPES[options.shape]['hidden']}\n")
    print("| job | s/step | × | peak MB | × |\n| --- | --- | --- | --- | --- |")
    for title, job in jobs(base, options.doublings).items():
        found = measure(options.rlar.resolve(), options.shape, job, options.steps + WARM_UP)
        others, is_base = max(others, found["others"]), first is None
        first = first or found
        beside = lambda key: None if is_base else dict(name="base", value=first[key])
        rows.add(TABLE, title, "step", "s", found["seconds"], beside=beside("seconds"))
        rows.add(TABLE, title, "peak memory", "MB", found["peak"], beside=beside("peak"))
        print(f"| {title} | {found['seconds']:.4f} | {found['seconds'] / first['seconds']:.2f} | {found['peak']} | "
              f"{found['peak'] / first['peak']:.2f} |", flush=True)
    print(f"\nOther processes took up to {others:.0%} of the cores.")
    rows.add(TABLE, "all jobs", "cores that other processes took", "%", 100 * others, "lower")
    rows.write(options.json)


if __name__ == "__main__":
    main()
