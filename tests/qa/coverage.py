"""Coverage: of ratios measured in rounds on a machine with phases, do 95 % of the 95 % intervals hold the true one?"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from bench.parent.children.group import LOOKS_APART
from bench.parent.plans.presets import PRESETS
from results.record import rounds

SERIES = 1_000
CELLS = 4
GOOD = (0.93, 0.98)
LOW = 1.15
"""A reading of the control that is slower by this is low, as `bench.parent.children.control` has it."""


@dataclass(frozen=True)
class Machine:
    """It is slower by up to `deepest` for `share` of the time, in stretches of 10 to 60 s; steps vary by `noise`.

    A slice of a cell takes `slice_s`.
    """

    deepest: float
    share: float
    noise: float
    slice_s: float


MACHINES = [
    Machine(deepest, share, noise, slice_s)
    for deepest in (0.0, 0.3, 0.6)
    for share in (0.2, 0.5)
    for noise in (0.01, 0.05)
    for slice_s in (0.25, 1.5)
    if deepest or share < 0.5
]


def slowness(machine: Machine, random: np.random.Generator, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns begins and factors of stretches that together last `seconds`."""
    begins, factors, at = [], [], 0.0
    while at < seconds:
        begins.append(at)
        is_slow = random.random() < machine.share
        factors.append(1 + is_slow * random.uniform(0, machine.deepest))
        at += random.uniform(10, 60)
    return np.array(begins), np.array(factors)


def ratio(machine: Machine, random: np.random.Generator, with_control: bool) -> rounds.Estimate | None:
    """Returns the ratio of the second of four cells to the first, whose true value is 1.25, as a group measures it."""
    effort = PRESETS["quick"].effort
    begins, factors = slowness(machine, random, 600)
    sides: list[dict[int, float]] = [{} for _ in range(CELLS)]
    at = 0.0
    estimate, next_look = None, effort.min_rounds
    for number in range(int(2.5 * effort.min_rounds)):
        for cell in random.permutation(CELLS):
            at += machine.slice_s
            now = factors[np.searchsorted(begins, at, side="right") - 1]
            step = (1.0, 1.25, 0.8, 2.0)[cell] * now * float(np.exp(random.normal(0, machine.noise)))
            if not (with_control and now > LOW):
                sides[cell][number] = step
        if number + 1 >= next_look and len(sides[0].keys() & sides[1].keys()) >= effort.min_rounds:
            next_look = ceil(LOOKS_APART * (number + 1))
            estimate = rounds.paired(sides[0], sides[1])
            if estimate is not None and estimate.half_width <= effort.relative_half_width:
                break
    return estimate


def main() -> int:
    is_good = True
    for with_control in (False, True):
        print(f"  {'rounds beside a low control left out' if with_control else 'no control'}")
        for machine in MACHINES:
            random = np.random.default_rng(1)
            made = [ratio(machine, random, with_control) for _ in range(SERIES)]
            sure = [one for one in made if one is not None and one.low is not None and one.high is not None]
            share = sum(one.low <= 1.25 <= one.high for one in sure) / len(sure)
            width = float(np.median([one.half_width for one in sure]))
            holds = GOOD[0] <= share <= GOOD[1]
            is_good &= holds
            print(
                f"    slower by up to {machine.deepest:.0%}, {machine.share:.0%} of the time; steps vary by"
                f" {machine.noise:.0%}, slices of {machine.slice_s:g} s: {share:.1%} of {len(sure)} hold it,"
                f" ±{width:.1%}   {'ok' if holds else 'MISSED'}"
            )
    return 0 if is_good else 1
