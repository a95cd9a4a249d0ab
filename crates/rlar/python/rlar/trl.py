"""A reward function for TRL's trainers."""

from __future__ import annotations

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from rlar.client import DEADLINE, PATIENCE, AsyncClient
from rlar.server import START_SECONDS, LocalServer
from rlar.types import Result

logger = logging.getLogger("rlar")

# What TRL passes besides the columns of the data set.
NOT_COLUMNS = {"completion_ids", "trainer_state", "environments", "images"}


def item(prompt: Any, completion: Any, columns: dict[str, Any]) -> dict[str, Any]:
    """What is sent for one reply. In conversations, the last message of the completion is the reply; messages before it, such as
    calls of tools, belong to the prompt."""
    if isinstance(completion, str):
        return {**columns, "prompt": prompt, "response": completion}
    *earlier, last = completion
    before = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
    return {**columns, "prompt": [*before, *earlier], "response": last.get("content") or ""}


class Rewards:
    """A reward function for TRL: `with Rewards(library="library") as reward: GRPOTrainer(reward_funcs=reward, …)`.

    Without `url`, and without `RLAR_URL` in the environment, a local server runs as long as the `with` block does. The columns of
    the data set go to the tools: `reference`, `domain`, `tests` and so on.

    A reply that was not scored gets `None`, which TRL leaves out of its group's baseline. TRL's log gets the number of replies
    by outcome (`rlar/ok`, `rlar/failed`, …), the mean score of every tool (`rlar/TOOL`) and its failures (`rlar/TOOL/failed`);
    its table of completions gets, for each reply, the tools with their scores and the reason of a missing reward.
    """

    def __init__(self, *, library: str | os.PathLike[str] | None = None, config: str | os.PathLike[str] | None = None,
                 url: str | None = None, token: str | None = None, pin: str | None = None,
                 columns: Sequence[str] | None = None, tools: Sequence[Any] | None = None, deadline: float = DEADLINE,
                 patience: float = PATIENCE, arguments: Sequence[str] = (), log: str | os.PathLike[str] | None = None,
                 start_timeout: float = START_SECONDS, name: str = "rlar"):
        """
        Args:
            library: a folder of tools for the local server; without this and `config`, rlar's built-in library.
            config: a config of `rlar train` for the local server, whose `rewards` say which tools score.
            url: the address of a server that runs already; when absent, `RLAR_URL`, or else a local server is started.
            token: the token of that server; when absent, `RLAR_SERVE_TOKEN`.
            pin: hash of the library that must score, so that a resumed run keeps its rewards.
            columns: the columns of the data set that are sent; when absent, all.
            tools: the tools that score every reply, instead of those that rlar chooses.
            deadline: seconds that scoring of one batch may take.
            patience: seconds for which a request is tried again when the server is busy or cannot be reached.
            arguments: further arguments of the local server.
            log: a file for the local server's log.
            start_timeout: seconds that the local server may need to load its library.
            name: the name of the reward in TRL's log.
        """
        self.__name__ = name
        url = url or os.environ.get("RLAR_URL")
        if url and (library is not None or config is not None):
            raise ValueError(f"`library` and `config` are for a local server, but the server {url} is named (`url`, RLAR_URL)")
        self._server = None if url else LocalServer(
            library=library, config=config, arguments=arguments, log=log, start_timeout=start_timeout)
        self._url, self._columns, self._tools = url, columns, tools
        self._settings: dict[str, Any] = dict(token=token, library=pin, deadline=deadline, patience=patience)

    def __enter__(self) -> Rewards:
        if self._server:
            self._url = self._server.start().url
        return self

    def __exit__(self, *_: object) -> None:
        if self._server:
            self._server.stop()
            self._url = None

    @property
    def url(self) -> str | None:
        """The address of the server; `None` before the `with` block of a local one."""
        return self._url

    async def __call__(self, prompts: Sequence[Any], completions: Sequence[Any],
                       log_extra: Callable[[str, list[Any]], None] | None = None,
                       log_metric: Callable[[str, float], None] | None = None, **columns: Any) -> list[float | None]:
        """The rewards of a batch, `None` for a reply that was not scored.

        Args:
            prompts: the prompts, each a text or a list of messages, of shape `[batch]`.
            completions: the replies, each a text or a list of messages, of shape `[batch]`.
            log_extra, log_metric: TRL's functions for its table and its log.
            columns: what else TRL passes; lists of length `batch` are columns of the data set.
        """
        if self._url is None:
            raise RuntimeError("the local server does not run: use `with Rewards(…) as reward:` around the training")
        wanted = set(columns) - NOT_COLUMNS if self._columns is None else set(self._columns)
        missing = wanted - set(columns)
        if missing:
            raise ValueError(f"the data set has no column {', '.join(sorted(missing))}; it has {', '.join(sorted(columns))}")
        rows = [{name: columns[name][i] for name in wanted} for i in range(len(prompts))]
        # A row without a value has no such column.
        rows = [{name: value for name, value in row.items() if value is not None} for row in rows]
        items = [item(*row) for row in zip(prompts, completions, rows, strict=True)]
        if self._tools is not None:
            items = [{**one, "tools": list(self._tools)} for one in items]
        try:
            # A connection belongs to an event loop, and the trainer's may differ from call to call.
            async with AsyncClient(self._url, **self._settings) as client:
                answer = await client.rewards(items)
        except (TypeError, ValueError) as error:
            raise TypeError(f"a column of the data set cannot be sent as JSON ({error}); name those to send with `columns`") from error
        self._report(answer.results, log_extra, log_metric)
        return answer.rewards

    def _report(self, results: Sequence[Result], log_extra: Callable[[str, list[Any]], None] | None,
                log_metric: Callable[[str, float], None] | None) -> None:
        """Writes what became of a batch to TRL's log and to Python's."""
        statuses = Counter(result.status for result in results)
        scores: dict[str, list[float]] = defaultdict(list)
        failures: Counter[str] = Counter()
        for part in (part for result in results for part in result.parts):
            failures[part.tool] += part.outcome == "failed"
            if part.value is not None:
                scores[part.tool].append(part.value)
        if log_metric:
            for status in ("ok", "failed", "abstained", "suspended"):
                log_metric(f"{self.__name__}/{status}", float(statuses[status]))
            for tool, values in scores.items():
                log_metric(f"{self.__name__}/{tool}", sum(values) / len(values))
            for tool, count in failures.items():
                log_metric(f"{self.__name__}/{tool}/failed", float(count))
        if log_extra:
            shown = lambda part: f"{part.tool}={part.outcome if part.value is None else format(part.value, '.4g')}"
            log_extra(f"{self.__name__}_tools", [" ".join(map(shown, result.parts)) for result in results])
            log_extra(f"{self.__name__}_status", [result.status for result in results])
            log_extra(f"{self.__name__}_reason", [result.reason or "" for result in results])
        unscored = [result for result in results if result.reward is None]
        for reason, count in Counter(result.reason for result in unscored).most_common(3):
            logger.warning("%d of %d replies were not scored and are left out: %s", count, len(results), reason)
