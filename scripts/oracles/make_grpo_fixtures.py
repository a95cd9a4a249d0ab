#!/usr/bin/env python3
"""Records what TRL, verl and OpenRLHF compute for GRPO and its variants: losses with gradients and metrics, advantages, KL
estimates, overlong penalties, preference losses.

    pip install trl==1.16.0 peft tensordict codetiming omegaconf pillow
    pip install --no-deps verl==0.9.1 openrlhf==0.11.2
    scripts/oracles/make_grpo_fixtures.py crates/grpo/tests/fixtures/grpo.json

Every number comes from the libraries' own functions, on the CPU and in double precision where they allow it. Modules in
`ABSENT` do not contribute to the numbers and are replaced by stubs. TRL's trainer runs its own code from the generated batch
to the loss; only the outputs of models, sampler and reward functions are prepared. `settings` are those of rlar's section
`algorithm`; variants that the libraries cannot compute are listed under `not_possible`.
"""

import argparse
import json
import math
import re
import sys
import warnings
from collections import defaultdict
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from pathlib import Path
from random import Random
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import torch
from accelerate import Accelerator
from tensordict import TensorDict
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from trl import GRPOConfig, GRPOTrainer
from trl.rewards import get_soft_overlong_punishment

ABSENT = ("ray", "flash_attn", "deepspeed", "orjson", "pylatexenc", "openrlhf.trainer.ray")


class Stubs(MetaPathFinder, Loader):
    def find_spec(self, name, path=None, target=None):
        absent = any(f"{name}.".startswith(f"{a}.") for a in ABSENT)
        return ModuleSpec(name, self, is_package=True) if absent else None

    def create_module(self, spec):
        return MagicMock(name=spec.name)

    def exec_module(self, module):
        pass


sys.meta_path.insert(0, Stubs())

from openrlhf.models import loss as openrlhf  # noqa: E402
from openrlhf.models.utils import compute_approx_kl  # noqa: E402
from openrlhf.trainer.ppo_utils.experience import Experience  # noqa: E402
from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker  # noqa: E402
from openrlhf.trainer.ppo_utils.length_penalty import apply_overlong_penalty  # noqa: E402
from verl.trainer.ppo import core_algos as verl  # noqa: E402
from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_weights  # noqa: E402
from verl.utils.tensordict_utils import assign_non_tensor  # noqa: E402
from verl.workers.config import ActorConfig, PolicyLossConfig  # noqa: E402
from verl.workers.utils.losses import ppo_loss  # noqa: E402

TRL, VERL, OPENRLHF = (f"{name} {version(name)}" for name in ("trl", "verl", "openrlhf"))
MAX_TOKENS = 8
# For every sequence: its length and advantage, how far the policy has moved from the old one (`None`: not at all), and how far
# the sampler differs from the old one.
REPLIES = [(5, -1.3, -0.8, 0.05), (1, 0.9, 0.5, -0.3), (3, 0.0, 0.2, 0.3), (6, -0.7, 0.6, 0.05), (2, 1.7, None, 0.1),
           (4, 1.1, 0.3, -0.2)]
