"""Whether a training step applied its optimiser's rule: held against the rule itself, not against the reference.

The first step's gradient can be read off its first moment, since moments begin as zeros. What must follow from it is
computed in float64, element by element, and how far the step lies off is counted in float32 roundoffs of the numbers
that meet there. That needs no tolerance that depends on the model: correct code in float32 makes up to 3.4 of them in a
second moment and 1.1 in a parameter, whatever the precision of the loss. Signs that noise flips change nothing here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workloads.deviation import Expected
from workloads.optim import Optimizer
from workloads.precision import ROUNDOFF
from workloads.program import Program
from workloads.reference import NumpyOps
from workloads.summary import Summary, chosen

MOMENT_ROUNDOFFS, PARAMETER_ROUNDOFFS = 7.0, 3.0
"""What correct code in float32 can err by at most. In a second moment that is a roundoff for each constant that is no
float32 and for each product: of the first moment both, twice, since the gradient read off it is squared, and of the
second both, and the square: 7. In a parameter it is those of the numbers that meet."""
LEAST_SQUARE = 1e-30
"""Second moments below it lie where float32 loses digits."""
SPREADS = 6.0
"""What the elements that are kept say of all: within so many standard errors."""
LEAST_MANY = 100
"""So many elements, at least, must share in a sum of squares before the kept ones speak for the others."""


class Applied(NamedTuple):
    """How far one tensor lies from what the rule makes of the gradient: `value` of at most `bound`."""

    key: str
    value: float
    bound: float


def is_of_rule(program: Program, key: str) -> bool:
    """Returns whether the tensor `key` of a first step is held against the optimiser's rule, not the reference."""
    if program.update is None:
        return False
    quantity = key.partition(".")[0]
    return quantity == "parameter_change" or quantity in program.update.rule.moments[1:]


def applied(program: Program, observed: Expected, initial: Mapping[str, NDArray[Any]]) -> Iterator[Applied]:
    """Yields how far the state after the first step lies from its rule, in roundoffs, tensor by tensor.

    `observed` are the step's summaries, `initial` the model's tensors before it. A tensor that is missing, or not
    finite, is infinitely far off.
    """
    if program.update is None or program.checks.state_after != 0:
        return
    for spec in program.update.trained:
        before = initial[spec.name].reshape(-1)
        kept = chosen(before.size)
        start = (before if kept is None else before[kept]).astype(np.float64)
        yield from _of_tensor(program.update.rule, spec.name, observed, start)


def _of_tensor(rule: Optimizer, name: str, observed: Expected, start: NDArray[np.float64]) -> Iterator[Applied]:
    keys = {moment: f"{moment}.{name}" for moment in rule.moments}
    changed = observed.get(f"parameter_change.{name}")
    if any(key not in observed or observed[key].values.size != start.size for key in keys.values()):
        yield Applied(f"parameter_change.{name}", float("inf"), PARAMETER_ROUNDOFFS)
        return
    first, *others = rule.moments
    gradient = rule.gradient(observed[keys[first]].values)
    state = {f"parameter.{name}": start} | {key: np.zeros_like(start) for key in keys.values()}
    state |= dict.fromkeys(rule.scalars, np.zeros(()))
    wanted = rule.update(NumpyOps(), state, {name: gradient})
    for moment in others:
        want = wanted[keys[moment]]
        yield Applied(keys[moment], _roundoffs(observed[keys[moment]], want, np.abs(want)), MOMENT_ROUNDOFFS)
    change = wanted[f"parameter.{name}"] - start
    meet = np.abs(start) + np.abs(start + change) + 8 * np.abs(change)
    if changed is None or changed.values.size != start.size:
        yield Applied(f"parameter_change.{name}", float("inf"), PARAMETER_ROUNDOFFS)
    else:
        yield Applied(f"parameter_change.{name}", _roundoffs(changed, change, meet), PARAMETER_ROUNDOFFS)


def _roundoffs(observed: Summary, want: NDArray[np.float64], meet: NDArray[np.float64]) -> float:
    """Returns the largest difference in roundoffs of the numbers that `meet`; of all, where some are not kept."""
    counted = meet > LEAST_SQUARE
    difference = np.abs(observed.values - want)
    if not np.isfinite(difference).all():
        return float("inf")
    worst = float((difference[counted] / meet[counted]).max(initial=0.0)) / ROUNDOFF
    return worst if observed.n == want.size else max(worst, _unkept(observed, want, float(meet.mean())))


def _unkept(observed: Summary, want: NDArray[np.float64], meet: float) -> float:
    """Returns how far sum and square sum of all lie off what the kept elements let expect, 3 being `SPREADS`.

    0 where a few elements make all of it: those that are kept say nothing of the others then.
    """
    squares = want * want
    if float(squares.sum()) ** 2 < LEAST_MANY * float((squares * squares).sum()):
        return 0.0
    rounding, worst = PARAMETER_ROUNDOFFS * ROUNDOFF * meet, 0.0
    for mean, values, slack in (
        (observed.total / observed.n, want, rounding),
        (observed.norm**2 / observed.n, squares, 2 * rounding * sqrt(float(squares.mean()))),
    ):
        error = float(values.std()) / sqrt(want.size) + slack
        worst = max(worst, abs(mean - float(values.mean())) / error / SPREADS * PARAMETER_ROUNDOFFS)
    return worst
