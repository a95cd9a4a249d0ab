#!/usr/bin/env python3
"""Writes tiny random models of every architecture, with what `transformers` computes on them.

    pip install torch transformers peft safetensors
    scripts/oracles/make_model_fixtures.py crates/policy/tests/fixtures/models

Each folder holds `config.json` and weights as `save_pretrained` writes them, and `expected.safetensors`:

- `ids.I`        token ids of sequence I
- `logits.I`     `[time, vocab]`, computed on the sequence alone, in float32 (causal models)
- `log_probs.I`  of tokens 1.. given those before
- `greedy.I`     the 8 tokens that greedy decoding adds
- `scores`       `[sequences, labels]` of a right-padded batch (classifiers)
- `pair_scores`  of the question-answer pairs in `PAIRS`, as tokenizer and template join them (classifiers)
- `grad.NAME`    gradient of the loss: minus the mean of all `log_probs`, or the mean over sequences of
                 `sum_j scores[j] * (1 + j) / 2`

The script also checks that left padding gives the same numbers, so that one record serves for both.
"""

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, CONFIG_MAPPING
from transformers import PreTrainedTokenizerFast

VOCAB, PAD = 40, 39
LENGTHS = [2, 7, 18]
DECODER = dict(vocab_size=VOCAB, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
               num_key_value_heads=2, max_position_embeddings=48, pad_token_id=PAD, bos_token_id=0, eos_token_id=1)
ENCODER = dict(vocab_size=VOCAB, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
               max_position_embeddings=32, pad_token_id=PAD)


PAIRS = [("w2 w5 w7", "w9 w3"), ("w30", "w4 w4 w4 w4 w11 w12 w13"), ("w21 w22", "w23")]
CHAT = ("{% for m in messages %}w{{ 20 + loop.index }} {{ m.content }} {% endfor %}"
        "{% if add_generation_prompt %}w25 {% endif %}")


def rope(kind, theta=10000.0, **more):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=theta, **more))


def gemma(**more):
    return dict(DECODER, num_hidden_layers=3, head_dim=6, query_pre_attn_scalar=10, sliding_window=4,
                layer_types=["sliding_attention", "sliding_attention", "full_attention"],
                rope_parameters=dict(sliding_attention=dict(rope_type="default", rope_theta=500.0),
                                     full_attention=dict(rope_type="linear", factor=4.0, rope_theta=20000.0)), **more)


GPT2 = dict(vocab_size=VOCAB, n_embd=16, n_layer=2, n_head=4, n_positions=48, pad_token_id=PAD, bos_token_id=0,
            eos_token_id=1)
LLAMA3 = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
YARN = dict(factor=4.0, original_max_position_embeddings=12)

# name: (model_type, config, labels of a classifier or None, dtype on disk, shards)
MODELS = {
    "llama": ("llama", dict(DECODER, head_dim=6, tie_word_embeddings=False, **rope("default")), None, "float32", 1),
    "llama_mha_tied": ("llama", dict(DECODER, num_key_value_heads=4, tie_word_embeddings=True), None, "float16", 1),
    "llama_rope3": ("llama", dict(DECODER, num_key_value_heads=1, **rope("llama3", 500.0, **LLAMA3)), None, "bfloat16", 1),
    "llama_linear_biases": ("llama", dict(DECODER, attention_bias=True, mlp_bias=True, **rope("linear", factor=3.0)),
                            None, "float32", 3),
    "llama_yarn": ("llama", dict(DECODER, **rope("yarn", 1000.0, **YARN)), None, "float16", 1),
    "llama_dynamic": ("llama", dict(DECODER, **rope("dynamic", factor=2.0)), None, "bfloat16", 1),
    "qwen2": ("qwen2", dict(DECODER, tie_word_embeddings=True, **rope("default", 1e6)), None, "float32", 1),
    "qwen2_window": ("qwen2", dict(DECODER, use_sliding_window=True, sliding_window=5, max_window_layers=1), None,
                     "bfloat16", 1),
    "qwen3": ("qwen3", dict(DECODER, head_dim=8, tie_word_embeddings=True), None, "float32", 1),
    "mistral": ("mistral", dict(DECODER, head_dim=6, sliding_window=5), None, "bfloat16", 2),
    "gemma3": ("gemma3_text", gemma(), None, "float32", 1),
    "gpt2": ("gpt2", GPT2, None, "float32", 1),
    "qwen3_reward": ("qwen3", dict(DECODER, head_dim=8), 1, "bfloat16", 1),
    "llama_three_labels": ("llama", DECODER, 3, "bfloat16", 1),
    "mistral_reward": ("mistral", dict(DECODER, sliding_window=None), 1, "bfloat16", 1),
    "gemma3_reward": ("gemma3_text", gemma(), 1, "bfloat16", 1),
    "gpt2_reward": ("gpt2", GPT2, 1, "bfloat16", 1),
    "bert": ("bert", dict(ENCODER, type_vocab_size=2), 2, "float32", 1),
    "roberta_reward": ("roberta", dict(ENCODER, type_vocab_size=1, pad_token_id=1), 1, "float32", 1),
    "deberta_v3_reward": ("deberta-v2", dict(ENCODER, relative_attention=True, position_buckets=4, norm_rel_ebd="layer_norm",
                          share_att_key=True, pos_att_type=["p2c", "c2p"], position_biased_input=False, type_vocab_size=0,
                          max_relative_positions=-1, pooler_hidden_size=16, layer_norm_eps=1e-7), 1, "float32", 1),
    "deberta_v2": ("deberta-v2", dict(ENCODER, relative_attention=True, position_buckets=-1, share_att_key=False,
                   pos_att_type=["c2p", "p2c"], position_biased_input=True, type_vocab_size=2, conv_kernel_size=3,
                   conv_act="gelu", norm_rel_ebd="none", max_relative_positions=16, pooler_hidden_size=16), 2, "bfloat16", 1),
}


