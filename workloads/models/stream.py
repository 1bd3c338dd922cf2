"""The sum of two vectors too long for any cache: what bounds every step in memory, in byte/s.

It is ADD of STREAM (McCalpin 1995): two vectors are read and one is written, 12 bytes an element. What a CPU reads of
the written one before it overwrites it is not counted, there as here.
"""

from __future__ import annotations

from workloads.ops import Ops, Parameters
from workloads.optim import SGD
from workloads.workload import InputSpec, Workload, no_training

SIZES = {"tiny": 256, "192mib": 1 << 20}
"""Elements of a sample; the published size is that of its three vectors."""
PUBLISHED = "192mib"
BATCHES = {"tiny": 4, "192mib": 16}
SEQUENCES = None
PHASES = ("infer",)


def build(size: str, batch: int, sequence: int | None = None) -> Workload:
    """Returns the workload at `size` with `batch` samples."""
    n = SIZES[size]

    def infer(ops: Ops, p: Parameters, batch: Parameters) -> dict[str, object]:
        return {"y": batch["x"] + batch["z"]}

    return Workload(
        name="stream",
        size=size,
        batch=batch,
        sequence=None,
        parameters=(),
        inputs=(InputSpec("x", (batch, n), "float32"), InputSpec("z", (batch, n), "float32")),
        targets=(),
        optimizer=SGD(learning_rate=0.0, momentum=0.0),
        hyperparameters={"n": n},
        infer=infer,
        loss=no_training,
    )
