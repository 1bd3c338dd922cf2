"""A step as a `torch.nn.Module`: what is traced, exported or compiled for runtimes that take modules."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from backends._torch_ops import TorchOps, to_torch
from workloads.program import Program

if TYPE_CHECKING:
    from backends.base import Setting
    from workloads.data import Arrays

CPU = torch.device("cpu")


def placed(setting: Setting, arrays: Arrays) -> dict[str, Tensor]:
    """Returns the model's tensors on the host, each in the type in which a step reads it."""
    compute = getattr(torch, setting.precision.compute)
    return {
        name: to_torch(a, CPU).to(compute) if name in setting.low else to_torch(a, CPU) for name, a in arrays.items()
    }


@contextmanager
def without_fused_kernels() -> Iterator[None]:
    """Traces attention and LSTM in operators that have a translation to ONNX: fused kernels (torch 2.13) have none."""
    was_on = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = False  # `flags()` sets TF32 too, and warns where there is no Intel GPU (2.13)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mkldnn.enabled = was_on


class StatelessModule(nn.Module):
    """A program without state as a module whose parameters carry their published names."""

    def __init__(
        self,
        program: Program,
        parameters: Mapping[str, Tensor],
        buffers: Collection[str] = (),
        ops: TorchOps | None = None,
    ) -> None:
        super().__init__()
        self.program, self.ops = program, ops or TorchOps()
        for name, tensor in parameters.items():
            path, _, leaf = name.rpartition(".")
            owner: nn.Module = self
            for part in filter(None, path.split(".")):
                if part not in dict(owner.named_children()):
                    owner.add_module(part, nn.Module())
                owner = owner.get_submodule(part)
            if name in buffers or not tensor.is_floating_point():
                owner.register_buffer(leaf, tensor)
            else:
                owner.register_parameter(leaf, nn.Parameter(tensor))

    def tensors(self) -> dict[str, Tensor]:
        """Returns parameters and buffers by their published names."""
        return dict(self.named_parameters()) | dict(self.named_buffers())

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        batch = {spec.name: x for spec, x in zip(self.program.inputs, inputs, strict=True)}
        return tuple(self.program.outputs_of(self.ops, self.tensors(), {}, batch).values())
