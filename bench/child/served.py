"""A cell under a load of queries, in the child: verified, driven through a scenario as the parent asks, verified again.

What a query costs is the step that was verified, and its wait for the ones before it; definitions, driver, arrivals and
search are those of services (`bench.serving`).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

from bench.child import load as fullness
from bench.child.beside.generation import answer_of, take_times
from bench.child.checks.verify import Refused
from bench.child.measure import quiet_collector
from bench.child.trial import Trial
from bench.serving.answer import Answer, Chunk, Target
from bench.serving.arrivals import Offline, Scenario
from bench.serving.definitions import summary
from bench.serving.driver import LateClient, drive
from bench.serving.local.asked import Asked
from bench.serving.local.target import FullTarget, StepClock, StepTarget
from bench.serving.rate_search import HighestRate
from bench.serving.service import load
from workloads.generate import Generating

QUEUED = 8
"""Steps that are under way at once where a device has a queue of its own."""


@dataclass(kw_only=True)
class Served(Trial):
    """`prepare` and `settle` as any trial, then `serve` for each part of the load, then `finish`."""

    asked: Asked
    _answers: list[Answer] = field(default_factory=list, init=False)
    _found: HighestRate | None = field(default=None, init=False)

    def _choose_load(self) -> fullness.Load:
        """Returns steps one after the other; where all queries are there at once, how the device is kept full."""
        if isinstance(self.asked.arrivals(), Offline) and not isinstance(self.request.program, Generating):
            return super()._choose_load()
        return fullness.Load("serial", {})

    def serve(self, queries: int, duration_s: float) -> dict[str, Any]:
        """Drives a part of the load, of so many queries and seconds at least; returns how many were answered.

        Raises `Refused` where arrivals were late through this process.
        """
        self._stages.resume("measure")
        self.clock.run(1)  # the first step after a rest is not counted
        take_times(self.step)
        try:
            with quiet_collector():
                answers = self._searched() if self.asked.is_searched else self._driven(queries, duration_s)
        except LateClient as late:
            raise Refused("disturbed", str(late)) from late
        self._answers += behind(self._answers, answers)
        self._stages.pause()
        return {"n": len(answers)}

    def _driven(self, queries: int, duration_s: float) -> Sequence[Answer]:
        scenario = self.asked.arrivals()
        answers = self._drive(scenario, queries, duration_s)
        load.must_be_on_time(scenario, answers)
        return answers

    def _searched(self) -> Sequence[Answer]:
        last: Sequence[Answer] = ()

        def run(scenario: Scenario, queries: int) -> Sequence[Answer]:
            nonlocal last
            last = self._drive(self.asked.batched(scenario), queries, 0.0)
            return last

        self._found = load.search(run, self.asked.bounds, self.asked.requests, self.asked.seed)
        return last

    def _drive(self, scenario: Scenario, queries: int, duration_s: float) -> Sequence[Answer]:
        clock = StepClock()
        target: Target = StepTarget(clock, self._answer)
        if self._load.mode != "serial":
            target = FullTarget(clock, self._all, self.asked.samples)
        return drive(target, scenario, clock, queries, duration_s, timeout_s=float("inf"))

    def _answer(self, number: int) -> Answer:
        """Runs one step, and returns it as what one sequence of its batch was answered."""
        begin = perf_counter()
        self.clock.run(1)
        end = perf_counter()
        program = self.request.program
        samples = self.asked.samples
        if isinstance(program, Generating):
            (times,) = take_times(self.step)
            return replace(answer_of(times, program.prompt_tokens), end_s=end, samples=samples)
        return Answer(begin, begin, end, samples=samples)

    def _all(self, queries: int) -> Sequence[tuple[float, float]]:
        """Runs as many steps, or a few more, as throughput is measured; returns when each began and ended."""
        if self._load.flow is not None:
            return [(begin * 1e-9, end * 1e-9) for begin, end in self._load.flow.run(queries, 0.0)]
        waiting: deque[tuple[float, object]] = deque()
        spans = []
        for number in range(queries):
            waiting.append((perf_counter(), self._started()))
            while len(waiting) > QUEUED or (waiting and number == queries - 1):
                begin, token = waiting.popleft()
                self.step.wait(token)
                spans.append((begin, perf_counter()))
        return spans

    def _started(self) -> object:
        self.step.step(self.clock.i)
        self.clock.i += 1
        return self.step.mark()

    def finish(self, kept: Collection[int]) -> dict[str, Any]:
        """Verifies the step once more; returns the columns of the row, of all parts of the load together."""
        self._stages.enter("after")
        self._verify_again()
        asked, scenario = self.asked, self.asked.arrivals()
        told = summary(self._answers, bounds=asked.bounds)
        more = load.of_scenario(scenario) if self._found is None else load.of_search(self._found)
        stopped = load.early_stopping(scenario, self._answers, asked.bounds) if asked.mlperf else {}
        columns = load.of_answers(self._answers, told) | more | stopped
        self._load.close()
        if self._load.mode != "serial":
            columns["notes"] = f"steps overlapped ({self._load.mode}): {json.dumps(self._load.setting)}"
        for name in ("output_tokens_per_s", "total_tokens_per_s"):  # of all sequences of a batch
            columns[name] = None if columns[name] is None else asked.samples * columns[name]
        return columns | {"verification": self.columns["verification"]}


def behind(earlier: Sequence[Answer], answers: Sequence[Answer]) -> list[Answer]:
    """Returns the answers as if the first had been sent when the last of the `earlier` had ended.

    What happened between two parts of a load, when others were measured, is in no duration.
    """
    if not (earlier and answers):
        return list(answers)
    shift_s = max(answer.end_s for answer in earlier) - min(answer.sent_s for answer in answers)
    return [_moved(answer, shift_s) for answer in answers]


def _moved(answer: Answer, by_s: float) -> Answer:
    return replace(
        answer,
        due_s=answer.due_s + by_s,
        sent_s=answer.sent_s + by_s,
        end_s=answer.end_s + by_s,
        chunks=tuple(Chunk(chunk.at_s + by_s, chunk.tokens) for chunk in answer.chunks),
    )
