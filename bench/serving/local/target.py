"""A step as a target of requests: first come, first served, each query one step, in the thread that prepared it.

The driver and the step share that thread, so that no client takes a core from what it measures: queries that came due
while a step ran are taken when it ends, which is when they could begin at the earliest. A query that came due while
nothing ran begins when this thread wakes, and how late that was is `lag_s`, as with any client.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from time import perf_counter, sleep

from bench.serving.answer import Answer

SPINS_S = 1e-3
"""A sleeper wakes late by up to so much; the rest is waited for awake, while the step rests anyway."""

Serve = Callable[[int], Answer]
"""Answers a query of this number, now; its times are those of the clock."""
ServeAll = Callable[[int], Sequence[tuple[float, float]]]
"""Runs so many steps, or a few more, with the device kept full; returns when each began and ended."""


class StepClock:
    """`time.perf_counter`, in seconds; whoever waits on it has the queue served meanwhile, as on a virtual clock."""

    def __init__(self, now: Callable[[], float] = perf_counter, rest: Callable[[float], None] = sleep) -> None:
        self.now = now
        self._rest = rest
        self._queue: deque[Callable[[], None]] = deque()

    def enqueue(self, query: Callable[[], None]) -> None:
        """Has `query` served behind those that wait."""
        self._queue.append(query)

    def wait_until(self, at_s: float) -> None:
        self.wait_for(lambda: False, at_s)

    def wait_for(self, is_so: Callable[[], bool], until_s: float) -> bool:
        """Serves the queue until `is_so`, or until it is late enough; returns whether it is so.

        Raises RuntimeError where nothing waits, and it would be waited for for ever.
        """
        while not is_so():
            left_s = until_s - self.now()
            if left_s <= 0:
                return False
            if self._queue:
                self._queue.popleft()()
            elif left_s == inf:
                raise RuntimeError("no query waits and none will come: an answer was lost")
            elif left_s > SPINS_S:
                self._rest(left_s - SPINS_S)
        return True

    def wake(self) -> None:
        """Nobody sleeps here while a query is served: `wait_for` looks after each."""


class StepTarget:
    """Serves queries by `serve`, one after the other; `serve` returns when the step has ended."""

    def __init__(self, clock: StepClock, serve: Serve) -> None:
        self._clock = clock
        self._serve = serve
        self._free_s = -inf
        """When the last step ended."""

    def start(self, number: int, due_s: float, done: Callable[[Answer], None]) -> None:
        """Puts query `number` into the queue. It is late by no more than nothing ran."""
        sent_s = due_s if due_s <= self._free_s else self._clock.now()

        def query() -> None:
            answer = self._serve(number)
            self._free_s = answer.end_s
            done(replace(answer, due_s=due_s, sent_s=sent_s))

        self._clock.enqueue(query)


class FullTarget:
    """Serves all queries that wait by steps that overlap, where each is due at once; `samples` is of each query."""

    def __init__(self, clock: StepClock, serve_all: ServeAll, samples: int) -> None:
        self._clock = clock
        self._serve_all = serve_all
        self._samples = samples
        self._waiting: list[tuple[float, Callable[[Answer], None]]] = []

    def start(self, number: int, due_s: float, done: Callable[[Answer], None]) -> None:
        """Has query `number` served with all that wait when the first of them is."""
        if not self._waiting:
            self._clock.enqueue(self._serve)
        self._waiting.append((due_s, done))

    def _serve(self) -> None:
        waiting, self._waiting = self._waiting, []
        first_s = self._clock.now()
        ends = sorted(end for _, end in self._serve_all(len(waiting)))
        for (due_s, done), end_s in zip(waiting, ends, strict=False):  # some runtimes run whole turns of batches
            done(Answer(due_s, first_s, end_s, samples=self._samples))
