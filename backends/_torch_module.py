"""The inference step as a `torch.nn.Module`: what is traced, exported or compiled for runtimes that take modules."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from backends._torch import TorchOps, to_torch
from workloads.data import Arrays
from workloads.workload import Workload

CPU = torch.device("cpu")


class InferenceModule(nn.Module):
    """The inference step as a module whose parameters carry their published names."""

    def __init__(self, workload: Workload, parameters: Arrays) -> None:
        super().__init__()
        self.workload = workload
        for name, array in parameters.items():
            path, _, leaf = name.rpartition(".")
            owner: nn.Module = self
            for part in filter(None, path.split(".")):
                if part not in dict(owner.named_children()):
                    owner.add_module(part, nn.Module())
                owner = owner.get_submodule(part)
            tensor = to_torch(array, CPU)
            if name in {spec.name for spec in workload.buffers}:
                owner.register_buffer(leaf, tensor)
            else:
                owner.register_parameter(leaf, nn.Parameter(tensor))

    def tensors(self) -> dict[str, Tensor]:
        """Returns parameters and buffers by their published names."""
        return dict(self.named_parameters()) | dict(self.named_buffers())

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        batch = {spec.name: x for spec, x in zip(self.workload.inputs, inputs, strict=True)}
        return tuple(self.workload.infer(TorchOps(), self.tensors(), batch).values())
