#!/usr/bin/env python3
"""Writes GGUF files of the tiny models and of tokenizers, in the form of llama.cpp's converter.

    pip install gguf torch transformers safetensors sentencepiece
    scripts/oracles/make_gguf_models.py crates/policy/tests/fixtures

Models: `gguf/NAME.gguf` holds the weights of `models/NAME` under GGUF's names, with the changes that
convert_hf_to_gguf.py makes (rows of Llama's queries and keys interleaved, 1 added to Gemma's norms, GPT-2's matrices
turned); the numbers recorded beside `models/NAME` are those of the GGUF, too. `transformers` reads each file back and
must find the same logits.

Tokenizers: `gguf/tokenizer-KIND.gguf` without weights, and `gguf/tokenizers.json` with the token ids that the tool
which trained each vocabulary gives to some texts: `sentencepiece` itself, or `tokenizers` with the cuts that the
models' own tokenizer.json files name.
"""

import io
import json
import sys
from pathlib import Path

import gguf
import numpy as np
import sentencepiece
import torch
from safetensors import safe_open
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM

MODELS = {"llama": "llama", "llama_mha_tied": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma3": "gemma3",
          "gpt2": "gpt2"}
TEXTS = ["Hello world, it's 2024!", "  two  spaces and\ttabs\n\n\nlines", "naïve café — 12345 Ünïcödé 日本語 🎉", "",
         "we'll DON'T they've", "a", " leading", "x=1;y=22;z=333"]
CORPUS = ["Hello world it's a test of words and spaces", "we'll see they've been there don't", "numbers 1 22 333 2024",
          "naïve café über", "two  spaces", "lines and lines of text in the world of tests"] * 20


def interleaved(w, heads):
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def write_model(fixtures, name, arch):
    folder = fixtures / "models" / name
    c = json.loads((folder / "config.json").read_text())
    out = fixtures / "gguf" / f"{name}.gguf"
    w = gguf.GGUFWriter(out, arch)
    layers = c.get("num_hidden_layers") or c["n_layer"]
    heads = c.get("num_attention_heads") or c["n_head"]
    kv = c.get("num_key_value_heads", heads)
    width = c.get("hidden_size") or c["n_embd"]
    w.add_context_length(c.get("max_position_embeddings") or c["n_positions"])
    w.add_embedding_length(width)
    w.add_feed_forward_length(c.get("intermediate_size") or 4 * width)
    w.add_block_count(layers)
    w.add_head_count(heads)
    w.add_head_count_kv(kv)
    if arch == "gpt2":
        w.add_layer_norm_eps(c["layer_norm_epsilon"])
    else:
        w.add_layer_norm_rms_eps(c["rms_norm_eps"])
        dim = c.get("head_dim") or width // heads
        w.add_key_length(dim)
        w.add_value_length(dim)
        rope = c["rope_parameters"]
        rope = rope.get("full_attention", rope)
        w.add_rope_freq_base(rope["rope_theta"])
        if rope["rope_type"] == "linear":
            w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            w.add_rope_scaling_factor(rope["factor"])
    if arch == "gemma3":
        w.add_sliding_window(c["sliding_window"])
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list([*(f"w{i}" for i in range(38)), "w", "1"])
    w.add_token_types([gguf.TokenType.NORMAL] * 40)
    w.add_token_merges(["w 1"])
    w.add_eos_token_id(1)
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, arch.upper()), layers)
    for file in sorted(folder.glob("model*.safetensors")):
        with safe_open(file, "pt") as tensors:
            for key in tensors.keys():
                t = tensors.get_tensor(key).float().numpy()
                if arch == "llama" and "q_proj" in key:
                    t = interleaved(t, heads)
                if arch == "llama" and "k_proj" in key:
                    t = interleaved(t, kv)
                if arch == "gemma3" and "norm" in key:
                    t = t + 1
                if arch == "gpt2" and key.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
                    t = np.ascontiguousarray(t.T)
                w.add_tensor(names.get_name(key, try_suffixes=(".weight", ".bias")), t)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    if arch == "gemma3":
        return  # GGUF cannot say this tiny model's pattern of layers; the metadata's default is tested instead.
    with safe_open(folder / "expected.safetensors", "pt") as expected:
        ids, want = expected.get_tensor("ids.1")[None].long(), expected.get_tensor("logits.1")
    try:
        model = AutoModelForCausalLM.from_pretrained(out.parent, gguf_file=out.name, dtype=torch.float32)
    except Exception as error:
        print(f"{name}: transformers cannot read it back: {error}")
        return
    with torch.no_grad():
        print(name, "transformers reads it back, worst logit", (model(ids).logits[0] - want).abs().max().item())


