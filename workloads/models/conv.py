"""One 3x3 convolution of many channels: what bounds every convolution of a model, in FLOP/s."""

from __future__ import annotations

from workloads.ops import Ops, Parameters
from workloads.program import Work, inference
from workloads.specs import InputSpec, ParameterSpec
from workloads.workload import Workload

SIZES = {"tiny": (8, 6), "256x28": (256, 28)}
"""Channels, in and out, and the image's side: the published one is a layer of ResNet's third stage, twice as wide."""
PUBLISHED = "256x28"
BATCHES = {"tiny": 2, "256x28": 8}
SEQUENCES = None
KIND = "limit"


def build(size: str, batch: int, sequence: int | None = None) -> Workload:
    """Returns the workload at `size` with `batch` images."""
    channels, side = SIZES[size]

    def infer(ops: Ops, p: Parameters, batch: Parameters) -> dict[str, object]:
        return {"y": ops.conv2d(batch["x"], p["weight"], stride=1, padding=1)}

    weights = (ParameterSpec("weight", (channels, channels, 3, 3), 0.0, (9 * channels) ** -0.5),)
    inputs = (InputSpec("x", (batch, channels, side, side), "float32"),)
    return Workload(
        name="conv",
        size=size,
        batch=batch,
        sequence=None,
        parameters=weights,
        hyperparameters={"channels": channels, "side": side},
        programs={"infer": inference(infer, inputs=inputs, constants=weights, work=Work(batch))},
    )