METRICS = re.compile("kl|entropy|cispo_clip_ratio|(clip_ratio|sampling/importance_sampling_ratio)/.*")
NOT_POSSIBLE = [
    "trl, cispo and sapo with importance_sampling_level='sequence': these surrogates take ratios of tokens in rlar",
    "trl, vespo with importance_sampling_level='sequence' and use_bias_correction_kl: rlar takes ratios of tokens",
    "trl, vespo with vllm_importance_sampling_mode='sequence_*': the trainer's constructor refuses it",
    "trl, use_adaptive_entropy: its coefficient depends on earlier steps",
    "trl, several reward functions of which some give None: counted as 0, where rlar leaves the reply out",
    "trl, normalize_then_sum with one reward function: normalised over the batch again; rlar's is not",
    "verl, gspo with weights of tokens: they stay with their tokens; trl and rlar spread them over the reply",
    "verl, entropy_coeff unless by token-mean: aggregated as losses are; trl and rlar take the mean over tokens",
    "verl, kl_loss_type 'k1+' and 'k3+'; openrlhf, unbiased_gradient: the gradient is k2's, not the estimate's own",
    "verl, token-sum, rollout_is_batch_normalize, compute_rollout_rejection_mask, grpo_passk over a deviation; "
    "openrlhf, is_correction_level='seq', is_correction_gating='binary_kl' and 'tv': no such settings",
    "verl, sapo under other loss_agg_modes: it always takes seq-mean-token-mean",
    "verl, gdpo: normalised over tokens, by sqrt(variance + 1e-8); trl's and rlar's over replies, by deviation + 1e-4",
    "verl, groups of one reply: its advantage is its score; rlar has none",
    "openrlhf, reinforce_baseline: its deviation is without Bessel's correction, verl's and rlar's with it",
    "openrlhf, gspo with is_correction: the sampler's log-probs become the old ones",
    "openrlhf, KL and entropy in the loss: put together in a training step that needs deepspeed",
    "openrlhf, LogExpLoss with a margin: it ignores margins",
    "pass_at_k with k below the group's size, max_rl: in none of the libraries",
]
LOSSES, ADVANTAGES, KL, OVERLONG, PREFERENCE = [], [], [], [], []


def double(x):
    return torch.as_tensor(x, dtype=torch.float64)


def padded(rows):
    return pad_sequence([double(row) for row in rows], batch_first=True)


def leaves(rows):
    return [double(row).requires_grad_() for row in rows]


def said(settings):
    return ", ".join(f"{k}={v!r}" for k, v in settings.items())


def draw(rng, sampled, reference):
    """Sequences of random tokens. The entropies are distinct multiples of 1/64, which single precision represents exactly."""
    entropies = iter(rng.sample(range(8, 256), sum(reply[0] for reply in REPLIES)))
    for n, advantage, drift, shift in REPLIES:
        still = [drift is None or rng.random() < 0.15 for _ in range(n)]
        log_ratios = [0.0 if s else min(max(drift + rng.uniform(-0.7, 0.7), -1.2), 1.09) for s in still]
        log_probs = [round(rng.uniform(-4, -1.9), 4) for _ in range(n)]
        old = [round(x - r, 4) for x, r in zip(log_probs, log_ratios)]
        yield {"log_probs": log_probs, "old": old,
               "reference": [round(x + rng.uniform(-1, 1), 4) for x in log_probs] if reference else None,
               "sampled": [round(x + shift + rng.uniform(-0.25, 0.25), 4) for x in old] if sampled else None,
               "entropies": [next(entropies) / 64 for _ in range(n)], "advantage": advantage}


def clear(settings, sequences):
    """Whether no ratio, neither of a token nor of a reply, lies on a clipping bound."""
    correction = settings.get("correction", {})
    bounds = [1 - settings["clip_low"], 1 + settings["clip_high"], settings.get("ratio_max"), settings.get("dual_clip"),
              correction.get("low"), correction.get("high"), math.exp(-settings.get("off_policy_mask", 9))]
    for s in sequences:
        for above, below in (("log_probs", "old"), ("log_probs", "sampled"), ("old", "sampled")):
            logs = [a - b for a, b in zip(s[above], s[below] or [])]
            ratios = [math.exp(x) for x in (*logs, sum(logs), sum(logs) / len(s["old"]))]
            if any(abs(ratio - bound) < 5e-4 for ratio in ratios for bound in bounds if bound):
                return False
    return True


def record_loss(name, source, settings, sampled, compute):
    """Calls `compute` with the columns of the sequences; it returns the loss and its metrics."""
    settings = {k: v for k, v in settings.items() if v is not None}
    rng = Random(name)
    batches = iter(lambda: list(draw(rng, sampled, "kl" in settings)), None)
    sequences = next(batch for batch in batches if clear(settings, batch))
    b = SimpleNamespace(**{k: [s[k] for s in sequences] for k in sequences[0]})
    b.log_probs, b.entropies = leaves(b.log_probs), leaves(b.entropies)
    b.mask = padded([torch.ones_like(x) for x in b.log_probs])
    loss, metrics = compute(b)
    loss.backward()
    by_entropy = any(x.grad is not None and x.grad.any() for x in b.entropies)
    LOSSES.append({
        "name": name, "source": source, "settings": settings, "max_tokens": MAX_TOKENS, "sequences": sequences,
        "loss": loss.item(), "gradient": [x.grad.tolist() for x in b.log_probs],
        "entropy_gradient": [x.grad.tolist() for x in b.entropies] if by_entropy else None, "metrics": metrics})


