"""Whether a prepared step computes what the workload says: outputs, losses and state against float64.

It runs in the process that will be timed, before anything is timed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from time import perf_counter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backends.base import Step
from workloads.summary import Summary, summarize
from workloads.tolerance import Tolerance
from workloads.workload import N_BATCHES

N_LOSSES = 3
"""Consecutive training steps whose losses are compared: one more than there are batches."""

FLOOR = 1e-3
"""A tensor's error is taken relative to at least this part of the root mean square over all tensors of its kind."""

Expected = Mapping[str, Summary]
"""Summaries under `<quantity>.<tensor>`, in which `loss.<i>` and `output.<batch>.<name>` are tensors too."""

QUANTITIES = ("output", "loss", "first_moment", "second_moment", "parameter_change", "buffer_change")


@dataclass(frozen=True)
class Deviation:
    """How far one tensor lies from its reference by one measure, and how far it may."""

    quantity: str
    tensor: str
    measure: Literal["error", "scale"]
    value: float
    tolerance: float

    @property
    def passes(self) -> bool:
        """Whether it lies within its tolerance; NaN does not."""
        return self.value <= self.tolerance

    def __str__(self) -> str:
        return f"{self.measure} of {self.quantity} {self.tensor} is {self.value:.2g}, tolerance {self.tolerance:.2g}"


@dataclass(frozen=True)
class Verification:
    """All deviations that were looked at."""

    deviations: tuple[Deviation, ...]

    @property
    def failures(self) -> tuple[Deviation, ...]:
        """Those over their tolerance, worst first."""
        return tuple(sorted((d for d in self.deviations if not d.passes), key=_badness, reverse=True))

    def worst(self, measure: str) -> Deviation:
        """Returns the deviation by `measure` that lies nearest to, or furthest over, its tolerance."""
        return max((d for d in self.deviations if d.measure == measure), key=_badness)


def _badness(deviation: Deviation) -> float:
    return deviation.value / deviation.tolerance if isfinite(deviation.value) else float("inf")


class Refused(Exception):
    """The measurement cannot be believed. `code` is the row's reason code."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def observe(step: Step, phase: str, parameters: Mapping[str, NDArray[Any]]) -> tuple[dict[str, Summary], float]:
    """Runs `step` and returns what it computed, summarised as `Expected` is, and the seconds of its first step.

    Inference: the outputs of every batch (one computed once and returned for ever fits one of them). Training: the
    losses of `N_LOSSES` steps, and after the first one the optimiser's tensors and the change of each parameter.
    """
    found: dict[str, Summary] = {}
    first_step_s = 0.0
    for i in range(N_BATCHES if phase == "infer" else N_LOSSES):
        start = perf_counter()
        step.step(i)
        step.sync()
        if i == 0:
            first_step_s = perf_counter() - start
        outputs = step.outputs()
        if phase == "infer":
            found |= {f"output.{i}.{name}": summarize(array) for name, array in outputs.items()}
        else:
            found[f"loss.{i}"] = summarize(np.asarray(outputs["loss"]))
            if i == 0:
                found |= summarize_state(step.state(), parameters)
    return found, first_step_s


def summarize_state(
    state: Iterable[tuple[str, NDArray[Any]]], parameters: Mapping[str, NDArray[Any]]
) -> dict[str, Summary]:
    """Returns the state's summaries, each parameter and buffer as its change from the initial `parameters`."""
    found = {}
    for name, array in state:
        kind, _, tensor = name.partition(".")
        if kind in ("parameter", "buffer"):
            found[f"{kind}_change.{tensor}"] = summarize(array, minus=parameters[tensor])
        elif kind != "correction":
            found[name] = summarize(array)
    return found


def compare(found: Expected, expected: Expected, allowed: Mapping[str, Tolerance]) -> Verification:
    """Returns the deviations of `found` from `expected`, tensor by tensor.

    The error of a tensor is the norm of the difference relative to its reference's norm or, where that is
    larger, to the `FLOOR`: some true gradients are zero. A parameter's change is left out where its gradient
    lies under the floor, because AdamW makes a full step of whatever noise stands there.
    """
    deviations = []
    floors = {quantity: _floor_rms(expected, quantity) for quantity in QUANTITIES}
    for key, reference in expected.items():
        quantity, _, tensor = key.partition(".")
        mine, kept = found.get(key), None
        if quantity == "parameter_change":
            gradient, floor_of_gradients = expected[f"first_moment.{tensor}"], floors["first_moment"]
            kept = np.abs(gradient.values) > floor_of_gradients
            if gradient.norm <= floor_of_gradients * sqrt(gradient.n) or not kept.any():
                continue
        bounds = allowed[quantity]
        error = _error(mine, reference, floors[quantity], kept)
        deviations.append(Deviation(quantity, tensor, "error", error, bounds.error))
        if reference.n > 1 and reference.norm > floors[quantity] * sqrt(reference.n):
            deviations.append(Deviation(quantity, tensor, "scale", _scale(mine, reference, kept), bounds.scale))
    return Verification(tuple(deviations))


