"""Pinned: with all threads on one CPU for a third of the rounds, the control sees it, and the number stays."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from statistics import median

from bench.cell import Cell
from bench.parent.cache import Cache, default_root
from bench.parent.children.control import Control
from bench.parent.children.group import Group
from bench.parent.children.member import Member
from bench.parent.plans.presets import PRESETS
from bench.parent.suite import Suite
from host.topology import usable_cpus
from workloads.catalog import load

STEPS = (("mlp", "train"), ("mlp", "infer"), ("resnet50", "infer"))
BACKENDS = ("torch_cpu", "jax_cpu", "onnxruntime_cpu", "openvino_cpu")
SHARE, MOVED = 1 / 3, 0.03


@contextmanager
def on_one_cpu(*pids: int) -> Iterator[None]:
    """Keeps all threads of the processes on the first CPU meanwhile."""
    threads = [int(task.name) for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    before = {thread: os.sched_getaffinity(thread) for thread in threads}
    for thread in threads:
        os.sched_setaffinity(thread, {usable_cpus()[0]})
    try:
        yield
    finally:
        for thread, cpus in before.items():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(thread, cpus)


@dataclass
class Pinned(Group):
    """Pins a third of its rounds, by chance; `pinned` are their numbers."""

    pinned: set[int] = field(default_factory=set, init=False)
    free: set[int] = field(default_factory=set, init=False)
    chance: Random = field(default_factory=lambda: Random(1), init=False)

    def _slice(self, member: Member, number: int) -> None:
        if number not in self.pinned | self.free:
            (self.pinned if self.chance.random() < SHARE else self.free).add(number)
        control = self.control and self.control.process
        if number in self.pinned and control:
            with on_one_cpu(member.child.pid, control):
                super()._slice(member, number)
        else:
            super()._slice(member, number)


def main() -> int:
    threads, is_good = len(usable_cpus()), True
    for name, phase in STEPS:
        workload = load(name)
        cells = [
            Cell(name, workload.size, phase, backend, workload.batch, workload.sequence, "fp32", threads)
            for backend in BACKENDS
        ]
        with tempfile.TemporaryDirectory() as folder:
            effort = replace(PRESETS["quick"].effort, min_rounds=12)
            suite = Suite(Cache(default_root(os.environ), lambda text: None), Path(folder), effort)
            suite.prepare(cells)
            control = Control(usable_cpus(), Path(folder) / "control.log")
            control.begin()
            group = Pinned(effort, Random(0), control=control)
            slices: dict[str, dict[int, float]] = {}
            group.on_slice = lambda cell, number, one, slices=slices: slices.setdefault(cell.backend, {}).update(
                {number: one.latency_s}
            )
            try:
                found = group.run([suite.ready(cell) for cell in cells])
            finally:
                control.close()
        for cell, one in found.items():
            of_cell = slices[cell.backend]
            free = median(seconds for number, seconds in of_cell.items() if number in group.free)
            pinned = median(seconds for number, seconds in of_cell.items() if number in group.pinned)
            kept = median(one.latency_s for one in one.kept.values())
            moved = kept / free - 1
            is_good &= abs(moved) <= MOVED
            print(
                f"  {name} {phase} {cell.backend:16} {len(group.pinned)} of {len(of_cell)} rounds pinned,"
                f" {one.left_out} left out; pinned {1e3 * pinned:.4g} ms, free {1e3 * free:.4g} ms,"
                f" the number {1e3 * kept:.4g} ms: {moved:+.1%}   {'ok' if abs(moved) <= MOVED else 'MISSED'}",
                flush=True,
            )
    return 0 if is_good else 1
