"""What losses read of activations."""

from __future__ import annotations

from typing import Any

from workloads.precision import FLOAT32


def widened(ops: Any, x: Any) -> Any:
    """Returns `x` as `ops.wide()` computes with it: in float32 where activations are shorter, else as it is."""
    wide = ops.wide()
    return x if wide is ops else wide.cast(x, FLOAT32)
