"""Hands samples that a child measured to pytest-benchmark, through its public marker option `timer=`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class ReplayTimer:
    """A clock that reads 0, s1, 0, s2 …, so that the rounds between its readings last exactly s1, s2 …"""

    def __init__(self) -> None:
        self.__name__ = "samestep_child"
        self.__module__ = "bench"
        self._readings: list[float] = []

    def load(self, samples_s: Sequence[float]) -> None:
        """Sets what the coming readings say."""
        self._readings = [reading for sample in reversed(samples_s) for reading in (sample, 0.0)]

    def __call__(self) -> float:
        return self._readings.pop()


def replay(benchmark: Any, timer: ReplayTimer, samples_s: Sequence[float]) -> None:
    """Feeds `samples_s` into the `benchmark` fixture as its rounds."""
    timer.load(samples_s)
    benchmark.pedantic(lambda: None, rounds=len(samples_s), iterations=1)
