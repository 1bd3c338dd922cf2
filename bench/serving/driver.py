"""One driver for every scenario: sends requests when they are due, and returns an answer for each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from bench.serving.answer import Answer, Clock, Target
from bench.serving.arrivals import Scenario
from bench.serving.definitions import percentile

MOST_LOST = 3
"""So many requests lost in a row for each that is in flight, and a closed loop sends no more: nobody answers."""
LATE = 0.05
"""A client is late where the 99th percentile of its lag is above this share of the bound on latency. Ours."""


class LateClient(RuntimeError):
    """Our own client sent too late for the latencies to be the target's."""


class DriverClock(Clock, Protocol):
    """A clock on which the driver also waits for answers."""

    def wait_for(self, is_so: Callable[[], bool], until_s: float) -> bool:
        """Returns whether it is so, as soon as it is, or at `until_s`."""

    def wake(self) -> None:
        """Has whoever waits look again; from any thread."""


class RealClock:
    """`time.perf_counter`, in seconds; threads may call `wake`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()

    def now(self) -> float:
        return time.perf_counter()

    def wait_until(self, at_s: float) -> None:
        while (left_s := at_s - time.perf_counter()) > 0:
            time.sleep(left_s)

    def wait_for(self, is_so: Callable[[], bool], until_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(is_so, max(0.0, until_s - time.perf_counter()))

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


class _Run:
    """What is known of each request of a run while it goes on; `done` comes from any thread."""

    def __init__(self, target: Target, scenario: Scenario, clock: DriverClock) -> None:
        self._target, self._scenario, self._clock = target, scenario, clock
        self._lock = threading.Lock()
        self._due_s: list[float] = []
        self._answers: dict[int, Answer] = {}
        self._twice: set[int] = set()
        self._open: dict[int, None] = {}
        """The requests that are not answered, the oldest first."""
        self._expired: set[int] = set()
        self._is_over = False
        self.freed_s: list[float] = []
        """When an answer came, or was given up, for each that no request of a closed loop has followed yet."""
        self.lost_in_a_row = 0
        """How many were given up since the last answer."""

    def send(self, due_s: float) -> None:
        number = len(self._due_s)
        self._due_s.append(due_s)
        self._open[number] = None
        self._target.start(number, due_s, lambda answer: self._done(number, answer))

    def _done(self, number: int, answer: Answer) -> None:
        with self._lock:
            if number in self._expired:
                self._expired.discard(number)
            elif number in self._answers:
                self._twice.add(number)
            elif not self._is_over:
                # When it was due is the driver's to say, whatever the target took for its start.
                self._end(number, replace(answer, due_s=self._due_s[number]))
                self.lost_in_a_row = 0
        self._clock.wake()

    def _end(self, number: int, answer: Answer) -> None:
        self._answers[number] = answer
        self._open.pop(number, None)
        self.freed_s.append(self._clock.now())

    def deadline_s(self, timeout_s: float) -> float:
        """Returns when the oldest request that is not answered is given up."""
        with self._lock:
            return self._due_s[next(iter(self._open))] + timeout_s if self._open else self._clock.now() + timeout_s

    def give_up(self, timeout_s: float) -> None:
        """Ends the requests that are due for `timeout_s`: they are timeouts, and hold no place in flight any more."""
        with self._lock:
            now_s = self._clock.now()
            for number in [one for one in self._open if self._due_s[one] + timeout_s <= now_s]:
                self._expired.add(number)
                self._end(number, self._timeout(number, now_s))
                self.lost_in_a_row += 1

    def _timeout(self, number: int, now_s: float) -> Answer:
        due_s = self._due_s[number]
        return Answer(due_s=due_s, sent_s=due_s, end_s=now_s, error="timeout", samples=self._scenario.samples)

    def all_done(self) -> bool:
        return len(self._answers) == len(self._due_s)

    def close(self) -> list[Answer]:
        """Returns an answer for each request sent: a timeout where none came. What comes later is not taken."""
        with self._lock:
            self._is_over = True
            if self._twice:
                raise RuntimeError(f"the target answered requests {sorted(self._twice)} twice; each is answered once")
            now_s, samples = self._clock.now(), self._scenario.samples
            for number, answer in self._answers.items():
                if answer.samples != samples:
                    raise ValueError(
                        f"request {number} asked for {answer.samples} samples; the scenario has {samples} a request"
                    )
            return [self._answers.get(number) or self._timeout(number, now_s) for number in range(len(self._due_s))]


def drive(
    target: Target,
    scenario: Scenario,
    clock: DriverClock,
    queries: int,
    duration_s: float = 0.0,
    timeout_s: float = 60.0,
    bound_s: float | None = None,
) -> list[Answer]:
    """Returns the answers to `queries` requests or more, in the order in which they were due.

    It goes on for at least `duration_s` (LoadGen's minimum duration; Offline ends with its queries). A request that is
    not answered `timeout_s` after the last was due has the error `timeout`; in a closed loop `timeout_s` after it was
    due itself, when the next takes its place, and after `MOST_LOST` in a row for each in flight no more are sent. With
    a `bound_s` on latency a run whose client was late raises LateClient. Raises RuntimeError where a target answers
    twice, ValueError where it asks for other samples than the scenario has.
    """
    run = _Run(target, scenario, clock)
    start_s = clock.now()
    if scenario.in_flight is None:
        for after_s in scenario.due_s(queries, duration_s):
            clock.wait_until(start_s + after_s)
            run.send(start_s + after_s)
    else:
        _send_in_closed_loop(run, scenario.in_flight, clock, queries, start_s + duration_s, timeout_s)
    clock.wait_for(run.all_done, clock.now() + timeout_s)
    answers = run.close()
    if bound_s is not None and (reason := why_late(answers, bound_s)):
        raise LateClient(reason)
    return answers


def _send_in_closed_loop(
    run: _Run, in_flight: int, clock: DriverClock, queries: int, until_s: float, timeout_s: float
) -> None:
    sent = min(in_flight, queries)
    start_s = clock.now()
    for _ in range(sent):
        run.send(start_s)
    while sent < queries or clock.now() < until_s:
        if clock.wait_for(lambda: bool(run.freed_s), run.deadline_s(timeout_s)):
            run.send(run.freed_s.pop(0))
            sent += 1
            continue
        run.give_up(timeout_s)
        if run.lost_in_a_row >= MOST_LOST * in_flight:
            return


def latency_s(answer: Answer) -> float:
    """Returns the seconds from when a request was due to its end, as LoadGen's Server counts them.

    What connecting took is in no latency (`definitions.connect_s`).
    """
    return answer.end_s - answer.due_s - (answer.connect_s or 0.0)


def lags_s(answers: Sequence[Answer]) -> list[float]:
    """Returns how late our client sent each, in seconds; timeouts without a sending are left out."""
    return [a.sent_s - a.due_s - (a.connect_s or 0.0) for a in answers if a.error != "timeout"]


def lag_s(answers: Sequence[Answer]) -> float:
    """Returns the 99th percentile of how late our client sent, in seconds."""
    return percentile(lags_s(answers) or [0.0], 0.99)


def why_late(answers: Sequence[Answer], bound_s: float) -> str:
    """Returns in words why latencies are not the target's, because our client was late; empty where it was not."""
    lag = lag_s(answers)
    if lag <= LATE * bound_s:
        return ""
    return (
        f"our client sent late: the 99th percentile of its lag is {lag * 1e3:.3g} ms, above {LATE:.0%} of the bound of"
        f" {bound_s * 1e3:g} ms; lower the rate, or give the client a quieter machine"
    )
