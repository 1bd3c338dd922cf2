"""One matrix product in plain NumPy: what a night's other numbers are held against, when the machine was slow."""

from __future__ import annotations

from workloads.ops import Ops, Parameters
from workloads.optim import SGD
from workloads.workload import InputSpec, ParameterSpec, Workload, no_training

SIZES = {"tiny": 16, "1024": 1024}
"""Rows and columns of the weight."""
PUBLISHED = "1024"
BATCHES = {"tiny": 4, "1024": 512}
SEQUENCES = None
PHASES = ("infer",)


def build(size: str, batch: int, sequence: int | None = None) -> Workload:
    """Returns the workload at `size` with `batch` rows in the other factor."""
    n = SIZES[size]

    def infer(ops: Ops, p: Parameters, batch: Parameters) -> dict[str, object]:
        return {"y": ops.linear(batch["x"], p["weight"])}

    return Workload(
        name="control_matmul",
        size=size,
        batch=batch,
        sequence=None,
        parameters=(ParameterSpec("weight", (n, n), 0.0, n**-0.5),),
        inputs=(InputSpec("x", (batch, n), "float32"),),
        targets=(),
        optimizer=SGD(learning_rate=0.0, momentum=0.0),
        hyperparameters={"n": n},
        infer=infer,
        loss=no_training,
    )
