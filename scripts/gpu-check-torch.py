#!/usr/bin/env python3
"""A GRPO step in PyTorch, as `scripts/gpu-check.sh` compares it with rlar's: sampling over a key-value cache, then loss,
backward pass and AdamW.

    scripts/gpu-check-torch.py --shape qwen3-0.6b --device cuda:0 [--prompts 16] [--group 8] [--new 256] [--steps 3]

Needs torch alone. The model is Qwen3's, with random weights, written out below. Weights, gradients and the optimizer are in
f32; products are in bf16 by autocast on a GPU, and sampling uses a copy of the weights in bf16. Attention is
`scaled_dot_product_attention`. Sampled tokens stay on the device. Rewards are random numbers, so that scoring takes no time.

Prints a line of JSON per step: seconds of sampling, training and the whole step, and the peak of allocated memory in MB.
"""

import argparse
import json
import time

import torch
import torch.nn.functional as F
from bench_model import SHAPES
from torch import nn


class Attention(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.heads, self.kv, self.head = shape["heads"], shape["kv"], shape["head"]
        hidden = shape["hidden"]
        self.q_proj = nn.Linear(hidden, self.heads * self.head, bias=False)
        self.k_proj = nn.Linear(hidden, self.kv * self.head, bias=False)
        self.v_proj = nn.Linear(hidden, self.kv * self.head, bias=False)
        self.o_proj = nn.Linear(self.heads * self.head, hidden, bias=False)
        self.q_norm, self.k_norm = nn.RMSNorm(self.head, eps=1e-6), nn.RMSNorm(self.head, eps=1e-6)

    def forward(self, x, rotation, cache, start):
        """x: [batch, time, hidden]; cache: keys and values [batch, kv heads, all tokens, head], or None; start: the position
        of the first token."""
        batch, time_, _ = x.shape
        split = lambda y, n: y.view(batch, time_, n, self.head)
        q = rotate(self.q_norm(split(self.q_proj(x), self.heads)).transpose(1, 2), rotation)
        k = rotate(self.k_norm(split(self.k_proj(x), self.kv)).transpose(1, 2), rotation)
        v = split(self.v_proj(x), self.kv).transpose(1, 2)
        q, k = q.to(v.dtype), k.to(v.dtype)
        if cache is not None:
            keys, values = cache
            keys[:, :, start:start + time_], values[:, :, start:start + time_] = k, v
            k, v = keys[:, :, :start + time_], values[:, :, :start + time_]
        out = F.scaled_dot_product_attention(q, k, v, is_causal=time_ > 1, enable_gqa=True)
        return self.o_proj(out.transpose(1, 2).reshape(batch, time_, -1))


def rotate(x, rotation):
    """Rotary position embedding of x [batch, heads, time, head]."""
    cos, sin = rotation
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Layer(nn.Module):
    def __init__(self, shape):
        super().__init__()
        hidden, inner = shape["hidden"], shape["inner"]
        self.input_layernorm, self.post_attention_layernorm = nn.RMSNorm(hidden, eps=1e-6), nn.RMSNorm(hidden, eps=1e-6)
        self.self_attn = Attention(shape)
        self.gate_proj = nn.Linear(hidden, inner, bias=False)
        self.up_proj = nn.Linear(hidden, inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)

    def forward(self, x, rotation, cache, start):
        x = x + self.self_attn(self.input_layernorm(x), rotation, cache, start)
        y = self.post_attention_layernorm(x)
        return x + self.down_proj(F.silu(self.gate_proj(y)) * self.up_proj(y))


class Model(nn.Module):
    def __init__(self, shape, positions):
        super().__init__()
        self.embed_tokens = nn.Embedding(shape["vocab"], shape["hidden"])
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape["layers"]))
        self.norm = nn.RMSNorm(shape["hidden"], eps=1e-6)
        angles = torch.arange(positions)[:, None] / 1e6 ** (torch.arange(0, shape["head"], 2) / shape["head"])
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=0.02)

    def forward(self, ids, caches=None, start=0):
        """Hidden states [batch, time, hidden] of ids [batch, time]."""
        x = self.embed_tokens(ids)
        rotation = self.cos[start:start + ids.shape[1]], self.sin[start:start + ids.shape[1]]
        for i, layer in enumerate(self.layers):
            x = layer(x, rotation, caches[i] if caches else None, start)
        return self.norm(x)

    def logits(self, hidden):
        """The embedding is the output matrix as well."""
        return F.linear(hidden, self.embed_tokens.weight)


