"""PyTorch, eager, on the CPU. Requires torch."""

from __future__ import annotations

from typing import ClassVar

from backends._memory import MEMORY, set_memory
from backends._probes import probe_cpu
from backends.base import Adapter, Options, Probe, Request, Setting, Step
from workloads.generate import Generating
from workloads.precision import BF16, FP8, FP16, FP32, INT8, W8


class TorchCpu(Adapter):
    """Eager PyTorch on the CPU; every call waits, so that steps cannot overlap."""

    device_kind = "cpu"
    phases = None
    generates = True
    extra = "torch"
    kinds = ("cpu",)
    overlap = "none"
    precisions = (FP32.name, BF16.name, FP16.name, INT8.name, W8.name, FP8.name)
    distributions = ("torch",)
    options: ClassVar[Options] = {"memory_format": ("mixed", "contiguous", "channels_last"), "memory": MEMORY}

    def probe(self) -> Probe:
        return probe_cpu("torch", self.distributions, "torch")

    def load(self, setting: Setting) -> None:
        import torch

        torch.set_num_threads(setting.threads)
        torch.set_num_interop_threads(1)
        torch.backends.mkldnn.matmul.fp32_precision = "ieee"
        torch.backends.mkldnn.conv.fp32_precision = "ieee"

    def prepare(self, request: Request) -> Step:
        import torch

        from backends._torch import TorchStep

        set_memory(request.options.get("memory", "returned"))
        if isinstance(request.program, Generating):
            from backends._torch_generate import TorchGenerateStep

            return TorchGenerateStep(request, torch.device("cpu"))
        return TorchStep(request, torch.device("cpu"))

    def is_out_of_memory(self, error: BaseException) -> bool:
        # torch's CPU allocator raises a plain RuntimeError with this text (DefaultCPUAllocator, 2.13).
        return isinstance(error, MemoryError) or "can't allocate memory" in str(error)
