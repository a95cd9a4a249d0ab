#!/usr/bin/env python3
"""How close a model in quantised blocks is to `transformers` on the dequantised weights, beside llama.cpp.

    pip install torch transformers accelerate gguf xllamacpp
    cargo build --release --example logits
    scripts/quantised-accuracy.py [--model models/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf] [--tokens 2000]

The text is the project's documentation, in sequences of 500 tokens. The table has, against the logits of `transformers` in f32:

- `rlar, exact`: products with f32 activations, as for log-probs and gradients;
- `rlar, rounded`: activations in 8 bits, one token after the other, as in sampling;
- `llama.cpp`: its server's 100 most likely tokens after every token, the rest counted as one.

Columns: the largest absolute difference of a logit; the mean of the KL divergence per token in nats, over all tokens, and over
llama.cpp's 100 tokens and the rest; the share of positions where the most likely token is the same.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from doc_text import token_sequences

ROOT = Path(__file__).resolve().parent.parent
LENGTH = 500  # tokens of a sequence
TOP = 100
THREADS = 2


def reference(model, ids):
    """Logits of `transformers`, [tokens, vocab]."""
    import torch

    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0]


def of_llama(path, parts):
    """For each sequence and token: the log-probs of the tokens that may follow, by id."""
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = str(path)
    settings.n_parallel, settings.n_ctx = 1, LENGTH + 64
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = THREADS
    settings.warmup = False
    server = xllamacpp.Server(settings)
    order = dict(n_predict=1, n_probs=TOP, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, cache_prompt=True, post_sampling_probs=False)
    found = []
    for ids in parts:
        rows = []
        for end in range(1, len(ids) + 1):
            reply = server.handle_completions(dict(order, prompt=ids[:end]))
            reply = json.loads(reply) if isinstance(reply, (str, bytes)) else reply
            choice = reply["choices"][0] if "choices" in reply else reply
            probabilities = choice.get("completion_probabilities") or choice["logprobs"]["content"]
            rows.append({token["id"]: token["logprob"] for token in probabilities[0]["top_logprobs"]})
        found.append(rows)
    return found


def kl(p, q):
    """KL divergence of log-probs [tokens, n] from others, in nats per token."""
    return (p.exp() * (p - q)).sum(-1)


def coarse(log_probs, ids):
    """Log-probs of the tokens `ids` and of all others together."""
    import torch

    chosen = log_probs[ids]
    rest = torch.log1p(-chosen.exp().sum().clamp(max=1 - 1e-7))
    return torch.cat([chosen, rest[None]])


class Row:
    def __init__(self, name):
        self.name, self.largest, self.kl, self.coarse, self.same = name, 0.0, [], [], []

    def cells(self):
        mean = lambda values: f"{sum(values) / len(values):.2e}" if values else ""
        return [self.name, f"{self.largest:.1e}" if self.largest else "", mean(self.kl), mean(self.coarse),
                f"{100 * sum(self.same) / len(self.same):.1f} %"]


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=Path, default=ROOT / "models/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf")
    options.add_argument("--logits", type=Path, default=ROOT / "target/release/examples/logits", help="the example `logits`")
    options.add_argument("--tokens", type=int, default=2000)
    options.add_argument("--skip-llama", action="store_true")
    options = options.parse_args()
    for path, how in [(options.model, "scripts/fetch-qwen-coder.sh fetches one"),
                      (options.logits, "`cargo build --release --example logits` builds it")]:
        if not path.is_file():
            sys.exit(f"{path} is missing; {how}")
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(THREADS)
    file = dict(gguf_file=options.model.name)
    parts = token_sequences(AutoTokenizer.from_pretrained(options.model.parent, **file), options.tokens, LENGTH)
    llama = None if options.skip_llama else of_llama(options.model, parts)
    rows = {form: Row(f"rlar, {form}") for form in ("exact", "rounded")}
    rows["llama"] = Row("llama.cpp")
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        (scratch / "tokens").write_text("".join(" ".join(map(str, ids)) + "\n" for ids in parts))
        outs = {form: scratch / form for form in ("exact", "rounded")}
        for form, out in outs.items():
            subprocess.run([options.logits, options.model, scratch / "tokens", out, form], check=True)
        model = AutoModelForCausalLM.from_pretrained(options.model.parent, **file, dtype=torch.float32).eval()
        maps = None
        start = 0
        for part, ids in enumerate(parts):
            expected = reference(model, ids)
            vocab = expected.shape[1]
            if maps is None:
                maps = {form: np.memmap(out, np.float32, "r").reshape(-1, vocab) for form, out in outs.items()}
            p = torch.log_softmax(expected.double(), -1)
            best = expected.argmax(-1)
            for form, logits in maps.items():
                got = torch.from_numpy(np.array(logits[start:start + len(ids)]))
                row, q = rows[form], torch.log_softmax(got.double(), -1)
                row.largest = max(row.largest, float((got - expected).abs().max()))
                row.kl += kl(p, q).tolist()
                row.same += (got.argmax(-1) == best).tolist()
                if llama:
                    tops = [torch.tensor(sorted(row)) for row in llama[part]]
                    row.coarse += [float(kl(coarse(p[i], top), coarse(q[i], top))) for i, top in enumerate(tops)]
            if llama:
                row = rows["llama"]
                for i, found in enumerate(llama[part]):
                    top = sorted(found)
                    q = torch.tensor([found[token] for token in top], dtype=torch.double)
                    rest = torch.log1p(-q.exp().sum().clamp(max=1 - 1e-7))
                    row.coarse.append(float(kl(coarse(p[i], torch.tensor(top)), torch.cat([q, rest[None]]))))
                    row.same.append(max(found, key=found.get) == int(best[i]))
            start += len(ids)
    print(f"{options.model.name}, {start} tokens, logits of `transformers` up to {float(expected.abs().max()):.0f}\n")
    head = ["against transformers, f32", "largest difference of a logit", "KL", f"KL over {TOP} tokens and the rest", "same token"]
    for cells in (head, ["---"] * len(head), *(row.cells() for row in rows.values() if row.same)):
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