def record_advantages(name, source, estimator, weights, groups, advantages, **more):
    advantages = iter(advantages.tolist())
    ADVANTAGES.append({
        "name": name, "source": source, "settings": {"advantage": estimator, "combine": "sum_then_normalise", **more},
        "tools": weights, "groups": [{"scores": scores, "lengths": n, "advantages": [next(advantages) for _ in n]}
                                     for scores, n in zip(groups, lengths_of(groups))]})


def lengths_of(groups):
    return [[1 + (3 * i + 5 * j) % 7 for j in range(len(group))] for i, group in enumerate(groups)]


class Trainer(GRPOTrainer):
    """TRL's trainer with prepared numbers in place of models, sampler and reward functions."""

    def __init__(self, args, scores, weights, lengths, old=None, reference=None, sampled=None):
        self.args, self.scores, self.lengths, self.sampled = args, scores, lengths, sampled
        self.__dict__.update(
            accelerator=Accelerator(cpu=True), environments=None, environment_factories=None, tools=[],
            _tokenizer=SimpleNamespace(pad_token_id=0), current_gradient_accumulation_steps=1, aux_loss_enabled=False,
            epsilon_low=args.epsilon, epsilon_high=args.epsilon if args.epsilon_high is None else args.epsilon_high,
            _entropy_bonus_enabled=args.entropy_coef != 0, reward_weights=double(weights), reward_funcs=weights,
            reward_func_names=[str(i) for i in range(len(weights))], _metrics={"train": defaultdict(list)},
            _logs=defaultdict(list, rewards=defaultdict(list)), _pending_metrics={}, _pending_extra_logs={},
            model=SimpleNamespace(training=True, is_gradient_checkpointing=False, says=(old, None, None)),
            ref_model=SimpleNamespace(says=(reference, None, None)))

    def __getattr__(self, name):
        return getattr(self.args, name)

    def _generate(self, prompts):
        return [[1] for _ in prompts], [[1] * n for n in self.lengths], None, prompts, self.sampled, {}, None, None

    def _get_per_token_logps_and_entropies(self, model, *_, **__):
        return model.says

    def _calculate_rewards(self, *_):
        return double([[math.nan if s is None else s for s in row] for row in self.scores])

    def batch(self):
        return self._generate_and_score_completions([{"prompt": ""} for _ in self.lengths])


def trl_config(replies, group, **more):
    """Makes two passes over a batch, so that the old log-probs are those of the first pass."""
    return GRPOConfig(use_cpu=True, bf16=False, report_to="none", per_device_train_batch_size=replies,
                      num_generations=group, num_iterations=2, max_completion_length=MAX_TOKENS, **more)


