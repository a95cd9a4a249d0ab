"""The advantage estimator `grpo_scored` for verl, registered when verl loads its plugins."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from verl.trainer.ppo.core_algos import register_adv_est


@register_adv_est("grpo_scored")  # type: ignore[untyped-decorator, unused-ignore]
def grpo_scored(token_level_rewards: torch.Tensor, response_mask: torch.Tensor, index: np.ndarray, epsilon: float = 1e-6,
                norm_adv_by_std_in_grpo: bool = True, config: Any = None, **_: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """GRPO's advantages among the replies that have a reward. A reply whose reward is NaN has the advantage 0 and does not enter
    the mean and the standard deviation of its group; nor does a reply have an advantage that is alone in its group.

    Args:
        token_level_rewards: rewards of shape `[batch, response]`, summed over tokens.
        response_mask: 1 for the tokens of the reply, of shape `[batch, response]`.
        index: the group of every reply, of shape `[batch]`.
        epsilon: added to the standard deviation.
        norm_adv_by_std_in_grpo: whether advantages are divided by the standard deviation.

    Returns:
        Advantages and returns, both of shape `[batch, response]`.
    """
    with torch.no_grad():
        rewards = token_level_rewards.sum(dim=-1)
        advantages = torch.zeros_like(rewards)
        scored = ~torch.isnan(rewards)
        groups = torch.as_tensor(np.unique(np.asarray(index), return_inverse=True)[1], device=rewards.device)
        for group in groups.unique():
            members = (groups == group) & scored
            if members.sum() < 2:
                continue
            values = rewards[members]
            centred = values - values.mean()
            advantages[members] = centred / (values.std() + epsilon) if norm_adv_by_std_in_grpo else centred
        spread = advantages.unsqueeze(-1) * response_mask
        return spread, spread
