"""JAX on an NVIDIA GPU. Requires jax with its CUDA plugin. Not yet run on hardware."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import ClassVar

from backends._nvidia import energy_counter, is_lost, probe_gpu, read_device, why_too_old
from backends._probes import versions, xla_is_out_of_memory
from backends.base import Adapter, DeviceReading, EnergyCounter, Options, Probe, Request, Setting, Step
from workloads.precision import BF16, FP8, FP16, FP32, INT8, TF32, W8

PLUGINS = ("jax_cuda13_plugin", "jax_cuda12_plugin")


class JaxCuda(Adapter):
    """XLA on one GPU; steps queue."""

    device_kind = "cuda"
    precisions = (FP32.name, TF32.name, BF16.name, FP16.name, INT8.name, W8.name, FP8.name)
    phases = None
    extra = "cuda"
    cpu_torch = False
    distributions = ("jax", "jaxlib", "jax-cuda13-plugin", "jax-cuda12-plugin")
    environment = ("CUDA_HOME", "CUDA_PATH")  # where XLA finds ptxas and libdevice, where pip did not install them
    options: ClassVar[Options] = {"conv_1x1": ("conv", "matmul"), "conv_layout": ("nchw", "nhwc")}

    def why_unsupported(self, phase: str, precision: str) -> tuple[str, str] | None:
        return why_too_old(self.name, precision) or super().why_unsupported(phase, precision)

    def probe(self) -> Probe:
        gpu = probe_gpu()
        if gpu.status != "usable":
            return gpu
        missing = "jax" if find_spec("jax") is None else ""
        if not missing and not any(find_spec(plugin) for plugin in PLUGINS):
            missing = f"JAX's CUDA plugin ({' or '.join(PLUGINS)})"
        if missing:
            reason = f"{missing} is not installed: pip install -e '.[cuda]'"
            return Probe("absent", gpu.device, reason=reason, reason_code="not_installed")
        installed = versions(self.distributions)
        return Probe("usable", gpu.device, " ".join(f"{name} {v}" for name, v in installed.items()))

    def missing_operators(self, setting: Setting) -> Sequence[str]:
        from backends._graph_lacks import in_jax

        return in_jax(setting)

    def load(self, setting: Setting) -> None:
        # Else XLA takes three quarters of the device's memory at once, and the peak that it reports says nothing.
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
        import jax

        jax.config.update("jax_platforms", "cuda")  # alone, so that JAX raises where it would take the CPU
        # JAX's own default is TF32.
        jax.config.update("jax_default_matmul_precision", "tensorfloat32" if setting.precision.operands else "highest")

    def prepare(self, request: Request) -> Step:
        from backends._jax import JaxStep, device_at

        return JaxStep(request, device_at("cuda", request.device_index))

    def device_reading(self, index: int) -> DeviceReading | None:
        return read_device(index)

    def energy_counter(self, index: int) -> EnergyCounter:
        return energy_counter(index)

    def is_lost(self, error: BaseException) -> bool:
        return is_lost(error)

    def is_out_of_memory(self, error: BaseException) -> bool:
        return xla_is_out_of_memory(error)
