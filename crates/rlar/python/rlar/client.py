"""Clients of `rlar serve`, one that waits and one for asyncio.

A request that does not reach the server, or that it puts off (429, 503), is sent again with the same `Idempotency-Key`, so that
nothing is scored twice, until `patience` seconds have passed. After that, and when the server refuses the request, `ServerError`
is raised: no failure becomes a number.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from rlar.errors import ServerError
from rlar.types import Answer, Item, Result

MAX_ITEMS = 1024
"""Largest number of items in one request; the server takes 4096."""

DEADLINE = 120.0
PATIENCE = 600.0
PUT_OFF = {429, 502, 503, 504}


def url_of(url: str | None) -> str:
    """The address of the server: the argument, or that in the environment variable `RLAR_URL`."""
    url = url or os.environ.get("RLAR_URL")
    if not url:
        raise ServerError("no server is named: pass `url`, or set the environment variable RLAR_URL to what `rlar serve` prints")
    return url.rstrip("/")


def split(items: Sequence[Item], most: int = MAX_ITEMS) -> Iterator[list[Item]]:
    """Parts of the items for one request each. Neighbours with the same prompt stay together, because some tools judge all
    replies to a prompt at once, unless there are too many of them."""

    def prompt(item: Item) -> tuple[Any, ...]:
        return (item.get("prompt"), item.get("messages"), item.get("group"))

    part: list[Item] = []
    for start, item in enumerate(items):
        if part and prompt(part[-1]) != prompt(item):
            same = 1
            while start + same < len(items) and prompt(items[start + same]) == prompt(item):
                same += 1
            if len(part) + same > most:
                yield part
                part = []
        if len(part) == most:
            yield part
            part = []
        part.append(item)
    if part or not items:
        yield part


@dataclass
class _Attempts:
    """How long a request is tried, and what went wrong last."""

    url: str
    patience: float
    tries: int = 0

    def __post_init__(self) -> None:
        self.start = time.monotonic()

    def pause(self, problem: Exception | httpx.Response) -> float:
        """Seconds until the next try; raises `ServerError` when the request must not be sent again."""
        self.tries += 1
        wait = min(0.1 * 2.0**self.tries, 10.0)
        if isinstance(problem, httpx.Response):
            error = refusal(problem)
            if problem.status_code not in PUT_OFF or error.code == "not_scored":
                raise error
            try:
                wait = max(wait, float(problem.headers.get("retry-after", 0)))
            except ValueError:
                pass
        else:
            kind = type(problem).__name__
            error = ServerError(f"{self.url}: {kind}: {problem}; is `rlar serve` running there?")
            error.__cause__ = problem
        wait *= random.uniform(1.0, 1.5)
        if time.monotonic() + wait - self.start > self.patience:
            raise ServerError(f"{error} (tried {self.tries} times within {self.patience:g} s)", status=error.status,
                              code=error.code) from error.__cause__
        return wait


def refusal(response: httpx.Response) -> ServerError:
    """The error that a refused request stands for."""
    try:
        error = response.json()["error"]
        code, message = str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        code, message = None, response.text[:300]
    return ServerError(f"{response.url}: HTTP {response.status_code}: {message}", status=response.status_code, code=code)


@dataclass(frozen=True)
class _Request:
    """A part of the items, as it is sent."""

    url: str
    json: Mapping[str, Any]
    headers: Mapping[str, str]
    params: Mapping[str, str]


class _Settings:
    """What both clients have in common."""

    def __init__(self, url: str | None = None, *, token: str | None = None, library: str | None = None,
                 deadline: float = DEADLINE, patience: float = PATIENCE):
        """
        Args:
            url: the address of the server; when absent, that in the environment variable `RLAR_URL`.
            token: the token of the server; when absent, that in `RLAR_SERVE_TOKEN`, if it is set.
            library: hash of the library that must score, from an earlier answer; another one is refused.
            deadline: seconds that scoring may take; what is not scored by then has the status `failed`.
            patience: seconds for which a request is tried again when the server is busy or cannot be reached.
        """
        self.url = url_of(url)
        self.library, self.deadline, self.patience = library, deadline, patience
        token = token or os.environ.get("RLAR_SERVE_TOKEN")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        # The server keeps to the deadline itself; two more seconds are its own tolerance.
        self._timeout = httpx.Timeout(deadline + 30.0, connect=10.0)
        self._limits = httpx.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=30.0)

    def _requests(self, items: Sequence[Item]) -> list[_Request]:
        params = {"library": self.library} if self.library else {}
        return [
            _Request(f"{self.url}/v1/rewards", {"items": part, "deadline_s": self.deadline},
                     {**self._headers, "Idempotency-Key": str(uuid.uuid4())}, params)
            for part in split(items)
        ]


def merged(answers: Sequence[Mapping[str, Any]]) -> Answer:
    """One answer of those to the parts of a request."""
    results = tuple(Result.from_json(result) for answer in answers for result in answer["results"])
    return Answer(library=answers[-1]["library"], results=results)


class Client(_Settings):
    """Asks a server for rewards and waits for them. Threads may share a client."""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __init__(self, url: str | None = None, **settings: Any):
        super().__init__(url, **settings)
        self._http = httpx.Client(timeout=self._timeout, limits=self._limits, trust_env=False)

    __init__.__doc__ = _Settings.__init__.__doc__

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def rewards(self, items: Sequence[Item]) -> Answer:
        """The rewards of replies.

        Args:
            items: one mapping per reply, with `prompt` (or `messages`), `response`, and columns such as `reference`.

        Raises:
            ServerError: when the server cannot be reached or refuses the request.
            TypeError, ValueError: when an item has a value that JSON cannot express.
        """
        return merged([self._send(request) for request in self._requests(items)])

    def tools(self) -> list[dict[str, Any]]:
        """The tools of the server's library, with names, tasks, ranges, and whether they are admitted or suspended."""
        response = self._http.get(f"{self.url}/v1/tools", headers=self._headers)
        if response.status_code != 200:
            raise refusal(response)
        tools: list[dict[str, Any]] = response.json()["tools"]
        return tools

    def _send(self, request: _Request) -> dict[str, Any]:
        attempts = _Attempts(request.url, self.patience)
        while True:
            try:
                problem: Exception | httpx.Response = self._http.post(
                    request.url, json=request.json, headers=request.headers, params=request.params)
            except httpx.TransportError as error:
                problem = error
            if isinstance(problem, httpx.Response) and problem.status_code == 200:
                answer: dict[str, Any] = problem.json()
                return answer
            time.sleep(attempts.pause(problem))


class AsyncClient(_Settings):
    """Asks a server for rewards from asyncio code. A client belongs to one event loop."""

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __init__(self, url: str | None = None, **settings: Any):
        super().__init__(url, **settings)
        self._http = httpx.AsyncClient(timeout=self._timeout, limits=self._limits, trust_env=False)

    __init__.__doc__ = _Settings.__init__.__doc__

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def rewards(self, items: Sequence[Item]) -> Answer:
        """The rewards of replies, as `Client.rewards` gives them."""
        return merged(await asyncio.gather(*(self._send(request) for request in self._requests(items))))

    async def _send(self, request: _Request) -> dict[str, Any]:
        attempts = _Attempts(request.url, self.patience)
        while True:
            try:
                problem: Exception | httpx.Response = await self._http.post(
                    request.url, json=request.json, headers=request.headers, params=request.params)
            except httpx.TransportError as error:
                problem = error
            if isinstance(problem, httpx.Response) and problem.status_code == 200:
                answer: dict[str, Any] = problem.json()
                return answer
            await asyncio.sleep(attempts.pause(problem))
