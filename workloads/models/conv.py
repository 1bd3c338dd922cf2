"""One 3x3 convolution of many channels: what bounds every convolution of a model, in FLOP/s."""

from __future__ import annotations

from workloads.ops import Ops, Parameters
from workloads.optim import SGD
from workloads.workload import InputSpec, ParameterSpec, Workload, no_training

SIZES = {"tiny": (8, 6), "256x28": (256, 28)}
"""Channels, in and out, and the image's side: the published one is a layer of ResNet's third stage, twice as wide."""
PUBLISHED = "256x28"
BATCHES = {"tiny": 2, "256x28": 8}
SEQUENCES = None
PHASES = ("infer",)


def build(size: str, batch: int, sequence: int | None = None) -> Workload:
    """Returns the workload at `size` with `batch` images."""
    channels, side = SIZES[size]

    def infer(ops: Ops, p: Parameters, batch: Parameters) -> dict[str, object]:
        return {"y": ops.conv2d(batch["x"], p["weight"], stride=1, padding=1)}

    return Workload(
        name="conv",
        size=size,
        batch=batch,
        sequence=None,
        parameters=(ParameterSpec("weight", (channels, channels, 3, 3), 0.0, (9 * channels) ** -0.5),),
        inputs=(InputSpec("x", (batch, channels, side, side), "float32"),),
        targets=(),
        optimizer=SGD(learning_rate=0.0, momentum=0.0),
        hyperparameters={"channels": channels, "side": side},
        infer=infer,
        loss=no_training,
    )
