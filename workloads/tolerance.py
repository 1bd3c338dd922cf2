"""How far a correct computation may lie from the float64 reference, by workload and precision.

Each tolerance stands beside the error that correct code shows. A tolerance under which a planted 1 % mistake
or a lower precision passes is too wide; `tests/test_planted_bugs.py` decides.
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


# correct_error and correct_scale: the worst of torch, JAX, ONNX Runtime and OpenVINO on an x86 CPU, tiny and
# published sizes, torch 2.13, jax 0.10.2, onnxruntime 1.32, openvino 2026.4.1, as printed by
# `python -m bench.correct_errors WORKLOAD SIZE BACKEND…`. A parameter's change is a difference of two float32
# numbers: where a parameter is near 1 and its change 1e-4, rounding alone makes an error of 3e-4.
TOLERANCES: Mapping[tuple[str, str, str], Mapping[str, Tolerance]] = {
    ("mlp", "", "fp32"): {
        "output": Tolerance(1e-5, 3e-6, correct_error=1.2e-6, correct_scale=9.4e-8),
        "loss": Tolerance(1e-5, 1e-5, correct_error=2.6e-7, correct_scale=0),
        "first_moment": Tolerance(1e-5, 3e-6, correct_error=1.4e-6, correct_scale=1.2e-7),
        "parameter_change": Tolerance(2e-4, 1e-5, correct_error=4.2e-5, correct_scale=7.1e-7),
    },
    # ReLU and maximum have kinks: in float32 an activation near one falls on the other side, and the loss moves off
    # with the steps. Elsewhere than at the tiny size only the scale can tell a mistake from that.
    ("resnet50", "", "fp32"): {
        "output": Tolerance(1e-5, 3e-6, correct_error=6.0e-7, correct_scale=1.0e-7),
        "loss": Tolerance(1.5e-3, 1.5e-3, correct_error=2.9e-4, correct_scale=0),
        "first_moment": Tolerance(2e-2, 3e-3, correct_error=4.4e-3, correct_scale=6.2e-4),
        "parameter_change": Tolerance(2.5e-2, 3e-3, correct_error=6.0e-3, correct_scale=6.1e-4),
        "buffer_change": Tolerance(1e-5, 4e-6, correct_error=1.5e-6, correct_scale=8.3e-7),
    },
    ("resnet50", "tiny", "fp32"): {
        "output": Tolerance(1e-5, 3e-6, correct_error=2.9e-7, correct_scale=1.7e-7),
        "loss": Tolerance(1e-5, 1e-5, correct_error=1.6e-7, correct_scale=0),
        # scale 1.2e-5 is torch.compile's, of one bias of 8 elements
        "first_moment": Tolerance(5e-5, 4e-5, correct_error=4.9e-6, correct_scale=1.2e-5),
        "parameter_change": Tolerance(3e-3, 5e-4, correct_error=6.4e-4, correct_scale=1.0e-4),
        "buffer_change": Tolerance(1e-5, 4e-6, correct_error=2.4e-6, correct_scale=6.2e-7),
    },
    ("gpt2", "", "fp32"): {
        "output": Tolerance(1e-5, 3e-6, correct_error=1.2e-6, correct_scale=3.4e-8),
        "loss": Tolerance(1e-5, 1e-5, correct_error=5.2e-7, correct_scale=0),
        "first_moment": Tolerance(1e-5, 3e-6, correct_error=1.4e-6, correct_scale=2.8e-7),
        "second_moment": Tolerance(2e-5, 1e-5, correct_error=2.1e-6, correct_scale=1.0e-6),
        "parameter_change": Tolerance(3e-3, 1.5e-3, correct_error=5.7e-4, correct_scale=3.1e-4),
    },
    # The worst outputs and moments are those of the next-sentence head, two numbers from cancelling sums, and the
    # error of the keys' biases, whose true gradient is zero.
    ("bert_base", "", "fp32"): {
        "output": Tolerance(4e-5, 1.5e-5, correct_error=7.6e-6, correct_scale=3.5e-6),
        "loss": Tolerance(1e-5, 1e-5, correct_error=2.3e-7, correct_scale=0),
        "first_moment": Tolerance(4e-4, 5e-5, correct_error=8.9e-5, correct_scale=1.0e-5),
        "second_moment": Tolerance(6e-5, 1e-5, correct_error=1.6e-5, correct_scale=1.7e-6),
        "parameter_change": Tolerance(3e-3, 1.5e-3, correct_error=5.2e-4, correct_scale=2.4e-4),
    },
    ("matmul", "", "fp32"): {
        "output": Tolerance(1e-5, 3e-6, correct_error=5.7e-7, correct_scale=4.9e-9),
    },
    ("conv", "", "fp32"): {
        "output": Tolerance(1e-5, 3e-6, correct_error=8.4e-7, correct_scale=6.8e-9),
    },
    ("stream", "", "fp32"): {
        "output": Tolerance(1e-6, 1e-7, correct_error=2.8e-8, correct_scale=6.5e-10),
    },
    ("control_matmul", "", "fp32"): {
        "output": Tolerance(1e-5, 3e-6, correct_error=0, correct_scale=0),
    },
    # A copy is exact.
    ("control_copy", "", "fp32"): {
        "output": Tolerance(1e-12, 1e-12, correct_error=0, correct_scale=0),
    },
}
"""By workload, size and precision; size "" stands for every size without an entry of its own."""


def tolerances(workload: str, size: str, precision: str) -> Mapping[str, Tolerance]:
    """Returns the tolerances of `workload` at `size` and `precision`, by quantity. Raises MissingTolerance without any.

    So does what is returned, for a quantity that has none.
    """
    what = f"{workload} {size} at {precision}"
    how = f"measure correct code with `python -m bench.correct_errors {workload} {size} BACKEND…`"
    for key in ((workload, size, precision), (workload, "", precision)):
        if key in TOLERANCES:
            return _Known(TOLERANCES[key], f"of {what}; {how}")
    raise MissingTolerance(f"no tolerances for {what}; {how}, and add them to workloads/tolerance.py")


class _Known(dict[str, Tolerance]):
    """Tolerances by quantity; asked for another quantity it raises MissingTolerance."""

    def __init__(self, tolerances: Mapping[str, Tolerance], of_what: str) -> None:
        super().__init__(tolerances)
        self.of_what = of_what

    def __missing__(self, quantity: str) -> Tolerance:
        raise MissingTolerance(f"no tolerance for {quantity} {self.of_what}, and add it to workloads/tolerance.py")
