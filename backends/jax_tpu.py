"""JAX on a Google TPU. Requires jax and libtpu. Not yet run on hardware."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from backends._probes import versions, xla_is_out_of_memory
from backends.base import Adapter, Options, Probe, Request, Setting, Step
from host.drivers import pci_devices
from workloads.precision import BF16, FP16, FP32, INT8, W8

VENDOR = "0x1ae0"
CHIPS = {
    "0x0027": "TPU v3",
    "0x005e": "TPU v4",
    "0x0062": "TPU v5p",
    "0x0063": "TPU v5e",
    "0x006f": "TPU v6e",
    "0x0076": "TPU7x",
}
"""PCI device ids, from `jax/_src/hardware_utils.py` (0.10.2)."""


def tpu_chips(root: Path = Path("/")) -> list[str]:
    """Returns the TPU chips on the PCI bus."""
    googles = [one.device for one in pci_devices(root) or [] if one.vendor == VENDOR]
    return [CHIPS[device] for device in googles if device in CHIPS]  # Google makes other PCI devices too


class JaxTpu(Adapter):
    """XLA on one TPU device; steps queue. fp32 products are six passes in bf16: `matmul_precision` says `highest`."""

    device_kind = "tpu"
    precisions = (FP32.name, BF16.name, INT8.name, W8.name)
    lacks: ClassVar[Mapping[str, str]] = {FP16.name: "a TPU multiplies bf16 and int8, and no float16"}
    phases = None
    extra = "tpu"
    distributions = ("jax", "jaxlib", "libtpu")
    # which of a slice's hosts this is, and which libtpu it has; which chips it may see is passed to every child
    environment = (
        *("TPU_LIBRARY_PATH", "TPU_NAME", "TPU_WORKER_ID", "TPU_WORKER_HOSTNAMES", "TPU_ACCELERATOR_TYPE"),
        *("TPU_TOPOLOGY", "TPU_TOPOLOGY_WRAP", "TPU_TOPOLOGY_ALT", "TPU_PROCESS_ADDRESSES", "TPU_PROCESS_PORT"),
        *("TPU_SKIP_MDS_QUERY", "CLOUD_TPU_TASK_ID"),
    )
    options: ClassVar[Options] = {"conv_1x1": ("conv", "matmul"), "conv_layout": ("nchw", "nhwc")}
    root: ClassVar[Path] = Path("/")

    def probe(self) -> Probe:
        chips = tpu_chips(self.root)
        if not chips:
            reason = f"no TPU on the PCI bus (vendor {VENDOR}): run on a Cloud TPU VM"
            return Probe("absent", reason=reason, reason_code="no_device")
        device = f"{len(chips)} × {chips[0]}"
        own_libtpu = Path(os.environ.get("TPU_LIBRARY_PATH") or ".").is_file()  # JAX takes it before the package's
        for module in ("jax", "libtpu"):
            if find_spec(module) is None and not (module == "libtpu" and own_libtpu):
                reason = f"{module} is not installed: pip install -e '.[tpu]'"
                return Probe("absent", device, reason=reason, reason_code="not_installed")
        installed = versions(self.distributions)
        return Probe("usable", device, " ".join(f"{name} {v}" for name, v in installed.items()))

    def missing_operators(self, setting: Setting) -> Sequence[str]:
        from backends._graph_lacks import in_jax

        return in_jax(setting)

    def load(self, setting: Setting) -> None:
        import jax

        jax.config.update("jax_platforms", "tpu")  # alone, so that JAX raises where it would take the CPU
        jax.config.update("jax_default_matmul_precision", "highest")  # else one pass in bf16

    def prepare(self, request: Request) -> Step:
        from backends._jax import JaxStep, device_at

        return JaxStep(request, device_at("tpu", request.device_index))

    def is_out_of_memory(self, error: BaseException) -> bool:
        return xla_is_out_of_memory(error)
