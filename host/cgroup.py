"""What the control groups of this process say, in either version of their files. Linux; elsewhere nothing is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yields the folders of this process's group and of those above it that `controller` watches (cgroups(7))."""
    listed = root / "proc/self/cgroup"
    for line in listed.read_text().splitlines() if listed.is_file() else []:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("",) and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controller if controllers else "")
        group = top / path.lstrip("/")
        yield group
        yield from (parent for parent in group.parents if parent.is_relative_to(top))


def _largest(root: Path, controller: str, names: dict[str, dict[str, float]]) -> float | None:
    """Returns the largest of the counters called so in `names` (file: key: unit), None where no file has one."""
    found = []
    for group in _groups(root, controller):
        for name, keys in names.items():
            file = group / name
            lines = file.read_text().splitlines() if file.is_file() else []
            pairs = dict(line.split() for line in lines if len(line.split()) == 2)
            found += [float(pairs[key]) * unit for key, unit in keys.items() if key in pairs]
    return max(found) if found else None


def throttled_s(root: Path = Path("/")) -> float | None:
    """Returns for how long, so far, a CPU quota has kept this process's groups from running."""
    return _largest(root, "cpu", {"cpu.stat": {"throttled_usec": 1e-6, "throttled_time": 1e-9}})


def memory_kills(root: Path = Path("/")) -> int:
    """Returns how often, so far, the kernel has killed for memory in this process's groups; 0 where it does not say."""
    found = _largest(root, "memory", {"memory.events": {"oom_kill": 1}, "memory.oom_control": {"oom_kill": 1}})
    return int(found or 0)
