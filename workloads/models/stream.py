"""The sum of two vectors too long for any cache: what bounds every step in memory, in byte/s.

It is ADD of STREAM (McCalpin 1995): two vectors are read and one is written, 12 bytes an element. What a CPU reads of
the written one before it overwrites it is not counted, there as here.
"""

from __future__ import annotations

from workloads.ops import Ops, Parameters
from workloads.program import Work, inference
from workloads.specs import InputSpec
from workloads.workload import Workload

SIZES = {"tiny": 256, "192mib": 1 << 20}
"""Elements of a sample; the published size is that of its three vectors."""
PUBLISHED = "192mib"
BATCHES = {"tiny": 4, "192mib": 16}
SEQUENCES = None
KIND = "limit"


def build(size: str, batch: int, sequence: int | None = None) -> Workload:
    """Returns the workload at `size` with `batch` samples."""
    n = SIZES[size]

    def infer(ops: Ops, p: Parameters, batch: Parameters) -> dict[str, object]:
        return {"y": batch["x"] + batch["z"]}

    inputs = (InputSpec("x", (batch, n), "float32"), InputSpec("z", (batch, n), "float32"))
    return Workload(
        name="stream",
        size=size,
        batch=batch,
        sequence=None,
        parameters=(),
        hyperparameters={"n": n},
        programs={"infer": inference(infer, inputs=inputs, constants=(), work=Work(batch))},
    )
