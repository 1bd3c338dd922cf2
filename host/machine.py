"""Which machine this is: its name, its hardware and what a process may use of it. Reads files, starts nothing."""

import hashlib
import json
import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path

ACCELERATOR_CLASSES = ("0x03", "0x12")
"""PCI classes of display controllers (GPUs) and processing accelerators (PCI Code and ID Assignment, 1.11)."""


def describe_machine(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> dict[str, object]:
    """Returns what is known of this machine; None for what its system does not tell through files.

    name            SAMESTEP_MACHINE, else the host name, as it is
    machine_id      twelve hex digits over the hardware; the same after a reboot or an update of software
    cpu             the processor's name
    architecture, logical_cores, physical_cores, accelerators (PCI vendor:device), memory_bytes (in all)
    usable_cores    what affinity and the cgroup's quota leave to this process, at least 1
    os, kernel, python

    `root` is where /proc, /sys and /etc are looked for. Raises ValueError for a SAMESTEP_MACHINE without a letter
    or digit.
    """
    hardware = _hardware(root)
    return {
        "name": _name(environment),
        "machine_id": machine_id(hardware),
        **hardware,
        "usable_cores": _usable_cores(root),
        "os": _os_name(root),
        "kernel": platform.release() or None,
        "python": platform.python_version(),
    }


def machine_id(hardware: Mapping[str, object]) -> str:
    """Returns twelve hex digits over the hardware's fields, with the memory as it is sold.

    A kernel keeps a few percent of the memory to itself, another share in each version, so the size is rounded up
    to the next quarter between two powers of two: 15.4 GiB is 16, 62.5 GiB is 64.
    """
    fields = dict(hardware)
    memory = fields["memory_bytes"]
    if isinstance(memory, int) and memory > 4:
        quarter = 1 << (memory.bit_length() - 3)
        fields["memory_bytes"] = -(-memory // quarter) * quarter
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]


def describe_software(root: Path = Path("/")) -> dict[str, object]:
    """Returns what runs on this machine, and `software_id`, twelve hex digits over all of it.

    os, kernel, python, drivers (name: version), packages (every installed distribution: version). None of it is in
    `machine_id`: with other software a machine is the same one, and its series goes on with a mark.
    """
    packages = {str(d.metadata["Name"]).lower(): d.version for d in distributions() if d.metadata["Name"]}
    found: dict[str, object] = {
        "os": _os_name(root),
        "kernel": platform.release() or None,
        "python": platform.python_version(),
        "drivers": _drivers(root),
        "packages": dict(sorted(packages.items())),
    }
    return found | {"software_id": hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:12]}


def _drivers(root: Path) -> dict[str, str]:
    """Returns the versions of the accelerators' kernel drivers: NVIDIA's own file, and those that modules state."""
    found = {}
    nvidia = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", _read(root / "proc/driver/nvidia/version") or "")
    if nvidia:
        found["nvidia"] = nvidia[1]
    for module in ("amdgpu", "neuron", "habanalabs", "intel_vpu", "xe"):
        version = (_read(root / "sys/module" / module / "version") or "").strip()
        if version:
            found[module] = version
    return found


def _name(environment: Mapping[str, str]) -> str:
    given = environment.get("SAMESTEP_MACHINE", "")
    if given and not re.search("[a-zA-Z0-9]", given):
        raise ValueError(f"SAMESTEP_MACHINE is {given!r}; expected a name with letters or digits")
    return given or platform.node()


def _hardware(root: Path) -> dict[str, object]:
    return {
        "cpu": _cpu(root),
        "architecture": platform.machine() or None,
        "logical_cores": os.cpu_count(),
        "physical_cores": _physical_cores(root),
        "accelerators": _accelerators(root),
        "memory_bytes": _memory_bytes(root),
    }


def _read(path: Path) -> str | None:
    """Returns the file's text, or None where this system has no such file or does not show it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _cpu(root: Path) -> str | None:
    fields: dict[str, str] = {}
    for line in (_read(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    if fields.get("model name"):
        return fields["model name"]
    # ARM kernels give codes instead of a name (Arm Architecture Reference Manual, MIDR_EL1).
    if fields.get("CPU implementer") and fields.get("CPU part"):
        return f"ARM implementer {fields['CPU implementer']} part {fields['CPU part']}"
    return None


def _physical_cores(root: Path) -> int | None:
    cpus = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/topology/thread_siblings_list")
    cores = {siblings for siblings in map(_read, cpus) if siblings is not None}
    return len(cores) or None


def _accelerators(root: Path) -> list[str] | None:
    devices = root / "sys/bus/pci/devices"
    if not devices.is_dir():
        return None
    found = []
    for device in devices.iterdir():
        if (_read(device / "class") or "").startswith(ACCELERATOR_CLASSES):
            vendor, model = (
                (_read(device / "vendor") or "?").strip(),
                (_read(device / "device") or "?").strip(),
            )
            found.append(f"{vendor.removeprefix('0x')}:{model.removeprefix('0x')}")
    return sorted(found)


def _memory_bytes(root: Path) -> int | None:
    total = re.search(r"^MemTotal:\s+(\d+) kB", _read(root / "proc/meminfo") or "", re.MULTILINE)
    if total:
        return int(total[1]) * 1024
    return None


def _usable_cores(root: Path) -> int | None:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limits = [limit for limit in (allowed, *_cgroup_quotas(root)) if limit is not None]
    return max(1, int(min(limits))) if limits else None


def _cgroup_quotas(root: Path) -> list[float]:
    """Returns the CPU quotas, in cores, of this process's control group and of those above it."""
    quotas = []
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            for group in _upwards(root / "sys/fs/cgroup", path):
                quotas += _quota((_read(group / "cpu.max") or "").split())
        elif "cpu" in controllers.split(","):
            for group in _upwards(root / "sys/fs/cgroup/cpu", path):
                given = (_read(group / "cpu.cfs_quota_us") or "").split()
                quotas += _quota(given + (_read(group / "cpu.cfs_period_us") or "").split())
    return quotas


def _upwards(top: Path, path: str) -> list[Path]:
    below = top / path.lstrip("/")
    return [below, *(parent for parent in below.parents if parent.is_relative_to(top))]


def _quota(words: list[str]) -> list[float]:
    """Returns the one quota in `max 100000` or `200000 100000` (microseconds in a period), none where unlimited."""
    if len(words) != 2 or words[0] in ("max", "-1"):
        return []
    return [int(words[0]) / int(words[1])]


def _os_name(root: Path) -> str | None:
    pretty = re.search(r'^PRETTY_NAME="?([^"\n]*)"?$', _read(root / "etc/os-release") or "", re.MULTILINE)
    return pretty[1] if pretty else platform.system() or None
