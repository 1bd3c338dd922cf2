"""What adapters share to look around cheaply: installed libraries and this machine's CPU, from files alone."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from backends.base import Probe
from host.cpu import cpu_name


def cpu_device() -> str:
    """Returns what a row calls the CPU: its name as the kernel says it, else its architecture."""
    return cpu_name() or platform.processor() or platform.machine()


def versions(distributions: Sequence[str]) -> dict[str, str]:
    """Returns the versions of those `distributions` that are installed."""
    installed = {}
    for distribution in distributions:
        try:
            installed[distribution] = version(distribution)
        except PackageNotFoundError:
            continue
    return installed


def xla_is_out_of_memory(error: BaseException) -> bool:
    """Returns whether JAX says that memory ran out, on the host or on any device."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def probe_cpu(module: str, distributions: Sequence[str], extra: str) -> Probe:
    """Returns whether the CPU runtime whose top-level package is `module` is installed here."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:  # a mere folder of that name, say in the current one, is no library
        reason = f"{module} is not installed: pip install -e '.[{extra}]'"
        return Probe("absent", cpu_device(), reason=reason, reason_code="not_installed")
    installed = versions(distributions)
    return Probe("usable", cpu_device(), version=" ".join(f"{name} {v}" for name, v in installed.items()))
