#!/usr/bin/env python3
"""Seconds and peak memory of a GRPO step: rlar's trainer beside TRL's GRPOTrainer, in one run.

    pip install torch transformers trl pyarrow
    cargo build --release && cargo build --release --example bench
    scripts/bench-train.py [--shape s,smollm2] [--rounds 3] [--steps 8] [--pieces 4] [--precision bf16] [--plain-malloc]
    scripts/bench-train.py --alone            rlar alone, without these packages

Each round runs one side after the other, each in its own process, from the same random weights, with the same prompts,
group size, reward (`token_f1`) and optimizer, two threads, f32, and replies of equal length, in `--pieces` micro-batches per
step. `--precision bf16` is rlar's `precision: bf16` beside TRL's `bf16=True`, which is PyTorch's autocast, and beside rlar in f32. A
process gives the
median of its steps after the first ones, the table the median over rounds. A step lasts from the end of one to the end of the
next. Memory is the peak of the whole process, loading and saving included (rlar also measures one held-out example and writes a
checkpoint), and the peak by the last step, before saving. `limit` is the time that the necessary
floating-point operations take at the machine's measured rate of f32 products: one forward pass to sample, three passes' worth to
train, every prompt once per group.

TRL runs as fast as its settings allow on a CPU: plain generation without a logits processor, fused AdamW, and a malloc that
keeps freed memory, as rlar's does, which helps where the vocabulary is large and costs a little memory (`--plain-malloc`
leaves malloc as it is). Use a machine without other load: OpenMP threads wait for each other far longer where other
processes use the cores. The share of the cores that other processes took is printed.
"""

import argparse
import importlib.util
import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import bench_model
import bench_rows
import config_files
from watched import KEEPING, watched

THREADS = 2
NEW_TOKENS, GROUP, LEARNING_RATE = 32, 8, 1e-5
WARM_UP = 2  # steps that do not count
PARTS = ("sampling", "scoring", "training", "other")
MEMORY = ("peak", "before_saving")
PROMPTS = {"s": 32, "smollm2": 4}  # per step, by shape
# How many times better than TRL a step should be, by shape and precision, and its memory; and the shares of the limit.
FASTER = {("s", "f32"): 2.0, ("smollm2", "f32"): 3.2, ("smollm2", "bf16"): 2.0}
SMALLER = {("smollm2", "f32"): 1 / 0.6}
SHARE = {("s", "total"): 0.55, ("smollm2", "total"): 0.65, ("smollm2", "sampling"): 0.5}
OWN = 1.5  # how many times as fast as in f32 a step in bf16 should be, at SmolLM2's shape
IN_F32 = "rlar in f32"
OUTSIDE = 3  # percent of a step, at most, outside sampling, scoring and training


