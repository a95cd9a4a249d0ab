#!/usr/bin/env python3
"""Speed of the policy crate beside `transformers`, `llama.cpp` and the machine's own matrix product, in one run.

    pip install torch transformers xllamacpp gguf
    cargo build --release --example bench
    scripts/bench-policy.py [--model SmolLM2-135M-Instruct.Q4_1.gguf] [--only s,m10,smollm2,reward,quantised,lora] [--rounds 3]
                            [--json FILE]
    scripts/bench-policy.py --alone            rlar alone, without these packages

Each task runs in its own process, first on one side, then on the other, with the same weights and two threads. A process
gives the median of its repetitions, the table the median over rounds. `of the bound` is the share of the machine's measured
rate of f32 products that the task's floating-point operations reach. `smollm2` needs the model file, which
`scripts/fetch-smollm2.sh` fetches; `quantised` keeps the matrices of the file of `scripts/fetch-qwen-coder.sh` in their blocks,
beside llama.cpp; `lora` computes the gradient of an adapter on the small one of these files, whose matrices stay in their blocks,
beside the same base in f32 (both by rlar); `reward` compares with `transformers` on models that it makes, so it does not run
alone.
"""

import argparse
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bench_rows
from watched import KEEPING

THREADS = 2
ROOT = Path(__file__).resolve().parent.parent
# Sequences and tokens per sequence of the tasks `log-probs` and `train`, by shape.
SHAPES = {"s": (64, 64), "m10": (32, 128), "smollm2": (4, 256)}
# How many times as fast as `transformers`, or as llama.cpp, a task should be, by shape and task, and how many times less memory it should take.
FASTER = {("s", "generate"): 3.0, ("m10", "generate"): 3.5, ("smollm2", "generate"): 3.5, ("SmolLM2 F32",): 1.5,
          **{(shape, task): 1.0 for shape in SHAPES for task in ("log-probs", "train")}}
SMALLER = {("smollm2", "train"): 1 / 0.6}
TABLE, LLAMA = "models beside transformers", "models beside llama.cpp"


def measure(tokens, run):
    """Prints the median time of at least three repetitions of `run`, after one that does not count."""
    run()
    times, start = [], time.perf_counter()
    while len(times) < 3 or (len(times) < 9 and time.perf_counter() - start < 10):
        clock = time.perf_counter()
        run()
        times.append(time.perf_counter() - clock)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(dict(seconds=statistics.median(times), tokens=tokens, peak_mb=peak)), flush=True)


def torch_side(task, folder, n, t):
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    torch.set_num_threads(THREADS)
    if task == "matmul":
        a, rates = torch.ones(1024, 1024), []
        for _ in range(30):
            clock = time.perf_counter()
            a @ a
            rates.append(2 * 1024**3 / (time.perf_counter() - clock) / 1e9)
        return print(json.dumps(dict(gflops=statistics.median(rates))))
    if task == "reward":
        model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
        lengths = [t // 4 + i * 37 % t for i in range(n)]
        order = sorted(range(n), key=lambda i: lengths[i])
        batches = [order[i:i + 8] for i in range(0, n, 8)]

        def run():
            with torch.no_grad():
                for batch in batches:
                    longest = max(lengths[i] for i in batch)
                    ids = torch.tensor([[(j * 104729 + 13) % 512 for j in range(longest)] for _ in batch])
                    mask = torch.tensor([[int(j < lengths[i]) for j in range(longest)] for i in batch])
                    model(ids, attention_mask=mask)
        return measure(sum(lengths), run)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    vocab = min(model.config.vocab_size, 400)
    ids = torch.tensor([[(i * 7919 + j * 104729 + 13) % vocab for j in range(max(t, 16))] for i in range(n)])
    if task == "log-probs":
        model.eval()

        def run():
            with torch.no_grad():
                torch.log_softmax(model(ids[:, :-1]).logits, -1).gather(-1, ids[:, 1:, None])
    elif task == "train":
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.99), weight_decay=0.0)

        def run():
            log_probs = torch.log_softmax(model(ids[:, :-1]).logits, -1).gather(-1, ids[:, 1:, None])
            optimizer.zero_grad()
            (-log_probs.mean()).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    else:
        model.eval()
        model.generation_config.eos_token_id = None
        prompt = ids[:, :16]

        def run():
            out = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=t, min_new_tokens=t,
                                 do_sample=True, top_k=0, top_p=1.0, pad_token_id=0, eos_token_id=None)
            assert out.shape == (n, 16 + t)
    measure(n * t, run)


