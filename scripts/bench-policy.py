#!/usr/bin/env python3
"""Speed of the policy crate beside `transformers`, `llama.cpp` and the machine's own matrix product, in one run.

    pip install torch transformers xllamacpp gguf
    cargo build --release --example bench
    scripts/bench-policy.py [--model SmolLM2-135M-Instruct.Q4_1.gguf] [--only s,m10,smollm2] [--rounds 3]

Each task runs in a process of its own, both sides in turn, with the same weights and two threads. A process gives the
median of its repetitions, the table the median over rounds. `bound` is the share of the machine's measured f32 product
that the task's floating-point operations take.
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

THREADS = 2
BENCH = Path(__file__).parent.parent / "target/release/examples/bench"
# shape: sequences and tokens of the differentiated tasks
SHAPES = {"s": (64, 64), "m10": (32, 128), "smollm2": (4, 256)}


def measure(tokens, run):
    """The median of at least three repetitions, after one that does not count."""
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


def llama_side(path, n, t):
    """`n` completions at a time through llama.cpp's server, in this process, without HTTP."""
    import threading

    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = str(path)
    settings.n_parallel, settings.n_ctx, settings.n_predict = n, n * (t + 64), t
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = THREADS
    settings.warmup = False
    server = xllamacpp.Server(settings)
    order = dict(n_predict=t, ignore_eos=True, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, cache_prompt=False)

    def run():
        counts = []

        def one(i):
            prompt = [(i * 7919 + j * 104729 + 13) % 400 for j in range(16)]
            reply = server.handle_completions(dict(order, prompt=prompt, seed=i))
            reply = json.loads(reply) if isinstance(reply, (str, bytes)) else reply
            counts.append(reply["usage"]["completion_tokens"] if "usage" in reply else reply["tokens_predicted"])
        threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert counts == [t] * n, counts
    measure(n * t, run)
    os._exit(0)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--model", type=Path, default=Path("models/SmolLM2-135M-Instruct.Q4_1.gguf"))
    options.add_argument("--only", default="s,m10,smollm2,reward")
    options.add_argument("--rounds", type=int, default=3)
    options = options.parse_args()
    only = options.only.split(",")
    if not BENCH.exists():
        sys.exit(f"{BENCH} does not exist; `cargo build --release -p rlar-policy --example bench` builds it")
    if "smollm2" in only and not options.model.exists():
        sys.exit(f"{options.model} does not exist; `scripts/fetch-smollm2.sh` fetches it")
    environment = dict(os.environ, RAYON_NUM_THREADS=str(THREADS), OMP_NUM_THREADS=str(THREADS))

    def one(command):
        out = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
        if out.returncode != 0:
            sys.exit(f"{command}: {out.stderr[-2000:]}")
        return json.loads(out.stdout.strip().splitlines()[-1])

    def side_by_side(sides):
        """Rounds in turn; the median of each side's seconds and the largest of its peaks."""
        runs = {name: [] for name in sides}
        for _ in range(options.rounds):
            for name, command in sides.items():
                runs[name].append(one(command))
        return {name: dict(seconds=statistics.median(r["seconds"] for r in rs), tokens=rs[0]["tokens"],
                           peak=max(r["peak_mb"] for r in rs)) for name, rs in runs.items()}

    own = [sys.executable, __file__, "--side"]
    rates = {"rlar": one([BENCH, "matmul"])["gflops"], "torch": one([*own, "matmul", "-", 0, 0])["gflops"]}
    best = max(rates.values())
    print(f"f32 product 1024³: rlar {rates['rlar']:.0f}, torch {rates['torch']:.0f} GFLOP/s; {THREADS} threads\n")
    print("| shape | task | rlar tok/s | transformers tok/s | ratio | rlar MB | transformers MB | of the bound |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")

    def row(shape, task, result, flops=None):
        ours, theirs = result["rlar"], result["theirs"]
        rate = lambda r: r["tokens"] / r["seconds"]
        bound = f"{flops / 1e9 / best / ours['seconds']:.0%}" if flops else ""
        print(f"| {shape} | {task} | {rate(ours):.0f} | {rate(theirs):.0f} | {rate(ours) / rate(theirs):.2f} "
              f"| {ours['peak']} | {theirs['peak']} | {bound} |", flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        for shape, (n, t) in SHAPES.items():
            if shape not in only:
                continue
            folder = Path(scratch) / shape
            source = [options.model] if shape == "smollm2" else []
            subprocess.run([BENCH, "save", shape, folder, *source], check=True)
            config = json.loads((folder / "config.json").read_text())
            d, layers = config["hidden_size"], config["num_hidden_layers"]
            q = config["num_attention_heads"] * config.get("head_dim", d // config["num_attention_heads"])
            kv = q * config["num_key_value_heads"] // config["num_attention_heads"]
            matrices = layers * (2 * d * q + 2 * d * kv + 3 * d * config["intermediate_size"]) + d * config["vocab_size"]
            forward = n * (t - 1) * 2 * matrices + layers * n * 4 * (t - 1) ** 2 * q
            for task, size, flops in [("log-probs", (n, t), forward), ("train", (n, t), 3 * forward),
                                      ("generate", (16, 64), None)]:
                row(shape, task, side_by_side({
                    "rlar": [BENCH, task, folder, *size], "theirs": [*own, task, folder, *size]}), flops)
            if shape == "smollm2":
                row(shape, "generate, deterministic", side_by_side({
                    "rlar": [BENCH, "generate", folder, 16, 64, "deterministic"],
                    "theirs": [*own, "generate", folder, 16, 64]}))
                row(shape, "train, layers again", side_by_side({
                    "rlar": [BENCH, "train", folder, n, t, "layers"], "theirs": [*own, "train", folder, n, t]}), 3 * forward)
                alone = one([BENCH, "train", folder, 16, 256, "layers", "gradients"])
                print(f"\ngradient of 16 × 256 tokens, layers again, no optimizer: peak {alone['peak_mb']} MB\n")
                if importlib.util.find_spec("xllamacpp"):
                    llama(side_by_side, own, folder, options.model, Path(scratch))
        if "reward" in only:
            for name in ("deberta-v3-base", "gpt2", "qwen3-0.6b"):
                folder = Path(scratch) / name
                subprocess.run([sys.executable, __file__, "--make", name, folder], check=True, capture_output=True)
                row(name, "reward model", side_by_side({
                    "rlar": [BENCH, "reward", folder, 16, 128], "theirs": [*own, "reward", folder, 16, 128]}))


def llama(side_by_side, own, folder, quantised, scratch):
    """SmolLM2 at batch 8 beside llama.cpp, on the same tensors as an F32 GGUF and on the quantised file."""
    f32 = scratch / "smollm2-f32.gguf"
    copy_dequantised(quantised, f32)
    print("| llama.cpp on | rlar tok/s | llama.cpp tok/s | ratio | rlar MB | llama.cpp MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, path in [("F32", f32), ("Q4_1", quantised)]:
        result = side_by_side({"rlar": [BENCH, "generate", folder, 8, 64], "theirs": [*own, "llama", path, 8, 64]})
        ours, theirs = (r["tokens"] / r["seconds"] for r in (result["rlar"], result["theirs"]))
        print(f"| {name} | {ours:.0f} | {theirs:.0f} | {ours / theirs:.2f} | {result['rlar']['peak']} "
              f"| {result['theirs']['peak']} |", flush=True)
    print()


def copy_dequantised(source, target):
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
    """A reward model of a known shape with random weights."""
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
        llama_side(folder, n, t) if task == "llama" else torch_side(task, folder, n, t)
    elif sys.argv[1:2] == ["--make"]:
        make(sys.argv[2], sys.argv[3])
    else:
        main()