def rlar_config(folder, lengths, steps, pieces, precision):
    """The job of rlar's side. Its tokenizer names no end token, so that nothing but `max_tokens` ends a reply."""
    tokens = sum(length + GROUP * NEW_TOKENS for length in lengths)
    return dict(
        version=1, seed=0, precision=precision,
        run=dict(folder=f"{folder}/run", checkpoint_every=1_000_000, keep_last=1, rollouts_every=1_000_000),
        model=dict(path=f"{folder}/model"),
        data=dict(train=f"{folder}/train.jsonl", heldout=f"{folder}/heldout.jsonl", format="plain"),
        rewards=dict(assign=dict(bench=[dict(tool="token_f1")])),
        sampling=dict(temperature=1.0, max_tokens=NEW_TOKENS, batch=len(lengths) * GROUP),
        train=dict(steps=steps, prompts=len(lengths), group_size=GROUP,
                   micro_batch_tokens=tokens // pieces + max(lengths) + NEW_TOKENS),
        optimizer=dict(learning_rate=LEARNING_RATE, warmup_steps=0, decay="constant", beta1=0.9, beta2=0.99,
                       weight_decay=0.0, max_norm=1.0),
        eval=dict(samples=1, limit=1))


def token_f1(reply, reference):
    """The score of rlar's tool `token_f1`."""
    def words(text):
        text = "".join(c if c.isalnum() else " " for c in text.lower())
        return [word for word in text.split() if word not in ("a", "an", "the")]
    reply, left = words(reply), words(reference)
    total, shared = len(reply) + len(left), 0
    for word in reply:
        if word in left:
            left.remove(word)
            shared += 1
    return 2 * shared / total


def write_data(folder, name):
    """Prompts of 16 to 24 tokens; their lengths."""
    lengths = [16 + i * 5 % 9 for i in range(PROMPTS[name])]
    train = folder / "train.jsonl"
    bench_model.write_prompts(train, bench_model.SHAPES[name]["vocab"], lengths)
    (folder / "heldout.jsonl").write_text(train.read_text().splitlines(keepends=True)[0])
    return lengths


def matmul():
    import torch

    torch.set_num_threads(THREADS)
    a, rates = torch.ones(1024, 1024), []
    for _ in range(30):
        clock = time.perf_counter()
        a @ a
        rates.append(2 * 1024**3 / (time.perf_counter() - clock) / 1e9)
    print(json.dumps(dict(gflops=statistics.median(rates))))


def trl_side(folder, prompts, steps, pieces, precision):
    import torch
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(THREADS)
    folder, clock, seconds, done = Path(folder), time.perf_counter, dict.fromkeys(PARTS, 0.0), []
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    # TRL wants an end token: one beyond the model's vocabulary, which is never drawn and costs no logits processor.
    tokenizer.add_special_tokens(dict(eos_token="<never>"))

    def timed(part, function):
        def run(*arguments, **named):
            start = clock()
            try:
                return function(*arguments, **named)
            finally:
                seconds[part] += clock() - start
        return run

    def reward(completions, reference, completion_ids, **_):
        start = clock()
        assert [len(ids) for ids in completion_ids] == [NEW_TOKENS] * (prompts * GROUP), "a reply of another length"
        scores = [token_f1(*pair) for pair in zip(completions, reference)]
        seconds["scoring"] += clock() - start
        return scores

    class Clock(TrainerCallback):
        def on_train_begin(self, *_, **__):
            self.last = clock()

        def on_optimizer_step(self, *_, **__):
            seconds["training"] = clock() - self.scored

        def on_step_end(self, *_, **__):
            now = clock()
            total, self.last = now - self.last, now
            done.append(dict(seconds, total=total, other=total - sum(seconds.values())))
            seconds.update(dict.fromkeys(PARTS, 0.0))

    marks = Clock()
    trainer = GRPOTrainer(
        model=str(folder / "model"), reward_funcs=reward, processing_class=tokenizer, callbacks=[marks],
        train_dataset=Dataset.from_list([json.loads(line) for line in (folder / "train.jsonl").open()]),
        args=GRPOConfig(
            output_dir=str(folder / "trl"), model_init_kwargs=dict(dtype="float32"), use_cpu=True, bf16=precision == "bf16",
            gradient_checkpointing=False, per_device_train_batch_size=prompts * GROUP // pieces,
            gradient_accumulation_steps=pieces, num_generations=GROUP, max_completion_length=NEW_TOKENS, max_steps=steps,
            temperature=1.0, beta=0.0, loss_type="dapo", learning_rate=LEARNING_RATE, lr_scheduler_type="constant",
            adam_beta1=0.9, adam_beta2=0.99, weight_decay=0.0, max_grad_norm=1.0, save_strategy="no", seed=0,
            logging_strategy="no", report_to="none", disable_tqdm=True, dataloader_pin_memory=False))
    trainer.model.generate = timed("sampling", trainer.model.generate)
    prepare = trainer._generate_and_score_completions

    def prepared(*arguments):
        result = prepare(*arguments)
        marks.scored = clock()
        return result

    trainer._generate_and_score_completions = prepared
    trainer.train()
    before_saving = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    trainer.save_model()
    print(json.dumps(dict(steps=done, before_saving=before_saving)))


def result(steps, **more):
    steps = steps[WARM_UP:]
    return dict({key: statistics.median(s[key] for s in steps) for key in ("total", *PARTS)}, **more)


def rlar_round(rlar, folder, config, steps, environment):
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    _, took, came = watched([rlar, "train", "--config", config], environment, run / "metrics.jsonl")
    records = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    assert len(records) == len(came) == steps, f"{len(records)} records, {len(came)} seen, {steps} steps"
    assert list(records[0]["tools"]) == ["token_f1"], f"the reward is {list(records[0]['tools'])}, not token_f1"
    outside = [now[0] - before[0] for before, now in zip(came, came[1:])]
    done = []
    for record, wall in zip(records, [outside[0], *outside]):
        assert record["reply_tokens"]["mean"] == NEW_TOKENS and record["unscored"] == 0, record
        seconds = {part: record["seconds"][part] for part in PARTS[:3]}
        done.append(dict(seconds, total=wall, other=wall - sum(seconds.values())))
    if importlib.util.find_spec("pyarrow"):
        check_scores(run)
    else:
        print("pyarrow is missing: rlar's rewards were not compared with the definition of token_f1\n")
    shutil.rmtree(run)
    return result(done, before_saving=came[-1][1], outside=statistics.median(outside[WARM_UP - 1:]), **took)


def check_scores(run):
    """rlar's rewards must be what TRL's function gives the same replies, and must differ within some group."""
    import pyarrow.parquet

    records = pyarrow.parquet.read_table(run / "rollouts/step-000001.parquet").to_pylist()
    for record in records:
        assert abs(record["reward"] - token_f1(record["completion"], record["reference"])) < 1e-9, record
    groups = [{record["reward"] for record in records[at:at + GROUP]} for at in range(0, len(records), GROUP)]
    assert any(len(rewards) > 1 for rewards in groups), "groups of equal rewards teach nothing"


def limits(flops, best):
    """Seconds that the floating-point operations of a step and of its parts take; `best` is in GFLOP/s."""
    forward = flops / 1e9 / best
    return dict(total=4 * forward, sampling=forward, training=3 * forward)


def micro_batches(count):
    return "one micro-batch" if count == 1 else f"{count} micro-batches"


def add_rows(rows, options, name, sides, limit, best):
    """The rows of a shape for scripts/bench.py."""
    table = f"a GRPO step, {options.precision}"
    title = f"{name}, {PROMPTS[name]} × {GROUP} replies, {micro_batches(options.pieces)}"
    rlar, trl, at = sides["rlar"], sides.get("TRL"), (name, options.precision)
    beside = lambda key: trl and dict(name="TRL", value=trl[key])
    goals = lambda least: [bench_rows.at_least(least)] if least else []
    for key, metric in (("total", "step"), ("sampling", "sampling"), ("training", "training")):
        # A product in bf16 has another limit, which is not measured.
        allowed = dict(value=limit[key], of=f"the f32 product at {best:.0f} GFLOP/s") if options.precision == "f32" else None
        wanted = goals(FASTER.get(at) if key == "total" else None)
        if allowed and (name, key) in SHARE:
            wanted.append(bench_rows.at_least(SHARE[name, key], "share"))
        rows.add(table, title, metric, "s", rlar[key], "lower", beside(key), wanted, allowed)
    if own := sides.get(IN_F32):
        rows.add(table, title, f"step, beside {IN_F32}", "s", rlar["total"], "lower", dict(name=IN_F32, value=own["total"]),
                 goals(OWN if name == "smollm2" else None))
    rows.add(table, title, "outside sampling, scoring and training", "%", 100 * rlar["other"] / rlar["total"], "lower",
             goals=[bench_rows.at_most(OUTSIDE)])
    for key, metric in (("peak", "peak memory"), ("before_saving", "peak memory before saving")):
        rows.add(table, title, metric, "MB", rlar[key], "lower", beside(key), goals(SMALLER.get(at) if key == "peak" else None))
    others = max(side["others"] for side in sides.values())
    rows.add(table, title, "cores that other processes took", "%", 100 * others, "lower")


def table(name, sides, limit, flops, best):
    """Prints the table of a shape; `sides` are the medians of rlar and, unless it ran alone, of TRL."""
    cell = lambda seconds: f"{seconds:.3f}" if abs(seconds) < 10 else f"{seconds:.1f}"
    row = lambda title, *cells: print(f"| {title} | {' | '.join(cells)} |")
    sizes = ", ".join(f"{key} {value}" for key, value in bench_model.SHAPES[name].items() if key != "family")
    print(f"### {name}: {sizes}; {PROMPTS[name]} × {GROUP} replies of {NEW_TOKENS} tokens\n")
    row("", "s/step", *PARTS, "peak MB", "before saving")
    row("---", *["---"] * 7)
    for title, side in sides.items():
        row(title, *(cell(side[part]) for part in ("total", *PARTS)), *(str(side[key]) for key in MEMORY))
    rlar = sides["rlar"]
    if "TRL" in sides:
        ratio = lambda key: f"{sides['TRL'][key] / rlar[key]:.2f}"
        row("TRL / rlar", *map(ratio, ("total", *PARTS[:3])), "", *map(ratio, MEMORY))
    row("limit", *(cell(limit[key]) if key in limit else "" for key in ("total", *PARTS, *MEMORY)))
    for title, side in sides.items():
        share = lambda key: f"{limit[key] / side[key]:.0%}" if key in limit else ""
        row(f"limit / {title}", *map(share, ("total", *PARTS, *MEMORY)))
    others = ", ".join(f"{side['others']:.0%} beside {title}" for title, side in sides.items())
    print(f"\nrlar outside sampling, scoring and training: {rlar['other'] / rlar['total']:.2%} of a step.\n"
          f"Its step by a clock outside the process: {cell(rlar['outside'])} s.\n"
          f"{4 * flops / 1e9:.0f} GFLOP per step at {best:.0f} GFLOP/s.\n"
          f"Other processes took up to this share of the cores: {others}.\n", flush=True)


def main():
    root = Path(__file__).resolve().parent.parent
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rlar", type=Path, default=root / "target/release/rlar")
    options.add_argument("--bench", type=Path, help="the example `bench`; beside rlar when absent")
    options.add_argument("--shape", default="s,smollm2")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--steps", type=int, default=8, help=f"steps that count, after {WARM_UP} that do not")
    options.add_argument("--pieces", type=int, default=4, choices=(1, 2, 4, 8, 16), help="micro-batches per step")
    options.add_argument("--precision", default="f32", choices=("f32", "bf16"), help="of matrix products")
    options.add_argument("--plain-malloc", action="store_true", help="TRL with malloc's own settings")
    options.add_argument("--alone", action="store_true", help="rlar alone, without TRL and its packages")
    bench_rows.add_option(options)
    options, rows = options.parse_args(), bench_rows.Rows()
    names, steps = options.shape.split(","), options.steps + WARM_UP
    bench = options.bench or options.rlar.parent / "examples/bench"
    if unknown := [name for name in names if name not in PROMPTS]:
        sys.exit(f"no shape {', '.join(unknown)}; there are {', '.join(PROMPTS)}")
    if missing := [str(path) for path in (options.rlar, bench) if not path.exists()]:
        sys.exit(f"{', '.join(missing)}: missing; `cargo build --release && cargo build --release --example bench` builds them")
    environment = dict(os.environ, RAYON_NUM_THREADS=str(THREADS), OMP_NUM_THREADS=str(THREADS), HF_HUB_OFFLINE="1")
    trl_environment = environment if options.plain_malloc else dict(environment, **KEEPING)
    this_script = [sys.executable, __file__, "--side"]
    products = {"rlar": [bench, "matmul"], **({} if options.alone else {"torch": [*this_script, "matmul"]})}
    rates = dict.fromkeys(products, 0.0)

    def measure_rates():
        """The machine's best over the whole run: a limit is what it could do when nothing else was running."""
        for side, command in products.items():
            out = watched(command, environment)[0].strip().splitlines()[-1]
            rates[side] = max(rates[side], json.loads(out)["gflops"])

    for name in names:
        shape = bench_model.SHAPES[name]
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            lengths = write_data(folder, name)
            own = {"rlar": options.precision, **({IN_F32: "f32"} if options.precision != "f32" else {})}
            for side, precision in own.items():
                config_files.write(folder / f"{side}.yaml", rlar_config(folder, lengths, steps, options.pieces, precision))
            bench_model.write_model(folder / "model", shape)
            runs = {side: [] for side in [*own, *([] if options.alone else ["TRL"])]}
            for _ in range(options.rounds):
                measure_rates()
                for side in own:
                    runs[side].append(rlar_round(options.rlar, folder, folder / f"{side}.yaml", steps, environment))
                if not options.alone:
                    command = [*this_script, "trl", folder, PROMPTS[name], steps, options.pieces, options.precision]
                    out, took, _ = watched(command, trl_environment)
                    runs["TRL"].append(result(**took, **json.loads(out.strip().splitlines()[-1])))
        over_rounds = lambda runs: {
            key: (max if key in (*MEMORY, "others") else statistics.median)(run[key] for run in runs) for key in runs[0]}
        print("f32 product 1024³: " + ", ".join(f"{side} {rate:.0f}" for side, rate in rates.items())
              + f" GFLOP/s; {THREADS} threads; {options.rounds} × {options.steps} steps of "
              + f"{micro_batches(options.pieces)}; {options.precision}\n")
        flops = bench_model.forward_flops(shape, lengths, GROUP, NEW_TOKENS)
        sides, best = {side: over_rounds(results) for side, results in runs.items()}, max(rates.values())
        table(name, sides, limits(flops, best), flops, best)
        add_rows(rows, options, name, sides, limits(flops, best), best)
    rows.write(options.json)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        matmul() if sys.argv[2] == "matmul" else trl_side(sys.argv[3], *map(int, sys.argv[4:7]), sys.argv[7])
    else:
        main()
