"""PyTorch under torch.compile on the CPU. Requires torch, a C++ compiler and Python's headers."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path
from typing import ClassVar

from backends._memory import set_memory
from backends.base import Options, Probe, Request, Setting, Step
from backends.torch_cpu import TorchCpu


def cxx() -> str | None:
    """Returns the C++ compiler: `$CXX` where that is set, else g++ or clang++; None where it is not there."""
    names = (os.environ["CXX"],) if os.environ.get("CXX") else ("g++", "clang++")
    return next((name for name in names if shutil.which(name)), None)


class TorchCompileCpu(TorchCpu):
    """Compiled by Inductor to C++; every call waits, so that steps cannot overlap."""

    presets = ("full",)
    environment = ("CXX", "CPATH", "LIBRARY_PATH", "SDKROOT")  # the compiler, and where it finds headers and libraries
    options: ClassVar[Options] = {
        **TorchCpu.options,
        "memory_format": ("contiguous", "channels_last"),  # Inductor lays convolutions out itself
        "freezing": ("off", "on"),
    }

    def probe(self) -> Probe:
        probe = super().probe()
        if probe.status != "usable":
            return probe
        reason = ""
        if cxx() is None:
            named = os.environ.get("CXX")
            missing = f"no {named!r}, which $CXX names: unset it, or name one command" if named else "no g++ or clang++"
            reason = f"{missing}: torch.compile needs a C++ compiler; install g++"
        elif not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
            reason = f"no Python.h in {sysconfig.get_path('include')}, which torch.compile needs: install python3-dev"
        if reason:
            return Probe("absent", probe.device, probe.version, reason, "not_installed")
        return probe

    def load(self, setting: Setting) -> None:
        os.environ["CXX"] = cxx() or "g++"  # Inductor itself looks no further than $CXX and g++ (2.13)
        super().load(setting)

    def prepare(self, request: Request) -> Step:
        import torch

        from backends._torch_compile import CompiledStep

        set_memory(request.options.get("memory", "returned"))
        return CompiledStep(request, torch.device("cpu"))
