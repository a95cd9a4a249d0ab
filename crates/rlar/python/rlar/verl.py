"""A reward function for verl, and an advantage estimator that leaves replies without a reward out.

    reward.custom_reward_function.path=pkg://rlar.verl
    reward.custom_reward_function.name=compute_score
    algorithm.adv_estimator=grpo_scored

The server is that in the environment variable `RLAR_URL`, which all workers of Ray must see.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Any

from rlar.client import AsyncClient
from rlar.types import Result
from rlar.verl_plugin import grpo_scored

__all__ = ["compute_score", "grpo_scored"]

# One client per event loop and address, because connections belong to a loop.
_clients: dict[tuple[int, str | None], AsyncClient] = {}


def _client(url: str | None) -> AsyncClient:
    key = (id(asyncio.get_running_loop()), url)
    if key not in _clients:
        _clients[key] = AsyncClient(url)
    return _clients[key]


def _columns(extra_info: Mapping[str, Any] | None) -> dict[str, Any]:
    """The columns of the row: what `extra_info` holds, without what verl adds to it."""
    added = {"num_turns", "rollout_reward_scores"}
    columns = {name: value for name, value in (extra_info or {}).items() if name not in added and value is not None}
    # NumPy's numbers and arrays, as Parquet files give them.
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in columns.items()}


async def compute_score(data_source: str, solution_str: str, ground_truth: Any, extra_info: Mapping[str, Any] | None = None,
                        url: str | None = None, tools: list[Any] | None = None, **_: Any) -> dict[str, Any]:
    """The reward of one reply, always with the same keys: verl reads those of the first reply for all others.

    `score` is NaN for a reply that was not scored. The estimator `grpo_scored` leaves it out; with others, use
    `rlar serve --on-failure` and its own formats instead, because NaN spoils the whole group there.

    Args:
        data_source: the name of the data set, sent as the column `data_source`.
        solution_str: the reply.
        ground_truth: the reference.
        extra_info: further columns. `prompt` or `question` in it is the prompt, which verl itself does not pass.
        url, tools: `reward.custom_reward_function.reward_kwargs` of verl's config: another server than `RLAR_URL`, and the
            tools that score instead of those that rlar chooses.
    """
    columns = _columns(extra_info)
    prompt = columns.pop("prompt", None) or columns.pop("question", None) or ""
    item: dict[str, Any] = {**columns, "data_source": data_source, "prompt": prompt, "response": solution_str}
    if ground_truth is not None:
        item["reference"] = ground_truth.tolist() if hasattr(ground_truth, "tolist") else ground_truth
    if tools is not None:
        item["tools"] = list(tools)
    result = (await _client(url).rewards([item])).results[0]
    return _fixed_keys(result)


def _fixed_keys(result: Result) -> dict[str, Any]:
    shown = (f"{part.tool}={part.outcome if part.value is None else format(part.value, '.4g')}" for part in result.parts)
    return {
        "score": math.nan if result.reward is None else result.reward,
        "rlar_scored": result.reward is not None,
        "rlar_status": result.status,
        "rlar_tools": " ".join(shown),
        "rlar_reason": result.reason or "",
    }
