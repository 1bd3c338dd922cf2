"""A virtual clock and a target with known service times: hours of requests in milliseconds, the same each time."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random

from bench.serving.answer import Answer


class VirtualClock:
    """Time that moves only from event to event: a discrete-event simulation, in seconds."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._scheduled = 0

    def now(self) -> float:
        return self._now_s

    def at(self, at_s: float, event: Callable[[], None]) -> None:
        """Has `event` happen at `at_s`; those of one moment happen in the order in which they were said."""
        if at_s < self._now_s:
            raise ValueError(f"an event at {at_s} s is past: it is {self._now_s} s")
        heappush(self._events, (at_s, self._scheduled, event))
        self._scheduled += 1

    def wait_until(self, at_s: float) -> None:
        self.wait_for(lambda: False, at_s)

    def wait_for(self, is_so: Callable[[], bool], until_s: float) -> bool:
        """Lets events happen until `is_so`, or until `until_s`; returns whether it is so."""
        while not is_so():
            if not self._events or self._events[0][0] > until_s:
                self._now_s = max(self._now_s, until_s)
                return False
            self._now_s, _, event = heappop(self._events)
            event()
        return True

    def wake(self) -> None:
        """Nobody sleeps here: `wait_for` looks after each event."""


class QueueTarget:
    """One server, first come first served, with service times from `service_s(number)`: M/G/1 under Poisson arrivals.

    `lose(number)` says which requests never end; `late_s` is how late each is sent: what a slow client does.
    """

    def __init__(
        self,
        clock: VirtualClock,
        service_s: Callable[[int], float],
        lose: Callable[[int], bool] = lambda number: False,
        late_s: float = 0.0,
        samples: int = 1,
    ) -> None:
        self._clock = clock
        self._service_s = service_s
        self._lose = lose
        self._late_s = late_s
        self._samples = samples
        self._free_s = 0.0

    def start(self, number: int, due_s: float, done: Callable[[Answer], None]) -> None:
        if self._lose(number):
            return
        sent_s = self._clock.now() + self._late_s
        self._free_s = max(self._free_s, sent_s) + self._service_s(number)
        answer = Answer(due_s=due_s, sent_s=sent_s, end_s=self._free_s, samples=self._samples)
        self._clock.at(answer.end_s, lambda: done(answer))


def gamma_service_s(mean_s: float, variation: float, seed: int) -> Callable[[int], float]:
    """Returns service times that are gamma distributed, with a mean in seconds and a coefficient of variation."""
    random = Random(seed)
    if variation == 0:
        return lambda number: mean_s
    shape = 1 / variation**2
    return lambda number: random.gammavariate(shape, mean_s / shape)
