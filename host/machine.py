"""Which machine this is: its name, its hardware and what a process may use of it. Reads files, starts nothing."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path

from host.cgroup import cpu_quotas
from host.cpu import cpu_name
from host.drivers import accelerators, driver_versions
from host.files import read_text
from host.memory import total_bytes
from host.topology import allowed_cpus, physical_cores


class MachineNameError(ValueError):
    """The name that this machine was given cannot be used; the message says why and what to set."""


def describe_machine(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> dict[str, object]:
    """Returns what is known of this machine; None for what its system does not tell through files.

    name            SAMESTEP_MACHINE, else the host name, as it is
    machine_id      twelve hex digits over the hardware; the same after a reboot or an update of software
    cpu             the processor's name
    architecture, logical_cores, physical_cores, accelerators (PCI vendor:device), memory_bytes (in all)
    usable_cores    what affinity and the cgroup's quota leave to this process, at least 1
    os, kernel, python

    `root` is where /proc, /sys and /etc are looked for. Raises MachineNameError for a SAMESTEP_MACHINE without a letter
    or digit, and nothing for what cannot be read.
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
    software: dict[str, object] = {
        "os": _os_name(root),
        "kernel": platform.release() or None,
        "python": platform.python_version(),
        "drivers": driver_versions(root),
        "packages": dict(sorted(packages.items())),
    }
    return software | {"software_id": hashlib.sha256(json.dumps(software, sort_keys=True).encode()).hexdigest()[:12]}


def _name(environment: Mapping[str, str]) -> str:
    name = environment.get("SAMESTEP_MACHINE", "")
    if name and not re.search("[a-zA-Z0-9]", name):
        raise MachineNameError(
            f"SAMESTEP_MACHINE is {name!r}; expected a name with letters or digits of ASCII, such as gpu-box-7: "
            f"it becomes part of paths"
        )
    return name or platform.node()


def _hardware(root: Path) -> dict[str, object]:
    return {
        "cpu": cpu_name(root),
        "architecture": platform.machine() or None,
        "logical_cores": os.cpu_count(),
        "physical_cores": physical_cores(root),
        "accelerators": accelerators(root),
        "memory_bytes": total_bytes(root),
    }


def _usable_cores(root: Path) -> int:
    limits = [len(allowed_cpus()), *cpu_quotas(root)]
    return max(1, int(min(limits)))


def _os_name(root: Path) -> str | None:
    pretty = re.search(r'^PRETTY_NAME="?([^"\n]*)"?$', read_text(root / "etc/os-release") or "", re.MULTILINE)
    return pretty[1] if pretty else platform.system() or None
