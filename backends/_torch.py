"""PyTorch: the binding of the vocabulary, and the eager step on any torch device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from backends.base import Operator, Request, Step
from workloads.ops import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM, Array, Ops, Parameters
from workloads.optim import SGD, AdamW, Optimizer


class TorchOps(Ops):
    """The operations in PyTorch, each bound to the native kernel."""

    def embedding(self, table: Array, ids: Array) -> Array:
        return F.embedding(ids, table)

    def linear(self, x: Array, weight: Array, bias: Array | None = None, layout: Literal["oi", "io"] = "oi") -> Array:
        return F.linear(x, weight if layout == "oi" else weight.t(), bias)

    def conv2d(self, x: Array, weight: Array, stride: int, padding: int) -> Array:
        return F.conv2d(x, weight, stride=stride, padding=padding)

    def batch_norm(self, x: Array, p: Parameters, training: bool) -> tuple[Array, dict[str, Array]]:
        statistics = {name: p[name].clone() if training else p[name] for name in ("running_mean", "running_var")}
        y = F.batch_norm(
            x,
            **statistics,  # updated in place
            weight=p["weight"],
            bias=p["bias"],
            training=training,
            momentum=BATCH_NORM_MOMENTUM,
            eps=BATCH_NORM_EPSILON,
        )
        return y, statistics if training else {}

    def max_pool2d(self, x: Array, kernel: int, stride: int, padding: int) -> Array:
        return F.max_pool2d(x, kernel, stride, padding)

    def mean(self, x: Array, axes: Sequence[int]) -> Array:
        return x.mean(tuple(axes))

    def relu(self, x: Array) -> Array:
        return F.relu(x)

    def tanh(self, x: Array) -> Array:
        return torch.tanh(x)

    def layer_norm(self, x: Array, weight: Array, bias: Array, epsilon: float) -> Array:
        return F.layer_norm(x, (x.shape[-1],), weight, bias, epsilon)

    def gelu(self, x: Array, approximate: Literal["none", "tanh"]) -> Array:
        return F.gelu(x, approximate=approximate)

    def attention(self, query: Array, key: Array, value: Array, causal: bool) -> Array:
        return F.scaled_dot_product_attention(query, key, value, is_causal=causal)

    def cross_entropy(self, logits: Array, labels: Array) -> Array:
        return F.cross_entropy(logits, labels)

    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        return x.reshape(tuple(shape))

    def transpose(self, x: Array, axes: Sequence[int]) -> Array:
        return x.permute(tuple(axes))

    def split(self, x: Array, parts: int) -> Sequence[Array]:
        return torch.chunk(x, parts, dim=-1)

    def arange(self, n: int, like: Array) -> Array:
        return torch.arange(n, dtype=like.dtype, device=like.device)

    def sqrt(self, x: Array) -> Array:
        return torch.sqrt(x)


def value_and_grad(
    f: Callable[[Parameters], tuple[Tensor, Parameters]], parameters: Parameters
) -> tuple[tuple[Tensor, Parameters], Parameters]:
    """Returns `f(parameters)`, a scalar and something beside it, and the scalar's gradient, through `torch.func`."""
    gradients, both = torch.func.grad_and_value(f, has_aux=True)(dict(parameters))
    return both, gradients


