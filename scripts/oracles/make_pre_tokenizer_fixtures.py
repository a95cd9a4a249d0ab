#!/usr/bin/env python3
"""Writes a GGUF vocabulary, and the token ids of hard texts under every pre-tokenizer that rlar knows.

    pip install gguf numpy tokenizers xllamacpp && pip install --no-deps mistral-common
    scripts/oracles/make_pre_tokenizer_fixtures.py crates/policy/tests/fixtures/gguf

`pre-tokenizers.gguf` is a byte-level BPE whose merges were learned from uncut texts, so that almost every wrong cut
changes the token ids. `pre-tokenizers.json` has the ids of the same texts for each value of `tokenizer.ggml.pre`: those
of `tokenizers`, with the cuts and the normalizer of the models' own tokenizer.json; for `default`, which no model's
tokenizer.json defines, those of llama.cpp. The pattern of `tekken` is read from Mistral's own file. `adds_bos` lists the
pre-tokenizers for which llama.cpp begins a text with BOS although the file does not say so.

The script prints how many texts llama.cpp encodes in another way than the model's own tokenizer.
"""

import importlib.util
import json
import os
import sys
import tempfile
import urllib.request
from pathlib import Path

import gguf
import numpy as np
import xllamacpp
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

TEXTS = [
    "", "a", " ", "\n", "Hello world", " Hello  World ", "it's we'll DON'T they'VE I'M he'd 'tis o'clock 'S", "n'ſ x'ſy",
    "1 22 333 4444 55555 666666", "3.14159e-10, 1,234,567.89", "v1.2.3-rc4_x86", "٣٤٥ ௧௨ Ⅻ ½ x² ①②③ 一二三", "0x1F 1e5 2nd 3D",
    "HTTPServerError CamelCaseWords iPhone XMLParser", "ÉCOLE École éCOLE ÀÉ àÉÈa ÉA éA ǅungla ÑandúÑ",
    "ΑΒΓαβγ ПРИВЕТ Привет мИр", "日本語のテキスト、漢字とカナ。", "中文，标点！测试：「引号」", "한국어 문장입니다.", "مرحبا بالعالم، كيف ٢٠٢٤؟",
    "שָׁלוֹם עוֹלָם", "हिन्दी में पाठ।", "ภาษาไทยน้ำใจ", "e\u0301te\u0301 n\u0303 a\u0308\u0304 \u0301x A\u030a",
    "naïve café — “quotes” ‘single’ …", "🎉🎊 👩‍👩‍👧‍👦 🇩🇪 ❤️ x🎉y", "a\u200bb\u200dc\ufeffd",
    "\u00a0x\u2003y\u3000z\u0085w\u2028v", "line\nline\r\nline\r\rline\n\n\n  indented\n\t\ttabbed\n \n x", "trailing   ",
    "trailing \n ", "\n\n\nx", "   x", "\t x\t\ty", "a  b   c    d", "def f(x):\n    return x**2 + 1  # it's\n",
    "if (a[i] != b->c && !d) { e += 0x0; }", "https://example.org/a//b/?q=1&r=2#x", "path/to\\file.txt\n/usr//bin/",
    "!!!???...///\n///", "$100 +5 <a> =b ^c ~d |e| `f` @g #h %i &j *k", "«x» ‹y› §z €5 £6 ¬a ±b ×c ÷d ²e",
    "x`y`z $x+y<z=w>v^u~t|s", "_under_ __score__ a_b", "\\n \\t \"q\" 'q'", "<|begin|>Hello<|end|> x",
    "a\u0000b\u0001c\u007fd", "\u00ad\u0600\u06dd", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟏𝟐𝟑 𐐀𐐨", "ﬁ ﬀ Å Ω K", "aʰʲ ʰa 々〻", "aBc dEf éÈà", "Aǅ ǅA ǅb aǅ",
    "Aʰ ʰA ʰb aʰ", "A日 日A 日b a日", "A\u0301 \u0301A \u0301b a\u0301", "\rA\nB\r\nc", "1a A1 1A a1", "'A 'a -A -a",
    "!\r!\n!/!\r\n/", "AB Ab aB ab", "$ a <b ^c ~d |e", "?? ?! a?? a?!", "-\n/", "\rb",
]  # fmt: skip
WORD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
QWEN35 = WORD + r"[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPECIALS = ["<|end|>", "<|begin|>"]
BOS = 1


def tekken():
    """The pattern of Mistral's tokenizer Tekken, from the file that Mistral ships."""
    [package] = importlib.util.find_spec("mistral_common").submodule_search_locations
    return json.loads((Path(package) / "data/tekken_240911.json").read_bytes())["config"]["pattern"]


