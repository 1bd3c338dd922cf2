"""How far what was computed lies from its reference, tensor by tensor: two measures, error and scale."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import isfinite, sqrt
from typing import Literal, NamedTuple

import numpy as np

from workloads.summary import Summary

FLOOR = 1e-3
"""A tensor's error is taken relative to at least this part of the root mean square over all tensors of its kind."""

Measure = Literal["error", "scale"]
MEASURES: tuple[Measure, ...] = ("error", "scale")
Expected = Mapping[str, Summary]
"""Summaries under `<quantity>.<tensor>`, in which `loss.<i>` and `output.<batch>.<name>` are tensors too."""


class Measured(NamedTuple):
    """One measure of one tensor. NaN and infinity are values."""

    key: str
    measure: Measure
    value: float


def quantity_of(key: str) -> str:
    """Returns the kind of quantity that is compared under `key`: `output`, `loss`, `first_moment` …"""
    return key.partition(".")[0]


def measured(observed: Expected, expected: Expected, keys: Iterable[str]) -> Iterator[Measured]:
    """Yields how far each of the tensors `keys` lies from what is `expected`.

    `error` is the norm of the difference relative to the reference's norm or, where that is larger, to the `FLOOR`:
    some true gradients are zero. `scale` is how much too long it is along the reference, where that is above the floor.
    """
    floors = {quantity: _floor_rms(expected, quantity) for quantity in map(quantity_of, expected)}
    for key in keys:
        summary, reference, floor = observed.get(key), expected[key], floors[quantity_of(key)]
        yield Measured(key, "error", _error(summary, reference, floor))
        if reference.n > 1 and reference.norm > floor * sqrt(reference.n):
            yield Measured(key, "scale", _scale(summary, reference))


def _floor_rms(expected: Expected, quantity: str) -> float:
    """Returns `FLOOR` times the root mean square over all elements of all tensors of the quantity."""
    ours = [summary for key, summary in expected.items() if quantity_of(key) == quantity]
    n = sum(summary.n for summary in ours)
    return FLOOR * sqrt(sum(summary.norm**2 for summary in ours) / n) if n else 0.0


def _error(observed: Summary | None, reference: Summary, floor: float) -> float:
    """Returns the largest of `ERRORS`: infinite where the tensor is missing or of another size, NaN where it is NaN.

    `floor` is the least root mean square that an error is taken relative to.
    """
    if observed is None or observed.n != reference.n:
        return float("inf")
    errors = [error(observed, reference, floor) for error in ERRORS]
    # max() would drop a NaN that does not come first.
    return max(errors) if all(map(isfinite, errors)) else float("nan")


def elements_error(observed: Summary, reference: Summary, floor: float) -> float:
    """Returns the norm of the difference over the elements that are kept, relative to their norm."""
    a, b = observed.values, reference.values
    difference, norm = float(np.linalg.norm(a - b)), max(float(np.linalg.norm(b)), floor * sqrt(b.size))
    return difference / norm if norm else (0.0 if difference == 0 else float("inf"))


def norm_error(observed: Summary, reference: Summary, floor: float) -> float:
    """Returns the difference of the norms over all elements: it sees those that are not kept."""
    whole = max(reference.norm, floor * sqrt(reference.n))
    return abs(observed.norm - reference.norm) / whole if whole else abs(observed.norm)


def sum_error(observed: Summary, reference: Summary, floor: float) -> float:
    """Returns the difference of the sums, at most sqrt(n) times that of the norms (Cauchy-Schwarz): it sees signs."""
    whole = max(reference.norm, floor * sqrt(reference.n)) * sqrt(reference.n)
    return abs(observed.total - reference.total) / whole if whole else abs(observed.total)


ERRORS = (elements_error, norm_error, sum_error)


def _scale(observed: Summary | None, reference: Summary) -> float:
    """Returns how much too long `observed` is along the reference: random noise hardly moves it, a mistake does."""
    if observed is None or observed.n != reference.n:
        return float("inf")
    a, b = observed.values, reference.values
    return abs(float(np.dot(a, b)) / float(np.dot(b, b)) - 1)
