"""Models with random weights for benchmarks, prompts for them, and the floating-point operations of a GRPO step.

Needs nothing but Python: the weights are written as bf16 in the safetensors format, the tokenizer has one word per token.
"""

import json
import random
import struct
from pathlib import Path

SHAPES = {
    "s": dict(family="llama", layers=4, hidden=128, inner=384, heads=4, kv=2, head=32, vocab=512),
    "smollm2": dict(family="llama", layers=30, hidden=576, inner=1536, heads=9, kv=3, head=64, vocab=49152),
    "smoke": dict(family="llama", layers=2, hidden=64, inner=128, heads=4, kv=2, head=16, vocab=270),
    "qwen3-tiny": dict(family="qwen3", layers=2, hidden=64, inner=128, heads=4, kv=2, head=32, vocab=512),
    "qwen3-0.6b": dict(family="qwen3", layers=28, hidden=1024, inner=3072, heads=16, kv=8, head=128, vocab=151936),
}
PAD = "<pad>"
CLASSES = dict(llama="Llama", qwen3="Qwen3")
CHUNK = 1 << 24  # weights that are drawn at a time


def word(i):
    """The text of token `i`. Its first half is one of 16, so that replies of random tokens earn different scores."""
    return f"c{i % 16}_{i}" if i else PAD


def config(shape):
    """The `config.json` of a shape. It names no end token, so that nothing but its length ends a reply. With `is_classifier`, it
    is that of a reward model, which has one output."""
    is_classifier = shape.get("is_classifier", False)
    task = "ForSequenceClassification" if is_classifier else "ForCausalLM"
    return dict(
        **(dict(id2label={"0": "LABEL_0"}, label2id=dict(LABEL_0=0)) if is_classifier else {}),
        architectures=[CLASSES[shape["family"]] + task], model_type=shape["family"], torch_dtype="bfloat16",
        vocab_size=shape["vocab"], hidden_size=shape["hidden"], intermediate_size=shape["inner"],
        num_hidden_layers=shape["layers"], num_attention_heads=shape["heads"], num_key_value_heads=shape["kv"],
        head_dim=shape["head"], hidden_act="silu", max_position_embeddings=2048, tie_word_embeddings=True,
        rms_norm_eps=1e-6 if shape["family"] == "qwen3" else 1e-5,
        rope_theta=1e6 if shape["family"] == "qwen3" else 1e4,
        bos_token_id=None, eos_token_id=None, pad_token_id=0)


def tensors(shape):
    """Names and sizes of the weights in the file's order."""
    hidden, inner, head = shape["hidden"], shape["inner"], shape["head"]
    query, kv = shape["heads"] * head, shape["kv"] * head
    yield "model.embed_tokens.weight", (shape["vocab"], hidden)
    for i in range(shape["layers"]):
        layer = f"model.layers.{i}"
        yield f"{layer}.input_layernorm.weight", (hidden,)
        yield f"{layer}.self_attn.q_proj.weight", (query, hidden)
        yield f"{layer}.self_attn.k_proj.weight", (kv, hidden)
        yield f"{layer}.self_attn.v_proj.weight", (kv, hidden)
        yield f"{layer}.self_attn.o_proj.weight", (hidden, query)
        if shape["family"] == "qwen3":
            yield f"{layer}.self_attn.q_norm.weight", (head,)
            yield f"{layer}.self_attn.k_norm.weight", (head,)
        yield f"{layer}.post_attention_layernorm.weight", (hidden,)
        yield f"{layer}.mlp.gate_proj.weight", (inner, hidden)
        yield f"{layer}.mlp.up_proj.weight", (inner, hidden)
        yield f"{layer}.mlp.down_proj.weight", (hidden, inner)
    yield "model.norm.weight", (hidden,)
    if shape.get("is_classifier"):
        yield "score.weight", (1, hidden)


