"""What the kernel says of the processor itself: its name, its instructions, its highest clock."""

from __future__ import annotations

from pathlib import Path

from host.files import folder, read_number, read_text


def _first_fields(root: Path) -> dict[str, str]:
    """Returns the first value of each field of /proc/cpuinfo."""
    fields: dict[str, str] = {}
    for line in (read_text(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return fields


def cpu_name(root: Path = Path("/")) -> str | None:
    """Returns the processor's name; of an ARM without one its codes, `ARM implementer 0x41 part 0xd4f`; else None."""
    fields = _first_fields(root)
    if fields.get("model name"):
        return fields["model name"]
    # ARM kernels give codes instead of a name (Arm Architecture Reference Manual, MIDR_EL1).
    if fields.get("CPU implementer") and fields.get("CPU part"):
        return f"ARM implementer {fields['CPU implementer']} part {fields['CPU part']}"
    return None


def cpu_flags(root: Path = Path("/")) -> frozenset[str]:
    """Returns the x86 instruction sets and features of the first processor, `avx2` among them; else nothing."""
    return frozenset(_first_fields(root).get("flags", "").split())


def cpu_folders(root: Path = Path("/")) -> dict[int, Path]:
    """Returns the folder in /sys of each logical CPU, by its number, in order."""
    inside = folder(root / "sys/devices/system/cpu") or []
    numbered = {int(path.name[3:]): path for path in inside if path.name[:3] == "cpu" and path.name[3:].isdecimal()}
    return dict(sorted(numbered.items()))


def highest_hz(root: Path = Path("/")) -> float | None:
    """Returns the highest clock that the kernel names for any CPU (cpufreq says kHz), None where it names none."""
    readings = (read_number(path / "cpufreq/cpuinfo_max_freq") for path in cpu_folders(root).values())
    clocks_khz = [khz for khz in readings if khz]
    return 1e3 * max(clocks_khz) if clocks_khz else None
