"""The mean of each of many rows, all together too long for any cache: what bounds a step that only reads, in byte/s.

A decode step is one: it reads every weight and the cache, and writes next to nothing. `stream` writes as well, and a
CPU reads what it is about to overwrite, which is not counted there; so the roof of a decode step is this one.
"""

from __future__ import annotations

from workloads.ops import Ops, Parameters
from workloads.program import Work, inference
from workloads.specs import InputSpec
from workloads.workload import Workload

SIZES = {"tiny": 256, "192mib": 1 << 20}
"""Elements of a sample; the published size is that of all."""
PUBLISHED = "192mib"
BATCHES = {"tiny": 4, "192mib": 48}
SEQUENCES = None
KIND = "limit"


def build(size: str, batch: int, sequence: int | None = None) -> Workload:
    """Returns the workload at `size` with `batch` samples."""
    n = SIZES[size]

    def infer(ops: Ops, p: Parameters, batch: Parameters) -> dict[str, object]:
        return {"y": ops.mean(batch["x"], (1,))}

    return Workload(
        name="stream_read",
        size=size,
        batch=batch,
        sequence=None,
        parameters=(),
        hyperparameters={"n": n},
        programs={
            "infer": inference(infer, inputs=(InputSpec("x", (batch, n), "float32"),), constants=(), work=Work(batch))
        },
    )
