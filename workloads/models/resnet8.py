"""ResNet-8 (He et al. 2016, arXiv:1512.03385), the image classifier of MLPerf Tiny.

Layers and counts of the benchmark's `keras_model.py`, https://github.com/mlcommons/tiny, as the benchmark has it: 16
filters, biases before norms, no norm on a shortcut; the norms' momentum and epsilon are those of all models here
(Keras: 0.99, 1e-3).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from workloads.models._layers import Layers, Tensors, classifier
from workloads.ops import Array
from workloads.workload import Workload

SUITES = {"edge": None}


@dataclass(frozen=True)
class Config:
    """Side of the image, channels of the first stack, stacks (each twice as wide as the one before), classes."""

    image: int
    width: int
    n_stack: int
    n_classes: int = 10


SIZES = {"tiny": Config(image=12, width=8, n_stack=2), "78k": Config(image=32, width=16, n_stack=3)}
PUBLISHED = "78k"
BATCHES = {"tiny": 4, "78k": 32}
SEQUENCES = None


def _tensors(config: Config) -> Tensors:
    tensors, n_in = Tensors(), config.width
    tensors.conv("conv", 3, n_in, (3, 3))
    tensors.norm("norm", n_in)
    for i in range(config.n_stack):
        n_out = config.width << i
        for j, read in ((1, n_in), (2, n_out)):
            tensors.conv(f"stacks.{i}.conv{j}", read, n_out, (3, 3))
            tensors.norm(f"stacks.{i}.norm{j}", n_out)
        if i > 0:
            tensors.conv(f"stacks.{i}.shortcut", n_in, n_out, (1, 1))
        n_in = n_out
    tensors.dense("classifier", n_in, config.n_classes)
    return tensors


def build(size: str, batch: int, sequence: int | None = None) -> Workload:
    """Returns the workload at `size` with `batch` images per step."""
    config = SIZES[size]

    def forward(layers: Layers, x: Array) -> Array:
        x = layers.normed(x, "conv", "norm")
        for i in range(config.n_stack):
            at, stride = f"stacks.{i}", 2 if i > 0 else 1
            y = layers.normed(x, f"{at}.conv1", f"{at}.norm1", stride=stride)
            y = layers.norm(layers.conv(y, f"{at}.conv2"), f"{at}.norm2")
            x = layers.ops.relu(y + (layers.conv(x, f"{at}.shortcut", (1, 1), stride) if i > 0 else x))
        return layers.dense(layers.ops.mean(x, (2, 3)), "classifier")

    shape = (batch, 3, config.image, config.image)
    return classifier("resnet8", size, forward, _tensors(config), shape, config.n_classes, asdict(config))