def llama_side(path, n, t, task):
    """Times `n` simultaneous completions by llama.cpp's server, which runs in this process, without HTTP: of `t` tokens after 16
    (`generate`), or of one after `t` (`prompt`)."""
    import threading

    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = str(path)
    read, written = (16, t) if task == "generate" else (t, 1)
    settings.n_parallel, settings.n_ctx, settings.n_predict = n, n * (t + 64), written
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = THREADS
    settings.warmup = False
    server = xllamacpp.Server(settings)
    order = dict(n_predict=written, ignore_eos=True, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, cache_prompt=False)

    def run():
        counts = []

        def one(i):
            prompt = [(i * 7919 + j * 104729 + 13) % 400 for j in range(read)]
            reply = server.handle_completions(dict(order, prompt=prompt, seed=i))
            reply = json.loads(reply) if isinstance(reply, (str, bytes)) else reply
            counts.append(reply["usage"]["completion_tokens"] if "usage" in reply else reply["tokens_predicted"])
        threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert counts == [written] * n, counts
    measure(n * t, run)
    os._exit(0)


class Sides:
    """Runs the commands that time a task, and prints rows of the table."""

    def __init__(self, bench, rounds, alone, rows):
        self.bench, self.rounds, self.alone, self.rows = bench, rounds, alone, rows
        self.this_script = [sys.executable, __file__, "--side"]
        # Both sides keep freed tensors: `rlar` always sets mimalloc so, its example does not.
        self.environment = dict(os.environ, RAYON_NUM_THREADS=str(THREADS), OMP_NUM_THREADS=str(THREADS), MIMALLOC_PURGE_DELAY="-1",
                                **KEEPING)
        rates = {"rlar": self.run([bench, "matmul"])["gflops"]}
        if not alone:
            rates["torch"] = self.run([*self.this_script, "matmul", "-", 0, 0])["gflops"]
        self.best_rate = max(rates.values())
        text = ", ".join(f"{side} {rate:.0f}" for side, rate in rates.items())
        print(f"f32 product 1024³: {text} GFLOP/s; {THREADS} threads\n")

    def run(self, command):
        """The last line that a command prints, which is JSON."""
        out = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=self.environment)
        if out.returncode != 0:
            sys.exit(f"{' '.join(map(str, command))}: {out.stderr[-2000:]}")
        return json.loads(out.stdout.strip().splitlines()[-1])

    def time(self, rlar, other):
        """Runs a task of rlar and of the other library, round by round: for each side the median of the seconds and the
        largest of the peaks."""
        sides = {"rlar": [self.bench, *rlar], **({} if self.alone else {"other": [*self.this_script, *other]})}
        runs = {name: [] for name in sides}
        for _ in range(self.rounds):
            for name, command in sides.items():
                runs[name].append(self.run(command))
        return {name: dict(rate=rs[0]["tokens"] / statistics.median(r["seconds"] for r in rs),
                           peak=max(r["peak_mb"] for r in rs)) for name, rs in runs.items()}

    def row(self, titles, rlar, other, flops_per_token=None, table=TABLE):
        result = self.time(rlar, other)
        self.add_rows(table, titles, result, flops_per_token)
        ours, theirs = result["rlar"], result.get("other")
        cells = [f"{ours['rate']:.0f}", "", "", f"{ours['peak']}", ""]
        if theirs:
            cells = [f"{ours['rate']:.0f}", f"{theirs['rate']:.0f}", f"{ours['rate'] / theirs['rate']:.2f}",
                     f"{ours['peak']}", f"{theirs['peak']}"]
        if flops_per_token is not None:
            cells.append(f"{flops_per_token * ours['rate'] / 1e9 / self.best_rate:.0%}" if flops_per_token else "")
        print(f"| {' | '.join([*titles, *cells])} |", flush=True)

    def add_rows(self, table, titles, result, flops_per_token):
        """The rows of a task for scripts/bench.py."""
        ours, theirs, title = result["rlar"], result.get("other"), ", ".join(titles)
        peer = "llama.cpp" if table == LLAMA else "transformers"
        beside = lambda key: theirs and dict(name=peer, value=theirs[key])
        goals = lambda least: [bench_rows.at_least(least[tuple(titles)])] if tuple(titles) in least else []
        limit = flops_per_token and dict(value=1e9 * self.best_rate / flops_per_token,
                                         of=f"the f32 product at {self.best_rate:.0f} GFLOP/s")
        self.rows.add(table, title, "rate", "tokens/s", ours["rate"], "higher", beside("rate"), goals(FASTER), limit or None)
        self.rows.add(table, title, "peak memory", "MB", ours["peak"], "lower", beside("peak"), goals(SMALLER))


