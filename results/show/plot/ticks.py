"""Round numbers along a logarithmic axis of a plot, and how they read: with SI prefixes, without needless digits."""

import itertools
import math
from collections.abc import Iterable

from results.record.human import PREFIXES, TIME_UNITS

MANTISSAS = (
    (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9),
    (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8),
    (1, 1.5, 2, 3, 4, 6),
    (1, 2, 5),
    (1.5, 3, 6),
    (1, 3),
    (1,),
)
NEAREST_INCH = 0.45
"""Between two ticks: `250 ms` in letters of 7 points, and a space."""

LINES_PER_TICK = 2.2
"""How many ticks fit above each other where one fits beside another."""
LEAST_RATIO, MARGIN = 1.6, 0.16
"""An axis of curves spans the first at least, and the second of itself beyond its numbers, on both sides together."""


def log_ends(values: Iterable[float | None]) -> tuple[float, float]:
    """Returns the ends of a logarithmic axis, a little beyond the values that are known."""
    known = [value for value in values if value]
    half = max(LEAST_RATIO, max(known) / min(known)) ** ((1 + MARGIN) / 2)
    middle = math.sqrt(min(known) * max(known))
    return middle / half, middle * half


def ticks_of(low: float, high: float, width_inch: float) -> list[float]:
    """Returns round numbers from `low` to `high`, as many as have room on a logarithmic axis of that width (inch)."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    candidates = [[float(f"{mantissa}e{power}") for power in decades for mantissa in some] for some in MANTISSAS]
    candidates += [candidates[-1][::step] for step in range(2, len(decades))]
    inside = [[tick for tick in ticks if low <= tick <= high] for ticks in candidates]
    inch = width_inch / math.log(high / low)

    def has_room(ticks: list[float]) -> bool:
        return all(inch * math.log(after / before) >= NEAREST_INCH for before, after in itertools.pairwise(ticks))

    return max((ticks for ticks in inside if has_room(ticks)), key=len)


def time_tick(seconds: float) -> str:
    """Returns a time such as `1.5 s` or `250 ms`."""
    unit = next((unit for unit, size in reversed(TIME_UNITS.items()) if seconds >= size * (1 - 1e-9)), "ns")
    return f"{seconds / TIME_UNITS[unit]:g} {unit}"


def rate_tick(value: float) -> str:
    """Returns a number of something per second, such as `0.5`, `20` or `1.5 k`."""
    steps = min(max(0, math.floor(math.log10(value * (1 + 1e-9)) / 3)), len(PREFIXES) - 1)
    return f"{value / 1000**steps:g} {PREFIXES[steps]}".rstrip()


def ratio_tick(value: float) -> str:
    """Returns a ratio such as `3x`."""
    return f"{value:g}x"
