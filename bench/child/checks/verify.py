"""Whether a prepared step computes what the workload says: outputs, losses and state against float64.

It runs in the process that will be timed, before anything is timed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import median
from time import perf_counter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backends.base import Effective, Flow, Step
from bench.child.expected import summarize_state
from workloads.deviation import Expected, measured
from workloads.precision import DEFAULT, Precision
from workloads.program import Program
from workloads.summary import Summary, summarize
from workloads.tolerance import FACTOR, MissingTolerance, Tolerance
from workloads.update import applied

FINER, AWAY = 5.0, 10.0
TELLING = ("output", "first_moment")
"""The quantities that a precision shows in: a loss is one number, which may be right by luck."""
Allowed = Mapping[str, Tolerance]
"""How far each tensor that is expected may lie off."""


@dataclass(frozen=True)
class Deviation:
    """How far one tensor lies from its reference by one measure, and how far it may.

    `roundoffs` are of what an optimiser made of its gradient: from its own rule, not from the reference.
    """

    quantity: str
    tensor: str
    measure: Literal["error", "scale", "roundoffs"]
    value: float
    tolerance: float

    @property
    def passes(self) -> bool:
        """Whether it lies within its tolerance; NaN does not."""
        return self.value <= self.tolerance

    def __str__(self) -> str:
        if self.measure == "roundoffs":
            off = f"{self.value:.2g} roundoffs off its rule, tolerance {self.tolerance:.2g}"
            return f"{self.quantity} {self.tensor} is {off}"
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

    def worst_update(self) -> Deviation | None:
        """Returns where the optimiser's rule was followed least, None where nothing is trained."""
        return max((d for d in self.deviations if d.measure == "roundoffs"), key=_badness, default=None)


def _badness(deviation: Deviation) -> float:
    return deviation.value / deviation.tolerance if isfinite(deviation.value) else float("inf")


class Refused(Exception):
    """The measurement cannot be believed. `code` is the row's reason code."""

    status = "refused"

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Disturbed(Refused):
    """The machine did not let it be told: nobody's fault."""

    status = "disturbed"

    def __init__(self, reason: str) -> None:
        super().__init__("disturbed", reason)


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


def compare(observed: Expected, expected: Expected, allowed: Allowed) -> Verification:
    """Returns the deviations of what was `observed` from what was `expected`, tensor by tensor.

    Raises MissingTolerance where nobody has said how far a tensor may lie off.
    """
    deviations = []
    for key, measure, value in measured(observed, expected, expected):
        if key not in allowed:
            raise MissingTolerance(f"no tolerance for {key}: nothing was predicted for it")
        quantity, _, tensor = key.partition(".")
        deviations.append(Deviation(quantity, tensor, measure, value, getattr(allowed[key], measure)))
    return Verification(tuple(deviations))


def compare_update(program: Program, observed: Expected, initial: Mapping[str, NDArray[Any]]) -> Verification:
    """Returns how far the state after the first step lies from what the optimiser's rule makes of its gradient."""
    parts = ((key.partition("."), value, bound) for key, value, bound in applied(program, observed, initial))
    return Verification(tuple(Deviation(q, tensor, "roundoffs", v, bound) for (q, _, tensor), v, bound in parts))


def compare_flow(flow: Flow, expected: Expected, allowed: Allowed) -> Verification:
    """Returns the deviations of all that the flow has written, from what each batch should give."""
    deviations: list[Deviation] = []
    for batch, outputs in flow.outputs():
        wanted = {key: s for key, s in expected.items() if f"{key}.".startswith(f"output.{batch}.")}
        observed = {key: summarize(outputs[_output_of(key)]) for key in wanted}
        deviations += compare(observed, wanted, allowed).deviations
    return Verification(tuple(deviations))


def _output_of(key: str) -> str:
    """Returns the name of the output under `key`: `Checks` leaves it out where it is that of the quantity."""
    quantity, _, name = (*key.split(".", 2), "")[:3]
    return name or quantity


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


def check_not_finer(verification: Verification, precision: Precision) -> None:
    """Raises `Refused` where a step errs so little that it cannot have rounded as the reduced `precision` does.

    Rounding is no choice: what errs `FINER` times less than its noise makes, in the tensor in the middle, computed in a
    finer precision, whatever its types say.
    """
    if precision.is_reduced and (part := _middle(verification)) is not None and part < 1 / FINER:
        raise Refused(
            "effective_precision",
            f"asked for {precision.name}, and errs {part:.2g} times what that must: it is a finer precision",
        )


def check_rounds(from_plain: Verification, precision: Precision) -> None:
    """Raises `Refused` where a step lies where float32 does, `AWAY` times nearer than the reduced `precision` can."""
    if (part := _middle(from_plain)) is not None and part < 1 / AWAY:
        raise Refused("effective_precision", f"asked for {precision.name}, and computes what {DEFAULT.name} does")


def _middle(verification: Verification) -> float | None:
    """Returns the median of the errors of the tensors that tell, relative to what is predicted for each."""
    parts = [
        FACTOR * one.value / one.tolerance
        for one in verification.deviations
        if one.measure == "error" and one.quantity in TELLING
    ]
    return median(parts) if parts else None


def failing_reason(failures: Sequence[Deviation]) -> tuple[str, str]:
    """Returns (reason code, reason) for a wrong result: the worst deviation in full, the others counted."""
    worst = failures[0]
    code = {"output": "output_differs", "loss": "loss_differs"}.get(worst.quantity, "state_differs")
    if not isfinite(worst.value):
        code = "not_finite"
    others = "" if len(failures) == 1 else f" (and {len(failures) - 1} more)"
    return code, f"{worst}{others}"
