"""PyTorch: the eager step on any torch device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from backends._arithmetic import in_words
from backends._torch_arithmetic import Products, has_kernels
from backends._torch_int8 import EagerInt8Ops
from backends._torch_ops import EagerTorchOps, TorchOps, to_torch
from backends._torch_optimizer import NATIVE_MOMENTS, native_optimizer
from backends.base import ACCUMULATED, Effective, Operator, Request, Step
from workloads.ops import Parameters, Scoped
from workloads.precision import FLOAT32


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


class TorchStep(Step):
    """A step in eager PyTorch on one device: parameters stay there and are updated in place.

    Where the program has a rule to update by, torch's own optimiser and `backward` do it; else its pure step runs.
    """

    fp32_switches: ClassVar[tuple[str, ...]] = ("none", "ieee")
    """Values of `precision_switches()` under which fp32 is fp32."""
    tf32_switches: ClassVar[tuple[str, ...]] = ()
    """Those under which products round their operands, as a precision may have it."""

    def __init__(self, request: Request, device: torch.device) -> None:
        self.program = program = request.program
        self.precision = request.precision
        self.device = device
        self.ops: TorchOps = EagerInt8Ops() if request.precision.is_quantized else EagerTorchOps()
        buffers = {spec.name for spec in request.workload.buffers}
        chosen = request.options.get("memory_format", "contiguous")
        # Training with channels last, torch's batch norm (CPU, 2.13) adds up all values of a channel one by one in each
        # thread: of 50,176 the variance is off by 1e-5, and with one thread ResNet-50 is no longer the same step.
        # What carries a cache has no images, and torch's fused attention (2.13) does not take one with its heads last.
        mixed = "channels_last" if program.update is None and not program.state else "contiguous"
        self.memory_format = mixed if chosen == "mixed" else chosen
        self.low = request.low
        tensors = {name: self._placed(name, p) for name, p in request.parameters.items()}
        self.parameters = {name: tensor for name, tensor in tensors.items() if name not in buffers}
        self.buffers = {name: tensor for name, tensor in tensors.items() if name in buffers}
        names = [spec.name for spec in program.inputs]
        self.on_host = [{name: batch[name] for name in names} for batch in request.batches]
        self.batches = [{name: self._placed(name, a) for name, a in b.items()} for b in self.on_host]
        self.last: dict[str, Tensor] = {}
        self.carried: dict[str, Tensor] = {}
        if program.update is None:
            self.carried = program.initial_state(tensors, lambda shape: torch.zeros(shape, device=device))
        else:
            for spec in program.update.trained:
                self.parameters[spec.name].requires_grad_(True)
            self.trained = [self.parameters[spec.name] for spec in program.update.trained]
            self.optimizer = native_optimizer(program.update.rule, self.trained)
            self.split = [tuple(program.update.parts_of(batch)) for batch in self.batches]
        self.tensors = self._bound()

    def _placed(self, name: str, array: NDArray[Any]) -> Tensor:
        """Returns an array on the device, in the type and the layout in which the step reads it."""
        tensor = self._laid_out(to_torch(array, self.device))
        return tensor.to(getattr(torch, self.precision.compute)) if name in self.low else tensor

    def _laid_out(self, tensor: Tensor) -> Tensor:
        """Returns images and the weights of convolutions with their channels last in memory, where that was chosen."""
        if self.memory_format == "channels_last" and tensor.dim() == 4:
            return tensor.to(memory_format=torch.channels_last)
        return tensor

    def _bound(self) -> Parameters:
        """Returns all tensors by name, as the model takes them; names of blocks are looked up once."""
        return Scoped(self.parameters | self.buffers)

    def compile(self) -> None:
        """Eager: there is nothing to compile."""

    def outputs_of(self, p: Parameters, batch: Parameters) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Returns the pure step's outputs and next state; apart, so that it can be compiled."""
        return self.program.step(self.ops, p, self.carried, batch)

    def loss(self, p: Parameters, batch: Parameters) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss and the next buffers; apart, so that it can be compiled."""
        assert self.program.update is not None
        return self.program.update.loss(self.ops, p, batch)

    def step(self, i: int) -> None:
        batch = self.batches[i % len(self.batches)]
        if self.program.update is None:
            with torch.inference_mode():
                self.last, self.carried = self.outputs_of(self.tensors, batch)
            return
        self.optimizer.zero_grad(set_to_none=True)
        losses = []
        for part in self.split[i % len(self.split)]:
            loss = self._forward(part)
            self._backward(loss)
            losses.append(loss.detach())
        self._scale_back()
        self.optimizer.step()
        self.last = {"loss": losses[0] if len(losses) == 1 else torch.stack(losses).mean()}

    def _forward(self, batch: Parameters) -> Tensor:
        """Returns the loss; the buffers after it are those of the next step."""
        loss, buffers = self.loss(self.tensors, batch)
        # Norms of ours update what they are given; a graph returns its buffers anew.
        if changed := {name: buffer.detach() for name, buffer in buffers.items() if buffer is not self.buffers[name]}:
            self.buffers = self.buffers | changed
            self.tensors = self._bound()
        return loss

    def _backward(self, loss: Tensor) -> None:
        """Adds to each trained parameter's gradient what the scaled loss, or its part of a batch, has of it."""
        assert self.program.update is not None
        factor = self.program.update.loss_scale / self.program.update.accumulate
        (loss if factor == 1 else loss * factor).backward()

    def _scale_back(self) -> None:
        assert self.program.update is not None
        if (scale := self.program.update.loss_scale) != 1:
            torch._foreach_div_([parameter.grad for parameter in self.trained], scale)

    def parts(self) -> Mapping[str, Callable[[int], object]] | str:
        """As in `step`; `forward` first drops the gradients of the step before. Batches come from pageable memory."""
        if self.program.update is not None and self.program.update.accumulate > 1:
            return ACCUMULATED
        n = len(self.on_host)

        def input_copy(i: int) -> None:
            self.copied = {name: self._placed(name, array) for name, array in self.on_host[i % n].items()}

        def forward(i: int) -> None:
            self.optimizer.zero_grad(set_to_none=True)
            self.part_loss = self._forward(self.batches[i % n])

        def backward(i: int) -> None:
            self._backward(self.part_loss)
            self._scale_back()

        def waiting(part: Callable[[int], object]) -> Callable[[int], None]:
            def run(i: int) -> None:
                part(i)
                self.sync()

            return run

        parts: dict[str, Callable[[int], object]] = {"input_copy": input_copy, "forward": self.step}
        if self.program.update is not None:
            parts |= {
                "forward": forward,
                "backward": backward,
                "optimizer": lambda i: self.optimizer.step(),
            }
        return {name: waiting(part) for name, part in parts.items()}

    def sync(self) -> None:
        """On the CPU every call has already waited."""

    def touch(self) -> None:
        tensors = [*self.last.values(), *self.carried.values()]
        if self.program.update is not None:
            tensors += [*self.parameters.values(), *self.buffers.values()]
            tensors += [x for state in self.optimizer.state.values() for x in state.values() if isinstance(x, Tensor)]
        for tensor in tensors:
            tensor.detach()[(0,) * tensor.dim()].item()

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        return {name: tensor.cpu().numpy() for name, tensor in self.last.items()}

    def state(self) -> Iterator[tuple[str, NDArray[Any]]]:
        for name, tensor in self.carried.items():
            yield name, tensor.cpu().numpy()
        if self.program.update is None:
            return
        rule = self.program.update.rule
        for name, buffer in self.buffers.items():
            yield f"buffer.{name}", buffer.cpu().numpy()
        for spec in self.program.update.trained:
            name, parameter = spec.name, self.parameters[spec.name]
            yield f"parameter.{name}", parameter.detach().cpu().numpy()
            native = self.optimizer.state[parameter]
            for moment, key in zip(rule.moments, NATIVE_MOMENTS[type(rule).__name__], strict=True):
                yield f"{moment}.{name}", native[key].cpu().numpy()

    def frozen(self) -> Iterator[tuple[str, NDArray[Any]]]:
        if self.program.update is not None:
            tensors = self.parameters | self.buffers
            for spec in self.program.constants:
                yield spec.name, tensors[spec.name].cpu().view(torch.uint8).numpy()

    def restart(self, parameters: Mapping[str, NDArray[Any]]) -> None:
        tensors = self.parameters | self.buffers
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(to_torch(parameters[name], self.device))
        if self.program.update is None:
            self.carried = self.program.initial_state(tensors, lambda shape: torch.zeros(shape, device=self.device))
            return
        for native in self.optimizer.state.values():
            for held in native.values():
                if isinstance(held, Tensor):
                    held.zero_()

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

    def effective(self) -> Effective:
        floats = (*self.parameters.values(), *self.last.values())
        dtypes = {str(x.dtype).removeprefix("torch.") for x in floats if x.is_floating_point()}
        switches = self.precision_switches()
        allowed = self.tf32_switches if self.precision.operands else self.fp32_switches
        others = [f"{name} {value}" for name, value in switches.items() if value not in allowed]
        stored = {FLOAT32, *([self.precision.compute] if self.low & self.parameters.keys() else [])}
        is_asked = dtypes <= stored and not others
        update = self.program.update
        more: dict[str, str | int | float | bool] = {
            **switches,
            "memory_format": self.layout(),
            "compile_mode": "eager",
        }
        if update is not None:
            more["optimizer"] = f"torch.optim.{type(update.rule).__name__}(fused)"
        if self.precision.is_lower:
            more["arithmetic"] = self.arithmetic()
        return Effective(
            device=device_types([*self.parameters.values(), *self.buffers.values(), *self.last.values()]),
            precision=self.precision.name if is_asked else " with ".join(["/".join(sorted(dtypes)), *others]),
            threads=torch.get_num_threads(),
            more=more,
        )

    def arithmetic(self) -> str:
        """Returns the types of the operands of all products of a step, as torch dispatches them.

        One more step is run for it, the first time that it is asked.
        """
        if self._arithmetic is None:
            with Products() as products:
                self.step(0)
            self._arithmetic = self._told(products.types)
        return self._arithmetic

    _arithmetic: str | None = None

    def _told(self, products: Mapping[str, int]) -> str:
        """Returns types in words; one that a CPU has no kernels for is widened before it is multiplied."""
        is_emulated = self.device.type == "cpu" and not has_kernels(self.precision.multiplied)
        told = dict(products)
        if is_emulated and self.precision.multiplied in told:
            told[FLOAT32] = told.pop(self.precision.multiplied) + told.get(FLOAT32, 0)
        return in_words(told)
