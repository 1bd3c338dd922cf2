"""How far a correct computation may lie from the float64 reference; each model's file has its own bounds.

Each tolerance stands beside the error that correct code shows: the worst of torch, JAX, ONNX Runtime and OpenVINO on an
x86 CPU, tiny and published sizes, torch 2.13, jax 0.10.2, onnxruntime 1.32, openvino 2026.4.1, as printed by
`python -m bench.correct_errors WORKLOAD SIZE BACKEND…`. One under which a planted 1 % mistake or a lower precision
passes is too wide; `tests/test_planted_bugs.py` decides. A parameter's change is a difference of two float32 numbers:
where a parameter is near 1 and its change 1e-4, rounding alone makes an error of 3e-4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


class MissingTolerance(LookupError):
    """Nobody has said how far a correct computation may lie off: our own fault, and no backend's."""


@dataclass(frozen=True)
class Tolerance:
    """Upper bounds for one quantity: `error` relative, in norm; `scale` the relative excess along the reference.

    `correct_error` and `correct_scale` are the worst values seen with correct code, for whoever doubts a bound.
    """

    error: float
    scale: float
    correct_error: float
    correct_scale: float


Tolerances = Mapping[tuple[str, str], Mapping[str, Tolerance]]
"""By size and precision, and then by quantity; size "" stands for every size without an entry of its own."""
