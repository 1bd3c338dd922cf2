"""Serving now: three searches for the highest rate in real time, on a queue with known service times."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

from bench.serving.answer import Answer
from bench.serving.arrivals import Scenario
from bench.serving.driver import LateClient, RealClock, drive
from bench.serving.rate_search import highest_rate
from bench.serving.virtual import gamma_service_s
from tests.qa.serving import CASES, SERVICE_S

TRIES = 3
FASTER = 2.0
"""The first case of `serving` in a half of its time: service, bound and all."""


class SleepingQueue:
    """One server, first come first served, in a thread that sleeps as long as a service takes."""

    def __init__(self, clock: RealClock, service_s: Callable[[int], float]) -> None:
        self._clock, self._service_s = clock, service_s
        self._waiting: SimpleQueue[tuple[int, float, float, Callable[[Answer], None]]] = SimpleQueue()
        threading.Thread(target=self._serve, daemon=True).start()

    def start(self, number: int, due_s: float, done: Callable[[Answer], None]) -> None:
        self._waiting.put((number, due_s, self._clock.now(), done))

    def _serve(self) -> None:
        free_s = 0.0
        while True:
            number, due_s, sent_s, done = self._waiting.get()
            free_s = max(free_s, sent_s) + self._service_s(number)  # what a sleep takes too long does not add up
            time.sleep(max(0.0, free_s - self._clock.now()))
            done(Answer(due_s=due_s, sent_s=sent_s, end_s=self._clock.now()))


def search(seed: int) -> str:
    """Returns in words what one search found."""
    case, runs = CASES[0], 0
    bound_s, true_per_s = case.bound_s / FASTER, case.true_per_s * FASTER

    def run(scenario: Scenario, queries: int) -> list[Answer]:
        nonlocal runs
        runs += 1
        clock = RealClock()
        service_s = gamma_service_s(SERVICE_S / FASTER, case.variation, 10_000 * seed + runs)
        return drive(SleepingQueue(clock, service_s), scenario, clock, queries, bound_s=bound_s)

    begin = time.perf_counter()
    try:
        found = highest_rate(run, bound_s, seed=seed)
    except LateClient as late:
        return f"refused after {time.perf_counter() - begin:.0f} s: {late}"
    if found.rate_per_s is None or found.low_per_s is None or found.high_per_s is None:
        return f"none: {found.reason}"
    holds = found.low_per_s <= true_per_s <= found.high_per_s
    return (
        f"{found.rate_per_s:.2f}/s [{found.low_per_s:.2f}, {found.high_per_s:.2f}], {found.rate_per_s / true_per_s:.3f}"
        f" of the true {true_per_s:.2f}/s, which the interval {'holds' if holds else 'does NOT hold'};"
        f" {found.queries:,} requests in {time.perf_counter() - begin:.0f} s"
    )


def main() -> int:
    for number in range(TRIES):
        print(f"    {search(31_000 + number)}", flush=True)
    return 0
