"""Where the time of a step goes, by the runtime's own operators: asked last, because a profiler disturbs."""

from __future__ import annotations

import traceback
from typing import Any

from backends._operator_kinds import kind_of
from backends.base import NoOperators, Step

OPERATORS_S, MOST_OPERATOR_STEPS = 2.0, 10
"""How long, and for how many steps at most, a profiler is asked for time by operator."""


def operator_columns(step: Step, step_s: float) -> dict[str, Any]:
    """Returns where the time of a step goes, by the runtime's own operators, or why that is not known."""
    steps = max(1, min(MOST_OPERATOR_STEPS, int(OPERATORS_S / step_s)))
    try:
        operators = step.operators(steps)
    except NoOperators as reason:
        return {"operators_reason": str(reason)}
    except Exception as error:  # noqa: BLE001 - a profiler that fails takes no measured number along; the row says it
        traceback.print_exc()
        return {
            "operators_reason": f"its profiler failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        }
    records = [
        {"name": o.name, "kind": kind_of(o.name), "seconds_per_step": o.seconds, "calls_per_step": o.calls}
        for o in sorted(operators, key=lambda operator: -operator.seconds)
    ]
    return {"operators": records} if records else {"operators_reason": "its profiler named no operator"}