def _floor_rms(expected: Expected, quantity: str) -> float:
    """Returns `FLOOR` times the root mean square over all elements of all tensors of the quantity."""
    ours = [summary for key, summary in expected.items() if key.partition(".")[0] == quantity]
    n = sum(summary.n for summary in ours)
    return FLOOR * sqrt(sum(summary.norm**2 for summary in ours) / n) if n else 0.0


def _error(found: Summary | None, reference: Summary, floor: float, kept: Any) -> float:
    """Returns the largest of `ERRORS`: infinite where the tensor is missing or of another size, NaN where it is NaN.

    `floor` is the least root mean square that an error is taken relative to.
    """
    if found is None or found.n != reference.n:
        return float("inf")
    errors = [error(found, reference, floor, kept) for error in ERRORS]
    # max() would drop a NaN that does not come first.
    return max(errors) if all(map(isfinite, errors)) else float("nan")


def elements_error(found: Summary, reference: Summary, floor: float, kept: Any) -> float:
    """Returns the norm of the difference over the elements that are kept, relative to their norm."""
    a, b = _elements(found, reference, kept)
    return float(np.linalg.norm(a - b)) / max(float(np.linalg.norm(b)), floor * sqrt(b.size))


def norm_error(found: Summary, reference: Summary, floor: float, kept: Any) -> float:
    """Returns the difference of the norms over all elements: it sees those that are not kept."""
    return abs(found.norm - reference.norm) / max(reference.norm, floor * sqrt(reference.n))


def sum_error(found: Summary, reference: Summary, floor: float, kept: Any) -> float:
    """Returns the difference of the sums, at most sqrt(n) times that of the norms (Cauchy-Schwarz): it sees signs."""
    whole = max(reference.norm, floor * sqrt(reference.n)) * sqrt(reference.n)
    return abs(found.total - reference.total) / whole


ERRORS = (elements_error, norm_error, sum_error)


def _elements(found: Summary, reference: Summary, kept: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return (found.values, reference.values) if kept is None else (found.values[kept], reference.values[kept])


def _scale(found: Summary | None, reference: Summary, kept: Any) -> float:
    """Returns how much too long `found` is along the reference: random noise hardly moves it, a mistake does."""
    if found is None or found.n != reference.n:
        return float("inf")
    a, b = _elements(found, reference, kept)
    return abs(float(np.dot(a, b)) / float(np.dot(b, b)) - 1)


def check_effective(effective: Mapping[str, Any], precision: str, device_kind: str) -> None:
    """Raises `Refused` where the runtime says that it runs elsewhere, or in another precision, than asked."""
    if effective["precision"] != precision:
        raise Refused("effective_precision", f"asked for {precision}, the runtime runs {effective['precision']}")
    if effective["device"] != device_kind:
        raise Refused("effective_device", f"asked for {device_kind}, the runtime runs on {effective['device']}")


WAIT_TRIES = 3
WAIT_SHARE = 0.05
WAIT_SLACK_S = 200e-6


def check_waits(step: Step, first: int) -> int:
    """Raises `Refused` where `sync()` returns before the work is done. Returns the index of the next step.

    After `sync()`, reading one element of every output takes as long as reading it again. Where the first
    reading takes longer than the second by 5 % of the step, three times running, it waited for what `sync()`
    should have waited for.
    """
    step.touch()  # the first reading may compile or allocate
    late: list[tuple[float, float]] = []
    for i in range(first, first + WAIT_TRIES):
        t0 = perf_counter()
        step.step(i)
        step.sync()
        t1 = perf_counter()
        step.touch()
        t2 = perf_counter()
        step.touch()
        excess = (t2 - t1) - (perf_counter() - t2)
        if excess <= max(WAIT_SHARE * (t1 - t0), WAIT_SLACK_S):
            return i + 1
        late.append((t1 - t0, excess))
    said, waited = min(late, key=lambda pair: pair[1])
    raise Refused("does_not_wait", f"sync() returned after {said:.3g} s; reading the result took {waited:.3g} s more")


def failing_reason(failures: Sequence[Deviation]) -> tuple[str, str]:
    """Returns (reason code, reason) for a wrong result: the worst deviation in full, the others counted."""
    worst = failures[0]
    code = {"output": "output_differs", "loss": "loss_differs"}.get(worst.quantity, "state_differs")
    if not isfinite(worst.value):
        code = "not_finite"
    others = "" if len(failures) == 1 else f" (and {len(failures) - 1} more)"
    return code, f"{worst}{others}"