def doubled(shape, times):
    """A shape of `times` the width: wider layers and more heads of the same size."""
    wider = ("hidden", "inner", "heads", "kv")
    return {key: value * times if key in wider else value for key, value in shape.items()}


def parameters(shape):
    total = 0
    for _, size in tensors(shape):
        total += size[0] * (size[1] if len(size) > 1 else 1)
    return total


# The upper byte of a bf16 number between 2^-7 and 2^-5 in size, of either sign: together with a random lower byte, weights
# whose root mean square is 0.019.
UPPER_BYTE = bytes(0x3C if i % 2 else 0xBC for i in range(256))


def random_weights(draw, count):
    """`count` random numbers as bf16, little-endian."""
    weights = bytearray(2 * count)
    weights[0::2] = draw.randbytes(count)
    weights[1::2] = draw.randbytes(count).translate(UPPER_BYTE)
    return weights


def write_model(folder, shape, seed=0):
    """A Hugging Face folder with random weights: config, weights, tokenizer."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config(shape), indent=1))
    header, end = {}, 0
    for name, size in tensors(shape):
        start, end = end, end + 2 * size[0] * (size[1] if len(size) > 1 else 1)
        header[name] = dict(dtype="BF16", shape=size, data_offsets=[start, end])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    draw = random.Random(seed)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, size in tensors(shape):
            if len(size) == 1:
                file.write(struct.pack("<H", 0x3F80) * size[0])  # norms start with ones
                continue
            left = size[0] * size[1]
            while left:
                count = min(left, CHUNK)
                file.write(random_weights(draw, count))
                left -= count
    write_tokenizer(folder, shape["vocab"])


def write_tokenizer(folder, vocab):
    pad = dict(id=0, content=PAD, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    tokenizer = dict(
        version="1.0", truncation=None, padding=None, added_tokens=[pad], normalizer=None,
        pre_tokenizer=dict(type="WhitespaceSplit"), post_processor=None, decoder=None,
        model=dict(type="WordLevel", vocab={word(i): i for i in range(vocab)}, unk_token=PAD))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    settings = dict(tokenizer_class="PreTrainedTokenizerFast", pad_token=PAD, clean_up_tokenization_spaces=False)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_prompts(path, vocab, lengths):
    """A JSONL file of prompts of random words, with references that share half-words with random replies."""
    draw, rows = random.Random(0), []
    for length in lengths:
        prompt = " ".join(word(draw.randrange(1, vocab)) for _ in range(length))
        wanted = draw.sample(range(16), 8)
        reference = " ".join(f"c{c} c{c}" for c in wanted)
        rows.append(json.dumps(dict(domain="bench", prompt=prompt, reference=reference)) + "\n")
    Path(path).write_text("".join(rows))


def forward_flops(shape, lengths, group, new_tokens):
    """Floating-point operations of one forward pass over the tokens of a GRPO step: prompts of `lengths` tokens with `group`
    replies of `new_tokens` each, every prompt once per group. A multiplication and an addition are two operations. Matrix
    products and attention count, everything else does not. The last token of a reply is never an input, and one row of
    logits serves the first token of a whole group."""
    hidden, vocab, layers = shape["hidden"], shape["vocab"], shape["layers"]
    query, kv = shape["heads"] * shape["head"], shape["kv"] * shape["head"]
    matrices = layers * (2 * hidden * query + 2 * hidden * kv + 3 * hidden * shape["inner"])
    total = 0
    for prompt in lengths:
        inputs = prompt + group * (new_tokens - 1)
        pairs = prompt * (prompt + 1) // 2 + group * sum(prompt + j for j in range(1, new_tokens))
        rows = 1 + group * (new_tokens - 1)
        total += 2 * inputs * matrices + 4 * layers * query * pairs + 2 * rows * hidden * vocab
    return total


def step_flops(shape, lengths, group, new_tokens):
    """One forward pass to sample; a forward and a backward pass, which is two forward passes' worth, to train."""
    return 4 * forward_flops(shape, lengths, group, new_tokens)
