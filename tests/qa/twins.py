"""Twins: one backend several times in a group is nearly never called different, and 5 % planted into one is found."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from random import Random

from bench.cell import Cell
from bench.parent.cache import Cache, default_root
from bench.parent.children.control import Control
from bench.parent.children.group import Group
from bench.parent.plans.presets import PRESETS
from bench.parent.plans.variant import side_of
from bench.parent.suite import Suite
from host.topology import usable_cpus
from results.record import rounds
from tests.fakes.slowed import Slowed
from workloads.catalog import load

GROUPS = 10
STEPS = (("mlp", "infer"), ("resnet50", "infer"))
TWINS = "ABCDE"
LEAST_FOUND, MOST_DIFFERENT = 0.9, 0.03


def measured(suite: Suite, cells: Sequence[Cell], number: int) -> Mapping[str, Mapping[int, float]]:
    """Returns the kept rounds of a group's cells by the letter of their sides."""
    control = Control(usable_cpus(), suite.logs / "control.log")
    control.begin()
    try:
        group = Group(suite.effort, Random(number), control=control)
        found = group.run([suite.ready(cell) for cell in cells])
    finally:
        control.close()
    latency: dict[str, Mapping[int, float]] = {}
    for cell, one in found.items():
        if one.outcome.status != "ok":
            raise RuntimeError(f"{cell.title}: {one.outcome.status}: {one.outcome.reason}")
        latency[str(cell.variant)[0]] = {n: kept.latency_s for n, kept in one.kept.items()}
    return latency


def told(one: rounds.Rounds, other: rounds.Rounds) -> tuple[bool, str]:
    """Returns whether the two are called different, as tables call them, and their ratio in words."""
    of_rounds = rounds.paired(one, other, rounds.DECISIVE)
    if of_rounds is None or of_rounds.low is None:
        return False, "no interval"
    ratio = rounds.between_processes(of_rounds, 1, 2, rounds.DECISIVE)
    assert ratio.low is not None
    assert ratio.high is not None
    return not ratio.low <= 1 <= ratio.high, f"{ratio.value:.3f}±{100 * ratio.half_width:.1f}%"


def main() -> int:
    found = planted = different = twins = 0
    threads = len(usable_cpus())
    with tempfile.TemporaryDirectory() as folder:
        adapter = Slowed()
        suite = Suite(
            Cache(default_root(os.environ), print),
            Path(folder),
            PRESETS["quick"].effort,
            find_adapter=lambda name: adapter,
        )
        for number in range(GROUPS):
            for name, phase in STEPS:
                workload = load(name)
                cell = Cell(name, workload.size, phase, "torch_cpu", workload.batch, None, "fp32", threads)
                sides = [side_of(letter, "planted=0") for letter in TWINS] + [side_of("F", "planted=50")]
                cells = [replace(cell, variant=side) for side in sides]
                suite.prepare(cells[:1])
                latency = measured(suite, cells, number)
                is_found, words = told(latency["A"], latency["F"])
                found, planted = found + is_found, planted + 1
                calls = []
                for one, other in combinations(TWINS, 2):
                    is_different, apart = told(latency[one], latency[other])
                    different, twins = different + is_different, twins + 1
                    if is_different:
                        calls.append(f"{one}{other} {apart}")
                print(
                    f"  {name} {phase} {number}: {len(latency['A'])} rounds; 5 % planted is {words}"
                    f"{'' if is_found else ', not found'}; twins called different: {', '.join(calls) or 'none'}",
                    flush=True,
                )
    is_good = found >= LEAST_FOUND * planted and different <= MOST_DIFFERENT * twins
    print(
        f"  {found} of {planted} planted were found; {different} of {twins} twins called different"
        f"   {'ok' if is_good else 'MISSED'}"
    )
    return 0 if is_good else 1
