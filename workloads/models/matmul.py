"""One square matrix product: what bounds every product of a model, in FLOP/s."""

from __future__ import annotations

from workloads.ops import Ops, Parameters
from workloads.program import Work, inference
from workloads.specs import InputSpec, ParameterSpec
from workloads.workload import Workload

SIZES = {"tiny": 16, "2048": 2048}
"""Rows and columns of the weight."""
PUBLISHED = "2048"
BATCHES = {"tiny": 16, "2048": 2048}
"""Rows of the other factor: a chip that 2048 do not fill takes more (`--batch`)."""
SEQUENCES = None
KIND = "limit"


def build(size: str, batch: int, sequence: int | None = None) -> Workload:
    """Returns the workload at `size`: `batch` rows times an n x n weight."""
    return product("matmul", size, SIZES[size], batch)


def product(name: str, size: str, n: int, batch: int) -> Workload:
    """Returns a workload called `name` of one matrix product: `batch` rows times an n x n weight."""

    def infer(ops: Ops, p: Parameters, batch: Parameters) -> dict[str, object]:
        return {"y": ops.linear(batch["x"], p["weight"])}

    weights = (ParameterSpec("weight", (n, n), 0.0, n**-0.5),)
    inputs = (InputSpec("x", (batch, n), "float32"),)
    return Workload(
        name=name,
        size=size,
        batch=batch,
        sequence=None,
        parameters=weights,
        hyperparameters={"n": n},
        programs={"infer": inference(infer, inputs=inputs, constants=weights, work=Work(batch))},
    )
