"""DS-CNN (Zhang et al. 2017, arXiv:1711.07128), the keyword spotter of MLPerf Tiny (Banbury et al. 2021,
arXiv:2106.07597).

Layers and counts of the benchmark's `keras_model.py`, https://github.com/mlcommons/tiny: its convolutions have biases
although norms follow. Dropout is 0; the norms' momentum and epsilon are those of all models here (Keras: 0.99, 1e-3).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from workloads.models._layers import Layers, Tensors, classifier
from workloads.ops import Array
from workloads.workload import Workload

SUITES = {"edge": None}


@dataclass(frozen=True)
class Config:
    """Rows and columns of the spectrogram, kernel of the first convolution, channels, blocks, classes."""

    rows: int
    columns: int
    kernel: tuple[int, int]
    width: int
    n_block: int
    n_classes: int


SIZES = {
    "tiny": Config(rows=13, columns=6, kernel=(4, 3), width=12, n_block=2, n_classes=5),
    "24k": Config(rows=49, columns=10, kernel=(10, 4), width=64, n_block=4, n_classes=12),
}
PUBLISHED = "24k"
BATCHES = {"tiny": 4, "24k": 32}
SEQUENCES = None


def _tensors(config: Config) -> Tensors:
    tensors, width = Tensors(), config.width
    tensors.conv("conv", 1, width, config.kernel)
    tensors.norm("norm", width)
    for i in range(config.n_block):
        tensors.conv(f"blocks.{i}.depthwise", 1, width, (3, 3))
        tensors.norm(f"blocks.{i}.depthwise_norm", width)
        tensors.conv(f"blocks.{i}.pointwise", width, width, (1, 1))
        tensors.norm(f"blocks.{i}.pointwise_norm", width)
    tensors.dense("classifier", width, config.n_classes)
    return tensors


def build(size: str, batch: int, sequence: int | None = None) -> Workload:
    """Returns the workload at `size` with `batch` spectrograms per step."""
    config = SIZES[size]

    def forward(layers: Layers, x: Array) -> Array:
        x = layers.normed(x, "conv", "norm", config.kernel, stride=2)
        for i in range(config.n_block):
            at = f"blocks.{i}"
            x = layers.normed(x, f"{at}.depthwise", f"{at}.depthwise_norm", groups=config.width)
            x = layers.normed(x, f"{at}.pointwise", f"{at}.pointwise_norm", (1, 1))
        return layers.dense(layers.ops.mean(x, (2, 3)), "classifier")

    shape = (batch, 1, config.rows, config.columns)
    described = asdict(config) | {"kernel": "x".join(map(str, config.kernel)), "dropout": 0}
    return classifier("ds_cnn", size, forward, _tensors(config), shape, config.n_classes, described)
