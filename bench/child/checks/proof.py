"""What a step is held against, before it is timed and after: the same prepared step, in the same process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends._generate import GenerateStep
from backends.base import Adapter, Flow, Request, Step
from bench.cell import PLAIN
from bench.child import noise
from bench.child.checks import greedy, verify, waits
from bench.child.expected import load_expected
from bench.child.measure import Clock
from workloads.catalog import LIMITS
from workloads.deviation import Expected
from workloads.tolerance import tolerances

LOOKED_AT = 1024
"""Elements of each trained tensor that must not all stand still while steps are timed."""
UNVERIFIED = "unverified"
"""The row's verification where there is nothing to hold a step against, and somebody wants its times all the same."""
Elements = dict[str, NDArray[Any]]


class WrongResult(Exception):
    """The step computes something else. `columns` are those of the verification, for the row."""

    def __init__(self, code: str, reason: str, columns: Mapping[str, Any]) -> None:
        super().__init__(reason)
        self.code = code
        self.columns = finite(columns)


def finite(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `columns` without infinities and NaN, which a row cannot hold; the reason names them."""
    return {k: v for k, v in columns.items() if not isinstance(v, float) or abs(v) < float("inf")}


def requested(adapter: Adapter, request: Request) -> dict[str, Any]:
    """Returns what was asked for, under the names of what is read back."""
    return {"device": adapter.device_kind, "precision": request.precision.name, "threads": request.threads}


@dataclass(frozen=True)
class Proof:
    """What a step is held against: what was asked for, what it must compute, and how far it may lie off.

    Where nothing is `expected` it must still run as it was asked to, and wait; what it computes is not looked at.
    """

    adapter: Adapter
    request: Request
    expected: Expected
    allowed: verify.Allowed
    plain: Expected = field(default_factory=dict)
    """What float32 computes, where the precision is a reduced one."""

    def before(self, step: Step) -> tuple[dict[str, Any], list[float]]:
        """Returns verification's columns, and the seconds of its steps. Raises `Refused` or `WrongResult`."""
        if isinstance(step, GenerateStep):
            step.force(self._ties)
        frozen = self._frozen(step)
        observed, took_s = verify.observe(step, self.request.program, self.request.parameters)
        verify.check_effective(step.effective(), requested(self.adapter, self.request))
        if not self.expected:
            return {"verification": UNVERIFIED, "first_step_s": took_s[0]}, took_s
        verification = self._compared(observed)
        error, scale = verification.worst("error"), verification.worst("scale")
        columns: dict[str, Any] = {
            "verification": "passed",
            "first_step_s": took_s[0],
            "error_worst": error.value,
            "error_worst_of": f"{error.quantity} {error.tensor}",
            "error_tolerance": error.tolerance,
            "scale_worst": scale.value,
            "scale_worst_of": f"{scale.quantity} {scale.tensor}",
            "scale_tolerance": scale.tolerance,
        }
        if update := verification.worst_update():
            columns |= {
                "update_worst": update.value,
                "update_worst_of": f"{update.quantity} {update.tensor}",
                "update_tolerance": update.tolerance,
            }
        must_pass(verification, columns)
        self._must_stand_still(step, frozen, columns)
        columns |= self._tokens_agree(step, columns)
        if self.request.workload.name not in LIMITS:  # one operation rounds once, and a compiler may leave that out
            verify.check_not_finer(verification, self.request.precision)
        if self.plain:
            verify.check_rounds(verify.compare(observed, self.plain, self.allowed), self.request.precision)
        return columns, took_s

    def _compared(self, observed: Expected) -> verify.Verification:
        """Returns all deviations: from the reference, and of the update from its rule."""
        verification = verify.compare(observed, self.expected, self.allowed)
        of_rule = verify.compare_update(self.request.program, observed, self.request.parameters)
        return verify.Verification(verification.deviations + of_rule.deviations)

    def waits(self, step: Step, took_s: list[float]) -> Clock:
        """Returns a clock that goes on behind the steps that took `took_s`. Raises `Refused` where it does not wait."""
        i, step_s = waits.check_waits(step, len(took_s), min(took_s[1:]))
        return Clock(step, i, [*took_s[1:], step_s])

    def elements(self, step: Step) -> Elements:
        """Returns what a later look is held against: some elements of each tensor that a step trains, which must have
        moved, and a digest of each one that it must not touch.
        """
        if self.request.program.update is None:
            return {}
        return dict(_elements(step.state())) | self._frozen(step)

    def _frozen(self, step: Step) -> Elements:
        """Returns the digests of the tensors that a training step reads and must not change."""
        if self.request.program.update is None:
            return {}
        return {f"constant.{name}": _digest(array) for name, array in step.frozen()}

    def _must_stand_still(self, step: Step, earlier: Elements, columns: Mapping[str, Any], when: str = "") -> None:
        """Raises `WrongResult` where a frozen tensor is another one than it was."""
        moved = [name for name, now in self._frozen(step).items() if not np.array_equal(earlier.get(name, now), now)]
        if moved:
            frozen = moved[0].partition(".")[2]
            raise WrongResult("state_differs", f"{when}{frozen} is frozen, and has changed", columns)

    def after(self, step: Step, earlier: Elements) -> str:
        """Holds the step against the reference once more, from its initial state; returns the row's verification.

        `earlier` are its `elements` of before it was timed. It is `before only` where the adapter cannot restart a
        step that has state. Raises `WrongResult`.
        """
        program = self.request.program
        if program.update is not None:
            self._must_have_moved(step, earlier)
            self._must_stand_still(step, earlier, {}, "after it was timed: ")
        if program.state:
            try:
                step.restart(self.request.parameters)
            except NotImplementedError:
                return "before only"
        observed, _ = verify.observe(step, program, self.request.parameters)
        verify.check_effective(step.effective(), requested(self.adapter, self.request))
        must_pass(self._compared(observed), {}, "after it was timed: ")
        self._tokens_agree(step, {}, "after it was timed: ")
        return "passed" if self.expected else UNVERIFIED

    @cached_property
    def _ties(self) -> list[NDArray[Any]]:
        return greedy.forced(self.request.batches, self.allowed)

    def _tokens_agree(self, step: Step, columns: Mapping[str, Any], when: str = "") -> dict[str, Any]:
        """Returns how the tokens of a generation agree with the reference's. Raises `WrongResult` unless they do."""
        if not isinstance(step, GenerateStep):
            return {}
        agreement = greedy.agreement(self.request.batches, step.chosen, self._ties)
        if agreement.why_not:
            raise WrongResult("output_differs", when + agreement.why_not, {**columns, **agreement.columns()})
        return agreement.columns()

    def _must_have_moved(self, step: Step, earlier: Elements) -> None:
        later: Elements = {}
        for name, array in step.state():
            if not np.isfinite(array).all():
                raise WrongResult("not_finite", f"after it was timed {name} is not finite", {})
            later |= dict(_elements([(name, array)]))
        if earlier and all(np.array_equal(earlier[name], array) for name, array in later.items() if name in earlier):
            reason = "nothing was trained while it was timed: every parameter looked at is what it was before"
            raise WrongResult("state_differs", reason, {})

    def of_flow(self, flow: Flow) -> None:
        """Raises unless the flow computes what its step computes, as it was asked for."""
        verify.check_effective(flow.effective(), requested(self.adapter, self.request))
        must_pass(verify.compare_flow(flow, self.expected, self.allowed), {})


def proof_of(adapter: Adapter, request: Request, entries: Mapping[str, Path]) -> Proof:
    """Returns what a step is held against, from the cache's folders by artifact: nothing where nothing is expected."""
    if "expected" not in entries:
        return Proof(adapter, request, {}, {})
    allowed = tolerances(noise.load(entries["noise"]), request.precision)
    plain = load_expected(entries[PLAIN]) if PLAIN in entries else {}
    return Proof(adapter, request, load_expected(entries["expected"]), allowed, plain)


def _elements(state: Iterable[tuple[str, NDArray[Any]]]) -> Iterable[tuple[str, NDArray[Any]]]:
    for name, array in state:
        if name.startswith("parameter."):
            yield name, np.array(array.reshape(-1)[:LOOKED_AT])


def _digest(array: NDArray[Any]) -> NDArray[Any]:
    held = np.ascontiguousarray(array).reshape(-1).view(np.uint8)  # bfloat16 is no type that a buffer can say
    return np.frombuffer(blake2b(held.data, digest_size=16).digest(), np.uint8)


def must_pass(verification: verify.Verification, columns: Mapping[str, Any], when: str = "") -> None:
    """Raises `WrongResult`, with `columns` and `when` before its reason, where a deviation is over its tolerance."""
    if verification.failures:
        code, reason = verify.failing_reason(verification.failures)
        raise WrongResult(code, when + reason, columns)


def verify_step(
    adapter: Adapter,
    step: Step,
    request: Request,
    expected: Expected,
    allowed: verify.Allowed,
) -> tuple[dict[str, Any], Clock]:
    """Returns verification's columns and a clock that goes on behind it. Raises `Refused` or `WrongResult`."""
    proof = Proof(adapter, request, expected, allowed)
    columns, took_s = proof.before(step)
    return columns, proof.waits(step, took_s)
