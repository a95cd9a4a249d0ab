#!/usr/bin/env python3
"""Trains a tiny model with TRL's GRPOTrainer on rewards of rlar, in one process or, under torchrun, in several.

    scripts/engines/trl_training.py MODEL FOLDER

Two domains: sums, for which rlar chooses the tools, and phrases to translate, with chrF and a verifier that fails for one reply in
five (rewards.yaml). Checks TRL's own records: replies that were not scored have no reward, advantage 0, and do not count in the
mean of their group.
"""

import json
import math
import os
import sys
from collections import defaultdict
from pathlib import Path

import rlar
import torch
import trl
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer
from verifier import is_lost

HERE = Path(__file__).resolve().parent
STEPS = 3
GROUP = 4
CONFIG = HERE / "rewards.yaml"
ROWS = [dict(prompt=f"{i} + {i} =", reference=str(2 * i), domain="math") for i in range(1, 9)] + [
    dict(prompt=f"In German: {english}", reference=german, domain="translation")
    for english, german in (("the old cat", "die alte Katze"), ("two dogs", "zwei Hunde"), ("the small house", "das kleine Haus"),
                            ("three cats", "drei Katzen"), ("a young friend", "ein junger Freund"), ("the mice", "die Mäuse"),
                            ("four trees", "vier Bäume"), ("the strong dog", "der starke Hund"))
]


class Recorded:
    """A reward that keeps what it returned, for the checks below."""

    def __init__(self, reward):
        self.reward, self.calls, self.__name__ = reward, [], reward.__name__

    async def __call__(self, **batch):
        rewards = await self.reward(**batch)
        self.calls.append((batch["domain"], batch["completions"], rewards))
        return rewards


class Trainer(GRPOTrainer):
    """A GRPOTrainer that keeps rewards and advantages of each step, as its own table of completions shows them."""

    tables = []

    def _generate_and_score_completions(self, inputs):
        scored = super()._generate_and_score_completions(inputs)
        logs = self._logs
        self.tables.append({"completion": list(logs["completion"]), "advantages": list(logs["advantages"]),
                            **{name: list(values) for name, values in logs["rewards"].items()},
                            **{name: list(values) for name, values in logs["extra"].items()}})
        return scored


def check(table):
    """Checks TRL's table of one step; returns the number of replies and of those that were not scored."""
    rewards, advantages = table["rlar"], table["advantages"]
    assert len(rewards) == len(advantages) > 0, (len(rewards), len(advantages))
    unscored = 0
    for start in range(0, len(rewards), GROUP):
        group = range(start, start + GROUP)
        scored = [rewards[i] for i in group if not math.isnan(rewards[i])]
        mean = sum(scored) / len(scored) if scored else 0.0
        for i in group:
            if math.isnan(rewards[i]):
                unscored += 1
                assert advantages[i] == 0.0, (rewards[start:start + GROUP], advantages[start:start + GROUP])
                assert table["rlar_status"][i] == "failed" and table["rlar_reason"][i], table["rlar_reason"][i]
            else:
                # An advantage has the sign of its distance from the mean of the scored replies alone.
                distance = rewards[i] - mean
                assert abs(distance) < 1e-6 or distance * advantages[i] > 0, (rewards[i], mean, advantages[i])
    return len(rewards), unscored


def main():
    model, folder = sys.argv[1], Path(sys.argv[2])
    rank = int(os.environ.get("RANK", "0"))
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    arguments = GRPOConfig(
        output_dir=str(folder / "trl"), per_device_train_batch_size=16, num_generations=GROUP, max_completion_length=12,
        max_steps=STEPS, logging_steps=1, report_to=[], use_cpu=True, save_strategy="no", disable_tqdm=True, bf16=False,
        learning_rate=1e-3, log_completions=False, seed=rank,
    )
    with rlar.Rewards(config=CONFIG, log=folder / f"serve-{rank}.log") as reward:
        recorded = Recorded(reward)
        trainer = Trainer(model=model, reward_funcs=recorded, args=arguments, train_dataset=Dataset.from_list(ROWS))
        trainer.train()
        processes = trainer.accelerator.num_processes
    for domains, completions, rewards in recorded.calls:
        for domain, reply, value in zip(domains, completions, rewards, strict=True):
            assert (value is None) == (domain == "translation" and is_lost(reply)), (domain, reply, value)
    assert len(recorded.calls) == STEPS, len(recorded.calls)
    if rank != 0:
        return
    checked = [check(table) for table in trainer.tables]
    print(f"TRL {trl.__version__}, {processes} process(es), {trainer.accelerator.distributed_type}")
    for line in trainer.state.log_history[:STEPS]:
        print(json.dumps({k: v for k, v in line.items() if k.startswith(("rlar/", "reward", "loss"))}))
    unscored = sum(count for _, count in checked)
    print(f"{sum(count for count, _ in checked)} replies, {unscored} not scored and left out of their groups")
    assert unscored > 0, "no reply was lost, so nothing was shown"
    tools = defaultdict(int)
    for shown in (shown for table in trainer.tables for shown in table["rlar_tools"]):
        for part in shown.split():
            tools[part.split("=")[0]] += 1
    print("replies by tool:", json.dumps(dict(sorted(tools.items()))))
    assert len(tools) >= 3, tools


if __name__ == "__main__":
    main()
