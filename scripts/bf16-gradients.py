#!/usr/bin/env python3
"""How close gradients in bfloat16 are to those in f32: rlar's `precision: bf16` beside PyTorch's autocast.

    pip install torch transformers
    cargo build --release --examples && cargo build --release
    scripts/fetch-smollm2.sh
    scripts/bf16-gradients.py [--model models/SmolLM2-135M-Instruct.Q4_1.gguf] [--batches 4]

The model is a GGUF file whose matrices are taken as they are dequantised, or a Hugging Face folder. The text is the project's
documentation, in batches of four sequences of 128 tokens; the loss is the mean negative log-prob. The gradient of all weights is
compared with that of `transformers` in f32 on the CPU. Columns: the relative difference in the Euclidean norm of all weights
together, then the median and the largest of single tensors, and the cosine of all weights; each a median of the batches.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from doc_text import token_sequences
from learning_runs import table

ROOT = Path(__file__).resolve().parent.parent
SEQUENCES, LENGTH, THREADS = 4, 128, 2


def of_torch(model, batch, autocast):
    """The gradient of every tensor, in the order of names; by autocast to bfloat16 or in f32."""
    import torch

    model.zero_grad(set_to_none=True)
    ids = torch.tensor(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        logits = model(ids).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    return [parameter.grad.flatten().clone() for _, parameter in sorted(model.named_parameters())]


def of_rlar(example, model, batch, shapes, precision, scratch):
    import torch

    (scratch / "tokens").write_text("".join(" ".join(map(str, ids)) + "\n" for ids in batch))
    subprocess.run([example, model, scratch / "tokens", scratch / "out", precision], check=True)
    values = torch.frombuffer(bytearray((scratch / "out").read_bytes()), dtype=torch.float32)
    if len(values) != sum(shapes):
        sys.exit(f"rlar gives {len(values)} elements of gradients, transformers {sum(shapes)}")
    return list(values.split(shapes))


def compared(found, expected):
    """Relative difference of all, median and largest of single tensors, and cosine."""
    import torch

    relative = [float((a - b).norm() / b.norm()) for a, b in zip(found, expected)]
    a, b = torch.cat(found).double(), torch.cat(expected).double()
    return float((a - b).norm() / b.norm()), statistics.median(relative), max(relative), float(a @ b / (a.norm() * b.norm()))


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=Path, default=ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf")
    options.add_argument("--rlar", type=Path, default=ROOT / "target/release/rlar")
    options.add_argument("--gradients", type=Path, default=ROOT / "target/release/examples/gradients", help="the example")
    options.add_argument("--batches", type=int, default=4)
    options = options.parse_args()
    needed = {options.model: "scripts/fetch-smollm2.sh fetches one", options.gradients: "cargo build --release --examples",
              options.rlar: "cargo build --release"}
    for path, how in needed.items():
        if not path.exists():
            sys.exit(f"{path} is missing: {how}")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        folder = options.model if options.model.is_dir() else scratch / "model"
        if folder != options.model:
            convert = [options.rlar, "convert", "--model", options.model, "--output", folder]
            subprocess.run(convert, check=True, stdout=subprocess.DEVNULL)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train()
        shapes = [parameter.numel() for _, parameter in sorted(model.named_parameters())]
        parts = token_sequences(AutoTokenizer.from_pretrained(folder), options.batches * SEQUENCES * LENGTH, LENGTH)
        found = {}
        for start in range(0, len(parts), SEQUENCES):
            batch = parts[start:start + SEQUENCES]
            expected = of_torch(model, batch, False)
            for name, gradients in (
                ("PyTorch, autocast to bfloat16", lambda: of_torch(model, batch, True)),
                ("rlar, `precision: bf16`", lambda: of_rlar(options.gradients, folder, batch, shapes, "bf16", scratch)),
                ("rlar, f32", lambda: of_rlar(options.gradients, folder, batch, shapes, "f32", scratch)),
            ):
                found.setdefault(name, []).append(compared(gradients(), expected))
    rows = [[name, *(f"{statistics.median(column):.2e}" for column in list(zip(*values))[:3]),
             f"{statistics.median(v[3] for v in values):.6f}"] for name, values in found.items()]
    table([f"{options.model.name}, {options.batches} batches", "all weights", "median tensor", "largest", "cosine"], rows)


if __name__ == "__main__":
    main()
