"""The clocks: warm-up, latency with one step in flight, throughput with steps queued."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter, perf_counter_ns
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backends.base import Step

METHOD_VERSION = 1
"""Changes with the estimator, so that a changed estimator is never mistaken for a changed machine."""

SHORT_STEP_S = 100e-6
BLOCK_S = 1e-3
MAX_SAMPLES = 20_000


@dataclass(frozen=True)
class Effort:
    """How long a cell is warmed up and measured, in seconds and in steps, whichever is more."""

    warm_up_s: float
    warm_up_steps: int
    budget_s: float
    min_rounds: int


@dataclass(frozen=True)
class Samples:
    """Seconds per step, in the order measured; each is the mean over `steps_per_sample` steps."""

    seconds: tuple[float, ...]
    steps_per_sample: int


@contextmanager
def quiet_collector() -> Iterator[None]:
    """Keeps the garbage collector out of the measurement."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()


class Clock:
    """Runs a prepared step against the clock. It counts steps, so that batches keep rotating."""

    def __init__(self, step: Step, first: int = 0) -> None:
        self.target = step
        self.i = first
        self.warm_s: list[float] = []

    def _run(self, n: int, wait_each: bool) -> float:
        """Returns the seconds that `n` steps took, waiting after each or only after the last."""
        step, sync, i = self.target.step, self.target.sync, self.i
        start = perf_counter_ns()
        if wait_each:
            for j in range(i, i + n):
                step(j)
                sync()
        else:
            for j in range(i, i + n):
                step(j)
            sync()
        elapsed = perf_counter_ns() - start
        self.i += n
        return elapsed * 1e-9

    def warm_up(self, effort: Effort) -> tuple[int, float]:
        """Runs until both least steps and least seconds are reached; returns both, as they were."""
        start, steps = perf_counter(), 0
        while steps < effort.warm_up_steps or perf_counter() - start < effort.warm_up_s:
            self.warm_s.append(self._run(1, wait_each=True))
            steps += 1
        return steps, perf_counter() - start

    def latency(self, effort: Effort) -> Samples:
        """Returns samples with one step in flight. Steps under 100 µs are timed in blocks of at least 1 ms."""
        while len(self.warm_s) < 2:  # one reading may have been interrupted
            self.warm_s.append(self._run(1, wait_each=True))
        step_s = min(self.warm_s)
        if step_s < 10 * SHORT_STEP_S:
            step_s = max(median(self._run(1, wait_each=True) for _ in range(5)), 1e-9)
        block = 1 if step_s >= SHORT_STEP_S else max(1, round(BLOCK_S / step_s))
        return self._sample(effort, block, wait_each=True)

    def throughput(self, effort: Effort, step_s: float) -> Samples:
        """Returns samples over blocks of queued steps, a wait at the end of each block."""
        block = max(4, min(1000, round(0.2 / step_s)))
        return self._sample(effort, block, wait_each=False)

    def _sample(self, effort: Effort, block: int, wait_each: bool) -> Samples:
        seconds: list[float] = []
        start = perf_counter()
        with quiet_collector():
            while len(seconds) < effort.min_rounds or perf_counter() - start < effort.budget_s:
                seconds.append(self._run(block, wait_each) / block)
                if len(seconds) == MAX_SAMPLES:
                    break
        return Samples(tuple(seconds), block)
