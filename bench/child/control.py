"""The control: what the machine gives at this moment, to one thread alone and to all of a cell's together.

A matrix product in NumPy, one BLAS thread each, every thread on a CPU of its own. Where a hypervisor runs two virtual
CPUs on one physical core, or another process computes, the threads together slow down, though no counter says so.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

SIDE, REPEATS, PARTS = 384, 4, 3
"""Three parts of some 5 ms each, of which the median counts: a hiccup of milliseconds is no phase of the machine."""


@dataclass
class Control:
    """Reads the machine on `cpus`, one thread on each."""

    cpus: tuple[int, ...]
    _threads: list[_Thread] = field(init=False)

    def __post_init__(self) -> None:
        self._threads = [_Thread(cpu) for cpu in self.cpus]
        for _ in range(3):  # pages, BLAS's own buffers
            self.read()

    def read(self) -> dict[str, Any]:
        """Returns seconds of the product alone and together, and what the threads together are worth beside one."""
        alone_s = self._run(self._threads[:1])[0]
        if len(self._threads) == 1:
            return {"alone_s": alone_s, "together_s": alone_s, "worth": 1.0}
        each_s = self._run(self._threads)
        return {"alone_s": alone_s, "together_s": median(each_s), "worth": sum(alone_s / one for one in each_s)}

    @staticmethod
    def _run(threads: list[_Thread]) -> list[float]:
        """Returns the seconds of each of `threads`, begun together."""
        for thread in threads:
            thread.done.clear()
        for thread in threads:
            thread.begin.set()
        for thread in threads:
            thread.done.wait()
        return [thread.seconds for thread in threads]


class _Thread(threading.Thread):
    """Multiplies on one CPU whenever it is told to."""

    def __init__(self, cpu: int) -> None:
        super().__init__(daemon=True)
        self.cpu = cpu
        self.seconds = 0.0
        self.begin, self.done = threading.Event(), threading.Event()
        self._square = np.full((SIDE, SIDE), 0.5, np.float32)
        self._product = np.empty_like(self._square)
        self.start()

    def _part(self) -> float:
        start = perf_counter()
        for _ in range(REPEATS):
            np.matmul(self._square, self._square, out=self._product)
        return perf_counter() - start

    def run(self) -> None:
        if hasattr(os, "sched_setaffinity"):
            with suppress(OSError):  # a CPU may go offline
                os.sched_setaffinity(0, {self.cpu})  # 0 is the calling thread
        while True:
            self.begin.wait()
            self.begin.clear()
            self.seconds = median(self._part() for _ in range(PARTS))
            self.done.set()