def trl_loss(name, loss_type, level="token", **more):
    more = dict(loss_type=loss_type, importance_sampling_level=level, **more)
    args = trl_config(len(REPLIES), len(REPLIES), **more)
    high = args.epsilon if args.epsilon_high is None else args.epsilon_high
    ppo = {"token": "ppo", "sequence": "gspo"}[level]
    aggregates = {"grpo": "sequence_mean", "sapo": "sequence_mean", "luspo": "sequence_sum", "dr_grpo": "constant"}
    settings = {
        "surrogate": loss_type if loss_type in ("cispo", "sapo", "vespo") else ppo,
        "clip_low": 1.0 if loss_type == "cispo" else args.epsilon, "clip_high": high - (loss_type == "cispo"),
        "ratio_max": args.delta, "sapo_temperature": [args.sapo_temperature_pos, args.sapo_temperature_neg],
        "aggregate": aggregates.get(loss_type, "token_mean"), "entropy_bonus": args.entropy_coef,
        "top_entropy": args.top_entropy_quantile, "off_policy_mask": args.off_policy_mask_threshold}
    if args.beta:
        settings["kl"] = {"estimator": "k3", "weight": args.beta, "unbiased": args.use_bias_correction_kl}
    if args.use_vllm and args.vllm_importance_sampling_correction:
        settings["correction"] = {
            "mode": args.vllm_importance_sampling_mode, "low": args.vllm_importance_sampling_clip_min or 0.0,
            "high": args.vllm_importance_sampling_clip_max}

    def compute(b):
        reference = padded(b.reference) if args.beta else None
        sampled = b.sampled if args.use_vllm else None
        trainer = Trainer(args, [[0.0]] * len(b.old), [1.0], [len(x) for x in b.old], padded(b.old), reference, sampled)
        inputs = {**trainer.batch(), "advantages": double(b.advantage)}
        loss = trainer._compute_loss(SimpleNamespace(says=(padded(b.log_probs), padded(b.entropies), None)), inputs)
        return loss, {name: x[0] for name, x in trainer._metrics["train"].items() if METRICS.fullmatch(name)}

    record_loss(f"trl {name}", f"{TRL} GRPOTrainer._compute_loss({said(more)})", settings, args.use_vllm, compute)


def trl_losses():
    kls = {"": {}, " kl": dict(beta=0.05, use_bias_correction_kl=False),
           " unbiased kl": dict(beta=0.3, use_bias_correction_kl=True)}
    for loss_type in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"):
        high = dict(epsilon_high=1.5) if loss_type == "cispo" else {}
        for level in ("token",) if loss_type in ("cispo", "sapo") else ("token", "sequence"):
            for kl, more in kls.items():
                if (loss_type, level, kl) != ("vespo", "sequence", " unbiased kl"):
                    trl_loss(f"{loss_type} {level}{kl}", loss_type, level, **high, **more)
        if loss_type not in ("bnpo", "dr_grpo"):
            trl_loss(f"{loss_type} top entropy", loss_type, top_entropy_quantile=0.33, **high, **kls[" kl"])
            trl_loss(f"{loss_type} off-policy mask", loss_type, off_policy_mask_threshold=0.15, **high, **kls[" kl"])
    for level in ("token", "sequence"):
        trl_loss(f"delta {level}", "grpo", level, delta=1.35, epsilon_high=0.3)
        trl_loss(f"higher clip {level}", "dapo", level, epsilon=0.15, epsilon_high=0.28)
        trl_loss(f"top half by entropy {level}", "dapo", level, top_entropy_quantile=0.5)
        trl_loss(f"off-policy mask by the sampler {level}", "grpo", level, off_policy_mask_threshold=0.15,
                 use_vllm=True, vllm_importance_sampling_correction=False)
    trl_loss("delta unbiased kl", "dapo", delta=1.6, **kls[" unbiased kl"])
    trl_loss("sapo other temperatures", "sapo", sapo_temperature_pos=1.5, sapo_temperature_neg=3.0)
    trl_loss("cispo higher clip", "cispo", epsilon_high=2.2)
    for loss_type in ("grpo", "dr_grpo", "dapo"):
        trl_loss(f"{loss_type} entropy bonus", loss_type, entropy_coef=0.02)
    trl_loss("entropy bonus top entropy", "grpo", "sequence", entropy_coef=0.02, top_entropy_quantile=0.33)
    everything = dict(delta=1.6, epsilon_high=0.28, top_entropy_quantile=0.5, entropy_coef=0.02,
                      off_policy_mask_threshold=0.15, **kls[" unbiased kl"])
    for mode, low, high in (("token_truncate", 0.75, 1.3), ("token_mask", 0.75, 1.3), ("sequence_truncate", 0.6, 1.5),
                            ("sequence_mask", 0.6, 1.5)):
        above = dict(use_vllm=True, vllm_importance_sampling_mode=mode, vllm_importance_sampling_clip_max=high)
        bounds = dict(above, vllm_importance_sampling_clip_min=low)
        for loss_type, level in (("grpo", "token"), ("dapo", "sequence"), ("luspo", "sequence"), ("sapo", "token"),
                                 ("cispo", "token"), ("vespo", "token")):
            if loss_type != "vespo" or "token" in mode:
                high = dict(epsilon_high=1.5) if loss_type == "cispo" else {}
                trl_loss(f"{loss_type} {level} {mode}", loss_type, level, **high, **bounds)
        trl_loss(f"{mode} from above", "dapo", **above)
        for level in ("token", "sequence"):
            trl_loss(f"{mode} with everything {level}", "dapo", level, **bounds, **everything)


