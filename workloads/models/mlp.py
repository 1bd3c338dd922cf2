"""A multilayer perceptron with GELU between its layers, trained as a classifier with SGD and momentum."""

from __future__ import annotations

from itertools import pairwise

from workloads.ops import Array, Ops, Parameters
from workloads.optim import SGD
from workloads.program import Work, inference, training
from workloads.specs import InputSpec, ParameterSpec
from workloads.workload import Workload

SIZES = {"tiny": (12, 16, 16, 5), "base": (1024, 2048, 2048, 2048, 10)}
"""Widths from input to classes."""
PUBLISHED = "base"
BATCHES = {"tiny": 4, "base": 64}
SEQUENCES = None
SHAPES = ((1, None), (64, None), (256, None))
"""(batch, sequence) of preset `full`."""


def build(size: str, batch: int, sequence: int | None = None) -> Workload:
    """Returns the workload at `size` with `batch` samples per step."""
    widths = SIZES[size]
    n_layer = len(widths) - 1

    def forward(ops: Ops, p: Parameters, x: Array) -> Array:
        for i in range(n_layer):
            x = ops.linear(x, p[f"layers.{i}.weight"], p[f"layers.{i}.bias"])
            if i < n_layer - 1:
                x = ops.gelu(x, approximate="none")
        return x

    def infer(ops: Ops, p: Parameters, batch: Parameters) -> dict[str, Array]:
        return {"logits": forward(ops, p, batch["x"])}

    def loss(ops: Ops, p: Parameters, batch: Parameters) -> tuple[Array, dict[str, Array]]:
        return ops.cross_entropy(forward(ops, p, batch["x"]), batch["labels"]), {}

    parameters = []
    for i, (n_in, n_out) in enumerate(pairwise(widths)):
        # He et al. 2015 (arXiv:1502.01852): keeps the activations' variance through the layers.
        parameters.append(ParameterSpec(f"layers.{i}.weight", (n_out, n_in), 0.0, (2 / n_in) ** 0.5))
        parameters.append(ParameterSpec(f"layers.{i}.bias", (n_out,), 0.0, 0.02))
    x = InputSpec("x", (batch, widths[0]), "float32")
    labels = InputSpec("labels", (batch,), "int64", high=widths[-1])
    specs = tuple(parameters)
    rule = SGD(learning_rate=0.01, momentum=0.9)
    return Workload(
        name="mlp",
        size=size,
        batch=batch,
        sequence=None,
        parameters=specs,
        hyperparameters={"widths": ",".join(map(str, widths)), "activation": "gelu"},
        programs={
            "infer": inference(infer, inputs=(x,), constants=specs, work=Work(batch)),
            "train": training(loss, rule, inputs=(x, labels), parameters=specs, work=Work(batch)),
        },
    )