def forward_flops(config, n, t):
    """Floating-point operations of a forward pass over `n` sequences of `t` tokens, the last of which is not an input."""
    d, layers = config["hidden_size"], config["num_hidden_layers"]
    q = config["num_attention_heads"] * config.get("head_dim", d // config["num_attention_heads"])
    kv = q * config["num_key_value_heads"] // config["num_attention_heads"]
    matrices = layers * (2 * d * q + 2 * d * kv + 3 * d * config["intermediate_size"]) + d * config["vocab_size"]
    return n * (t - 1) * 2 * matrices + layers * n * 4 * (t - 1) ** 2 * q


def language_model(sides, shape, folder, n, t):
    forward = forward_flops(json.loads((folder / "config.json").read_text()), n, t) / (n * t)
    for task, size, flops in [("log-probs", (n, t), forward), ("train", (n, t), 3 * forward), ("generate", (16, 64), 0)]:
        sides.row([shape, task], [task, folder, *size], [task, folder, *size], flops)


def smollm2(sides, folder, n, t, model, scratch):
    """Further tasks of the pretrained model: activation checkpointing, llama.cpp."""
    flops = 3 * forward_flops(json.loads((folder / "config.json").read_text()), n, t) / (n * t)
    sides.row(["smollm2", "train, layers recomputed"], ["train", folder, n, t, "layers"], ["train", folder, n, t], flops)
    alone = sides.run([sides.bench, "train", folder, 16, 256, "layers", "gradients"])
    print(f"\ngradient of 16 × 256 tokens, layers recomputed, no optimizer: peak {alone['peak_mb']} MB\n")
    sides.rows.add(TABLE, "smollm2, gradient of 16 × 256 tokens, layers recomputed, no optimizer", "peak memory", "MB",
                   alone["peak_mb"], "lower", goals=[bench_rows.at_most(3000)])
    if not sides.alone and importlib.util.find_spec("xllamacpp"):
        llama(sides, folder, model, scratch)


def llama(sides, folder, quantised, scratch):
    """SmolLM2 at batch 8 beside llama.cpp, on the same tensors as an F32 GGUF and on the quantised file."""
    f32 = scratch / "smollm2-f32.gguf"
    copy_dequantised(quantised, f32)
    print("| llama.cpp on | rlar tok/s | llama.cpp tok/s | ratio | rlar MB | llama.cpp MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, path in [("F32", f32), ("Q4_1", quantised)]:
        sides.row([f"SmolLM2 {name}"], ["generate", folder, 8, 64], ["generate-by-llama", path, 8, 64], table=LLAMA)
    print()


def quantised(sides, model):
    """A model whose matrices stay in their blocks, beside llama.cpp."""
    size = model.stat().st_size / 2**20
    print(f"\n{model.name}, {size:.0f} MB\n")
    print("| task | rlar tok/s | llama.cpp tok/s | ratio | rlar MB | llama.cpp MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for title, task, n, t in [("one chat", "generate", 1, 64), ("eight chats at once", "generate", 8, 64),
                              ("a prompt of 512 tokens", "prompt", 1, 512)]:
        sides.row([title], [task, model, n, t, "quantised"], [f"{task}-by-llama", model, n, t], table=LLAMA)


def lora(sides, model, scratch):
    """The gradient of an adapter on a base in quantised blocks, beside that on the same base in f32."""
    import numpy as np

    size, (n, t) = model.stat().st_size / 2**20, (16, 128)
    runs = {}
    for name, form in [("quantised", ["quantised"]), ("f32", [])]:
        out = scratch / f"lora-{name}"
        runs[name] = dict(sides.run([sides.bench, "lora", model, n, t, *form, out]), gradient=np.fromfile(out, np.float32))
    exact, found = runs["f32"]["gradient"].astype(np.float64), runs["quantised"]["gradient"].astype(np.float64)
    print(f"\nLoRA of rank 16 on all linear layers of {model.name}, {size:.0f} MB; {n} × {t} tokens, layers recomputed\n")
    print("| base | seconds per gradient | peak MB |\n| --- | --- | --- |")
    for name, run in runs.items():
        print(f"| {name} | {run['seconds']:.1f} | {run['peak_mb']} |")
    ratio = runs["quantised"]["peak_mb"] / runs["f32"]["peak_mb"]
    off = np.linalg.norm(found - exact) / np.linalg.norm(exact)
    print(f"\nmemory {ratio:.2f} × that of the f32 base; the gradients differ by {off:.1e} in the Euclidean norm\n")
    title, exact_side = f"LoRA of rank 16, {model.name}", dict(name="the same base in f32")
    for metric, unit, key in [("gradient", "s", "seconds"), ("peak memory", "MB", "peak_mb")]:
        beside = dict(exact_side, value=runs["f32"][key])
        sides.rows.add("an adapter on a quantised base", title, metric, unit, runs["quantised"][key], "lower", beside)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=Path, default=ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf")
    options.add_argument("--bench", type=Path, default=ROOT / "target/release/examples/bench", help="the example `bench`")
    options.add_argument("--quantised", type=Path, default=ROOT / "models/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf")
    options.add_argument("--small", type=Path, default=ROOT / "models/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf")
    options.add_argument("--only", help="shapes, with commas between; all that can run when absent")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--alone", action="store_true", help="rlar alone, without other packages")
    bench_rows.add_option(options)
    options, rows = options.parse_args(), bench_rows.Rows()
    known = [*SHAPES, *([] if options.alone else ["reward"]), "quantised", "lora"]
    only = options.only.split(",") if options.only else known
    if unknown := [name for name in only if name not in known]:
        sys.exit(f"{', '.join(unknown)}: not one of {', '.join(known)}")
    if not options.bench.exists():
        sys.exit(f"{options.bench} is missing; `cargo build --release --example bench` builds it")
    if "smollm2" in only and not options.model.is_file():
        if options.only or not options.alone:
            sys.exit(f"{options.model} is missing; scripts/fetch-smollm2.sh fetches it, --only names other shapes")
        only.remove("smollm2")
    if "quantised" in only and not options.quantised.is_file():
        if options.only:
            sys.exit(f"{options.quantised} is missing; scripts/fetch-qwen-coder.sh fetches it, --only names other shapes")
        only.remove("quantised")
    if "lora" in only and not options.small.is_file():
        if options.only:
            sys.exit(f"{options.small} is missing; scripts/fetch-qwen-coder.sh --small fetches it, --only names other shapes")
        only.remove("lora")
    sides = Sides(options.bench, options.rounds, options.alone, rows)
    print("| shape | task | rlar tok/s | transformers tok/s | ratio | rlar MB | transformers MB | of the bound |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as scratch:
        for shape, (n, t) in SHAPES.items():
            if shape not in only:
                continue
            folder = Path(scratch) / shape
            source = [options.model] if shape == "smollm2" else []
            subprocess.run([options.bench, "save", shape, folder, *source], check=True)
            language_model(sides, shape, folder, n, t)
            if shape == "smollm2":
                smollm2(sides, folder, n, t, options.model, Path(scratch))
        if "reward" in only:
            for name in ("deberta-v3-base", "gpt2", "qwen3-0.6b"):
                folder = Path(scratch) / name
                subprocess.run([sys.executable, __file__, "--make", name, folder], check=True, capture_output=True)
                sides.row([name, "reward model"], ["reward", folder, 16, 128], ["reward", folder, 16, 128], 0)
        if "quantised" in only:
            quantised(sides, options.quantised)
        if "lora" in only:
            lora(sides, options.small, Path(scratch))
    rows.write(options.json)


def copy_dequantised(source, target):
    """Writes the tensors of a GGUF file as f32 into another."""
    import gguf
    import numpy as np

    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target, architecture)
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", "general.file_type"):
            continue
        kind, inner = field.types[0], field.types[-1] if len(field.types) > 1 else None
        writer.add_key_value(key, field.contents(), kind, inner)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, values.reshape(list(reversed(tensor.shape.tolist()))))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make(name, folder):
    """Writes a reward model of a known shape with random weights."""
    from tokenizers import Tokenizer, models
    from transformers import AutoModelForSequenceClassification, DebertaV2Config, GPT2Config, PreTrainedTokenizerFast, Qwen3Config

    config = {
        "deberta-v3-base": lambda: DebertaV2Config(
            vocab_size=4096, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
            relative_attention=True, position_buckets=256, norm_rel_ebd="layer_norm", share_att_key=True,
            pos_att_type=["p2c", "c2p"], position_biased_input=False, type_vocab_size=0, max_relative_positions=-1, num_labels=1),
        "gpt2": lambda: GPT2Config(vocab_size=4096, num_labels=1, pad_token_id=0, bos_token_id=1, eos_token_id=1),
        "qwen3-0.6b": lambda: Qwen3Config(
            vocab_size=4096, hidden_size=1024, num_hidden_layers=8, num_attention_heads=16, num_key_value_heads=8,
            head_dim=128, intermediate_size=3072, num_labels=1, pad_token_id=0),
    }[name]()
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(512)}, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w0").save_pretrained(folder)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        task, folder, n, t = sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
        by_llama = task.removesuffix("-by-llama")
        torch_side(task, folder, n, t) if task == by_llama else llama_side(folder, n, t, by_llama)
    elif sys.argv[1:2] == ["--make"]:
        make(sys.argv[2], sys.argv[3])
    else:
        main()
