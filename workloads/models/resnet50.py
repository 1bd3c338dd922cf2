"""ResNet-50 v1.5 (He et al. 2016, arXiv:1512.03385), with the names and shapes of torchvision's `resnet50`.

v1.5 has the stride of a downsampling block in its 3×3 convolution. The last batch-norm scale of each block is drawn
around 0.2 (published: 1, or 0 as in Goyal et al. 2017): with 1 the gradients of a freshly initialised ReLU network
are ill-conditioned in float32, and verification could not tell rounding from a mistake.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from workloads.ops import Array, Ops, Parameters, subset
from workloads.optim import SGD
from workloads.program import Work, inference, training
from workloads.specs import InputSpec, ParameterSpec
from workloads.weights.published import Published
from workloads.workload import Workload

EXPANSION = 4
LAST_SCALE = 0.2


@dataclass(frozen=True)
class Config:
    """Blocks per stage, channels of the first stage, side of the image, classes."""

    layers: tuple[int, int, int, int]
    width: int
    image: int
    num_classes: int


SIZES = {
    "tiny": Config(layers=(1, 1, 1, 1), width=8, image=64, num_classes=10),
    "224": Config(layers=(3, 4, 6, 3), width=64, image=224, num_classes=1000),
}
PUBLISHED = "224"
BATCHES = {"tiny": 4, "224": 4}
SEQUENCES = None
SUITES = {"core": None, "vision": None}
# torchvision's state dict counts the batches of each batch norm.
FILES = Published(ignored=(r".*\.num_batches_tracked",))


@dataclass(frozen=True)
class Block:
    """A bottleneck block: its prefix, channels in and inside, the stride of its 3×3 convolution."""

    prefix: str
    n_in: int
    width: int
    stride: int

    @property
    def projects(self) -> bool:
        """Whether the shortcut has a convolution of its own, because shapes differ."""
        return self.stride != 1 or self.n_in != EXPANSION * self.width


def blocks(config: Config) -> Iterator[Block]:
    """Yields the blocks in order."""
    n_in = config.width
    for stage, depth in enumerate(config.layers):
        width = config.width << stage
        for i in range(depth):
            yield Block(f"layer{stage + 1}.{i}", n_in, width, stride=2 if stage > 0 and i == 0 else 1)
            n_in = EXPANSION * width


def forward(ops: Ops, config: Config, p: Parameters, images: Array, training: bool) -> tuple[Array, dict[str, Array]]:
    """Returns the logits (B, classes), and in training the running statistics after the batch."""
    statistics: dict[str, Array] = {}

    def norm(x: Array, name: str) -> Array:
        y, new = ops.batch_norm(x, subset(p, f"{name}."), training)
        statistics.update({f"{name}.{key}": array for key, array in new.items()})
        return y

    def bottleneck(x: Array, block: Block) -> Array:
        at = block.prefix
        y = ops.relu(norm(ops.conv2d(x, p[f"{at}.conv1.weight"], 1, 0), f"{at}.bn1"))
        y = ops.relu(norm(ops.conv2d(y, p[f"{at}.conv2.weight"], block.stride, 1), f"{at}.bn2"))
        y = norm(ops.conv2d(y, p[f"{at}.conv3.weight"], 1, 0), f"{at}.bn3")
        if block.projects:
            x = norm(ops.conv2d(x, p[f"{at}.downsample.0.weight"], block.stride, 0), f"{at}.downsample.1")
        return ops.relu(y + x)

    x = ops.relu(norm(ops.conv2d(images, p["conv1.weight"], 2, 3), "bn1"))
    x = ops.max_pool2d(x, kernel=3, stride=2, padding=1)
    for block in blocks(config):
        x = bottleneck(x, block)
    return ops.linear(ops.mean(x, (2, 3)), p["fc.weight"], p["fc.bias"]), statistics


def tensors(config: Config) -> tuple[tuple[ParameterSpec, ...], tuple[ParameterSpec, ...]]:
    """Returns parameters and buffers. Convolutions as He et al. 2015 (fan out), as in torchvision."""
    parameters, buffers = [], []

    def conv(name: str, n_in: int, n_out: int, kernel: int) -> None:
        deviation = (2 / (n_out * kernel**2)) ** 0.5
        parameters.append(ParameterSpec(f"{name}.weight", (n_out, n_in, kernel, kernel), 0.0, deviation))

    def norm(name: str, n: int, scale: float = 1.0) -> None:
        parameters.append(ParameterSpec(f"{name}.weight", (n,), scale, 0.02))
        parameters.append(ParameterSpec(f"{name}.bias", (n,), 0.0, 0.02))
        buffers.append(ParameterSpec(f"{name}.running_mean", (n,), 0.0, 0.02))
        buffers.append(ParameterSpec(f"{name}.running_var", (n,), 1.0, 0.02))

    conv("conv1", 3, config.width, 7)
    norm("bn1", config.width)
    for block in blocks(config):
        at, n_out = block.prefix, EXPANSION * block.width
        conv(f"{at}.conv1", block.n_in, block.width, 1)
        norm(f"{at}.bn1", block.width)
        conv(f"{at}.conv2", block.width, block.width, 3)
        norm(f"{at}.bn2", block.width)
        conv(f"{at}.conv3", block.width, n_out, 1)
        norm(f"{at}.bn3", n_out, LAST_SCALE)
        if block.projects:
            conv(f"{at}.downsample.0", block.n_in, n_out, 1)
            norm(f"{at}.downsample.1", n_out)
    features = EXPANSION * config.width << 3
    parameters.append(ParameterSpec("fc.weight", (config.num_classes, features), 0.0, features**-0.5))
    parameters.append(ParameterSpec("fc.bias", (config.num_classes,), 0.0, 0.02))
    return tuple(parameters), tuple(buffers)


def build(size: str, batch: int, sequence: int | None = None) -> Workload:
    """Returns the workload at `size` with `batch` images per step."""
    config = SIZES[size]
    parameters, buffers = tensors(config)

    def infer(ops: Ops, p: Parameters, batch: Parameters) -> dict[str, Array]:
        return {"logits": forward(ops, config, p, batch["images"], training=False)[0]}

    def loss(ops: Ops, p: Parameters, batch: Parameters) -> tuple[Array, dict[str, Array]]:
        logits, statistics = forward(ops, config, p, batch["images"], training=True)
        return ops.cross_entropy(logits, batch["labels"]), statistics

    images = InputSpec("images", (batch, 3, config.image, config.image), "float32")
    labels = InputSpec("labels", (batch,), "int64", high=config.num_classes)
    rule = SGD(learning_rate=0.01, momentum=0.9)
    return Workload(
        name="resnet50",
        size=size,
        batch=batch,
        sequence=None,
        parameters=parameters,
        buffers=buffers,
        hyperparameters=asdict(config) | {"layers": ",".join(map(str, config.layers)), "last_scale": LAST_SCALE},
        published=FILES,
        programs={
            "infer": inference(infer, inputs=(images,), constants=parameters + buffers, work=Work(batch)),
            "train": training(
                loss, rule, inputs=(images, labels), parameters=parameters, buffers=buffers, work=Work(batch)
            ),
        },
    )
