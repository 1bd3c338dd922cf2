"""What convolutional networks have in common: named layers, their tensors, and the statistics of their norms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from workloads.ops import Array, Ops, Parameters, subset
from workloads.optim import SGD
from workloads.program import Work, inference, training
from workloads.specs import InputSpec, ParameterSpec
from workloads.workload import Workload

Kernel = tuple[int, int]
"""Rows and columns: given, since of a weight in codes none are known."""
RULE = SGD(learning_rate=0.01, momentum=0.9)


@dataclass
class Layers:
    """One forward pass: layers find their tensors by name, and norms leave their running statistics behind."""

    ops: Ops
    p: Parameters
    training: bool
    statistics: dict[str, Array] = field(default_factory=dict)

    def conv(self, x: Array, name: str, kernel: Kernel = (3, 3), stride: int = 1, groups: int = 1) -> Array:
        """Returns `x` convolved so that a side becomes side / stride, rounded up; with a bias where there is one.

        Zeros are added as TensorFlow's `same` does: the odd one below and on the right.
        """
        weight, bias = self.p[f"{name}.weight"], self.p.get(f"{name}.bias")
        sides = [_added(side, k, stride) for side, k in zip(x.shape[2:], kernel, strict=True)]
        rows, columns = ((n // 2, n - n // 2) for n in sides)
        if rows == columns and rows[0] == rows[1]:
            return self._convolved(x, weight, stride, rows[0], bias, groups)
        return self._convolved(self.ops.pad2d(x, rows, columns), weight, stride, 0, bias, groups)

    def _convolved(self, x: Array, weight: Array, stride: int, padding: int, bias: Array | None, groups: int) -> Array:
        if bias is None and groups == 1:
            return self.ops.conv2d(x, weight, stride, padding)
        return self.ops.conv2d(x, weight, stride, padding, bias=bias, groups=groups)

    def norm(self, x: Array, name: str) -> Array:
        """Returns `x` after the batch norm."""
        y, new = self.ops.batch_norm(x, subset(self.p, f"{name}."), self.training)
        self.statistics.update({f"{name}.{key}": array for key, array in new.items()})
        return y

    def normed(
        self, x: Array, conv: str, norm: str, kernel: Kernel = (3, 3), stride: int = 1, groups: int = 1
    ) -> Array:
        """Returns `x` after a convolution, its norm and ReLU."""
        return self.ops.relu(self.norm(self.conv(x, conv, kernel, stride, groups), norm))

    def dense(self, x: Array, name: str) -> Array:
        """Returns `x` times a weight (out, in), plus a bias."""
        return self.ops.linear(x, self.p[f"{name}.weight"], self.p[f"{name}.bias"])


def _added(side: int, kernel: int, stride: int) -> int:
    """Returns how many zeros a side needs."""
    return int(max((-(-side // stride) - 1) * stride + kernel - side, 0))


@dataclass
class Tensors:
    """The parameters and buffers of layers, as they are added: weights as He et al. 2015 (arXiv:1502.01852), fan in."""

    parameters: list[ParameterSpec] = field(default_factory=list)
    buffers: list[ParameterSpec] = field(default_factory=list)

    def conv(self, name: str, n_in: int, n_out: int, kernel: Kernel, has_bias: bool = True) -> None:
        """Adds a convolution; `n_in` are the channels that each output reads."""
        self._weight(name, (n_out, n_in, *kernel), n_in * kernel[0] * kernel[1], n_out, has_bias)

    def conv_transpose(self, name: str, n_in: int, n_out: int, kernel: int) -> None:
        """Adds a transposed convolution whose stride is its kernel: each of its outputs reads one pixel."""
        self._weight(name, (n_in, n_out, kernel, kernel), n_in, n_out, has_bias=True)

    def dense(self, name: str, n_in: int, n_out: int) -> None:
        """Adds a product with a bias."""
        self._weight(name, (n_out, n_in), n_in, n_out, has_bias=True)

    def _weight(self, name: str, shape: tuple[int, ...], fan_in: int, n_out: int, has_bias: bool) -> None:
        self.parameters.append(ParameterSpec(f"{name}.weight", shape, 0.0, (2 / fan_in) ** 0.5))
        if has_bias:
            self.parameters.append(ParameterSpec(f"{name}.bias", (n_out,), 0.0, 0.02))

    def norm(self, name: str, n: int, bias: float = 0.0) -> None:
        """Adds a batch norm, drawn around 1 and `bias`."""
        self.parameters.append(ParameterSpec(f"{name}.weight", (n,), 1.0, 0.02))
        self.parameters.append(ParameterSpec(f"{name}.bias", (n,), bias, 0.02))
        self.buffers.append(ParameterSpec(f"{name}.running_mean", (n,), 0.0, 0.02))
        self.buffers.append(ParameterSpec(f"{name}.running_var", (n,), 1.0, 0.02))


def classifier(
    name: str,
    size: str,
    forward: Callable[[Layers, Array], Array],
    tensors: Tensors,
    images: tuple[int, ...],
    n_classes: int,
    hyperparameters: Mapping[str, float | int | str],
) -> Workload:
    """Returns the workload of a network that classifies images (B, C, H, W): `forward(layers, images)` are logits."""

    def infer(ops: Ops, p: Parameters, batch: Parameters) -> dict[str, Array]:
        return {"logits": forward(Layers(ops, p, training=False), batch["images"])}

    def loss(ops: Ops, p: Parameters, batch: Parameters) -> tuple[Array, dict[str, Array]]:
        layers = Layers(ops, p, training=True)
        return ops.cross_entropy(forward(layers, batch["images"]), batch["labels"]), layers.statistics

    parameters, buffers = tuple(tensors.parameters), tuple(tensors.buffers)
    given = InputSpec("images", images, "float32")
    labels = InputSpec("labels", images[:1], "int64", high=n_classes)
    work = Work(images[0])
    return Workload(
        name=name,
        size=size,
        batch=images[0],
        sequence=None,
        parameters=parameters,
        buffers=buffers,
        hyperparameters=hyperparameters,
        programs={
            "infer": inference(infer, inputs=(given,), constants=parameters + buffers, work=work),
            "train": training(loss, RULE, inputs=(given, labels), parameters=parameters, buffers=buffers, work=work),
        },
    )
