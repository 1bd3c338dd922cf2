"""U-Net (Ronneberger et al. 2015, arXiv:1505.04597) as it is used today: padded convolutions with batch norms.

Names and shapes of the implementation that most people take, https://github.com/milesial/Pytorch-UNet, with transposed
convolutions on the way up. The loss is the cross-entropy of each pixel's class.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from workloads.models._layers import RULE, Layers, Tensors
from workloads.ops import Array, Ops, Parameters
from workloads.program import Work, inference, training
from workloads.specs import InputSpec
from workloads.workload import Workload

SUITES = {"vision": None}
CHANNELS = 3


@dataclass(frozen=True)
class Config:
    """Side of the image, channels at the top, how often they double on the way down, classes."""

    image: int
    width: int
    depth: int
    n_classes: int


SIZES = {
    "tiny": Config(image=16, width=4, depth=2, n_classes=2),
    "31m": Config(image=128, width=64, depth=4, n_classes=2),
}
PUBLISHED = "31m"
BATCHES = {"tiny": 2, "31m": 1}
SEQUENCES = None


def _tensors(config: Config) -> Tensors:
    tensors = Tensors()

    def double(name: str, n_in: int, n_out: int) -> None:
        for i, read in ((0, n_in), (3, n_out)):
            tensors.conv(f"{name}.double_conv.{i}", read, n_out, (3, 3), has_bias=False)
            tensors.norm(f"{name}.double_conv.{i + 1}", n_out)

    double("inc", CHANNELS, config.width)
    for i in range(config.depth):
        double(f"down{i + 1}.maxpool_conv.1", config.width << i, config.width << i + 1)
    for i in range(config.depth):
        n_out = config.width << config.depth - 1 - i
        tensors.conv_transpose(f"up{i + 1}.up", 2 * n_out, n_out, 2)
        double(f"up{i + 1}.conv", 2 * n_out, n_out)
    tensors.conv("outc.conv", config.width, config.n_classes, (1, 1))
    return tensors


def _forward(layers: Layers, config: Config, images: Array) -> Array:
    """Returns the logits (B, classes, H, W) of each pixel."""
    ops = layers.ops

    def double(x: Array, name: str) -> Array:
        for i in (0, 3):
            x = layers.normed(x, f"{name}.double_conv.{i}", f"{name}.double_conv.{i + 1}")
        return x

    x = double(images, "inc")
    passed = [x]
    for i in range(config.depth):
        x = double(ops.max_pool2d(x, kernel=2, stride=2, padding=0), f"down{i + 1}.maxpool_conv.1")
        passed.append(x)
    for i in range(config.depth):
        at = f"up{i + 1}"
        x = ops.conv_transpose2d(x, layers.p[f"{at}.up.weight"], layers.p[f"{at}.up.bias"])
        x = double(ops.concatenate([passed[config.depth - 1 - i], x], axis=1), f"{at}.conv")
    return layers.conv(x, "outc.conv", (1, 1))


def build(size: str, batch: int, sequence: int | None = None) -> Workload:
    """Returns the workload at `size` with `batch` images per step."""
    config = SIZES[size]
    tensors = _tensors(config)

    def infer(ops: Ops, p: Parameters, batch: Parameters) -> dict[str, Array]:
        return {"logits": _forward(Layers(ops, p, training=False), config, batch["images"])}

    def loss(ops: Ops, p: Parameters, batch: Parameters) -> tuple[Array, dict[str, Array]]:
        layers = Layers(ops, p, training=True)
        logits = ops.transpose(_forward(layers, config, batch["images"]), (0, 2, 3, 1))
        return ops.cross_entropy(ops.reshape(logits, (-1, config.n_classes)), batch["labels"]), layers.statistics

    parameters, buffers = tuple(tensors.parameters), tuple(tensors.buffers)
    images = InputSpec("images", (batch, CHANNELS, config.image, config.image), "float32")
    labels = InputSpec("labels", (batch * config.image**2,), "int64", high=config.n_classes)
    return Workload(
        name="unet",
        size=size,
        batch=batch,
        sequence=None,
        parameters=parameters,
        buffers=buffers,
        hyperparameters=asdict(config),
        programs={
            "infer": inference(infer, inputs=(images,), constants=parameters + buffers, work=Work(batch)),
            "train": training(
                loss, RULE, inputs=(images, labels), parameters=parameters, buffers=buffers, work=Work(batch)
            ),
        },
    )
