"""What can be seen of an NVIDIA GPU without starting CUDA: device files, the driver's files, NVML.

Not yet run on hardware.
"""

from __future__ import annotations

import os
import re
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from backends.base import Probe

DEVICE_FILES = ("dev/nvidia0", "dev/nvidiactl", "dev/dxg")
"""The first GPU, the driver's control file, and the GPU of a WSL 2 machine."""


def probe_gpu(root: Path = Path("/")) -> Probe:
    """Returns whether a GPU and its driver are there; `device` names it with driver and compute capability."""
    if not any((root / file).exists() for file in DEVICE_FILES):
        files = ", ".join(f"/{file}" for file in DEVICE_FILES)
        reason = f"no NVIDIA GPU: none of {files}; install its driver, or start the container with --gpus all"
        return Probe("absent", reason=reason, reason_code="no_device")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if visible in ("", "-1"):
        reason = "CUDA_VISIBLE_DEVICES hides every NVIDIA GPU: unset it"
        return Probe("absent", reason=reason, reason_code="no_device")
    if find_spec("pynvml") is None:
        return Probe("usable", _name_from_files(root))
    return _ask_nvml(visible)


def _name_from_files(root: Path) -> str:
    """Returns model and driver as the driver's own files say them; no compute capability stands there."""
    models = [
        line.partition(":")[2].strip()
        for file in sorted(root.glob("proc/driver/nvidia/gpus/*/information"))
        for line in file.read_text().splitlines()
        if line.startswith("Model:")
    ]
    driver = root / "proc/driver/nvidia/version"
    found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", driver.read_text()) if driver.is_file() else None
    return f"{models[0] if models else 'NVIDIA GPU'} (driver {found[1] if found else 'unknown'})"


def _ask_nvml(visible: str) -> Probe:
    """Returns what NVML says of the first visible GPU. `broken` where the driver does not answer."""
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            if pynvml.nvmlDeviceGetCount() == 0:
                reason = "the NVIDIA driver runs and sees no GPU: look into dmesg"
                return Probe("absent", reason=reason, reason_code="no_device")
            return Probe("usable", _name_from_nvml(pynvml, visible))
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        reason = f"NVIDIA's device files are there, and its driver does not answer NVML: {error}; reinstall the driver"
        return Probe("broken", reason=reason, reason_code="start_failed")


def _name_from_nvml(nvml: Any, visible: str) -> str:
    # NVML counts in PCI order and does not know CUDA_VISIBLE_DEVICES; CUDA's order may put another GPU first. The
    # step's own `device_name` is what CUDA says.
    if visible.isdecimal():
        handle = nvml.nvmlDeviceGetHandleByIndex(int(visible))
    else:
        handle = nvml.nvmlDeviceGetHandleByUUID(visible)
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    driver = nvml.nvmlSystemGetDriverVersion()
    return f"{nvml.nvmlDeviceGetName(handle)} (driver {driver}, compute capability {major}.{minor})"


def torch_cuda_version() -> str | None:
    """Returns the CUDA version that the installed torch is built for, None for a build without; imports nothing."""
    spec = find_spec("torch")
    file = Path(spec.origin).with_name("version.py") if spec is not None and spec.origin else None
    if file is not None and file.is_file():
        found = re.search(r"^cuda\b[^=\n]*=\s*(.*)$", file.read_text(), re.MULTILINE)
        if found is not None:
            text = found[1].strip()
            return None if text == "None" else text.strip("'\"")
    local = version("torch").partition("+")[2]
    return local[2:] if local.startswith("cu") else None


def probe_torch_cuda() -> Probe:
    """Returns whether a GPU, torch, and a torch built for CUDA are here."""
    gpu = probe_gpu()
    if gpu.status != "usable":
        return gpu
    if find_spec("torch") is None:
        reason = "torch is not installed: pip install -e '.[cuda]'"
        return Probe("absent", gpu.device, reason=reason, reason_code="not_installed")
    installed, cuda = version("torch"), torch_cuda_version()
    if cuda is None:
        reason = (
            f"torch {installed} is built without CUDA: pip uninstall torch, "
            "then pip install torch --index-url https://download.pytorch.org/whl/cu130"
        )
        return Probe("absent", gpu.device, f"torch {installed}", reason, "not_installed")
    return Probe("usable", gpu.device, f"torch {installed} CUDA {cuda}")
