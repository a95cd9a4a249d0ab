"""What is sent to the server and what it answers; `docs/reference/serve.md` describes the JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Status: TypeAlias = Literal["ok", "abstained", "failed", "suspended"]
Outcome: TypeAlias = Literal["scored", "abstained", "failed"]

Item: TypeAlias = Mapping[str, Any]
"""One reply with its prompt: `prompt` or `messages`, `response`, and columns of the row such as `reference`."""


@dataclass(frozen=True)
class Part:
    """What one tool gave for a reply."""

    tool: str
    """The name of the tool."""
    hash: str
    """The content hash of the tool."""
    value: float | None
    """The score; `None` when the tool abstained or failed."""
    weight: float
    """The factor of the score in the reward."""
    outcome: Outcome
    """Whether the tool scored, abstained or failed."""
    reason: str | None
    """Why the score is as it is, or why there is none. It may quote the reply."""
    seconds: float
    """The time that the tool needed; 0 for a cached score."""
    cached: bool
    """Whether the score came from the score cache."""


@dataclass(frozen=True)
class Result:
    """What became of one item."""

    id: Any
    """The id of the item."""
    status: Status
    """`ok`, or why there is no reward."""
    reward: float | None
    """The weighted sum of the scores of `parts`; `None` unless `status` is `ok`."""
    parts: tuple[Part, ...]
    """What every tool gave."""
    reason: str | None
    """Why there is no reward; `None` when there is one."""
    seconds: float
    """The time that the tools needed for this reply."""
    cached: bool
    """Whether all scores came from the score cache."""
    chosen_by: str | None
    """Who chose the tools; `None` when none were chosen."""

    @classmethod
    def from_json(cls, json: Mapping[str, Any]) -> Result:
        parts = tuple(Part(**{name: part[name] for name in Part.__dataclass_fields__}) for part in json["parts"])
        return cls(
            id=json["id"], status=json["status"], reward=json["reward"], parts=parts, reason=json["reason"],
            seconds=json["seconds"], cached=json["cached"], chosen_by=(json.get("chosen") or {}).get("by"),
        )


@dataclass(frozen=True)
class Answer:
    """The answer to a request: one result per item, in their order."""

    library: str
    """Hash of the library that scored. `Client(library=HASH)` pins it."""
    results: tuple[Result, ...]

    @property
    def rewards(self) -> list[float | None]:
        """The reward of every item; `None` for those that were not scored."""
        return [result.reward for result in self.results]
