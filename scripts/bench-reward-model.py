#!/usr/bin/env python3
"""Time per item of a reward model: `rlar score` beside the text-classification pipeline of `transformers`, in one run.

    pip install torch transformers
    cargo build --release
    scripts/bench-reward-model.py [--model FOLDER] [--items 256] [--batch 16] [--rounds 3] [--threads 2] [--plain-malloc]
    scripts/bench-reward-model.py --alone      rlar alone, without these packages, on a tiny model of words

Both sides have the same weights, the same texts and the same number of threads, on CPU in f32. They take turns, each time in
a new process. The table has medians over rounds. The script fails if any two scores differ by more than 1e-3.

Weights: a Llama-style classifier with 61 million random parameters and a tokenizer trained on generated texts, or `--model`, a
folder of a model with one output. Items: replies of 20 to 400 tokens to short prompts, with all lengths equally often,
shuffled.

Tokens: where the model has a chat template, rlar renders prompt and reply with it and adds no special tokens; the pipeline
is given the same text, rendered beforehand, and `add_special_tokens=False`. Without a template both get the pair of texts and
add special tokens. rlar's time includes the rendering, the pipeline's does not; both include tokenizing.

Batches: the pipeline's hold `--batch` items each, padded to the longest of them. rlar sorts by length, does not pad, and
takes `--batch-tokens` at a time: here the average number of tokens of `--batch` items, so that both sides have about the same
number of batches. The pipeline leaves the order to its caller and is timed twice: with the items in their given order, as a
plain call does, and with the items sorted by length beforehand, which leaves almost no padding. The first ratio is the gain of
a user who does not sort, the second that of a user who does.

The times exclude loading. The pipeline is timed around its call, after a batch that does not count. rlar prints no times, so
two processes are timed from outside: one scores a single short item, the other that item and all the rest. The difference is
the time of the rest. The table's `start` is the time of the first process; for the pipeline it is imports, loading and the
batch that does not count. Memory is the peak of the whole process.

The pipeline runs with a malloc that keeps freed memory, as rlar's does (`--plain-malloc` leaves malloc as it is). Use a
machine without other load: OpenMP threads wait for each other far longer where other processes use the cores. The share of
the cores that other processes took is printed.
"""

import argparse
import json
import math
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import bench_model
import bench_rows
from watched import watched

TOLERANCE = 1e-3
SHORTEST, LONGEST = 20, 400  # tokens of a reply
SHAPE = dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=16, num_attention_heads=9, num_key_value_heads=3)
VOCABULARY = 8192
SPECIALS = ["<pad>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}")
# Settings with which glibc keeps freed tensors instead of returning them to the system.
KEEPING = dict(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_=str(1 << 33))
ORDERS = ("as they come", "sorted by length")


