"""PyTorch under torch.compile on the CPU. Requires torch, a C++ compiler and Python's headers."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

from backends._probes import probe_cpu
from backends.base import Adapter, Probe, Request, Step


def cxx() -> str | None:
    """Returns the C++ compiler: `$CXX`, g++ or clang++, the first that is there."""
    given = os.environ.get("CXX")
    return next((name for name in (given, "g++", "clang++") if name and shutil.which(name)), None)


class TorchCompileCpu(Adapter):
    """Compiled by Inductor to C++; every call waits, so that steps cannot overlap."""

    device_kind = "cpu"
    serial_phases = ("infer", "train")
    distributions = ("torch",)
    presets = ("full",)

    def probe(self) -> Probe:
        found = probe_cpu("torch", self.distributions, "torch")
        if found.status != "usable":
            return found
        reason = ""
        if cxx() is None:
            reason = "no C++ compiler ($CXX, g++, clang++), which torch.compile needs: install g++"
        elif not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
            reason = f"no Python.h in {sysconfig.get_path('include')}, which torch.compile needs: install python3-dev"
        if reason:
            return Probe("absent", found.device, found.version, reason, "not_installed")
        return found

    def load(self, threads: int) -> None:
        os.environ["CXX"] = cxx() or "g++"  # Inductor itself looks no further than $CXX and g++ (2.13)
        import torch

        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        torch.backends.mkldnn.matmul.fp32_precision = "ieee"
        torch.backends.mkldnn.conv.fp32_precision = "ieee"

    def prepare(self, request: Request) -> Step:
        import torch

        from backends._torch_compile import CompiledStep

        return CompiledStep(request, torch.device("cpu"))

    def is_out_of_memory(self, error: BaseException) -> bool:
        # torch's CPU allocator raises a plain RuntimeError with this text (DefaultCPUAllocator, 2.13).
        return isinstance(error, MemoryError) or "can't allocate memory" in str(error)
