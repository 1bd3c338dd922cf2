"""Several children at once, for what is made and not timed. No child outlives it, Ctrl-C included."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

from bench.parent.children.child import Outcome
from bench.parent.children.launch import launch
from host.memory import available_bytes
from host.topology import usable_cpus

MEMORY_PER_MAKER_BYTES = 8 << 30
"""What making the largest artifact may take, float64 training of 124 million parameters, with some room."""


def makers(root: Path = Path("/")) -> int:
    """Returns how many artifacts are made at once: as cores and free memory allow, at least one."""
    return max(1, min(len(usable_cpus()), (available_bytes(root) or 0) // MEMORY_PER_MAKER_BYTES))


class Crew:
    """Runs tasks, some at a time, in threads that wait for the children they launch through it."""

    def __init__(self, at_once: int) -> None:
        self.threads_each = max(1, len(usable_cpus()) // at_once)
        self._pool = ThreadPoolExecutor(at_once)
        self._lock = Lock()
        self._children: set[int] = set()
        self._is_over = False

    def run(self, tasks: Iterable[Callable[[], None]]) -> None:
        """Returns when all `tasks` are done, and raises what the first of them raised."""
        futures = [self._pool.submit(task) for task in tasks]
        wait(futures)
        for future in futures:
            future.result()

    def launch(self, job: Mapping[str, Any], log: Path, threads: int, longest_stage_s: float | None) -> Outcome:
        """Does what `bench.parent.children.launch.launch` does; the child is ended where the crew is."""
        children: list[int] = []

        def joined(pid: int) -> None:
            with self._lock:
                children.append(pid)
                self._children.add(pid)
                if self._is_over:
                    _end(pid)

        try:
            return launch(job, log, threads, longest_stage_s, on_start=joined)
        finally:
            with self._lock:
                self._children.difference_update(children)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._is_over = True
            if error is not None:
                for pid in self._children:
                    _end(pid)
        self._pool.shutdown(cancel_futures=True)


def _end(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
