"""Inference on a NeuronCore: the torch binding traced and compiled ahead of time by torch_neuronx.

https://awsdocs-neuron.readthedocs-hosted.com/en/latest/frameworks/torch/torch-neuronx/api-reference-guide/inference/api-torch-neuronx-trace.html
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch_neuronx
from numpy.typing import NDArray
from torch import Tensor

from backends._torch_module import StatelessModule, placed
from backends._torch_ops import TorchOps, to_torch
from backends.base import ONE_GRAPH, Effective, Request, Step
from workloads.precision import FLOAT32, FP32

CPU = torch.device("cpu")
COMPILER_ARGS = ("--auto-cast", "none")
"""The compiler's own default casts fp32 products to bf16."""


class NeuronStep(Step):
    """An inference step whose weights lie on the device, compiled into the graph; inputs and outputs are the host's."""

    def __init__(self, request: Request) -> None:
        # A process owns its cores from the runtime's start, which the first traced model brings.
        os.environ.setdefault("NEURON_RT_VISIBLE_CORES", str(request.device_index))
        program, buffers = request.program, {spec.name for spec in request.workload.buffers}
        self.module = (
            StatelessModule(program, placed(request, request.parameters), buffers).eval().requires_grad_(False)
        )
        self.batches = [tuple(to_torch(batch[spec.name], CPU) for spec in program.inputs) for batch in request.batches]
        named = dict(zip((spec.name for spec in program.inputs), self.batches[0], strict=True))
        with torch.no_grad():
            self.names = tuple(program.outputs_of(TorchOps(), self.module.tensors(), {}, named))
        self.dtypes = {str(tensor.dtype) for tensor in self.module.parameters()}
        self.traced: Any = None
        self.last: tuple[Tensor, ...] = ()

    def compile(self) -> None:
        self.traced = torch_neuronx.trace(self.module, self.batches[0], compiler_args=list(COMPILER_ARGS))

    def step(self, i: int) -> None:
        with torch.no_grad():
            outputs = self.traced(*self.batches[i % len(self.batches)])
        self.last = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)

    def sync(self) -> None:
        """A call returns with its outputs on the host."""

    def parts(self) -> str:
        return ONE_GRAPH

    def touch(self) -> None:
        for tensor in self.last:
            tensor.reshape(-1)[0].item()

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        return {name: tensor.numpy() for name, tensor in zip(self.names, self.last, strict=True)}

    def state(self) -> Iterator[tuple[str, NDArray[Any]]]:
        return iter(())

    def effective(self) -> Effective:
        flags = f"{os.environ.get('NEURON_CC_FLAGS', '')} {' '.join(COMPILER_ARGS)}"
        casts = {word.strip("'\"") for word in re.findall(r"--auto-cast[= ]+(\S+)", flags)}
        dtypes = self.dtypes | {str(tensor.dtype) for tensor in self.last}
        names = "/".join(sorted(dtype.removeprefix("torch.") for dtype in dtypes))
        is_fp32 = dtypes == {f"torch.{FLOAT32}"} and casts == {"none"}
        return Effective(
            device=self._device(),
            precision=FP32.name if is_fp32 else f"{names} with --auto-cast {'/'.join(sorted(casts))}",
            more={
                "compiler_args": " ".join(COMPILER_ARGS),
                "neuron_cc_flags": os.environ.get("NEURON_CC_FLAGS", ""),
                "visible_cores": os.environ["NEURON_RT_VISIBLE_CORES"],
            },
        )

    def _device(self) -> str:
        """Returns where the traced graph runs: `neuron::` operators call the device, `aten::` ones the host."""
        kinds = {node.kind() for node in self.traced.inlined_graph.nodes()}
        on_host = sorted(kind for kind in kinds if kind.startswith("aten::"))
        if not any(kind.startswith("neuron::") for kind in kinds):
            return "cpu"
        return f"neuron, and cpu for {', '.join(on_host)}" if on_host else "neuron"

    def close(self) -> None:
        self.traced, self.last = None, ()
