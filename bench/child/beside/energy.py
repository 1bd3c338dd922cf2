"""Energy of a step, where a counter of joules can be read: of the CPU's packages (RAPL), or of the device's board.

A counter moves every millisecond (RAPL) or every 20 to 100 ms (NVML), so a window lasts many of its ticks and begins
and ends at one. It is read between blocks of steps, by the thread that runs them: a thread of its own would disturb.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, NamedTuple

from backends.base import Adapter, EnergyCounter, EnergyUnavailable

LEAST_TICKS = 10
"""Ticks that a window must last: the energy of up to one is missing or too much."""
PATIENCE_S = 1.0
"""A counter that has not moved for so long is not counting."""
BLOCK_S, READ_SHARE = 1e-3, 0.02
"""Steps between two readings take so long at least, and reading takes so small a share of that at most."""
SETTLE_S = 0.5
"""Before idle power is read: OpenMP's threads spin for 0.2 s after their work (KMP_BLOCKTIME)."""
IDLE_SHARE = 0.5
"""The time for which idle power is read, relative to that of the steps."""
MOST_W = 1000.0
"""No package takes more, so that one that has not yet used up its counter's range at this power has wrapped once."""


def energy_columns(
    adapter: Adapter,
    index: int,
    run: Callable[[int], object],
    step_s: float,
    window_s: float,
    root: Path = Path("/"),
) -> dict[str, Any]:
    """Returns the row's columns of energy, or only why there are none.

    `run(n)` runs `n` steps, one in flight, each of `step_s` seconds; it is called for `window_s`, and until the next
    tick. Where nothing counts, or not often enough, it is not called.
    """
    try:
        meter = Meter(counters_of(adapter, index, root))
        if window_s <= 0:
            raise EnergyUnavailable(f"{meter.origin} is here, and the preset leaves no time to read it")
        measured = _measure(meter, run, step_s, window_s)
    except EnergyUnavailable as why:
        return {"energy_origin": f"unavailable: {why}"}
    return measured | {"energy_origin": f"measured: {meter.origin}"}


def counters_of(adapter: Adapter, index: int, root: Path = Path("/")) -> tuple[EnergyCounter, ...]:
    """Returns what counts the energy of the adapter's device. Raises EnergyUnavailable."""
    return rapl_counters(root) if adapter.device_kind == "cpu" else (adapter.energy_counter(index),)


def rapl_counters(root: Path = Path("/")) -> tuple[EnergyCounter, ...]:
    """Returns the counters of all packages and of the memory beside them. Raises EnergyUnavailable.

    The zones `core` and `uncore` are parts of a package, and `psys` is the whole platform (kernel.org, admin-guide,
    powercap): they would count twice. So would `intel-rapl-mmio`, the same packages by another way.
    """
    zones = sorted((root / "sys/class/powercap").glob("intel-rapl:*"))
    named = [(zone, _read(zone / "name")) for zone in zones]
    chosen = [(zone, name) for zone, name in named if name.startswith("package-") or name == "dram"]
    if not chosen:
        raise EnergyUnavailable("no RAPL counter here (a virtual machine or container hides it)")
    return tuple(_rapl_counter(zone, name) for zone, name in chosen)


def _rapl_counter(zone: Path, name: str) -> EnergyCounter:
    def read_j(file: str) -> float:
        return int(_read(zone / file)) * 1e-6

    return EnergyCounter(f"RAPL {name}", lambda: read_j("energy_uj"), read_j("max_energy_range_uj"))


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except PermissionError as error:  # root's alone since CVE-2020-8694: it tells what others compute
        remedy = "its owner can let a group read it by a udev rule, or run as root"
        raise EnergyUnavailable(f"no permission to read {file}; {remedy}") from error
    except OSError as error:
        raise EnergyUnavailable(f"{file} cannot be read: {error.strerror}") from error


class Total(NamedTuple):
    """Joules since a meter was made, and when they were read."""

    at_s: float
    joules: float


class Meter:
    """Adds up counters over their wrap-arounds."""

    def __init__(self, counters: Sequence[EnergyCounter]) -> None:
        self.counters = counters
        self.origin = " + ".join(counter.origin for counter in counters)
        self._counts_j = [counter.read_j() for counter in counters]
        self._total = Total(perf_counter(), 0.0)

    def read(self) -> Total:
        """Returns the joules so far. Raises EnergyUnavailable where a counter cannot be followed."""
        counts_j = [counter.read_j() for counter in self.counters]
        now_s, joules = perf_counter(), self._total.joules
        for counter, before_j, after_j in zip(self.counters, self._counts_j, counts_j, strict=True):
            if 0 < counter.range_j < MOST_W * (now_s - self._total.at_s):
                unread_s = now_s - self._total.at_s
                raise EnergyUnavailable(f"{counter.origin} may have wrapped twice in a block of {unread_s:.3g} s")
            used_j = after_j - before_j
            if used_j < 0:
                used_j += counter.range_j
            if used_j < 0:
                raise EnergyUnavailable(f"{counter.origin} went back from {before_j:.6g} to {after_j:.6g} J")
            joules += used_j
        self._counts_j, self._total = counts_j, Total(now_s, joules)
        return self._total

    def after_tick(self, meanwhile: Callable[[], object] = lambda: None) -> Total:
        """Returns the first total that differs from the last one read; `meanwhile` is called before each reading."""
        last = self._total
        while True:
            meanwhile()
            now = self.read()
            if now.joules > last.joules:
                return now
            if now.at_s - last.at_s > PATIENCE_S:
                raise EnergyUnavailable(f"the counter did not move in {now.at_s - last.at_s:.3g} s")


def _measure(meter: Meter, run: Callable[[int], object], step_s: float, window_s: float) -> dict[str, float]:
    """Returns the energy of a step, the window behind it, and the power while nothing runs."""
    before = meter.after_tick()
    begin = end = meter.after_tick()
    tick_s, read_s = begin.at_s - before.at_s, meter.read().at_s - begin.at_s
    if window_s < LEAST_TICKS * tick_s:
        raise EnergyUnavailable(
            f"window too short: {window_s:.3g} s, and the counter moves every {tick_s:.2g} s; "
            f"{LEAST_TICKS} times are needed"
        )
    block = max(1, round(max(BLOCK_S, read_s / READ_SHARE) / step_s))
    n_blocks = 0

    def run_block() -> None:
        nonlocal n_blocks
        run(block)
        n_blocks += 1

    while end.at_s - begin.at_s < window_s:
        end = meter.after_tick(run_block)
    elapsed_s, used_j, steps = end.at_s - begin.at_s, end.joules - begin.joules, n_blocks * block
    idle_w = _idle_power_w(meter, IDLE_SHARE * window_s)
    return {
        "energy_per_step_j": used_j / steps,
        "energy_per_step_above_idle_j": (used_j - idle_w * elapsed_s) / steps,
        "energy_window_s": elapsed_s,
        "idle_power_w": idle_w,
    }


def _idle_power_w(meter: Meter, seconds: float) -> float:
    """Returns the mean power over `seconds` in which this process sleeps."""
    sleep(SETTLE_S)
    meter.read()
    begin = meter.after_tick()
    sleep(seconds)
    meter.read()
    end = meter.after_tick()
    return (end.joules - begin.joules) / (end.at_s - begin.at_s)
