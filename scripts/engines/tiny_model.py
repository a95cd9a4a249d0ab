#!/usr/bin/env python3
"""Writes a tiny Llama with random weights and a tokenizer of bytes to a folder, for the tests of other trainers.

    scripts/engines/tiny_model.py FOLDER
"""

import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<eos>", "<bos>")


def main():
    folder = sys.argv[1]
    vocabulary = {token: i for i, token in enumerate([*sorted(pre_tokenizers.ByteLevel.alphabet()), *SPECIAL])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>")
    wrapped.save_pretrained(folder)
    torch.manual_seed(0)
    pad, eos, bos = (vocabulary[token] for token in SPECIAL)
    config = LlamaConfig(vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                         num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=256, pad_token_id=pad,
                         eos_token_id=eos, bos_token_id=bos)
    LlamaForCausalLM(config).save_pretrained(folder)


if __name__ == "__main__":
    main()
