"""One copy in memory in plain NumPy: what a night's other numbers are held against, when the machine was slow."""

from __future__ import annotations

from workloads.ops import Ops, Parameters
from workloads.program import Work, inference
from workloads.specs import InputSpec
from workloads.workload import Workload

SIZES = {"tiny": 256, "64mib": 1 << 20}
"""Elements of a sample."""
PUBLISHED = "64mib"
BATCHES = {"tiny": 4, "64mib": 16}
SEQUENCES = None
KIND = "control"


def build(size: str, batch: int, sequence: int | None = None) -> Workload:
    """Returns the workload at `size` with `batch` samples, of float32, to copy."""
    n = SIZES[size]

    def infer(ops: Ops, p: Parameters, batch: Parameters) -> dict[str, object]:
        return {"y": batch["x"]}

    inputs = (InputSpec("x", (batch, n), "float32"),)
    return Workload(
        name="control_copy",
        size=size,
        batch=batch,
        sequence=None,
        parameters=(),
        hyperparameters={"n": n},
        programs={"infer": inference(infer, inputs=inputs, constants=(), work=Work(batch))},
    )