@torch.inference_mode()
def sample(model, shape, prompts, new):
    """Completions [batch, new] of prompts [batch, time], drawn at temperature 1."""
    batch, length = prompts.shape
    weight = model.embed_tokens.weight
    size = (batch, shape["kv"], length + new, shape["head"])
    caches = [[torch.empty(size, device=weight.device, dtype=weight.dtype) for _ in range(2)] for _ in model.layers]
    out, tokens, start = [], prompts, 0
    for _ in range(new):
        logits = model.logits(model(tokens, caches, start)[:, -1]).float()
        start += tokens.shape[1]
        # The Gumbel-max draw: one pass over the logits, without a host's round trip.
        tokens = (logits - torch.empty_like(logits).exponential_().log()).argmax(-1, keepdim=True)
        out.append(tokens)
    return torch.cat(out, 1)


def log_probs(model, prompts, completions):
    """Log-probs [batch, new] of completions after prompts."""
    ids = torch.cat((prompts, completions), 1)
    hidden = model(ids[:, :-1])[:, prompts.shape[1] - 1:]
    logits = model.logits(hidden).float()
    return -F.cross_entropy(logits.flatten(0, 1), completions.flatten(), reduction="none").view(completions.shape)


def update(model, optimizer, autocast, prompts, completions, advantages, micro_batch):
    """One optimizer step of GRPO on what was just sampled, a number of replies at a time."""
    optimizer.zero_grad(set_to_none=True)
    tokens = completions.numel()
    for at in range(0, len(prompts), micro_batch):
        part = slice(at, at + micro_batch)
        with autocast():
            new = log_probs(model, prompts[part], completions[part])
        ratio = (new - new.detach()).exp()
        advantage = advantages[part, None]
        loss = -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).sum() / tokens
        loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--shape", choices=SHAPES, default="qwen3-0.6b")
    options.add_argument("--device", default="cuda:0")
    options.add_argument("--prompts", type=int, default=16)
    options.add_argument("--group", type=int, default=8)
    options.add_argument("--length", type=int, default=32, help="tokens of a prompt")
    options.add_argument("--new", type=int, default=256, help="tokens of a reply")
    options.add_argument("--micro-batch", type=int, default=8, help="replies that are differentiated at a time")
    options.add_argument("--steps", type=int, default=3)
    options = options.parse_args()
    on_gpu, shape = options.device.startswith("cuda"), SHAPES[options.shape]
    torch.manual_seed(0)
    device = torch.device(options.device)
    with device:
        model = Model(shape, options.length + options.new)
        sampler = Model(shape, options.length + options.new)
    sampler.to(torch.bfloat16 if on_gpu else torch.float32)
    for buffer in ("cos", "sin"):
        setattr(sampler, buffer, getattr(model, buffer))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.99), weight_decay=0.0, fused=on_gpu)
    autocast = lambda: torch.autocast(device.type, torch.bfloat16, enabled=on_gpu)
    synchronize = torch.cuda.synchronize if on_gpu else lambda: None
    prompts = torch.randint(1, shape["vocab"], (options.prompts, options.length), device=device)
    prompts = prompts.repeat_interleave(options.group, 0)
    if on_gpu:
        print(json.dumps(dict(bf16_tflops=product_rate(device), gpu=torch.cuda.get_device_name(device))), flush=True)
    for step in range(options.steps):
        start = time.perf_counter()
        for mine, other in zip(sampler.parameters(), model.parameters()):
            mine.data.copy_(other.data)
        completions = sample(sampler, shape, prompts, options.new).clone()
        synchronize()
        sampled = time.perf_counter()
        rewards = torch.rand(options.prompts, options.group, device=device)
        advantages = ((rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)).flatten()
        update(model, optimizer, autocast, prompts, completions, advantages, options.micro_batch)
        synchronize()
        end = time.perf_counter()
        peak = torch.cuda.max_memory_allocated(device) >> 20 if on_gpu else 0
        print(json.dumps(dict(step=step + 1, sampling=sampled - start, training=end - sampled, total=end - start,
                              peak_mb=peak)), flush=True)


def product_rate(device):
    """TFLOP/s of a large bf16 product: what the machine reaches where nothing else takes time."""
    n = 8192
    a = torch.randn(n, n, device=device, dtype=torch.bfloat16)
    for _ in range(3):
        a @ a
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(20):
        a @ a
    torch.cuda.synchronize()
    return 20 * 2 * n**3 / (time.perf_counter() - start) / 1e12


if __name__ == "__main__":
    main()
