"""Whether a prepared step computes what the workload says: outputs, losses and state against float64.

It runs in the process that will be timed, before anything is timed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from time import perf_counter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backends.base import Effective, Flow, Step
from bench.child.expected import summarize_state
from workloads.program import Program
from workloads.summary import Summary, summarize
from workloads.tolerance import Tolerance

FLOOR = 1e-3
"""A tensor's error is taken relative to at least this part of the root mean square over all tensors of its kind."""

Expected = Mapping[str, Summary]
"""Summaries under `<quantity>.<tensor>`, in which `loss.<i>` and `output.<batch>.<name>` are tensors too."""


def quantity_of(key: str) -> str:
    """Returns the kind of quantity that is compared under `key`: `output`, `loss`, `first_moment` …"""
    return key.partition(".")[0]


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


def observe(
    step: Step, program: Program, initial: Mapping[str, NDArray[Any]]
) -> tuple[dict[str, Summary], list[float]]:
    """Runs `step` and returns what it computed, summarised as `Expected` is, and the seconds of each of its steps.

    That is what the program's `checks` name: the outputs of its first steps, and the state after one of them. `initial`
    are the model's tensors before the first step.
    """
    summaries: dict[str, Summary] = {}
    took_s: list[float] = []
    for i in range(program.checks.steps):
        start = perf_counter()
        step.step(i)
        step.sync()
        took_s.append(perf_counter() - start)
        summaries |= {program.checks.key(i, name): summarize(np.asarray(a)) for name, a in step.outputs().items()}
        if i == program.checks.state_after:
            summaries |= summarize_state(program, step.state(), initial)
    return summaries, took_s


def compare(observed: Expected, expected: Expected, allowed: Mapping[str, Tolerance]) -> Verification:
    """Returns the deviations of what was `observed` from what was `expected`, tensor by tensor.

    The error of a tensor is the norm of the difference relative to its reference's norm or, where that is
    larger, to the `FLOOR`: some true gradients are zero. A parameter's change is left out where its gradient
    lies under the floor, because AdamW makes a full step of whatever noise stands there.
    """
    deviations = []
    floors = {quantity: _floor_rms(expected, quantity) for quantity in map(quantity_of, expected)}
    for key, reference in expected.items():
        quantity, _, tensor = key.partition(".")
        summary, kept = observed.get(key), None
        if quantity == "parameter_change":
            gradient, floor_of_gradients = expected[f"first_moment.{tensor}"], floors["first_moment"]
            kept = np.abs(gradient.values) > floor_of_gradients
            if gradient.norm <= floor_of_gradients * sqrt(gradient.n) or not kept.any():
                continue
        bounds = allowed[quantity]
        error = _error(summary, reference, floors[quantity], kept)
        deviations.append(Deviation(quantity, tensor, "error", error, bounds.error))
        if reference.n > 1 and reference.norm > floors[quantity] * sqrt(reference.n):
            deviations.append(Deviation(quantity, tensor, "scale", _scale(summary, reference, kept), bounds.scale))
    return Verification(tuple(deviations))


def _floor_rms(expected: Expected, quantity: str) -> float:
    """Returns `FLOOR` times the root mean square over all elements of all tensors of the quantity."""
    ours = [summary for key, summary in expected.items() if key.partition(".")[0] == quantity]
    n = sum(summary.n for summary in ours)
    return FLOOR * sqrt(sum(summary.norm**2 for summary in ours) / n) if n else 0.0


def _error(observed: Summary | None, reference: Summary, floor: float, kept: Any) -> float:
    """Returns the largest of `ERRORS`: infinite where the tensor is missing or of another size, NaN where it is NaN.

    `floor` is the least root mean square that an error is taken relative to.
    """
    if observed is None or observed.n != reference.n:
        return float("inf")
    errors = [error(observed, reference, floor, kept) for error in ERRORS]
    # max() would drop a NaN that does not come first.
    return max(errors) if all(map(isfinite, errors)) else float("nan")


def elements_error(observed: Summary, reference: Summary, floor: float, kept: Any) -> float:
    """Returns the norm of the difference over the elements that are kept, relative to their norm."""
    a, b = _elements(observed, reference, kept)
    return float(np.linalg.norm(a - b)) / max(float(np.linalg.norm(b)), floor * sqrt(b.size))


def norm_error(observed: Summary, reference: Summary, floor: float, kept: Any) -> float:
    """Returns the difference of the norms over all elements: it sees those that are not kept."""
    return abs(observed.norm - reference.norm) / max(reference.norm, floor * sqrt(reference.n))


def sum_error(observed: Summary, reference: Summary, floor: float, kept: Any) -> float:
    """Returns the difference of the sums, at most sqrt(n) times that of the norms (Cauchy-Schwarz): it sees signs."""
    whole = max(reference.norm, floor * sqrt(reference.n)) * sqrt(reference.n)
    return abs(observed.total - reference.total) / whole


ERRORS = (elements_error, norm_error, sum_error)


def _elements(observed: Summary, reference: Summary, kept: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return (observed.values, reference.values) if kept is None else (observed.values[kept], reference.values[kept])


def _scale(observed: Summary | None, reference: Summary, kept: Any) -> float:
    """Returns how much too long `observed` is along the reference: random noise hardly moves it, a mistake does."""
    if observed is None or observed.n != reference.n:
        return float("inf")
    a, b = _elements(observed, reference, kept)
    return abs(float(np.dot(a, b)) / float(np.dot(b, b)) - 1)


def compare_flow(flow: Flow, expected: Expected, allowed: Mapping[str, Tolerance]) -> Verification:
    """Returns the deviations of all that the flow has written, from what each batch should give."""
    deviations: list[Deviation] = []
    for batch, outputs in flow.outputs():
        wanted = {key: s for key, s in expected.items() if key.startswith(f"output.{batch}.")}
        observed = {key: summarize(outputs[key.split(".", 2)[2]]) for key in wanted}
        deviations += compare(observed, wanted, allowed).deviations
    return Verification(tuple(deviations))


def check_effective(effective: Effective, requested: Mapping[str, Any]) -> None:
    """Raises `Refused` where the runtime says that it does something else than was asked for.

    `requested` holds device (its kind), precision and threads. What a runtime does not tell is not held against it;
    nodes that it placed elsewhere are.
    """
    for name, value in (
        ("precision", effective.precision),
        ("device", effective.device),
        ("threads", effective.threads),
    ):
        if value is not None and value != requested[name]:
            where = "on " if name == "device" else ""
            raise Refused(f"effective_{name}", f"asked for {requested[name]}, the runtime runs {where}{value}")
    if (share := float(effective.more.get("nodes_share", 1))) < 1:
        provider = effective.more.get("provider", effective.device)
        raise Refused("effective_device", f"{1 - share:.0%} of the graph's nodes run elsewhere than on {provider}")


def failing_reason(failures: Sequence[Deviation]) -> tuple[str, str]:
    """Returns (reason code, reason) for a wrong result: the worst deviation in full, the others counted."""
    worst = failures[0]
    code = {"output": "output_differs", "loss": "loss_differs"}.get(worst.quantity, "state_differs")
    if not isfinite(worst.value):
        code = "not_finite"
    others = "" if len(failures) == 1 else f" (and {len(failures) - 1} more)"
    return code, f"{worst}{others}"
