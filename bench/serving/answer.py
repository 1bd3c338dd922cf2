"""What came of one request: when it was due, sent, answered and ended, with what each piece of the answer carried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Chunk:
    """A piece of an answer that carried output: when it was there, and how many tokens it held (None: unknown)."""

    at_s: float
    tokens: int | None = None


@dataclass(frozen=True)
class Answer:
    """One request. All times are seconds of one clock.

    `due_s` is when it was to be sent, `sent_s` when it was, `event_s` when the first event of any kind came (a role, a
    header of the stream), `chunks` are the pieces that carried output, `end_s` is when the last byte was there.
    """

    due_s: float
    sent_s: float
    end_s: float
    event_s: float | None = None
    chunks: tuple[Chunk, ...] = ()
    tokens: int | None = None
    """How many tokens the answer has; None where nobody said."""
    prompt_tokens: int | None = None
    error: str = ""
    """What went wrong, by class (`refused_429`, `broken_stream` …); empty where the answer is whole."""
    detail: str = ""
    """In words, for a person; never a key or a header."""
    connect_s: float | None = None
    """What connecting took, where this request opened a connection; it is in no other time."""
    samples: int = 1
    """Samples that the request asked for."""


class Target(Protocol):
    """What takes requests: a step, a flow, a service. It says by `done` when one has ended, from any thread."""

    def start(self, number: int, due_s: float, done: Callable[[Answer], None]) -> None:
        """Sends request `number`, and returns at once."""


class Clock(Protocol):
    """Time in seconds, and waiting for it: real, or virtual in tests."""

    def now(self) -> float:
        """Returns the time."""

    def wait_until(self, at_s: float) -> None:
        """Returns when it is that late."""