def randomise(model):
    """Draws weights that are large enough for every part of the computation to change the outputs."""
    for name, p in model.named_parameters():
        with torch.no_grad():
            if p.dim() == 1:
                norm = "norm" in name.lower() or "ln_" in name
                centre = 1.0 if norm and name.endswith("weight") and "gemma" not in type(model).__name__.lower() else 0.0
                p.copy_(centre + 0.3 * torch.randn_like(p))
            else:
                fan = p.shape[0] if "gpt2" in type(model).__name__.lower() and "h." in name else p.shape[-1]
                p.normal_(std=0.7 if "embed" in name or "wte" in name or "wpe" in name else fan**-0.5)


def batch(sequences, pad, side):
    longest = max(map(len, sequences))
    ids = torch.full((len(sequences), longest), pad)
    mask = torch.zeros_like(ids)
    for i, s in enumerate(sequences):
        at = slice(longest - len(s), longest) if side == "left" else slice(0, len(s))
        ids[i, at], mask[i, at] = torch.tensor(s), 1
    return ids, mask, (mask.cumsum(1) - 1).clamp(min=0)


def close(a, b, what):
    worst = (a - b).abs().max().item()
    assert worst < 2e-5, f"{what}: {worst}"


def causal(model, sequences, out, types):
    logits, total, count = [], 0.0, 0
    for i, s in enumerate(sequences):
        ids = torch.tensor([s])
        z = model(ids).logits[0]
        log_probs = torch.log_softmax(z[:-1], -1).gather(1, ids[0, 1:, None])[:, 0]
        total, count = total - log_probs.sum(), count + len(s) - 1
        logits.append(z.detach())
        out[f"logits.{i}"], out[f"log_probs.{i}"] = z.detach(), log_probs.detach()
        with torch.no_grad():
            longer = list(s)
            for _ in range(8):
                longer.append(model(torch.tensor([longer])).logits[0, -1].argmax().item())
        out[f"greedy.{i}"] = torch.tensor(longer[len(s):], dtype=torch.int32)
    (total / count).backward()
    with torch.no_grad():
        for side in ("left", "right"):
            ids, mask, positions = batch(sequences, PAD, side)
            z = model(ids, attention_mask=mask, position_ids=positions).logits
            for i, want in enumerate(logits):
                close(z[i][mask[i] == 1], want, f"{side} padding")


def classifier(model, sequences, out, decoder):
    pad = model.config.pad_token_id
    ids, mask, positions = batch(sequences, pad, "right")
    scores = model(ids, attention_mask=mask).logits
    weights = (1.0 + torch.arange(scores.shape[1])) / 2
    (scores * weights).sum(1).mean().backward()
    out["scores"] = scores.detach()
    with torch.no_grad():
        for i, s in enumerate(sequences):
            close(model(torch.tensor([s])).logits[0], scores[i], "alone")
        if decoder:
            ids, mask, positions = batch(sequences, pad, "left")
            close(model(ids, attention_mask=mask, position_ids=positions).logits, scores, "left padding")


def tokenizer_of(at, pad, chat, segments):
    """Words `w0` to `w39`; encoders join pairs with special tokens, decoders have a chat template."""
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCAB)}, unk_token="w38"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if not chat:
        words.post_processor = processors.TemplateProcessing(
            single="w35 $A w36", pair="w35 $A w36 $B:1 w36:1", special_tokens=[("w35", 35), ("w36", 36)])
    names = ["input_ids", "token_type_ids", "attention_mask"] if segments else ["input_ids", "attention_mask"]
    fast = PreTrainedTokenizerFast(tokenizer_object=words, pad_token=f"w{pad}", eos_token="w1", model_input_names=names)
    if chat:
        fast.chat_template = CHAT
    fast.save_pretrained(at)
    return fast


