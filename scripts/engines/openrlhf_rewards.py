#!/usr/bin/env python3
"""Asks a server for rewards with OpenRLHF's own HTTP client, SingleTurnAgentExecutor.

    RLAR_URL=http://127.0.0.1:8888 scripts/engines/openrlhf_rewards.py MODEL

The server's config must be rewards.yaml, whose verifier fails for one reply in five; `--on-failure` must be `error`.
"""

import asyncio
import json
import os
import sys
import time
import types
from importlib.metadata import version

import requests
import torch
from openrlhf.utils.agent import SingleTurnAgentExecutor
from transformers import AutoTokenizer
from verifier import is_lost

PROMPT = "In German: two cats"


class Engine:
    """Stands for the sampling engine: it replies what it was told to."""

    def __init__(self, tokenizer, reply):
        self.tokenizer, self.reply = tokenizer, reply

    async def generate(self, ids, sampling, multi_modal_data=None):
        tokens = self.tokenizer(self.reply, add_special_tokens=False)["input_ids"] + [self.tokenizer.eos_token_id]
        output = types.SimpleNamespace(token_ids=tokens, text=self.reply, finish_reason="stop", logprobs=None)
        return types.SimpleNamespace(outputs=[output])


async def execute(url, tokenizer, reply, label):
    sampling = types.SimpleNamespace(max_tokens=32, logprobs=None)
    return await SingleTurnAgentExecutor(url).execute(PROMPT, label, sampling, 64, tokenizer, Engine(tokenizer, reply))


async def main():
    url = f"{os.environ['RLAR_URL']}/openrlhf"
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    label = json.dumps(dict(reference="zwei Katzen", domain="translation"))
    replies = ["zwei Katzen", "Katzen", "zwei", "zwei Hunde", "drei Katzen", "Katze"]
    scored = [reply for reply in replies if not is_lost(reply)]
    lost = next(reply for reply in (f"Katzen {i}" for i in range(100)) if is_lost(reply))
    keys = set()
    for reply in scored:
        output = await execute(url, tokenizer, reply, label)
        rewards = torch.tensor([output["reward"]])
        keys.add((rewards.shape, tuple(sorted(output["extra_logs"]))))
        assert torch.isfinite(rewards).all(), output
    assert len(keys) == 1, keys
    print(f"OpenRLHF {version('openrlhf')}: {len(scored)} replies scored by SingleTurnAgentExecutor, one form of answer {keys.pop()}")
    start = time.monotonic()
    output = await execute(url, tokenizer, lost, label)
    assert output["reward"] is None, output
    print(f"a reply that was not scored: no reward after {time.monotonic() - start:.1f} s and five tries, so that the run ends")
    empty = requests.post(url, json=dict(query=[], prompts=[], labels=[]), timeout=10)
    assert empty.status_code == 200 and empty.json()["rewards"] == [], empty.text
    print("empty lists:", empty.json())


if __name__ == "__main__":
    asyncio.run(main())
