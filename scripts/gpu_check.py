#!/usr/bin/env python3
"""The parts of `scripts/gpu-check.sh` that are not a command: configs, a watch on memory, and the summary.

    gpu_check.py prepare OUT --device NAME      configs and prompts
    gpu_check.py model OUT --device NAME        the random model of part 3
    gpu_check.py watch FILE PID --metrics FILE  a row of memory per half a second until the process ends
    gpu_check.py summary OUT --device NAME

Needs nothing but Python. On a GPU the main job runs as it is, on the CPU everything is as small as it can be.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import bench_model
import config_files

ROOT = Path(__file__).resolve().parent.parent
# Dense bf16 products, from NVIDIA's data sheets, in TFLOP/s.
PEAKS = {"H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312, "L40S": 362, "L4": 121, "4090": 165}
# What memory may grow by from the first half of the steps to the second: MB, and the share of what there was.
GROWTH_MB, GROWTH_SHARE = 64, 0.02
MEMORY_STEPS = 120


def sizes(device):
    """The step of part 3: a shape, and how much of it."""
    if device.startswith("cuda"):
        return dict(shape="qwen3-0.6b", prompts=16, group=8, length=32, new=256, micro_batch=8, steps=4, precision="bf16")
    return dict(shape="qwen3-tiny", prompts=2, group=4, length=8, new=16, micro_batch=4, steps=3, precision="f32")


def prepare(out, device):
    on_gpu = device.startswith("cuda")
    read = lambda name: dict(config_files.read(ROOT / "configs" / name), device=device)
    main = read("math.yaml")
    memory = dict(read("smoke.yaml"))
    memory["warmup"] = dict(memory["warmup"], steps=20)
    memory["train"] = dict(memory["train"], steps=MEMORY_STEPS, flat_steps=0)
    memory["run"] = dict(folder="memory", checkpoint_every=50, rollouts_every=50)
    memory["eval"] = dict(samples=1)
    if not on_gpu:
        main["warmup"] = dict(main["warmup"], steps=5)
        main["train"] = dict(main["train"], steps=3)
        main["eval"] = dict(samples=1, limit=16)
    for config in (main, memory):
        config["data"] = {key: str(ROOT / value) if value.startswith("datasets/") else value
                          for key, value in config["data"].items()}
    config_files.write(out / "main.yaml", main)
    config_files.write(out / "memory.yaml", memory)
    size = sizes(device)
    lengths = [size["length"]] * size["prompts"]
    bench_model.write_prompts(out / "step.jsonl", bench_model.SHAPES[size["shape"]]["vocab"], lengths)
    per_reply = size["length"] + size["new"]
    step = dict(
        version=1, device=device, precision=size["precision"], model=dict(path=str(out / "model")),
        run=dict(folder="step", checkpoint_every=1_000_000, rollouts_every=1_000_000),
        data=dict(train=str(out / "step.jsonl"), format="plain"),
        rewards=dict(assign=dict(bench=[dict(tool="token_f1")])),
        sampling=dict(max_tokens=size["new"], batch=size["prompts"] * size["group"]),
        train=dict(steps=size["steps"], prompts=size["prompts"], group_size=size["group"], flat_steps=0,
                   micro_batch_tokens=size["micro_batch"] * per_reply),
        optimizer=dict(learning_rate=1e-5, warmup_steps=0, max_norm=1.0))
    config_files.write(out / "step.yaml", step)
    arguments = [f"--{key.replace('_', '-')} {size[key]}"
                 for key in ("shape", "prompts", "group", "length", "new", "micro_batch", "steps")]
    (out / "torch-arguments").write_text(" ".join(arguments) + "\n")


def model(out, device):
    bench_model.write_model(out / "model", bench_model.SHAPES[sizes(device)["shape"]])


def gpu_memory():
    """Memory of the first GPU that is in use, in MB; `None` without `nvidia-smi`."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    try:
        return int(subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.split()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def descendants(pid):
    """A process and everything that it started."""
    found = [pid]
    for one in found:
        try:
            found += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
        except (OSError, ValueError):
            pass
    return found


def resident(pid):
    """Resident memory of a process in MB; 0 when it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    line = next((line for line in status.splitlines() if line.startswith("VmRSS:")), "VmRSS: 0 kB")
    return int(line.split()[1]) >> 10


def watch(file, pid, metrics):
    """Writes seconds, finished steps, GPU memory and the memory of the largest process, until the process ends."""
    start = time.monotonic()
    with file.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["seconds", "steps", "gpu_mb", "resident_mb"])
        while os.path.exists(f"/proc/{pid}"):
            steps = metrics.read_bytes().count(b"\n") if metrics and metrics.exists() else 0
            largest = max(map(resident, descendants(pid)))
            gpu = gpu_memory()
            rows.writerow([f"{time.monotonic() - start:.1f}", steps, "" if gpu is None else gpu, largest])
            stream.flush()
            time.sleep(0.1)


def read_watch(out, part):
    path = out / f"{part}.memory.csv"
    rows = list(csv.DictReader(path.open())) if path.exists() else []
    return [dict(steps=int(row["steps"]), gpu=int(row["gpu_mb"]) if row["gpu_mb"] else None,
                 resident=int(row["resident_mb"])) for row in rows]


def read_lines(path):
    """The complete JSON lines of a file that may be missing or cut short."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            pass
    return rows


def describe_status(out, part):
    """How a part ended, and whether it passed."""
    path = out / f"{part}.status"
    if not path.exists():
        return "not run", None
    code, limit, seconds = map(int, path.read_text().split())
    if code in (124, 137):
        return f"TIMED OUT after {limit} s", False
    return (f"passed in {seconds} s", True) if code == 0 else (f"FAILED with exit code {code} after {seconds} s", False)


def last_error(out, part):
    path = out / f"{part}.log"
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    errors = [line for line in lines if line.startswith(("error", "FAILED")) or "panicked" in line or "Error" in line]
    return [f"    {line[:300]}" for line in (errors or lines[-2:])[:8]]


def steps_of(records):
    """Median seconds of the steps after the first, or of the first where there is no other; and which these were."""
    which = "the first step, which compiles kernels"
    if len(records) > 1:
        which = f"median of the {len(records) - 1} steps after the first"
    chosen = records[1:] or records
    parts = ("sampling", "scoring", "training", "other")
    seconds = {part: statistics.median(record["seconds"].get(part, 0.0) for record in chosen) for part in parts}
    return dict(seconds, total=sum(seconds.values())), which


def summarise_parity(out):
    """The counts of checks, and whether there was one that passed."""
    path = out / "parity.log"
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    passed, failed = (sum(line.startswith(verdict) for line in lines) for verdict in ("ok", "FAILED"))
    return [f"    {passed} checks passed, {failed} failed; every one with its difference: parity.log"], passed > 0


def summarise_main(out):
    lines, records = [], read_lines(out / "main/metrics.jsonl")
    if records:
        seconds, which = steps_of(records)
        accuracies = [record["accuracy"] for record in records if record.get("accuracy") is not None]
        detail = ", ".join(f"{part} {seconds[part]:.3f}" for part in ("sampling", "scoring", "training", "other"))
        lines.append(f"    {len(records)} GRPO steps, {seconds['total']:.3f} s per step ({which}: {detail})")
        if accuracies:
            ends = [100 * statistics.mean(part) for part in (accuracies[:10], accuracies[-10:])]
            lines.append(f"    accuracy of the drawn replies: {ends[0]:.1f} % over the first steps, {ends[1]:.1f} % over the last")
    report = out / "main/report.json"
    if report.exists():
        before, after = json.loads(report.read_text())["measured"][:2]
        share = lambda measured, how: 100 * measured[how]["all"]["right"] / max(1, measured[how]["all"]["answers"])
        for how in ("sampled", "greedy"):
            lines.append(f"    held-out accuracy, {how}: {share(before, how):.1f} % before, {share(after, how):.1f} % after")
    return lines


def summarise_step(out, device):
    size = sizes(device)
    shape = bench_model.SHAPES[size["shape"]]
    flops = bench_model.step_flops(shape, [size["length"]] * size["prompts"], size["group"], size["new"])
    lines = [f"    {size['shape']}: {bench_model.parameters(shape) / 1e6:.1f} M parameters; {size['prompts']} prompts of "
             f"{size['length']} tokens × {size['group']} replies of {size['new']} tokens; {size['precision']}",
             f"    {flops / 1e12:.4g} TFLOP per step: one forward pass to sample, three passes' worth to train, every prompt "
             "once per group, matrix products and attention only"]
    torch_lines = read_lines(out / "torch.log")
    machine = next((line for line in torch_lines if "gpu" in line), {})
    peak = next((value for name, value in PEAKS.items() if name in machine.get("gpu", gpu_name())), None)
    measured = machine.get("bf16_tflops")
    if peak:
        lines.append(f"    peak: {peak} TFLOP/s (data sheet, dense bf16)"
                     + (f"; {measured:.0f} TFLOP/s measured with a product of 8192³" if measured else ""))
    share = lambda seconds: f", {flops / seconds / 1e12 / peak:.1%} of the peak" if peak else ""
    records = read_lines(out / "step/metrics.jsonl")
    if records:
        seconds, which = steps_of(records)
        detail = ", ".join(f"{part} {seconds[part]:.2f}" for part in ("sampling", "scoring", "training", "other"))
        used = [row["gpu"] for row in read_watch(out, "step") if row["gpu"] is not None]
        resident_mb = max((row["resident"] for row in read_watch(out, "step")), default=0)
        memory = f"{max(used) - used[0]} MB of GPU memory, " if used else ""
        lines.append(f"    rlar:    {seconds['total']:.2f} s per step ({which}: {detail}), {memory}{resident_mb} MB resident"
                     + share(seconds["total"]))
        tokens = records[-1]["reply_tokens"]
        gap = records[-1]["sampler_trainer_gap"]
        lines.append(f"             replies of {tokens['min']:.0f} to {tokens['max']:.0f} tokens, rewards by "
                     f"{', '.join(records[-1]['tools'])}; sampler and trainer differ by {gap:.1e} in a token's log-prob")
    steps = [line for line in torch_lines if "step" in line]
    if steps:
        chosen = steps[1:] or steps
        median = lambda key: statistics.median(line[key] for line in chosen)
        lines.append(f"    PyTorch: {median('total'):.2f} s per step (median of {len(chosen)}: sampling {median('sampling'):.2f}, "
                     f"training {median('training'):.2f}), {max(line['peak_mb'] for line in steps)} MB of GPU memory allocated"
                     + share(median("total")))
    return lines


def gpu_name():
    try:
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", "--id=0"]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "no GPU that nvidia-smi knows"


def summarise_memory(out, device):
    """Growth from the first half of the steps to the second, and what is wrong with it: `None`, or a reason."""
    rows = read_watch(out, "memory")
    steps = len(read_lines(out / "memory/metrics.jsonl"))
    # The process may end between two samples.
    watched = max((row["steps"] for row in rows), default=0)
    problem = None if steps >= MEMORY_STEPS and watched >= 0.75 * steps else "too few steps were watched"
    lines = [f"    {steps} steps, watched up to step {watched}"]
    columns = [("resident", "resident memory")] + [("gpu", "GPU memory")] * device.startswith("cuda")
    for key, name in columns:
        # The first steps fill the allocators' pools.
        early = [row[key] for row in rows if row[key] is not None and steps * 0.1 <= row["steps"] <= steps * 0.5]
        late = [row[key] for row in rows if row[key] is not None and row["steps"] > steps * 0.5]
        if not early or not late or not max(late):
            problem = problem or f"{name} was not measured, see memory.watch.log"
            continue
        growth, allowed = max(late) - max(early), max(GROWTH_MB, GROWTH_SHARE * max(early))
        lines.append(f"    {name}: peak {max(early)} MB in the first half, {max(late)} MB in the second; "
                     f"{growth:+} MB, allowed {allowed:.0f}")
        if growth > allowed:
            problem = f"{name} grows"
    return lines, problem


def lacks_torch(out):
    """Whether the comparison could not run because Python has no torch, which says nothing against rlar."""
    log = out / "torch.log"
    return log.exists() and "No module named 'torch'" in log.read_text(errors="replace")


def summary(out, device):
    """Prints the summary; returns whether at least one part ran, and all that ran have passed."""
    parts = [("parity", "1  parity with recorded results and with the CPU"), ("main", "2  the main job, configs/math.yaml"),
             ("step", "3a a GRPO step of rlar"), ("torch", "3b the same step in PyTorch"), ("memory", f"4  memory over {MEMORY_STEPS} steps")]
    print(f"\n== summary: {device}, {gpu_name()}")
    verdicts = []
    for part, title in parts:
        text, passed = describe_status(out, part)
        details, problem = [], None
        if part == "parity":
            details, has_checks = summarise_parity(out)
            problem = None if has_checks else "no check passed"
        elif part == "main":
            details = summarise_main(out)
        elif part == "torch":
            details = summarise_step(out, device)
        elif part == "memory":
            details, problem = summarise_memory(out, device)
        if passed and problem:
            text, passed = f"FAILED: {problem} ({text})", False
        excused = part == "torch" and passed is False and lacks_torch(out)
        print(f"part {title}: {'not run: Python has no torch' if excused else text}")
        if passed is None:
            continue
        for line in ([] if passed or excused else last_error(out, part)) + details:
            print(line)
        if not excused:
            verdicts.append(passed)
    return bool(verdicts) and all(verdicts)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("command", choices=("prepare", "model", "watch", "summary"))
    options.add_argument("path", type=Path)
    options.add_argument("pid", type=int, nargs="?")
    options.add_argument("--device", default="cuda:0")
    options.add_argument("--metrics", type=Path)
    options = options.parse_args()
    if options.command == "watch":
        watch(options.path, options.pid, options.metrics)
    elif options.command == "summary":
        sys.exit(not summary(options.path, options.device))
    else:
        dict(prepare=prepare, model=model)[options.command](options.path.resolve(), options.device)


if __name__ == "__main__":
    main()