def to_torch(array: NDArray[Any], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Returns a copy of `array` on `device`; floating arrays in `dtype` where one is given."""
    tensor = torch.from_numpy(np.array(array))
    return tensor.to(device, dtype if tensor.is_floating_point() else None)


def native_optimizer(rule: Optimizer, parameters: list[Tensor]) -> torch.optim.Optimizer:
    """Returns torch's own fused optimiser for `rule`; verification proves it equal."""
    if isinstance(rule, AdamW):
        return torch.optim.AdamW(
            parameters,
            lr=rule.learning_rate,
            betas=(rule.beta1, rule.beta2),
            eps=rule.epsilon,
            weight_decay=rule.weight_decay,
            fused=True,
        )
    if isinstance(rule, SGD):
        return torch.optim.SGD(parameters, lr=rule.learning_rate, momentum=rule.momentum, fused=True)
    raise TypeError(f"no torch optimiser for {type(rule).__name__}; add it to backends/_torch.py")


def device_types(tensors: Iterable[Tensor]) -> str:
    """Returns the kinds of device that the tensors lie on, as they themselves say."""
    return "/".join(sorted({tensor.device.type for tensor in tensors}))


def operators_of(averages: Iterable[Any], device: str, steps: int) -> list[Operator]:
    """Returns the profiler's `averages` as operators: by the CPU's own time, or by that of the `device`'s kernels.

    What a device computes has the kernels' names: that of the call behind each would leave out compiled ones.
    """
    kind = torch.autograd.DeviceType.CPU if device == "cpu" else getattr(torch.autograd.DeviceType, device.upper())
    return [
        Operator(event.key, us * 1e-6 / steps, event.count / steps)
        for event in averages
        if event.device_type == kind
        and (us := event.self_cpu_time_total if device == "cpu" else event.self_device_time_total) > 0
    ]


NATIVE_MOMENTS = {"SGD": ("momentum_buffer",), "AdamW": ("exp_avg", "exp_avg_sq")}
"""torch's names of `Optimizer.moments`, in the same order."""


class TorchStep(Step):
    """A step in eager PyTorch on one device: parameters stay there and are updated in place."""

    fp32_switches: ClassVar[tuple[str, ...]] = ("none", "ieee")
    """Values of `precision_switches()` under which fp32 is fp32."""

    def __init__(self, request: Request, device: torch.device) -> None:
        self.workload = request.workload
        self.phase = request.phase
        self.device = device
        self.ops: Ops = TorchOps()
        buffers = {spec.name for spec in request.workload.buffers}
        chosen = request.options.get("memory_format", "contiguous")
        # Training with channels last, torch's batch norm (CPU, 2.13) adds up all values of a channel one by one in each
        # thread: of 50,176 the variance is off by 1e-5, and with one thread ResNet-50 is no longer the same step.
        mixed = "channels_last" if request.phase == "infer" else "contiguous"
        self.memory_format = mixed if chosen == "mixed" else chosen
        tensors = {name: self._laid_out(to_torch(p, device)) for name, p in request.parameters.items()}
        self.parameters = {name: tensor for name, tensor in tensors.items() if name not in buffers}
        self.buffers = {name: tensor for name, tensor in tensors.items() if name in buffers}
        self.on_host = request.batches
        self.batches = [{name: self._laid_out(to_torch(a, device)) for name, a in b.items()} for b in request.batches]
        self.last: dict[str, Tensor] = {}
        if self.phase == "train":
            for parameter in self.parameters.values():
                parameter.requires_grad_(True)
            self.optimizer = native_optimizer(self.workload.optimizer, list(self.parameters.values()))

    def _laid_out(self, tensor: Tensor) -> Tensor:
        """Returns images and the weights of convolutions with their channels last in memory, where that was chosen."""
        if self.memory_format == "channels_last" and tensor.dim() == 4:
            return tensor.to(memory_format=torch.channels_last)
        return tensor

    def compile(self) -> None:
        """Eager: there is nothing to compile."""

    def infer(self, p: Parameters, batch: Parameters) -> dict[str, Tensor]:
        """Returns the outputs; apart, so that it can be compiled."""
        return self.workload.infer(self.ops, p, batch)

    def loss(self, p: Parameters, batch: Parameters) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss and the next buffers; apart, so that it can be compiled."""
        return self.workload.loss(self.ops, p, batch)

    def step(self, i: int) -> None:
        batch = self.batches[i % len(self.batches)]
        if self.phase == "infer":
            with torch.inference_mode():
                self.last = self.infer(self.parameters | self.buffers, batch)
            return
        self.optimizer.zero_grad(set_to_none=True)
        loss, self.buffers = self.loss(self.parameters | self.buffers, batch)
        loss.backward()
        self.optimizer.step()
        self.last = {"loss": loss.detach()}

    def parts(self) -> dict[str, Callable[[int], object]]:
        """As in `step`; `forward` first drops the gradients of the step before. Batches come from pageable memory."""
        n = len(self.on_host)

        def input_copy(i: int) -> None:
            self.copied = {name: to_torch(array, self.device) for name, array in self.on_host[i % n].items()}

        def forward(i: int) -> None:
            self.optimizer.zero_grad(set_to_none=True)
            self.part_loss, self.buffers = self.loss(self.parameters | self.buffers, self.batches[i % n])

        def waiting(part: Callable[[int], object]) -> Callable[[int], None]:
            def run(i: int) -> None:
                part(i)
                self.sync()

            return run

        parts: dict[str, Callable[[int], object]] = {"input_copy": input_copy, "forward": self.step}
        if self.phase == "train":
            parts |= {
                "forward": forward,
                "backward": lambda i: self.part_loss.backward(),
                "optimizer": lambda i: self.optimizer.step(),
            }
        return {name: waiting(part) for name, part in parts.items()}

    def sync(self) -> None:
        """On the CPU every call has already waited."""

    def touch(self) -> None:
        tensors = [*self.last.values()]
        if self.phase == "train":
            tensors += [*self.parameters.values(), *self.buffers.values()]
            tensors += [x for state in self.optimizer.state.values() for x in state.values() if isinstance(x, Tensor)]
        for tensor in tensors:
            tensor.detach()[(0,) * tensor.dim()].item()

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        return {name: tensor.cpu().numpy() for name, tensor in self.last.items()}

    def state(self) -> Iterator[tuple[str, NDArray[Any]]]:
        rule = self.workload.optimizer
        for name, buffer in self.buffers.items():
            yield f"buffer.{name}", buffer.cpu().numpy()
        for name, parameter in self.parameters.items():
            yield f"parameter.{name}", parameter.detach().cpu().numpy()
            native = self.optimizer.state[parameter]
            for moment, key in zip(rule.moments, NATIVE_MOMENTS[type(rule).__name__], strict=True):
                yield f"{moment}.{name}", native[key].cpu().numpy()

    def operators(self, steps: int) -> list[Operator]:
        self.step(0)
        self.sync()
        activities = [torch.profiler.ProfilerActivity.CPU]
        if self.device.type != "cpu":
            activities.append(getattr(torch.profiler.ProfilerActivity, self.device.type.upper()))
        with torch.profiler.profile(activities=activities, acc_events=True) as profile:
            for i in range(steps):
                self.step(i)
            self.sync()
        return operators_of(profile.key_averages(), self.device.type, steps)

    def layout(self) -> str:
        """Returns how images and the weights of convolutions lie in memory, as they themselves say."""
        held = [*self.parameters.values(), *(tensor for batch in self.batches for tensor in batch.values())]
        images = [tensor for tensor in held if tensor.dim() == 4]
        if all(tensor.is_contiguous() for tensor in images):
            return "contiguous"
        last = all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in images)
        return "channels_last" if last else "mixed"

    def precision_switches(self) -> dict[str, str]:
        """Returns, as they stand, the switches that decide how this device computes fp32."""
        return {
            "mkldnn_matmul_fp32_precision": torch.backends.mkldnn.matmul.fp32_precision,
            "mkldnn_conv_fp32_precision": torch.backends.mkldnn.conv.fp32_precision,
        }

    def effective(self) -> Mapping[str, str | int | float | bool]:
        floats = (*self.parameters.values(), *self.last.values())
        dtypes = {str(x.dtype).removeprefix("torch.") for x in floats}
        switches = self.precision_switches()
        others = [f"{name} {value}" for name, value in switches.items() if value not in self.fp32_switches]
        is_fp32 = dtypes == {"float32"} and not others
        return {
            "device": device_types([*self.parameters.values(), *self.buffers.values(), *self.last.values()]),
            "precision": "fp32" if is_fp32 else " with ".join(["/".join(sorted(dtypes)), *others]),
            "threads": torch.get_num_threads(),
            **switches,
            "memory_format": self.layout(),
            "compile_mode": "eager",
            "optimizer": f"torch.optim.{type(self.workload.optimizer).__name__}(fused)",
        }