def trl_advantages():
    def record(name, groups, weights, estimator, more, **settings):
        lengths, scores = sum(lengths_of(groups), []), sum(groups, [])
        trainer = Trainer(trl_config(len(scores), len(groups[0]), **more), scores, weights, lengths)
        source = f"{TRL} GRPOTrainer._generate_and_score_completions({said(more)})"
        advantages = trainer.batch()["advantages"]
        record_advantages(f"trl {name}", source, estimator, weights, groups, advantages, **settings)

    rng = Random("groups for trl")
    one = [[[round(rng.uniform(-2, 3), 3)] for _ in range(4)] for _ in range(3)] + [[[1.0], [0.0], [0.0], [1.0]]]
    gaps = [*one[:2], [[0.1]] * 4, [[0.5], [None], [2.0], [None]], [[None], [0.7], [None], [None]], [[None]] * 4]
    three = [[[float(rng.random() < 0.5), round(rng.uniform(-5, 5), 3), rng.randint(0, 90)] for _ in range(4)]
             for _ in range(3)] + [[[1.0, x, 7] for x in (0.5, -0.5, 2.5, 0.0)]]
    for scale, estimator in (("group", "grpo"), ("batch", "grpo_batch_std"), ("none", "dr_grpo")):
        for name, groups, weights in (("one tool", one, [1.0]), ("a weight", one, [0.4]), ("None", gaps, [1.0]),
                                      ("three tools", three, [1.0, 0.5, 0.02])):
            record(f"{estimator}, {name}", groups, weights, estimator, dict(scale_rewards=scale))
    for name, tools, weights in (("two", 2, [1.0, 1.0]), ("three", 3, [1.0, 0.5, 0.02])):
        groups = [[row[:tools] for row in group] for group in three]
        record(f"{name} tools normalised", groups, weights, "grpo",
               dict(multi_objective_aggregation="normalize_then_sum"), combine="normalise_then_sum")


def verl_loss(name, mode="vanilla", aggregate="token-mean", correction=None, **more):
    config = ActorConfig(strategy="fsdp", rollout_n=1, ppo_micro_batch_size_per_gpu=1, loss_scale_factor=MAX_TOKENS,
                         loss_agg_mode=aggregate, policy_loss=PolicyLossConfig(loss_mode=mode), **more)
    aggregates = {"token-mean": "token_mean", "seq-mean-token-mean": "sequence_mean",
                  "seq-mean-token-sum": "sequence_sum", "seq-mean-token-sum-norm": "constant"}
    settings = {
        "surrogate": "ppo" if mode == "vanilla" else mode, "aggregate": aggregates[aggregate],
        "clip_low": config.clip_ratio_low, "clip_high": config.clip_ratio_high,
        "dual_clip": config.clip_ratio_c if mode == "vanilla" else None,
        "sapo_temperature": [config.tau_pos, config.tau_neg], "entropy_bonus": config.entropy_coeff}
    if config.use_kl_loss:
        settings["kl"] = {"estimator": config.kl_loss_type, "weight": config.kl_loss_coef, "unbiased": False}
    if correction:
        settings["correction"] = dict(zip(("mode", "low", "high"), correction))

    def compute(b):
        data = {"prompts": b.mask[:, :1], "responses": b.mask, "attention_mask": pad(b.mask, (1, 0), value=1.0).long(),
                "response_mask": b.mask, "old_log_probs": padded(b.old),
                "advantages": double(b.advantage)[:, None] * b.mask}
        if config.use_kl_loss:
            data["ref_log_prob"] = padded(b.reference)
        if correction:
            (level, bound), (_, low, high) = correction[0].split("_"), correction
            data["rollout_is_weights"], _ = compute_rollout_correction_weights(
                padded(b.old) - padded(b.sampled), b.mask, level, f"{low}_{high}" if bound == "mask" else high)
        data = TensorDict(data, batch_size=len(b.old))
        assign_non_tensor(data, dp_size=1, batch_num_tokens=None, global_batch_size=None)
        # The model's last output in a sequence predicts no token of it.
        outputs = {"log_probs": b.log_probs, "entropy": b.entropies}
        return ppo_loss(config, {k: torch.cat([pad(x, (0, 1)) for x in v]) for k, v in outputs.items()}, data)[0], {}

    by = f"compute_rollout_correction_weights {correction}, " if correction else ""
    more = dict(loss_mode=mode, loss_agg_mode=aggregate, **more)
    record_loss(f"verl {name}", f"{VERL} {by}ppo_loss({said(more)})", settings, bool(correction), compute)


