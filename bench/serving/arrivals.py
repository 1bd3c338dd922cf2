"""When requests are due: MLPerf's four scenarios, and a fixed number in flight.

An open loop knows before the run when each request is due; a closed loop knows how many are in flight.
Source: MLPerf inference rules, and `loadgen/` of mlcommons/inference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from math import inf
from random import Random
from typing import Protocol, TypeVar

Number = TypeVar("Number", int, float)


class Scenario(Protocol):
    """What the driver asks of a scenario: one of `due_s` and `in_flight` says something."""

    @property
    def samples(self) -> int:
        """Samples that each request asks for."""

    @property
    def in_flight(self) -> int | None:
        """How many requests are in flight at once; None in an open loop."""

    def due_s(self, queries: int, duration_s: float) -> list[float]:
        """Returns when requests are due, in seconds from the start: `queries` or more; none in a closed loop."""


@dataclass(frozen=True)
class Concurrency:
    """The next request is due when one of `clients` is done: a closed loop."""

    clients: int
    samples: int = 1

    def __post_init__(self) -> None:
        if self.clients < 1 or self.samples < 1:
            raise ValueError(f"clients and samples are 1 or more, got {self.clients} and {self.samples}")

    @property
    def in_flight(self) -> int | None:
        return self.clients

    def due_s(self, queries: int, duration_s: float) -> list[float]:
        return []


@dataclass(frozen=True)
class SingleStream(Concurrency):
    """The next request is due when the last is done, one sample each."""

    clients: int = 1


@dataclass(frozen=True)
class MultiStream(Concurrency):
    """The next request is due when the last is done, eight samples each; it takes what its slowest sample takes."""

    clients: int = 1
    samples: int = 8


@dataclass(frozen=True)
class Offline:
    """All requests are due at once."""

    samples: int = 1

    @property
    def in_flight(self) -> int | None:
        return None

    def due_s(self, queries: int, duration_s: float) -> list[float]:
        return list(repeat(0.0, queries))


@dataclass(frozen=True)
class Server:
    """Requests are due as a Poisson process has it: exponential gaps, drawn before the run from a seed.

    `rate_per_s` is their mean number per second. Raises ValueError where it is not above 0.
    """

    rate_per_s: float
    seed: int = 0
    samples: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.rate_per_s < inf:
            raise ValueError(f"a rate is a number of requests per second above 0, got {self.rate_per_s}")

    @property
    def in_flight(self) -> int | None:
        return None

    def due_s(self, queries: int, duration_s: float) -> list[float]:
        random = Random(self.seed)
        due: list[float] = []
        at_s = 0.0
        while len(due) < queries or at_s < duration_s:
            at_s += random.expovariate(self.rate_per_s)
            due.append(at_s)
        return due


SEARCHED = Server(1.0, seed=-1)
"""Stands for `server:max`: the highest rate within a bound is searched (`rate_search`)."""
WITHOUT_VALUE: dict[str, Scenario] = {
    "single_stream": SingleStream(),
    "multi_stream": MultiStream(),
    "offline": Offline(),
}


def scenario_named(text: str, seed: int = 0) -> Scenario:
    """Returns the scenario that `text` names, in MLPerf's words; `seed` is that of arrivals. Raises ValueError."""
    name, _, value = text.partition(":")
    if text in WITHOUT_VALUE:
        return WITHOUT_VALUE[text]
    if text == "server:max":
        return SEARCHED
    try:
        if name == "concurrency":
            return Concurrency(_number(value, int, "a whole number"))
        if name == "server":
            return Server(_number(value, float, "a number"), seed)
    except ValueError as error:
        raise ValueError(f"scenario {text!r}: {error}") from error
    known = ", ".join((*WITHOUT_VALUE, "concurrency:N", "server:RATE", "server:max"))
    raise ValueError(f"unknown scenario {text!r}; known: {known}")


def _number(text: str, kind: Callable[[str], Number], expected: str) -> Number:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"expected {expected} behind the colon, got {text!r}") from None