def vocabulary(fixtures, kind, model, pre, tokens, types, *, scores=None, merges=None, **flags):
    w = gguf.GGUFWriter(fixtures / "gguf" / f"tokenizer-{kind}.gguf", "llama")
    w.add_tokenizer_model(model)
    w.add_tokenizer_pre(pre)
    w.add_token_list(tokens)
    w.add_token_types(types)
    if scores is not None:
        w.add_token_scores(scores)
    if merges is not None:
        w.add_token_merges(merges)
    for key, value in flags.items():
        getattr(w, f"add_{key}")(value)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def sentence_pieces(fixtures, kind, prefix):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=model, model_type="bpe", vocab_size=400, byte_fallback=True,
        add_dummy_prefix=prefix, remove_extra_whitespaces=False, normalization_rule_name="identity", bos_id=1, eos_id=2,
        unk_id=0, pad_id=-1, num_threads=1)
    sp = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    n = sp.vocab_size()
    types = [2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 1 for i in range(n)]
    vocabulary(fixtures, kind, "llama", "default", [sp.id_to_piece(i) for i in range(n)], types,
               scores=[sp.get_score(i) for i in range(n)], bos_token_id=1, eos_token_id=2, unk_token_id=0,
               add_bos_token=True, add_space_prefix=prefix)
    return [dict(text=t, ids=sp.encode(t), whole=[1] + sp.encode(t), back=sp.decode(sp.encode(t))) for t in TEXTS]


def bytes_pairs(fixtures, kind, pattern, normalizer=None, bos=False):
    t = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    t.pre_tokenizer = byte_level if pattern is None else pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    if normalizer:
        t.normalizer = normalizer
    specials = ["<|end|>", "<|begin|>"]
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=400, special_tokens=specials, show_progress=False,
                          initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    state = json.loads(t.to_str())["model"]
    tokens = [None] * len(state["vocab"])
    for token, i in state["vocab"].items():
        tokens[i] = token
    merges = [" ".join(m) if isinstance(m, list) else m for m in state["merges"]]
    vocabulary(fixtures, kind, "gpt2", kind, tokens, [3, 3] + [1] * (len(tokens) - 2), merges=merges, bos_token_id=1,
               eos_token_id=0, add_bos_token=bos)
    cases = []
    for text in [*TEXTS, "<|begin|>Hello<|end|>"]:
        ids = t.encode(text, add_special_tokens=False).ids
        cases.append(dict(text=text, ids=ids, whole=[1] * bos + ids, back=t.decode(ids)))
    return cases


def main():
    fixtures = Path(sys.argv[1])
    (fixtures / "gguf").mkdir(exist_ok=True)
    for name, arch in MODELS.items():
        write_model(fixtures, name, arch)
    contractions = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
    rest = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    cases = {
        "sentencepiece": sentence_pieces(fixtures, "sentencepiece", True),
        "sentencepiece-plain": sentence_pieces(fixtures, "sentencepiece-plain", False),
        "gpt-2": bytes_pairs(fixtures, "gpt-2", None),
        "llama-bpe": bytes_pairs(fixtures, "llama-bpe", contractions + r"\p{N}{1,3}" + rest, bos=True),
        "qwen2": bytes_pairs(fixtures, "qwen2", contractions + r"\p{N}" + rest, normalizers.NFC()),
    }
    (fixtures / "gguf" / "tokenizers.json").write_text(json.dumps(cases, ensure_ascii=False, indent=1) + "\n")


main()