def verl_losses():
    wide, two = dict(clip_ratio_low=0.3, clip_ratio_high=0.5), dict(tau_pos=1.5, tau_neg=3.0)
    for aggregate in ("token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"):
        verl_loss(f"vanilla {aggregate}", "vanilla", aggregate)
        verl_loss(f"gspo {aggregate}", "gspo", aggregate)
        verl_loss(f"cispo {aggregate}", "cispo", aggregate, **wide)
        verl_loss(f"dual clip {aggregate} k3", "vanilla", aggregate, clip_ratio_c=1.4, use_kl_loss=True,
                  kl_loss_type="k3", kl_loss_coef=0.1)
    verl_loss("higher clip", clip_ratio_low=0.15, clip_ratio_high=0.28)
    verl_loss("entropy bonus", entropy_coeff=0.02)
    for kl in ("k1", "k2", "k3"):
        verl_loss(f"vanilla {kl}", use_kl_loss=True, kl_loss_type=kl, kl_loss_coef=0.1)
    verl_loss("sapo", "sapo", "seq-mean-token-mean")
    verl_loss("sapo other temperatures", "sapo", "seq-mean-token-mean", **two)
    for correction in (("token_truncate", 0.0, 1.2), ("token_mask", 0.75, 1.3), ("sequence_truncate", 0.0, 1.2),
                       ("sequence_mask", 0.5, 1.5)):
        verl_loss(f"vanilla {correction[0]}", correction=correction)
        verl_loss(f"cispo {correction[0]}", "cispo", correction=correction, **wide)
        verl_loss(f"sapo {correction[0]}", "sapo", "seq-mean-token-mean", correction)
        if "sequence" in correction[0]:
            verl_loss(f"gspo {correction[0]}", "gspo", "seq-mean-token-mean", correction)


def verl_advantages():
    # The scores are so far apart that adding 1e-6 or 1e-4 to their standard deviation makes no difference.
    rng = Random("groups for verl")
    ragged = [[[round(rng.uniform(-900, 900), 1)] for _ in range(n)] for n in (4, 2, 5, 3)] + [[[300.0]] * 3]
    even = [[[round(rng.uniform(-2, 2), 3)] for _ in range(5)] for _ in range(3)]
    even.append([[1.0], [1.0], [0.0], [0.0], [0.5]])
    for theirs, ours, groups, std in (
            ("grpo", "grpo", ragged, True), ("grpo", "dr_grpo", ragged, False), ("rloo", "rloo", ragged, False),
            ("rloo_vectorized", "rloo", even, False), ("grpo_passk", "pass_at_k", even, False),
            ("reinforce_plus_plus_baseline", "reinforce_plus_plus_baseline", ragged, False),
            ("reinforce_plus_plus_baseline", "reinforce_plus_plus_baseline", even, False)):
        lengths, function = sum(lengths_of(groups), []), verl.get_adv_estimator_fn(theirs)
        rewards = [[0.0] * (n - 1) + row for n, row in zip(lengths, sum(groups, []))]
        advantages, _ = function(
            token_level_rewards=padded(rewards), response_mask=padded([[1.0] * n for n in lengths]),
            index=np.array([i for i, group in enumerate(groups) for _ in group]), norm_adv_by_std_in_grpo=std,
            config={"norm_adv_by_std_in_grpo": std})
        source = f"{VERL} {function.__name__}(norm_adv_by_std_in_grpo={std})"
        more = {"pass_k": 5} if ours == "pass_at_k" else {}
        record_advantages(f"verl {ours}, {len(groups)} groups", source, ours, [1.0], groups, advantages[:, 0], **more)


