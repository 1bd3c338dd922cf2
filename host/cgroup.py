"""What the control groups of this process say, in either version of their files. Linux; elsewhere nothing is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from host.files import pairs, read_number, read_text, read_words, to_number

UNLIMITED_BYTES = 1 << 60
"""Version 1 says that there is no limit by one that no machine has."""


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yields the folders of this process's group and of those above it that `controller` watches (cgroups(7))."""
    for line in (read_text(root / "proc/self/cgroup") or "").splitlines():
        fields = line.split(":", 2)
        if len(fields) != 3:
            continue
        _, controllers, path = fields
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controller if controllers else "")
        group = top / path.lstrip("/")
        yield group
        yield from (parent for parent in group.parents if parent.is_relative_to(top))


def _counters(root: Path, controller: str, files: dict[str, dict[str, float]]) -> dict[str, float]:
    """Returns, by group, the largest of its counters in `files`, which has by file and key what a count is worth."""
    by_group: dict[str, float] = {}
    for group in _groups(root, controller):
        for name, units in files.items():
            counts = pairs(read_text(group / name))
            for key, unit in units.items():
                if key in counts:
                    path = f"/{group.relative_to(root)}"
                    by_group[path] = max(by_group.get(path, 0.0), counts[key] * unit)
    return by_group


def throttled_s(root: Path = Path("/")) -> dict[str, float]:
    """Returns for how long, so far, a CPU quota has kept each group of this process from running, by the group's path.

    Each group counts since it was made, for all that ever was in it: only the growth of one group means anything, and
    the group that grew most is the one that stopped this process. Empty where no group has such a counter.
    """
    return _counters(root, "cpu", {"cpu.stat": {"throttled_usec": 1e-6, "throttled_time": 1e-9}})


def memory_kills(root: Path = Path("/")) -> int:
    """Returns how often, so far, the kernel has killed for memory, added up over this process's groups.

    Only its growth means anything: in version 2 a group's kills are counted in those above it too, and in version 1 an
    old group above may have more than ours will ever have, so that the largest would hide ours. 0 where none says.
    """
    kills = _counters(root, "memory", {"memory.events": {"oom_kill": 1}, "memory.oom_control": {"oom_kill": 1}})
    return int(sum(kills.values()))


def memory_room_bytes(root: Path = Path("/")) -> int | None:
    """Returns what this process's group, or one above it, may still take of the memory; None where none is limited.

    Pages of files count as used here though the kernel would give them back: there may be more room, and not less.
    """
    rooms = []
    for group in _groups(root, "memory"):
        for limit_file, used_file in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, used = read_number(group / limit_file), read_number(group / used_file)
            if limit is not None and used is not None and limit < UNLIMITED_BYTES:
                rooms.append(max(0, limit - used))
    return min(rooms, default=None)


def cpu_quotas(root: Path = Path("/")) -> list[float]:
    """Returns the CPU quotas, in cores, of this process's group and of those above it; none where unlimited."""
    quotas = []
    for group in _groups(root, "cpu"):
        version_1 = read_words(group / "cpu.cfs_quota_us") + read_words(group / "cpu.cfs_period_us")
        for words in (read_words(group / "cpu.max"), version_1):
            # `max 100000` or `200000 100000`, microseconds in a period; version 1 says -1 for no limit
            quota, period = map(to_number, words) if len(words) == 2 else (None, None)
            if quota is not None and period:
                quotas.append(quota / period)
    return quotas
