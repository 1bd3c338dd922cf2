"""Which kernel drivers the accelerators of this machine have, and what they call the devices; from files alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
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


@dataclass(frozen=True)
class PciDevice:
    """A device on the PCI bus by its own numbers, each with `0x` in front, or `?` where it is not shown."""

    pci_class: str
    vendor: str
    device: str


def pci_devices(root: Path = Path("/")) -> list[PciDevice] | None:
    """Returns the devices on the PCI bus in the order of their addresses; None where no bus is shown."""
    folders = folder(root / "sys/bus/pci/devices")
    if folders is None:
        return None
    files = ("class", "vendor", "device")
    return [PciDevice(*((read_text(path / file) or "?").strip() for file in files)) for path in folders]


def accelerators(root: Path = Path("/")) -> list[str] | None:
    """Returns PCI vendor and device of each accelerator (`10de:2330`), sorted; None where no PCI bus is shown."""
    devices = pci_devices(root)
    if devices is None:
        return None
    chosen = [one for one in devices if one.pci_class.startswith(ACCELERATOR_CLASSES)]
    return sorted(f"{one.vendor.removeprefix('0x')}:{one.device.removeprefix('0x')}" for one in chosen)