def openrlhf_loss(name, **more):
    loss = openrlhf.PolicyLoss(**more)
    settings = {
        "surrogate": loss.policy_loss_type, "clip_low": loss.clip_eps_low, "clip_high": loss.clip_eps_high,
        "dual_clip": loss.dual_clip, "aggregate": "token_mean" if loss.token_level_loss else "sequence_mean"}
    corrected = loss.is_correction_level == "token"
    if corrected:
        mode = {"clip": "token_truncate", "mask": "token_mask"}[loss.is_correction_mode]
        settings["correction"] = dict(zip(("mode", "low", "high"), (mode, *loss.is_correction_threshold)))

    def compute(b):
        advantages, sampled = double(b.advantage)[:, None] * b.mask, padded(b.sampled) if corrected else None
        return loss(padded(b.log_probs), padded(b.old), advantages, b.mask, sampled)[0], {}

    record_loss(f"openrlhf {name}", f"{OPENRLHF} PolicyLoss({said(more)})", settings, corrected, compute)


def openrlhf_losses():
    openrlhf_loss("ppo")
    openrlhf_loss("ppo by sequence", token_level_loss=False)
    openrlhf_loss("higher clip", clip_eps_low=0.15, clip_eps_high=0.28)
    openrlhf_loss("dual clip", dual_clip=1.4)
    openrlhf_loss("gspo", policy_loss_type="gspo")
    openrlhf_loss("gspo dual clip", policy_loss_type="gspo", dual_clip=1.25)
    for mode in ("clip", "mask"):
        more = dict(is_correction_level="token", is_correction_mode=mode, is_correction_threshold=(0.8, 1.25))
        openrlhf_loss(f"correction {mode}", **more)
        openrlhf_loss(f"correction {mode} dual clip by sequence", dual_clip=1.4, token_level_loss=False, **more)


def openrlhf_advantages():
    rng = Random("groups for openrlhf")
    groups = [[[round(rng.uniform(-900, 900), 1)] for _ in range(4)] for _ in range(4)]
    mask = padded([[1.0] * n for n in sum(lengths_of(groups), [])])
    for theirs, ours in (("rloo", "rloo"), ("dr_grpo", "dr_grpo"), ("group_norm", "grpo")):
        args = SimpleNamespace(algo=SimpleNamespace(advantage=SimpleNamespace(estimator=theirs, gamma=1.0)),
                               reward=SimpleNamespace(clip_range=None), rollout=SimpleNamespace(n_samples_per_prompt=4))
        kl, strategy = SimpleNamespace(value=0.0), SimpleNamespace(args=args)
        experience = Experience(index=list(range(16)), rewards=double(groups).flatten(), action_mask=mask, kl=0 * mask)
        maker = RemoteExperienceMaker(None, None, None, None, kl, strategy, None)
        advantages = maker.compute_advantages_and_returns([experience])[0].advantages[:, 0]
        source = f"{OPENRLHF} RemoteExperienceMaker.compute_advantages_and_returns(estimator={theirs!r})"
        record_advantages(f"openrlhf {theirs}", source, ours, [1.0], groups, advantages)


