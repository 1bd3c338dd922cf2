"""What can be seen of an NVIDIA GPU without starting CUDA: device files, the driver's files, NVML.

Not yet run on hardware.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from backends.base import DeviceReading, EnergyCounter, EnergyUnavailable, Probe
from host.drivers import nvidia_driver, nvidia_models
from host.files import exists
from workloads.precision import FP8, TF32

DEVICE_FILES = ("dev/nvidia0", "dev/nvidiactl", "usr/lib/wsl/lib/libcuda.so.1")
"""The first GPU, the driver's control file, and NVIDIA's library on WSL 2, whose `/dev/dxg` any vendor's GPU has."""

OUT_OF_MEMORY = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "can't allocate memory",
)
"""What torch says where memory ran out: its allocator's own error, those of CUDA and its libraries, the host's."""

LOST = ("GPU is lost", "fallen off the bus", "uncorrectable ECC error", "CUDA_ERROR_ECC_UNCORRECTABLE")
"""What the driver says where the device is gone until it is reset."""

LEAST_CAPABILITY: Mapping[str, tuple[int, int]] = {TF32.name: (8, 0), FP8.name: (8, 9)}
"""The first compute capability whose tensor cores multiply in the precision (CUDA C++ Programming Guide)."""

HARDWARE_SLOWDOWN = {0x8: "hw_slowdown", 0x20: "sw_thermal", 0x40: "hw_thermal", 0x80: "hw_power_brake"}
OTHER_SLOWDOWN = {0x4: "sw_power_cap", 0x10: "sync_boost"}
"""Bits of NVML's clocks event reasons (nvml.h)."""


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether memory ran out on the device or the host, by what torch says: nothing is imported for it."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in OUT_OF_MEMORY)


def is_lost(error: BaseException) -> bool:
    """Returns whether the device is gone until it is reset."""
    return any(text in str(error) for text in LOST)


def probe_gpu(root: Path = Path("/")) -> Probe:
    """Returns whether a GPU and its driver are there; `device` names it with driver and compute capability."""
    if not any(exists(root / file) for file in DEVICE_FILES):
        files = ", ".join(f"/{file}" for file in DEVICE_FILES)
        reason = f"no NVIDIA GPU: none of {files}; install its driver, or start the container with --gpus all"
        return Probe("absent", reason=reason, reason_code="no_device")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if visible in ("", "-1", "NoDevFiles"):  # the last is Slurm's
        reason = "CUDA_VISIBLE_DEVICES hides every NVIDIA GPU: unset it"
        return Probe("absent", reason=reason, reason_code="no_device")
    if find_spec("pynvml") is None:
        return Probe("usable", _name_from_files(root))
    return _ask_nvml(visible, root)


def _name_from_files(root: Path) -> str:
    """Returns model and driver as the driver's own files say them; no compute capability stands there."""
    models = nvidia_models(root)
    return f"{models[0] if models else 'NVIDIA GPU'} (driver {nvidia_driver(root) or 'unknown'})"


def _ask_nvml(visible: str, root: Path) -> Probe:
    """Returns what NVML says of the first visible GPU. `broken` where the driver does not answer."""
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            if pynvml.nvmlDeviceGetCount() == 0:
                reason = "the NVIDIA driver runs and sees no GPU: look into dmesg"
                return Probe("absent", reason=reason, reason_code="no_device")
            try:
                handle = nvml_handle(pynvml, visible)
            except pynvml.NVMLError as error:
                if "CUDA_VISIBLE_DEVICES" not in os.environ:
                    raise
                return _not_found(visible, str(error), root)
            return Probe("usable", _name_from_nvml(pynvml, handle))
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        reason = f"NVIDIA's device files are there, and its driver does not answer NVML: {error}; reinstall the driver"
        return Probe("broken", reason=reason, reason_code="start_failed")


def _not_found(visible: str, error: str, root: Path) -> Probe:
    """Returns what to make of a `CUDA_VISIBLE_DEVICES` that NVML does not know."""
    if visible.startswith(("GPU-", "MIG-")):  # CUDA takes the beginning of a UUID too
        return Probe("usable", _name_from_files(root))
    reason = f"CUDA_VISIBLE_DEVICES={visible} names no GPU here ({error}): unset it, or name one of nvidia-smi -L"
    return Probe("absent", reason=reason, reason_code="no_device")


def nvml_handle(nvml: Any, visible: str) -> Any:
    """Returns NVML's handle of a number or UUID out of `CUDA_VISIBLE_DEVICES`.

    NVML counts in PCI order, and so does CUDA in our children (`bench/parent/environment.py`).
    """
    if visible.isdecimal():
        return nvml.nvmlDeviceGetHandleByIndex(int(visible))
    return nvml.nvmlDeviceGetHandleByUUID(visible)


