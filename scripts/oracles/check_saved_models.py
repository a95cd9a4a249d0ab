#!/usr/bin/env python3
"""Loads models that rlar saved into `transformers` and `peft`, and compares what they compute.

    pip install torch transformers peft safetensors
    cargo build --release
    scripts/oracles/check_saved_models.py [RLAR]

1. `rlar convert` rewrites every tiny model of crates/policy/tests/fixtures, the merged adapter, and every GGUF file.
   `transformers` loads the result and must compute the recorded logits or scores.
2. A policy is trained, then adapted with LoRA for a few steps. `peft` loads the adapter and `transformers` the merged model,
   and both must compute the same logits.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from peft import PeftModel
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

ROOT = Path(__file__).parent.parent.parent
RLAR = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/rlar").resolve()
FIXTURES = ROOT / "crates/policy/tests/fixtures"


def rlar(*arguments, cwd=None):
    out = subprocess.run([RLAR, *map(str, arguments)], capture_output=True, text=True, cwd=cwd)
    if out.returncode != 0:
        sys.exit(f"rlar {arguments}: {out.stderr}")


def check(source, recorded, out):
    """Converts one model into the folder `out` and compares it with the outputs in the folder `recorded`."""
    rlar("convert", "--model", source, "--output", out)
    AutoTokenizer.from_pretrained(out)
    config = json.loads((out / "config.json").read_text())
    labels = config["architectures"][0].endswith("ForSequenceClassification")
    factory = AutoModelForSequenceClassification if labels else AutoModelForCausalLM
    model, report = factory.from_pretrained(out, dtype=torch.float32, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"], report
    model.eval()
    worst = 0.0
    with safe_open(recorded / "expected.safetensors", "pt") as expected, torch.no_grad():
        for i in range(3):
            ids = expected.get_tensor(f"ids.{i}")[None].long()
            want = expected.get_tensor("scores")[i] if labels else expected.get_tensor(f"logits.{i}")
            worst = max(worst, (model(ids).logits[0] - want).abs().max().item())
    print(f"{source.name:22} {config['architectures'][0]:40} worst difference {worst:.1e}")
    assert worst < 1e-4


def check_adapter(scratch):
    """Trains the smoke job, then an adapter on it, and compares the adapter in `peft` with the merged model."""
    rlar("train", "--config", "smoke.yaml", "--run", scratch / "base", cwd=scratch)
    text = (ROOT / "configs/smoke.yaml").read_text()
    start = text.index("model:")
    end = min(i for i in (text.find("\n" + k, start) for k in ("data:", "warmup:", "rewards:", "train:", "sampling:")) if i > 0)
    text = text[:start] + f"model:\n  path: {scratch}/base/final\n  lora: {{rank: 4, alpha: 8, dropout: 0.1}}" + text[end:]
    (scratch / "lora.yaml").write_text(text)
    rlar("train", "--config", scratch / "lora.yaml", "--run", scratch / "lora", cwd=scratch)
    merged = AutoModelForCausalLM.from_pretrained(scratch / "lora/final").eval()
    base = AutoModelForCausalLM.from_pretrained(scratch / "base/final").eval()
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        plain, want = base(ids).logits, merged(ids).logits
        model = PeftModel.from_pretrained(base, scratch / "lora/adapter").eval()
        off = (model(ids).logits - want).abs().max().item()
    print(f"LoRA after training: moved logits by {(want - plain).abs().max():.2f}; peft and the merged model differ by {off:.1e}")
    assert off < 1e-4 and (want - plain).abs().max() > 1e-2


with tempfile.TemporaryDirectory() as scratch:
    scratch = Path(scratch)
    for folder in sorted((FIXTURES / "models").iterdir()):
        check(folder, folder, scratch / folder.name)
    for file in sorted((FIXTURES / "gguf").glob("*.gguf")):
        if not file.name.startswith("tokenizer") and file.stem != "gemma3":
            check(file, FIXTURES / "models" / file.stem, scratch / file.name)
    check_adapter(scratch)
