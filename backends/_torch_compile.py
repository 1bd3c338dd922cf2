"""PyTorch under `torch.compile`: forward and backward as one graph each, on any torch device."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, ClassVar
from weakref import finalize

import torch
from torch import Tensor

from backends._torch import TorchStep
from backends._torch_arithmetic import of_graph
from backends._torch_cuda import TorchCudaStep
from backends._torch_int8 import TorchInt8
from backends._torch_module import StatelessModule
from backends._torch_ops import TorchOps
from backends.base import Effective, Operator, Request
from workloads.ops import Parameters


class CompiledStep(TorchStep):
    """A step whose forward and backward passes are compiled without graph breaks, for these shapes alone.

    The optimiser stays torch's own fused one: a single kernel already.
    """

    backend: ClassVar[str] = "inductor"

    def __init__(self, request: Request, device: torch.device) -> None:
        super().__init__(request, device)
        self.ops = TorchInt8() if request.precision.is_quantized else TorchOps()  # a graph is pure
        is_pure = self.program.update is None
        self.freezing = request.options.get("freezing") == "on" and is_pure and not self.program.state

    def compile(self) -> None:
        """Runs both passes once, which compiles them; no optimiser step, so that the state stands still."""
        # An empty folder of its own: else an earlier process's kernels are found on disk, and compile_s is the time of
        # reading them. With its caches switched off Inductor compiles into folders that nobody removes (2.13).
        self.folder = Path(mkdtemp(prefix="samestep-inductor-"))
        self.remove_folder = finalize(self, rmtree, self.folder, ignore_errors=True)
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(self.folder)
        self.graphs, self.products = 0, Counter[str]()
        compiler = torch._dynamo.lookup_backend(self.backend)

        def counting(graph: Any, examples: Any) -> Any:
            self.graphs += 1
            self.products += of_graph(graph.graph)
            return compiler(graph, examples)

        ops, program, p = self.ops, self.program, self.tensors
        options: dict[str, Any] = {"fullgraph": True, "dynamic": False, "backend": counting}
        if (update := program.update) is None:
            pure = torch.compile(lambda p, held, batch: program.step(ops, p, held, batch), **options)
            plain = lambda p, batch: pure(p, self.carried, batch)  # noqa: E731
            self.outputs_of = self._frozen(options) if self.freezing else plain  # type: ignore[method-assign, assignment]
            with torch.inference_mode(), torch._inductor.config.patch(freezing=self.freezing):
                self.outputs_of(p, self.batches[0])
        else:
            loss = update.loss
            self.loss = torch.compile(lambda p, batch: loss(ops, p, batch), **options)  # type: ignore[method-assign]
            self._backward(self.loss(p, self.split[0][0])[0])
            self.optimizer.zero_grad(set_to_none=True)
        self.sync()
        if self.graphs == 0:
            raise RuntimeError("torch.compile compiled nothing: unset TORCH_COMPILE_DISABLE and TORCHDYNAMO_DISABLE")

    def _bound(self) -> Parameters:
        """Returns a plain dictionary: names are resolved when the graph is made."""
        return self.parameters | self.buffers

    def _frozen(
        self, options: Mapping[str, Any]
    ) -> Callable[[Parameters, Parameters], tuple[dict[str, Tensor], dict[str, Tensor]]]:
        """Returns inference compiled with the parameters as constants, which Inductor may lay out and fold as it likes.

        `freezing` of torch._inductor.config (2.13) does so for a module's own parameters, and for no argument.
        """
        held = {name: tensor.detach() for name, tensor in (self.parameters | self.buffers).items()}
        module = StatelessModule(self.program, held, self.buffers, self.ops)
        compiled = torch.compile(module.to(self.device).eval(), **options)
        inputs = [spec.name for spec in self.program.inputs]
        with torch.inference_mode():
            names = list(self.program.outputs_of(self.ops, self.tensors, {}, self.batches[0]))
        return lambda p, batch: (dict(zip(names, compiled(*(batch[name] for name in inputs)), strict=True)), {})

    def arithmetic(self) -> str:
        """Returns the types of the products in the graphs that were compiled."""
        return self._told(self.products)

    def counted(self) -> Iterable[tuple[str, int]]:
        """Returns what Inductor counted while it compiled; oneDNN's packed weights are those that it froze (2.13)."""
        return torch._dynamo.utils.counters["inductor"].items()

    def compilations(self) -> int:
        return self.graphs

    def operators(self, steps: int) -> list[Operator]:
        """Compiles once more: Inductor's CPU kernels tell the profiler of themselves only where they were made to."""
        self.remove_folder()
        torch.compiler.reset()
        with torch._inductor.config.patch({"cpp.enable_kernel_profile": True}):
            self.compile()
            return super().operators(steps)

    def close(self) -> None:
        self.remove_folder()

    def effective(self) -> Effective:
        effective = super().effective()
        more: dict[str, str | int | float | bool] = {
            "compile_mode": f"torch.compile({self.backend}, fullgraph, static shapes)",
            "compiled_graphs": self.graphs,
            "freezing": self.freezing,
            "packed_weights": sum(n for name, n in self.counted() if name.endswith("weight_pack_matcher_count")),
            "cxx": os.environ.get("CXX", ""),
        }
        return replace(effective, more={**effective.more, **more})


class CompiledCudaStep(CompiledStep, TorchCudaStep):
    """The same on a CUDA device. Not yet run on hardware."""