def kl():
    rng = Random("estimates")
    log_probs = [round(rng.uniform(-4, -0.2), 4) for _ in range(8)]
    reference = log_probs[:1] + [round(x + rng.uniform(-1.5, 1.5), 4) for x in log_probs[1:]]
    for estimator in ("k1", "k2", "k3"):
        for source, function, key in ((f"{VERL} kl_penalty", verl.kl_penalty, "kl_penalty"),
                                      (f"{OPENRLHF} compute_approx_kl", compute_approx_kl, "kl_estimator")):
            x, = leaves([log_probs])
            values = function(x, double(reference), **{key: estimator})
            values.sum().backward()
            KL.append({"estimator": estimator, "source": source, "log_probs": log_probs, "reference": reference,
                       "values": values.tolist(), "gradient": x.grad.tolist()})


def overlong():
    for most, soft in ((100, 20), (64, 64), (10, 4), (12, 0)):
        free = most - soft
        lengths = sorted({1, free - 1, free, free + 1, most - soft // 3, most - 1, most, most + 1, 2 * most} - {-1, 0})
        replies = SimpleNamespace(response_length=torch.tensor(lengths), rewards=torch.zeros(len(lengths)).double())
        apply_overlong_penalty([replies], most, soft)
        trl = get_soft_overlong_punishment(most, soft)([[1] * n for n in lengths])
        answers = [(f"{TRL} get_soft_overlong_punishment", trl)]
        if soft:  # Without a zone, openrlhf lets replies beyond the limit pass.
            answers.append((f"{OPENRLHF} apply_overlong_penalty", replies.rewards.tolist()))
        OVERLONG.extend({"source": source, "max_tokens": most, "soft_tokens": soft, "lengths": lengths,
                         "penalties": penalties} for source, penalties in answers)


def preferences():
    rng = Random("preferences")
    near = [[round(rng.uniform(-3, 3), 4) for _ in range(6)] for _ in range(2)]
    far = [[30.0, -40.0, 8.5, 0.25, -700.0], [-30.0, 35.0, -1.5, 0.25, 200.0]]
    margins = [round(rng.uniform(0, 2), 3) for _ in range(6)]
    for name, loss, margin, (chosen, rejected) in (
            ("no margin", openrlhf.PairWiseLoss(), None, near), ("one margin", openrlhf.PairWiseLoss(), 0.5, near),
            ("margins", openrlhf.PairWiseLoss(), margins, near), ("far apart", openrlhf.PairWiseLoss(), None, far),
            ("log exp", openrlhf.LogExpLoss(), None, near)):
        x, y = leaves([chosen, rejected])
        value = loss(x, y, None if margin is None else double(margin))
        value.backward()
        PREFERENCE.append({
            "name": name, "source": f"{OPENRLHF} {type(loss).__name__}", "margin": margin, "chosen": chosen,
            "rejected": rejected, "loss": value.item(), "gradient_chosen": x.grad.tolist(),
            "gradient_rejected": y.grad.tolist()})


def rounded(x):
    if isinstance(x, float):
        assert math.isfinite(x)
        return float(f"{x:.9g}") + 0.0
    if isinstance(x, dict):
        return {k: rounded(v) for k, v in x.items()}
    return [rounded(v) for v in x] if isinstance(x, (list, tuple)) else x


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output
    warnings.simplefilter("ignore")
    for part in (trl_losses, verl_losses, openrlhf_losses, trl_advantages, verl_advantages, openrlhf_advantages, kl,
                 overlong, preferences):
        part()
    parts = {"not_possible": NOT_POSSIBLE, "losses": LOSSES, "advantages": ADVANTAGES, "kl": KL,
             "soft_overlong": OVERLONG, "preference": PREFERENCE}
    lines = ['"made_with": ' + json.dumps({name: version(name) for name in ("torch", "trl", "verl", "openrlhf")})]
    for name, part in parts.items():
        part = [json.dumps(rounded(x), separators=(",", ":")) for x in part]
        lines.append(f'"{name}": [\n' + ",\n".join(part) + "\n]")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(", ".join(f"{len(part)} {name}" for name, part in parts.items()))


if __name__ == "__main__":
    main()
