"""The clocks: warm-up until steady, latency with one step in flight, throughput with the device kept full."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil, inf
from statistics import median
from time import perf_counter, perf_counter_ns
from typing import TYPE_CHECKING

from bench.child import estimate
from bench.child.checks.verify import Refused
from bench.effort import Effort

if TYPE_CHECKING:
    from backends.base import Flow, Step

SHORT_STEP_S = 100e-6
BLOCK_S = 1e-3
WINDOW_S = 0.5
QUEUED_BLOCK_S = 0.1
MAX_SAMPLES = 20_000


@dataclass(frozen=True)
class Samples:
    """Seconds per step, in the order measured; each is the mean over `steps_per_sample` steps."""

    seconds: tuple[float, ...]
    steps_per_sample: int


@dataclass(frozen=True)
class WarmUp:
    """What the warm-up took; `is_steady` is None where it was not asked to be, or too few steps were seen to tell."""

    steps: int
    seconds: float
    is_steady: bool | None
    samples_s: tuple[float, ...]


@dataclass(frozen=True)
class Throughput:
    """Seconds per step with `in_flight` steps under way; `little_ratio` is throughput x latency / in flight.

    By Little's law that is 1 where the device was kept full and the counting is right.
    """

    seconds: tuple[float, ...]
    steps_per_sample: int
    in_flight: int
    little_ratio: float


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


@dataclass
class Clock:
    """Runs a prepared step against the clock. It counts steps, so that batches keep rotating.

    `seen_s` are times of steps that were run before, in verification: they count as warm-up.
    """

    target: Step
    i: int = 0
    seen_s: list[float] = field(default_factory=list)
    block: int = 1

    def _run(self, n: int, wait_each: bool = True) -> float:
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

    def run(self, n: int) -> None:
        """Runs `n` steps, one in flight."""
        self._run(n)

    def calibrate(self) -> None:
        """Decides how many steps make a sample: one, or so many that it lasts 1 ms where a step is under 100 µs."""
        while len(self.seen_s) < 2:  # one reading may have been interrupted
            self.seen_s.append(self._run(1))
        step_s = min(self.seen_s)
        if step_s < 10 * SHORT_STEP_S:
            step_s = max(median(self._run(1) for _ in range(5)), 1e-9)
        self.block = 1 if step_s >= SHORT_STEP_S else max(1, round(BLOCK_S / step_s))
        if self.block > 1:
            self.seen_s = []

    def warm_up(self, effort: Effort) -> WarmUp:
        """Runs until two successive windows of half a second, or of two samples, are alike, or the time is spent.

        Steps that were run before count for all three: samples, number, time.
        """
        start, first, samples = perf_counter() - sum(self.seen_s), self.i, list(self.seen_s)
        begun, before = perf_counter(), len(samples)

        def sample() -> None:
            samples.append(self._run(self.block) / self.block)

        while self.i < effort.warm_up_steps or not samples:  # those of verification count
            sample()
        is_steady = None
        if effort.warm_up_s > 0:
            while len(samples) < 2:
                sample()
            size = min(max(2, ceil(WINDOW_S / (max(median(samples), 1e-9) * self.block))), 1000)
            while not (is_steady := len(samples) >= 2 * size and _alike(samples, size)):
                if perf_counter() - start >= effort.warm_up_s:
                    break
                sample()
                while (len(samples) - before) % size and perf_counter() - start < effort.warm_up_s:
                    sample()
            if len(samples) < 2 * size:
                is_steady = None
        return WarmUp(self.i - first, perf_counter() - begun, is_steady, tuple(samples[before:]))

    def latency(self, effort: Effort) -> Samples:
        """Returns samples with one step in flight; the clock starts when the step before is complete."""
        self.target.sync()
        return Samples(self._sample(effort, lambda: self._run(self.block) / self.block), self.block)

    def queued(self, effort: Effort, step_s: float) -> Throughput:
        """Returns samples over blocks of queued steps: while one block runs, the next one is already queued."""
        block = max(1, min(1000, round(QUEUED_BLOCK_S / step_s)))
        step, mark, wait = self.target.step, self.target.mark, self.target.wait
        ends: list[int] = []
        latencies: list[int] = []
        waiting: tuple[int, object]

        def enqueue() -> tuple[int, object]:
            begun = perf_counter_ns()
            for j in range(self.i, self.i + block):
                step(j)
            self.i += block
            return begun, mark()

        def next_block() -> float:
            nonlocal waiting
            following = enqueue()
            begun, token = waiting
            wait(token)
            ends.append(perf_counter_ns())
            latencies.append(ends[-1] - begun)
            waiting = following
            return (ends[-1] - ends[-2]) * 1e-9 / block

        self.target.sync()
        ends.append(perf_counter_ns())
        waiting = enqueue()
        next_block()  # the first block waited for nothing: it is not of the steady window
        latencies.clear()
        seconds = self._sample(effort, next_block)
        self.target.sync()
        per_block_s = sum(seconds) * block / len(seconds)
        little = sum(latencies) * 1e-9 / len(latencies) / per_block_s / 2
        return Throughput(seconds, block, 2 * block, little)

    def _sample(self, effort: Effort, take: Callable[[], float]) -> tuple[float, ...]:
        """Returns what `take()` returned, over and over, until the time is spent: `min_rounds` samples at least."""
        seconds: list[float] = []
        start = perf_counter()
        with quiet_collector():
            while len(seconds) < MAX_SAMPLES:
                seconds.append(_possible(take()))
                if len(seconds) >= effort.min_rounds and perf_counter() - start >= effort.budget_s:
                    break
        return tuple(seconds)


def _alike(samples: Sequence[float], size: int) -> bool:
    return estimate.is_steady(samples[-2 * size : -size], samples[-size:])


def _possible(seconds: float) -> float:
    """Returns `seconds`. Raises `Refused` where no step can have taken so long."""
    if not 0 < seconds < inf:
        raise Refused("implausible", f"a step took {seconds} s; a step takes time, and this clock only goes forward")
    return seconds


def loop_overhead_s() -> float:
    """Returns the seconds that the timing loop itself adds to a step: the median over loops around nothing."""
    from backends.null import NullStep
    from workloads.precision import DEFAULT

    clock = Clock(NullStep(DEFAULT))
    return median(clock._run(1000) / 1000 for _ in range(5))


def flow_throughput(flow: Flow, least: int, seconds: float) -> Throughput:
    """Returns samples of a flow that is kept full for `seconds` and at least `least` steps beyond its ends.

    Of the completions the first and the last `in_flight` are left out: then the flow is filling or draining. A sample
    is the time between completions `in_flight` apart, per step.
    """
    d = flow.in_flight
    with quiet_collector():
        spans = sorted(flow.run(least + 2 * d + 1, seconds), key=lambda span: span[1])
    ends = [end for _, end in spans[d - 1 : len(spans) - d]]
    inside = spans[d : len(spans) - d]
    samples = [_possible((b - a) * 1e-9 / d) for a, b in zip(ends[::d], ends[d::d], strict=False)]
    rate = len(samples) / sum(samples)
    waited = sum(end - start for start, end in inside) * 1e-9 / len(inside)
    return Throughput(tuple(samples), d, d, rate * waited / d)