def pair_scores(model, tokenizer, chat):
    scores = []
    for question, answer in PAIRS:
        if chat:
            turns = [dict(role="user", content=question), dict(role="assistant", content=answer)]
            inputs = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)
        else:
            inputs = tokenizer(question, answer, return_tensors="pt")
        with torch.no_grad():
            scores.append(model(**inputs).logits[0])
    return torch.stack(scores)


def sequences_of(seed, low=2):
    g = torch.Generator().manual_seed(seed)
    return [torch.randint(low, PAD, (n,), generator=g).tolist() for n in LENGTHS]


def make(folder, name):
    kind, settings, labels, dtype, shards = MODELS[name]
    torch.manual_seed(sum(map(ord, name)))
    extra = dict(num_labels=labels) if labels else {}
    config = CONFIG_MAPPING[kind](**settings, **extra)
    config._attn_implementation = "eager"
    factory = AutoModelForSequenceClassification if labels else AutoModelForCausalLM
    model = factory.from_config(config).float().eval()
    randomise(model)
    # The numbers are those of the weights as stored, computed in float32.
    at = folder / name
    at.mkdir(parents=True, exist_ok=True)
    size = {} if shards == 1 else dict(max_shard_size=f"{14 // shards}KB")
    model.to(getattr(torch, dtype)).save_pretrained(at, **size)
    (at / "generation_config.json").unlink(missing_ok=True)
    model = factory.from_pretrained(at, dtype=torch.float32, attn_implementation="eager").eval()
    decoder = kind not in ("bert", "roberta", "deberta-v2")
    sequences, out = sequences_of(sum(map(ord, name))), {}
    for i, s in enumerate(sequences):
        out[f"ids.{i}"] = torch.tensor(s, dtype=torch.int32)
    # As the tokenizers of BERT and DeBERTa do; RoBERTa has no segments.
    tokenizer = tokenizer_of(at, model.config.pad_token_id, decoder, kind in ("bert", "deberta-v2"))
    if labels:
        classifier(model, sequences, out, decoder)
        out["pair_scores"] = pair_scores(model, tokenizer, decoder)
    else:
        causal(model, sequences, out, kind)
    for parameter, p in model.named_parameters():
        if p.grad is not None:
            out[f"grad.{parameter}"] = p.grad.clone()
    save_file({k: v.contiguous() for k, v in out.items()}, at / "expected.safetensors")


def adapter(folder):
    """A LoRA adapter as PEFT writes it, over the model `llama`."""
    from peft import LoraConfig, get_peft_model

    base = AutoModelForCausalLM.from_pretrained(folder / "llama", attn_implementation="eager").eval()
    torch.manual_seed(5)
    lora = LoraConfig(r=3, lora_alpha=7, target_modules=["q_proj", "v_proj", "down_proj"], lora_dropout=0.1,
                      task_type="CAUSAL_LM")
    model = get_peft_model(base, lora).eval()
    for name, p in model.named_parameters():
        if "lora_" in name:
            with torch.no_grad():
                p.normal_(std=0.4)
    sequences, out = sequences_of(5), {}
    total, count = 0.0, 0
    for i, s in enumerate(sequences):
        ids = torch.tensor([s])
        z = model(ids).logits[0]
        log_probs = torch.log_softmax(z[:-1], -1).gather(1, ids[0, 1:, None])[:, 0]
        total, count = total - log_probs.sum(), count + len(s) - 1
        out[f"ids.{i}"], out[f"logits.{i}"] = torch.tensor(s, dtype=torch.int32), z.detach()
    (total / count).backward()
    for name, p in model.named_parameters():
        if p.grad is not None:
            out["grad." + name.removeprefix("base_model.model.").replace(".default", "")] = p.grad.clone()
    at = folder / "llama_adapter"
    model.save_pretrained(at)
    (at / "README.md").unlink(missing_ok=True)
    text = json.loads((at / "adapter_config.json").read_text())
    text["base_model_name_or_path"] = "../llama"
    (at / "adapter_config.json").write_text(json.dumps(text, indent=2, sort_keys=True) + "\n")
    save_file({k: v.contiguous() for k, v in out.items()}, at / "expected.safetensors")


def main():
    folder = Path(sys.argv[1])
    chosen = sys.argv[2:] or [*MODELS, "adapter"]
    for name in chosen:
        adapter(folder) if name == "adapter" else make(folder, name)
        print(name)


if __name__ == "__main__":
    main()
