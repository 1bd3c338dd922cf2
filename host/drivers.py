"""Which kernel drivers the accelerators of this machine have, and what they call the devices; from files alone."""

from __future__ import annotations

import re
from pathlib import Path

from host.files import folder, read_text

MODULES = ("amdgpu", "neuron", "habanalabs", "intel_vpu", "xe")
"""Drivers that state their version as modules of the kernel; NVIDIA's has a file of its own."""
ACCELERATOR_CLASSES = ("0x03", "0x12")
"""PCI classes of display controllers (GPUs) and processing accelerators (PCI Code and ID Assignment, 1.11)."""


def nvidia_driver(root: Path = Path("/")) -> str | None:
    """Returns the version of NVIDIA's kernel driver, `580.95.05`; None where it is not loaded."""
    stated = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", read_text(root / "proc/driver/nvidia/version") or "")
    return stated[1] if stated else None


def nvidia_models(root: Path = Path("/")) -> list[str]:
    """Returns the models of the NVIDIA GPUs in the order of their PCI addresses, as the driver's files say them."""
    files = [gpu / "information" for gpu in folder(root / "proc/driver/nvidia/gpus") or []]
    lines = [line for file in files for line in (read_text(file) or "").splitlines()]
    return [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]


def driver_versions(root: Path = Path("/")) -> dict[str, str]:
    """Returns the versions of the accelerators' kernel drivers by name, those that are loaded and say one."""
    stated = {"nvidia": nvidia_driver(root)}
    stated |= {module: (read_text(root / "sys/module" / module / "version") or "").strip() for module in MODULES}
    return {name: version for name, version in stated.items() if version}


def accelerators(root: Path = Path("/")) -> list[str] | None:
    """Returns PCI vendor and device of each accelerator (`10de:2330`), sorted; None where no PCI bus is shown."""
    devices = folder(root / "sys/bus/pci/devices")
    if devices is None:
        return None
    chosen = [device for device in devices if (read_text(device / "class") or "").startswith(ACCELERATOR_CLASSES)]
    return sorted(f"{_id(device / 'vendor')}:{_id(device / 'device')}" for device in chosen)


def _id(file: Path) -> str:
    return (read_text(file) or "?").strip().removeprefix("0x")