def invented(draw):
    """3,000 words of one to four syllables, the common ones first, and their frequencies."""
    syllables = [c + v + e for c in "bdfgklmnprstvz" for v in "aeiou" for e in ("", "", "n", "r", "s")]
    words = list(dict.fromkeys("".join(draw.choices(syllables, k=1 + i // 800)) for i in range(3000)))
    return words, [1 / (i + 10) for i in range(len(words))]


def make_model(folder, texts):
    """Writes a model with random weights and a BPE of `texts`. The weights vary more than usual, so that attention is not close
    to an average and the scores differ."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIALS, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token=SPECIALS[0], eos_token=SPECIALS[2])
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        **SHAPE, vocab_size=VOCABULARY, max_position_embeddings=2048, num_labels=1, initializer_range=0.06,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=None, eos_token_id=tokenizer.eos_token_id)
    LlamaForSequenceClassification(config).save_pretrained(folder)


def make(given, folder, count):
    """Writes the model, unless one is given, and the items for both sides; prints the model's size and the items' lengths."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    draw = random.Random(0)
    words, often = invented(draw)
    say = lambda n: " ".join(draw.choices(words, often, k=n))
    if not given:
        make_model(folder / "model", [say(30) for _ in range(4000)] + words)
    source = given or folder / "model"
    tokenizer = AutoTokenizer.from_pretrained(source)
    size = {word: len(tokenizer(" " + word, add_special_tokens=False).input_ids) for word in words}

    def text(tokens):
        """A text of about this many tokens."""
        chosen, have = [], 0
        while have < tokens:
            chosen += draw.choices(words, often)
            have += size[chosen[-1]]
        return " ".join(chosen)

    lengths = [SHORTEST + round(i * (LONGEST - SHORTEST) / max(count - 1, 1)) for i in range(count)]
    draw.shuffle(lengths)
    # rlar scores the first item alone.
    rows = [dict(id=i, prompt=text(8 + i * 7 % 25), response=text(n)) for i, n in enumerate([SHORTEST, *lengths])]
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / "all.jsonl").write_text("".join(lines))
    (folder / "one.jsonl").write_text(lines[0])
    template = bool(tokenizer.chat_template)
    turns = lambda row: [dict(role="user", content=row["prompt"]), dict(role="assistant", content=row["response"])]
    inputs = [tokenizer.apply_chat_template(turns(row), tokenize=False) if template
              else dict(text=row["prompt"], text_pair=row["response"]) for row in rows[1:]]
    tokenize = lambda x: tokenizer(**(x if isinstance(x, dict) else dict(text=x)), add_special_tokens=not template)
    (folder / "inputs.json").write_text(json.dumps(dict(inputs=inputs, special=not template)))
    model = AutoModelForSequenceClassification.from_pretrained(source)
    assert model.config.num_labels == 1, f"the model has {model.config.num_labels} outputs; this script compares one"
    print(json.dumps(dict(
        name=type(model).__name__, parameters=model.num_parameters(), lengths=[len(tokenize(x).input_ids) for x in inputs])))


def make_alone(folder, count):
    """Writes a tiny model with random weights and the items; its size and the items' lengths. A token is a word."""
    shape = dict(bench_model.SHAPES["s"], is_classifier=True)
    bench_model.write_model(folder / "model", shape)
    draw = random.Random(0)
    lengths = [SHORTEST + round(i * (LONGEST - SHORTEST) / max(count - 1, 1)) for i in range(count)]
    draw.shuffle(lengths)
    say = lambda n: " ".join(bench_model.word(draw.randrange(1, shape["vocab"])) for _ in range(n))
    prompts = [8 + i * 7 % 25 for i in range(count + 1)]
    # rlar scores the first item alone.
    items = [dict(id=i, prompt=say(n), response=say(m)) for i, (n, m) in enumerate(zip(prompts, [SHORTEST, *lengths]))]
    lines = [json.dumps(item) + "\n" for item in items]
    (folder / "all.jsonl").write_text("".join(lines))
    (folder / "one.jsonl").write_text(lines[0])
    return dict(name=bench_model.config(shape)["architectures"][0], parameters=bench_model.parameters(shape),
                lengths=[n + m for n, m in zip(prompts[1:], lengths)])


def pipeline_side(model, folder, lengths, batch, threads):
    start = time.perf_counter()
    import torch
    from transformers import AutoTokenizer, pipeline
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    given = json.loads((folder / "inputs.json").read_text())
    inputs, lengths = given["inputs"], json.loads(lengths)
    classify = pipeline(
        "text-classification", model=str(model), tokenizer=AutoTokenizer.from_pretrained(model), device=torch.device("cpu"),
        dtype=torch.float32, batch_size=batch, function_to_apply="none", top_k=None,
        add_special_tokens=given["special"])
    classify(inputs[:batch])
    out = dict(start=time.perf_counter() - start)
    for name, order in orders(lengths).items():
        ordered = [inputs[i] for i in order]
        clock = time.perf_counter()
        results = classify(ordered)
        seconds = time.perf_counter() - clock
        scores = [0.0] * len(inputs)
        for i, labels in zip(order, results):
            (scores[i],) = (label["score"] for label in labels)
        out[name] = dict(seconds=seconds, scores=scores)
    print(json.dumps(out))


def orders(lengths):
    """The orders in which the pipeline gets the items, as lists of indices."""
    indices = range(len(lengths))
    return dict(zip(ORDERS, (list(indices), sorted(indices, key=lambda i: lengths[i]))))


def padding(lengths, order, batch):
    """The share of padding in the model's inputs under the pipeline."""
    batches = [[lengths[i] for i in order[at:at + batch]] for at in range(0, len(order), batch)]
    return 1 - sum(lengths) / sum(max(part) * len(part) for part in batches)


def main():
    root = Path(__file__).resolve().parent.parent
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rlar", type=Path, default=root / "target/release/rlar")
    options.add_argument("--model", type=Path, help="a Hugging Face folder; random weights when absent")
    options.add_argument("--items", type=int, default=256)
    options.add_argument("--batch", type=int, default=16)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--plain-malloc", action="store_true")
    options.add_argument("--alone", action="store_true", help="rlar alone, without transformers, on a tiny model")
    bench_rows.add_option(options)
    options, rows = options.parse_args(), bench_rows.Rows()
    if options.alone and options.model:
        sys.exit("--alone makes its own model; leave --model out")
    for path in filter(None, (options.rlar, options.model)):
        if not path.exists():
            sys.exit(f"{path} does not exist")
    threads = str(options.threads)
    environment = dict(os.environ, RAYON_NUM_THREADS=threads, OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads)
    pipeline_environment = dict(environment, **({} if options.plain_malloc else KEEPING))
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        model = options.model or scratch / "model"
        this_script = [sys.executable, __file__]
        if options.alone:
            model_info = make_alone(scratch, options.items)
        else:
            made = watched([*this_script, "--make", options.model or "-", scratch, options.items], environment)
            model_info = json.loads(made[0])
        lengths = model_info["lengths"]
        tokens = math.ceil(sum(lengths) / len(lengths) * options.batch)
        score = [options.rlar, "score", "--model", model, "--batch-tokens", tokens, "--data"]
        side = [*this_script, "--side", model, scratch, json.dumps(lengths), options.batch, threads]
        sides = ("rlar",) if options.alone else ("rlar", *ORDERS)
        runs, starts = {name: [] for name in sides}, {"rlar": [], "pipeline": []}
        peaks, others, furthest = {}, {}, 0.0

        def note(who, took):
            peaks[who] = max(peaks.get(who, 0), took["peak"])
            others[who] = max(others.get(who, 0), took["others"])

        for _ in range(options.rounds):
            _, one, _ = watched([*score, scratch / "one.jsonl"], environment)
            lines, took, _ = watched([*score, scratch / "all.jsonl"], environment)
            note("rlar", took)
            scored = [json.loads(line) for line in lines.splitlines()][1:]
            assert [row["id"] for row in scored] == list(range(1, len(lengths) + 1)), "rows in another order"
            scores = [row["score"] for row in scored]
            runs["rlar"].append(took["seconds"] - one["seconds"])
            starts["rlar"].append(one["seconds"])
            if options.alone:
                continue
            line, took, _ = watched(side, pipeline_environment)
            note("pipeline", took)
            pipeline = json.loads(line.splitlines()[-1])
            starts["pipeline"].append(pipeline["start"])
            for name in ORDERS:
                runs[name].append(pipeline[name]["seconds"])
                gaps = [abs(a - b) for a, b in zip(scores, pipeline[name]["scores"])]
                furthest = max(furthest, *(gap if math.isfinite(gap) else math.inf for gap in gaps))

    report(options, model_info, tokens, runs, starts, peaks, others)
    add_rows(rows, model_info, runs, starts, peaks, others)
    rows.write(options.json)
    if options.alone:
        return
    spread = statistics.pstdev(scores)
    print(f"\nScores from {min(scores):.3f} to {max(scores):.3f}, standard deviation {spread:.3f}; rlar's differ from the "
          f"pipeline's by at most {furthest:.1e}.")
    if furthest > TOLERANCE:
        sys.exit(f"the scores differ by more than {TOLERANCE}")
    if spread < 10 * TOLERANCE:
        sys.exit("the scores are too much alike for their agreement to show anything")


def report(options, model_info, tokens, runs, starts, peaks, others):
    lengths, rounds = model_info["lengths"], options.rounds
    print(f"{model_info['name']}, {model_info['parameters'] / 1e6:.1f} M parameters, f32, {options.threads} threads; "
          f"{len(lengths)} items of {min(lengths)} to {max(lengths)} tokens, {sum(lengths)} together\n"
          f"rlar: --batch-tokens {tokens}; pipeline: batch_size {options.batch}; {rounds} rounds in turn\n")
    print("| side | s | ms/item | tok/s | padding | rlar is faster by | in single rounds | start s | peak MB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    order = orders(lengths)
    for name, times in runs.items():
        who = "rlar" if name == "rlar" else "pipeline"
        seconds = statistics.median(times)
        cells = [f"{seconds:.2f}", f"{seconds / len(lengths) * 1e3:.1f}", f"{sum(lengths) / seconds:.0f}"]
        if who == "rlar":
            title, cells = "rlar score", [*cells, "0%", "", ""]
        else:
            ratios = [theirs / ours for theirs, ours in zip(times, runs["rlar"])]
            title, share = f"pipeline, items {name}", padding(lengths, order[name], options.batch)
            cells += [f"{share:.0%}", f"{seconds / statistics.median(runs['rlar']):.2f}",
                      f"{min(ratios):.2f} to {max(ratios):.2f}"]
        print(f"| {title} | {' | '.join(cells)} | {statistics.median(starts[who]):.1f} | {peaks[who]} |")
    taken = ", ".join(f"{share:.0%} beside {'rlar' if who == 'rlar' else 'the pipeline'}" for who, share in others.items())
    print(f"\nOther processes took up to this share of the cores: {taken}.")


def add_rows(rows, model_info, runs, starts, peaks, others):
    """The rows for scripts/bench.py."""
    table, count = "reward models", len(model_info["lengths"])
    title = f"{model_info['parameters'] / 1e6:.1f} M parameters, {count} items"
    ours = statistics.median(runs["rlar"]) / count * 1e3
    beside = lambda name: dict(name=f"pipeline, items {name}", value=statistics.median(runs[name]) / count * 1e3)
    for name in [name for name in runs if name != "rlar"] or [None]:
        rows.add(table, f"{title}, {name or 'alone'}", "time per item", "ms", ours, "lower", name and beside(name))
    pipeline = lambda value: dict(name="pipeline", value=value) if "pipeline" in peaks else None
    rows.add(table, title, "peak memory", "MB", peaks["rlar"], "lower", pipeline(peaks.get("pipeline")))
    start = starts["pipeline"] and statistics.median(starts["pipeline"])
    rows.add(table, title, "start", "s", statistics.median(starts["rlar"]), "lower", pipeline(start))
    rows.add(table, title, "cores that other processes took", "%", 100 * max(others.values()), "lower")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        make(None if sys.argv[2] == "-" else Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
    elif sys.argv[1:2] == ["--side"]:
        pipeline_side(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], int(sys.argv[5]), int(sys.argv[6]))
    else:
        main()
