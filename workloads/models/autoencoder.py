"""The dense autoencoder that finds anomalies in sounds of machines, of MLPerf Tiny (Banbury et al. 2021,
arXiv:2106.07597).

Layers and counts of the benchmark's `keras_model.py`, https://github.com/mlcommons/tiny; the norms' momentum and
epsilon are those of all models here (Keras: 0.99, 1e-3). It is trained to give back what it is given, by squares.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise

from workloads.models._layers import RULE, Layers, Tensors
from workloads.ops import Array, Ops, Parameters
from workloads.program import Work, inference, training
from workloads.specs import InputSpec
from workloads.vocabulary.losses import widened
from workloads.workload import Workload

SUITES = {"edge": None}


@dataclass(frozen=True)
class Config:
    """Features, width of the hidden layers, how many on each side of the bottleneck, its width."""

    n_features: int
    width: int
    n_layer: int
    bottleneck: int

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths from features to features."""
        side = (self.width,) * self.n_layer
        return (self.n_features, *side, self.bottleneck, *side, self.n_features)


SIZES = {"tiny": Config(24, 16, 2, 4), "268k": Config(640, 128, 4, 8)}
PUBLISHED = "268k"
BATCHES = {"tiny": 16, "268k": 256}
SEQUENCES = None


def _forward(layers: Layers, n: int, x: Array) -> Array:
    """Returns what the `n` layers make of `x` (B, features), of the same shape."""
    for i in range(n):
        x = layers.dense(x, f"layers.{i}.dense")
        if i < n - 1:
            x = layers.ops.relu(layers.norm(x, f"layers.{i}.norm"))
    return x


def build(size: str, batch: int, sequence: int | None = None) -> Workload:
    """Returns the workload at `size` with `batch` windows of a spectrogram per step."""
    config = SIZES[size]
    n, tensors = len(config.widths) - 1, Tensors()
    for i, (n_in, n_out) in enumerate(pairwise(config.widths)):
        tensors.dense(f"layers.{i}.dense", n_in, n_out)
        if i < n - 1:
            tensors.norm(f"layers.{i}.norm", n_out)

    def infer(ops: Ops, p: Parameters, batch: Parameters) -> dict[str, Array]:
        return {"reconstruction": _forward(Layers(ops, p, training=False), n, batch["x"])}

    def loss(ops: Ops, p: Parameters, batch: Parameters) -> tuple[Array, dict[str, Array]]:
        layers = Layers(ops, p, training=True)
        wide = ops.wide()
        error = widened(ops, _forward(layers, n, batch["x"]) - batch["x"])
        return wide.mean(error * error, (0, 1)), layers.statistics

    parameters, buffers = tuple(tensors.parameters), tuple(tensors.buffers)
    inputs = (InputSpec("x", (batch, config.n_features), "float32"),)
    return Workload(
        name="autoencoder",
        size=size,
        batch=batch,
        sequence=None,
        parameters=parameters,
        buffers=buffers,
        hyperparameters=asdict(config),
        programs={
            "infer": inference(infer, inputs=inputs, constants=parameters + buffers, work=Work(batch)),
            "train": training(loss, RULE, inputs=inputs, parameters=parameters, buffers=buffers, work=Work(batch)),
        },
    )
