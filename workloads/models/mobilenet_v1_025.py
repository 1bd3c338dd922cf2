"""MobileNetV1 (Howard et al. 2017, arXiv:1704.04861) of a quarter of the width: the person detector of MLPerf Tiny.

Layers and counts of the benchmark's `vww_model.py`, https://github.com/mlcommons/tiny, biases before norms among them;
the norms' momentum and epsilon are those of all models here (Keras: 0.99, 1e-3). The norms' biases are drawn around 1
(published: 0): with 0 half of each ReLU is shut, and 27 of them in a row are ill-conditioned in float32, so that
verification could not tell rounding from a mistake. A norm's scale alone changes nothing where no path goes past it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from workloads.models._layers import Layers, Tensors, classifier
from workloads.ops import Array
from workloads.workload import Workload

SUITES = {"edge": None}
NORM_BIAS = 1.0


@dataclass(frozen=True)
class Config:
    """Side of the image, channels behind the first convolution, (channels, stride) of each block, classes."""

    image: int
    width: int
    blocks: tuple[tuple[int, int], ...]
    n_classes: int = 2


BLOCKS = ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *((128, 1),) * 5, (256, 2), (256, 1))
SIZES = {
    "tiny": Config(image=24, width=8, blocks=((16, 1), (16, 2), (32, 2))),
    "96": Config(image=96, width=8, blocks=BLOCKS),
}
PUBLISHED = "96"
BATCHES = {"tiny": 4, "96": 16}
SEQUENCES = None


def _tensors(config: Config) -> Tensors:
    tensors, width = Tensors(), config.width
    tensors.conv("conv", 3, width, (3, 3))
    tensors.norm("norm", width, bias=NORM_BIAS)
    for i, (n_out, _) in enumerate(config.blocks):
        tensors.conv(f"blocks.{i}.depthwise", 1, width, (3, 3))
        tensors.norm(f"blocks.{i}.depthwise_norm", width, bias=NORM_BIAS)
        tensors.conv(f"blocks.{i}.pointwise", width, n_out, (1, 1))
        tensors.norm(f"blocks.{i}.pointwise_norm", n_out, bias=NORM_BIAS)
        width = n_out
    tensors.dense("classifier", width, config.n_classes)
    return tensors


def build(size: str, batch: int, sequence: int | None = None) -> Workload:
    """Returns the workload at `size` with `batch` images per step."""
    config = SIZES[size]

    def forward(layers: Layers, x: Array) -> Array:
        x = layers.normed(x, "conv", "norm", stride=2)
        for i, (_, stride) in enumerate(config.blocks):
            at = f"blocks.{i}"
            x = layers.normed(x, f"{at}.depthwise", f"{at}.depthwise_norm", stride=stride, groups=x.shape[1])
            x = layers.normed(x, f"{at}.pointwise", f"{at}.pointwise_norm", (1, 1))
        return layers.dense(layers.ops.mean(x, (2, 3)), "classifier")

    shape = (batch, 3, config.image, config.image)
    blocks = ",".join(f"{n_out}/{stride}" for n_out, stride in config.blocks)
    described = asdict(config) | {"blocks": blocks, "norm_bias": NORM_BIAS}
    return classifier("mobilenet_v1_025", size, forward, _tensors(config), shape, config.n_classes, described)