# llama.cpp's name: the patterns, applied one after the other; whether words that are tokens stay whole; the normalizer.
KINDS = {
    "gpt-2": ([GPT2], False, None),
    "smollm": ([r"\p{N}", GPT2], False, None),
    "llama-bpe": ([WORD + r"\p{L}+|\p{N}{1,3}" + REST], True, None),
    "qwen2": ([WORD + r"\p{L}+|\p{N}" + REST], False, normalizers.NFC()),
    "deepseek-r1-qwen": ([WORD + r"\p{L}+|\p{N}" + REST], False, None),
    "qwen35": ([QWEN35], False, normalizers.NFC()),
    "tekken": ([tekken()], True, None),
    "default": ([r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"], False, None),
}


def learned():
    """Vocabulary and merges, learned from pieces of the texts that no pre-tokenizer cut."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    pieces = [text[i : i + n] for text in TEXTS for n in (2, 3) for i in range(len(text) - n + 1)]
    words = ["Hello", " World", "CamelCase", "École", "日本語", "line", "x", "tests"] * 30
    trainer = trainers.BpeTrainer(vocab_size=2400, min_frequency=1, special_tokens=SPECIALS, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    t.train_from_iterator(pieces + words, trainer)
    state = json.loads(t.to_str())["model"]
    tokens = sorted(state["vocab"], key=state["vocab"].get)
    # Without its last merge, a word is a token only where words that are tokens stay whole.
    merges = [m for m in state["merges"] if "".join(m) not in ("Hello", "line")]
    return tokens, merges


def own(kind, tokens, merges):
    """The tokenizer as the model's own tokenizer.json has it."""
    patterns, whole_words, normalizer = KINDS[kind]
    vocab = {token: i for i, token in enumerate(tokens)}
    t = Tokenizer(models.BPE(vocab, [tuple(m) for m in merges], ignore_merges=whole_words))
    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    t.pre_tokenizer = pre_tokenizers.Sequence([*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    if normalizer:
        t.normalizer = normalizer
    t.add_special_tokens(SPECIALS)
    return t


def write(path, pre, tokens, merges, *, model):
    """Writes the vocabulary as a GGUF file; with `model`, around a tiny model, so that llama.cpp loads it."""
    w = gguf.GGUFWriter(path, "llama")
    if model:
        for name, value in dict(context_length=64, embedding_length=32, feed_forward_length=32, block_count=1, head_count=1,
                                layer_norm_rms_eps=1e-5).items():
            getattr(w, f"add_{name}")(value)
        shapes = {"token_embd": (len(tokens), 32), "output_norm": (32,), "blk.0.attn_norm": (32,), "blk.0.ffn_norm": (32,)}
        matrices = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
        shapes |= {f"blk.0.{name}": (32, 32) for name in matrices}
        for name, shape in shapes.items():
            w.add_tensor(f"{name}.weight", np.zeros(shape, np.float32))
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre)
    w.add_token_list(tokens)
    w.add_token_types([gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.NORMAL] * (len(tokens) - 2))
    w.add_token_merges([" ".join(m) for m in merges])
    w.add_bos_token_id(BOS)
    w.add_eos_token_id(0)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


class LlamaCpp:
    """llama.cpp's server with a vocabulary."""

    def __init__(self, path):
        settings = xllamacpp.CommonParams()
        settings.model.path = str(path)
        settings.hostnames, settings.port, settings.n_ctx, settings.n_parallel = ["127.0.0.1"], 0, 64, 1
        settings.ui, settings.warmup, settings.verbosity = False, False, 0
        self.server = xllamacpp.Server(settings)

    def encode(self, text, bos=False):
        data = json.dumps({"content": text, "add_special": bos, "parse_special": True}).encode()
        request = urllib.request.Request(f"{self.server.listening_address}/tokenize", data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.load(response)["tokens"]


def main():
    folder = Path(sys.argv[1])
    tokens, merges = learned()
    ids, adds_bos = {}, []
    for kind in KINDS:
        tokenizer = own(kind, tokens, merges)
        ids[kind] = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "model.gguf"
            write(path, kind, tokens, merges, model=True)
            llama_cpp = LlamaCpp(path)
            theirs = [llama_cpp.encode(text) for text in TEXTS]
            if llama_cpp.encode("a", bos=True)[0] == BOS:
                adds_bos.append(kind)
        other = [text for text, a, b in zip(TEXTS, ids[kind], theirs) if a != b]
        print(f"{kind}: llama.cpp encodes {len(other)} of {len(TEXTS)} texts in another way {other}")
        if kind == "default":
            assert not other, "`default` is what llama.cpp does"
    names = list(KINDS)
    for i, a in enumerate(names):
        for b in names[:i]:
            assert ids[a] != ids[b], f"the texts do not tell {a} from {b}"
    write(folder / "pre-tokenizers.gguf", "default", tokens, merges, model=False)
    lines = [f' "texts": {json.dumps(TEXTS, ensure_ascii=False)}', f' "adds_bos": {json.dumps(adds_bos)}']
    lines += [f" {json.dumps(kind)}: {json.dumps(rows, separators=(',', ':'))}" for kind, rows in ids.items()]
    (folder / "pre-tokenizers.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    sys.stdout.flush()
    # A normal exit would wait for the servers.
    os._exit(0)


main()