def read_device(index: int) -> DeviceReading | None:
    """Returns what NVML says of the CUDA device `index` now; None without NVML's library, or where it does not answer.

    The throttle times are NVML's violation counters, in nanoseconds since the driver was loaded.
    """
    if find_spec("pynvml") is None:
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            return _read_device(pynvml, nvml_handle(pynvml, _visible(index)))
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None


def _visible(index: int) -> str:
    """Returns the number or UUID of the CUDA device `index`."""
    listed = [part.strip() for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part.strip()]
    return listed[index] if index < len(listed) else str(index)


def energy_counter(index: int) -> EnergyCounter:
    """Returns the energy counter of the CUDA device `index`, of its whole board, which NVML has from Volta on.

    NVML stays open until the process ends, because opening it anew for each reading would cost more than the reading.
    Raises EnergyUnavailable.
    """
    if find_spec("pynvml") is None:
        raise EnergyUnavailable("NVML's library is not installed: pip install nvidia-ml-py")
    import pynvml

    def read_j() -> float:
        try:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) * 1e-3
        except pynvml.NVMLError as error:
            raise EnergyUnavailable(f"NVML does not tell the board's energy: {error}") from error

    try:
        pynvml.nvmlInit()
        handle = nvml_handle(pynvml, _visible(index))
    except pynvml.NVMLError as error:
        raise EnergyUnavailable(f"NVML does not answer: {error}") from error
    return EnergyCounter("NVML board", read_j)


def _read_device(nvml: Any, handle: Any) -> DeviceReading:
    def ask(function: str, *arguments: Any, otherwise: Any) -> Any:
        """Returns what NVML answers, or `otherwise` where this device does not support the question."""
        try:
            return getattr(nvml, function)(handle, *arguments)
        except nvml.NVMLError:
            return otherwise

    def violated_s(kind: int) -> float:
        violation = ask("nvmlDeviceGetViolationStatus", kind, otherwise=None)
        return 0.0 if violation is None else violation.violationTime * 1e-9

    clock_mhz = ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM, otherwise=None)
    mask = ask("nvmlDeviceGetCurrentClocksEventReasons", otherwise=0)
    listed = ask("nvmlDeviceGetComputeRunningProcesses", otherwise=None)
    processes = None if listed is None else frozenset(process.pid for process in listed)
    errors = ask(
        "nvmlDeviceGetTotalEccErrors",
        nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
        nvml.NVML_VOLATILE_ECC,
        otherwise=0,
    )
    return DeviceReading(
        clock_hz=None if clock_mhz is None else clock_mhz * 1e6,
        temperature_c=ask("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU, otherwise=None),
        throttle_reasons=tuple(name for bit, name in (HARDWARE_SLOWDOWN | OTHER_SLOWDOWN).items() if mask & bit),
        throttled_s=violated_s(nvml.NVML_PERF_POLICY_THERMAL) + violated_s(nvml.NVML_PERF_POLICY_RELIABILITY),
        power_capped_s=violated_s(nvml.NVML_PERF_POLICY_POWER),
        other_processes=len((processes or frozenset()) - {os.getpid()}),
        processes=processes,
        memory_errors=errors,
    )


def compute_capability(index: int = 0) -> tuple[int, int] | None:
    """Returns the compute capability of the CUDA device `index`, as NVML says it; None where it says nothing."""
    if find_spec("pynvml") is None:
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(nvml_handle(pynvml, _visible(index)))
            return int(major), int(minor)
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None


def why_too_old(name: str, precision: str) -> tuple[str, str] | None:
    """Returns the code and the reason where this GPU has no products in `precision`; None where it has, or is unknown.

    `name` is the backend's.
    """
    wanted = LEAST_CAPABILITY.get(precision)
    found = None if wanted is None else compute_capability()
    if wanted is None or found is None or found >= wanted:
        return None
    least, here = (".".join(map(str, one)) for one in (wanted, found))
    reason = f"{name} cannot run in {precision} on this GPU: it takes compute capability {least}, and this has {here}"
    return "precision_not_supported", reason


def _name_from_nvml(nvml: Any, handle: Any) -> str:
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    driver = nvml.nvmlSystemGetDriverVersion()
    return f"{nvml.nvmlDeviceGetName(handle)} (driver {driver}, compute capability {major}.{minor})"


def torch_cuda_version() -> str | None:
    """Returns the CUDA version that the installed torch is built for, None for a build without; imports nothing."""
    spec = find_spec("torch")
    file = Path(spec.origin).with_name("version.py") if spec is not None and spec.origin else None
    if file is not None and file.is_file():
        assignment = re.search(r"^cuda\b[^=\n]*=\s*(.*)$", file.read_text(), re.MULTILINE)
        if assignment is not None:
            text = assignment[1].strip()
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
