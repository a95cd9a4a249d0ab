#!/usr/bin/env python3
"""Scores replies through verl's own RewardLoopManager on Ray with `rlar.verl`, and computes advantages with its estimator.

    RLAR_URL=http://127.0.0.1:8888 scripts/engines/verl_rewards.py MODEL

The server's config must be rewards.yaml, whose verifier fails for one reply in five.
"""

import asyncio
import math
import os
import sys
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("VERL_LOGGING_LEVEL", "ERROR")

import numpy as np
import ray
import torch
import verl
from hydra import compose, initialize_config_dir
from transformers import AutoTokenizer
from verifier import is_lost
from verl import DataProto
from verl.experimental.reward_loop import RewardLoopManager, migrate_legacy_reward_impl
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage, get_adv_estimator_fn
from verl.utils.reward_score import default_compute_score

PROMPT, RESPONSE = 8, 16


def batch(tokenizer, rows):
    """verl's batch of replies: `rows` has the reply, the reference and the further columns of each."""
    responses = torch.full((len(rows), RESPONSE), tokenizer.pad_token_id)
    mask = torch.zeros((len(rows), PROMPT + RESPONSE), dtype=torch.long)
    for i, row in enumerate(rows):
        ids = tokenizer(row["reply"], add_special_tokens=False)["input_ids"][:RESPONSE]
        responses[i, :len(ids)] = torch.tensor(ids)
        mask[i, PROMPT - 2:PROMPT + len(ids)] = 1
    data = DataProto.from_dict({"prompts": torch.zeros((len(rows), PROMPT), dtype=torch.long), "responses": responses,
                                "attention_mask": mask})
    columns = lambda values: np.array(list(values), dtype=object)
    data.non_tensor_batch = {
        "data_source": columns("rlar" for _ in rows),
        "reward_model": columns(dict(ground_truth=row["reference"], style="rule") for row in rows),
        "extra_info": columns(dict(question=row["question"], domain=row["domain"]) for row in rows),
    }
    return data


def check_rewards(model):
    tokenizer = AutoTokenizer.from_pretrained(model)
    folder = Path(verl.__file__).parent / "trainer/config"
    with initialize_config_dir(config_dir=str(folder), version_base=None):
        config = compose("ppo_trainer", overrides=[
            f"actor_rollout_ref.model.path={model}", "reward.num_workers=2",
            "reward.custom_reward_function.path=pkg://rlar.verl", "reward.custom_reward_function.name=compute_score",
        ])
    config = migrate_legacy_reward_impl(config)
    rows = [dict(question=f"{i} + {i} =", domain="math", reference=str(2 * i), reply=reply) for i in range(1, 5)
            for reply in (str(2 * i), f"It is {2 * i}", f"{2 * i + 1}")]
    rows += [dict(question=f"In German: {english}", domain="translation", reference=german, reply=reply)
             for english, german in (("two cats", "zwei Katzen"), ("a dog", "ein Hund"), ("the sea", "das Meer"))
             for reply in (german, "Katzen", "ein Haus", f"zwei {german}", "Hunde", "der Mond")]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=200_000_000,
             runtime_env={"env_vars": {"RLAR_URL": os.environ["RLAR_URL"]}})
    try:
        scored = RewardLoopManager(config).compute_rm_score(batch(tokenizer, rows))
    finally:
        ray.shutdown()
    rewards = scored.batch["rm_scores"].sum(-1)
    extra = {name: list(values) for name, values in scored.non_tensor_batch.items()}
    for row, reward, status, tools in zip(rows, rewards.tolist(), extra["rlar_status"], extra["rlar_tools"], strict=True):
        lost = row["domain"] == "translation" and is_lost(row["reply"])
        assert math.isnan(reward) == lost == (status == "failed"), (row, reward, status)
        assert ("sometimes_failing=" if row["domain"] == "translation" else "numeric_match=") in tools, tools
    lost = int(torch.isnan(rewards).sum())
    assert 0 < lost < len(rows), lost
    print(f"verl {version('verl')}, Ray {ray.__version__}: {len(rows)} replies through RewardLoopManager, {lost} not scored: NaN, "
          "with the reason in `rlar_reason`")
    return rewards, np.array([row["question"] for row in rows], dtype=object)


def check_estimator(rewards, groups):
    """The advantages of the scored replies are GRPO's among themselves; others have 0."""
    token_level = torch.zeros(len(rewards), 3)
    token_level[:, 2] = rewards
    mask = torch.ones(len(rewards), 3)
    advantages, _ = get_adv_estimator_fn("grpo_scored")(token_level, mask, index=groups)
    assert torch.isfinite(advantages).all(), advantages
    for group in sorted(set(groups)):
        scored = [i for i in range(len(groups)) if groups[i] == group and not math.isnan(rewards[i])]
        others = [i for i in range(len(groups)) if groups[i] == group and math.isnan(rewards[i])]
        assert (advantages[others] == 0).all(), advantages[others]
        if len(scored) > 1:
            own, _ = compute_grpo_outcome_advantage(token_level[scored].clone(), mask[scored], index=groups[scored])
            assert torch.allclose(advantages[scored], own, atol=1e-5), (advantages[scored], own)
    plain, _ = compute_grpo_outcome_advantage(token_level.clone(), mask, index=groups)
    spoiled = int(torch.isnan(plain[:, 0]).sum())
    print(f"`grpo_scored`: advantages equal verl's GRPO on the scored replies of each group; verl's own estimator gives NaN to "
          f"{spoiled} of {len(rewards)} replies")


def check_sandbox(url):
    """verl's SandboxFusion client, with the verdicts of plain CPython."""
    import json
    import subprocess

    programs = ["print(1 + 2)", "print(input()[::-1])", "import sys\nsys.exit(3)", "print('3'", "for i in range(3): print(i)"]
    cases = dict(inputs=["", "abc"], outputs=["3", "cba"])
    for program in programs:
        right = 0
        for given, wanted in zip(cases["inputs"], cases["outputs"], strict=True):
            ran = subprocess.run([sys.executable, "-c", program], input=given, capture_output=True, text=True)
            right += ran.returncode == 0 and ran.stdout.rstrip("\n") == wanted
        score = default_compute_score("codecontests", f"```python\n{program}\n```", json.dumps(cases),
                                      sandbox_fusion_url=f"{url}/run_code", memory_limit_mb=512)
        value = score["score"] if isinstance(score, dict) else score[0] if isinstance(score, (tuple, list)) else score
        assert abs(float(value) - right / 2) < 1e-6, (program, score, right)
    print(f"verl's SandboxFusion client at /run_code: the verdicts of CPython for {len(programs)} programs, 2 tests each")


def main():
    asyncio.set_event_loop(asyncio.new_event_loop())
    check_estimator(*check_rewards(sys.argv[1]))
    check_sandbox(os.environ["RLAR_URL"])


if __name__ == "__main__":
    main()
