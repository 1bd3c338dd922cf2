"""The verdict on a number: may it be believed, and if not, what is said in its place. Pure functions.

A launch has flags, each with its limit and what it does to the number; a cell has the verdict on all of its launches,
held against what bounds the chip. Nothing here reads a file or a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bench.parent.merge import merged, without_numbers

if TYPE_CHECKING:
    from bench.parent.record import Launch

QUALITIES = ("valid", "degraded", "invalid")


@dataclass(frozen=True)
class Flag:
    """Raised where `column` of a launch is over `limit`, or under it where `below`; `per` scales the limit.

    A `note` leaves the quality as it is; `invalid` has the launch repeated, and its number is used nowhere. Where the
    column is the share by which the number may have `moved`, it must be over the half of the number's interval too:
    what the interval says already is not said twice.
    """

    name: str
    effect: Literal["note", "degraded", "invalid"]
    column: str
    limit: float
    meaning: str
    per: Literal["", "threads", "watched_s"] = ""
    below: bool = False
    moved: bool = False

    def is_raised(self, columns: Mapping[str, Any]) -> bool:
        """Returns whether a launch with these columns has it; a column that is not known raises nothing."""
        value = columns.get(self.column)
        if value is None:
            return False
        limit = self.limit
        if self.moved:
            limit = max(limit, _half_width(columns))
        if self.per:
            limit *= columns[self.per]
        return bool(value < limit if self.below else value > limit)


FLAGS: tuple[Flag, ...] = (
    Flag("short_window", "degraded", "watched_s", 1.0, "counters of 10 ms say little of under 1 s", below=True),
    Flag("not_steady", "note", "is_steady", 0.5, "still changing when the warm-up's time was spent", below=True),
    Flag("unsettled", "invalid", "rounds_short", 0, "the control was slow beside too many of its rounds"),
    Flag("little_violation", "degraded", "little_excess", 0.05, "throughput x latency is not the number in flight"),
    Flag("overhead_high", "degraded", "overhead_share", 0.01, "the timing loop takes more than 1 % of a step"),
    Flag("host_bound", "note", "device_share", 0.5, "the device works for less than half of a step", below=True),
    Flag("parts_too_small", "note", "parts_ratio", 0.97, "the parts add up to less than the whole step", below=True),
    Flag(
        "few_threads", "note", "threads_idle", 0.45, "it ran as on fewer threads than it has, and the control did not"
    ),
    # Threads wait for each other: what one core loses the whole step loses (`python -m tests.qa burner`).
    Flag("other_load", "degraded", "other_load_cores", 0.06, "others took of a core", moved=True),
    Flag("steal", "degraded", "steal_cores", 0.01, "the hypervisor took of a core", moved=True),
    Flag("slow_machine", "degraded", "machine_slower", 0.05, "the control beside it was slower than usual", moved=True),
    Flag("suspicious", "degraded", "times_bound", 1.1, "over 1.1 times the highest peak known (Winograd may do it)"),
    Flag("oversubscribed", "degraded", "threads_beyond", 2, "more than two threads beyond the cell's ran"),
    Flag("cpu_pressure", "note", "cpu_pressure_share", 0.10, "some task waited for a CPU over 10 % of the time"),
    Flag("memory_pressure", "degraded", "memory_pressure_share", 0.001, "some task waited for memory", moved=True),
    Flag("swapped", "degraded", "swapped_pages", 0, "pages were swapped in or out"),
    Flag("throttled", "degraded", "throttled_share", 0, "a CPU quota stopped the process", moved=True),
    Flag("cpu_thermal", "degraded", "thermal_events", 0, "a core slowed down for heat"),
    Flag("frequency_drop", "degraded", "cpu_frequency_change", -0.05, "the CPUs slowed by over 5 %", below=True),
    Flag("device_throttled", "invalid", "device_throttled_s", 0, "heat or the hardware slowed the device"),
    Flag(
        "power_capped", "degraded", "device_power_capped_s", 0.05, "power limited it over 5 % of the time", "watched_s"
    ),
    Flag("device_clock_drop", "degraded", "device_clock_change", -0.1, "its clock fell by over 10 %", below=True),
    Flag("device_shared", "invalid", "device_other_processes", 0, "another process computed on the device"),
    Flag("device_memory_errors", "invalid", "device_memory_errors", 0, "the device's memory had errors"),
)


BY_NAME = {flag.name: flag for flag in FLAGS}
SUSPICIOUS, CPU_PRESSURE = BY_NAME["suspicious"], BY_NAME["cpu_pressure"]
IMPOSSIBLE = 2.5
"""Times the highest peak known: Winograd's F(2x2, 3x3) saves 2.25 (arXiv:1509.09308), and nothing in use saves more."""
IN_A_MOMENT = 10.0
"""Times more steps than are in flight that throughput x latency may say of under a second: a machine that turned
several times slower between the two does as much, and one that computes nothing hundreds."""
OTHERS_WORK = 100.0
"""The same where tasks wait for a CPU: of two that are measured one after the other, either may get a core alone."""
DECISIVE = ("wrong", "refused")
"""One launch that ends so makes the row so, whatever the others say."""
SKIPPED = ("unavailable", "unsupported", "not_needed", "disturbed", "not_run")
"""Statuses of cells that need no attention, unless their backend was asked for by name and is absent."""
LEAST_KEPT = 5
"""Rounds that must be left where some were left out."""
REPEATABLE = ("ok", "crashed")
"""Statuses after which a cell is launched again; whatever else it did, it would do again."""

Bounds = tuple[float | None, float | None]
"""The most FLOP/s and byte/s that the device may reach, None where nothing is known."""


@dataclass(frozen=True)
class Verdict:
    """What is said of a launch or of a cell. `reason_code` and `reason` are there where the launch does not say it."""

    status: str
    quality: str | None = None
    flags: tuple[str, ...] = ()
    reason_code: str | None = None
    reason: str | None = None

    def columns(self) -> dict[str, Any]:
        """Returns the verdict as columns of a row, the flags as text."""
        reason = {"reason_code": self.reason_code, "reason": self.reason} if self.reason else {}
        judged = {"quality": self.quality, "flags": " ".join(self.flags) or None} if self.quality else {}
        return {"status": self.status, **judged, **reason}


def fails(status: str, is_asked_for: bool, is_strict: bool = False) -> bool:
    """Returns whether a cell of this status fails the run; a backend asked for by name must not be absent.

    What was disturbed is nobody's fault, and fails it only where that `is_strict`.
    """
    if status in SKIPPED:
        return (status == "unavailable" and is_asked_for) or (status == "disturbed" and is_strict)
    return status not in ("ok", "known_failure")


def of_launch(columns: Mapping[str, Any], is_timed: bool = True) -> Verdict:
    """Returns the verdict on one launch with these columns, `threads` among them.

    Where nothing was to be timed (`is_timed` is False) no disturbance makes it invalid: it was verified.
    """
    status = str(columns["status"])
    if status != "ok":
        return Verdict(status)
    complete = {**columns, **_derived(columns)}
    raised = [flag for flag in FLAGS if flag.is_raised(complete)]
    effects = {flag.effect for flag in raised}
    quality = next((one for one in ("invalid", "degraded") if one in effects), "valid")
    if quality == "invalid" and not (is_timed and columns.get("verification") != "not applicable"):
        quality = "degraded"  # what was only verified, or computes nothing, needs no quiet machine
    return Verdict(status, quality, tuple(sorted(flag.name for flag in raised)))


def _half_width(columns: Mapping[str, Any]) -> float:
    """Returns the half of the interval of the row's latency, as a part of it; 0 where it has none."""
    low, high, middle = (columns.get(f"latency_{end}_s") for end in ("ci_low", "ci_high", "p50"))
    return 0.0 if low is None or high is None or not middle else float(max(high - middle, middle - low) / middle)


def _derived(columns: Mapping[str, Any]) -> dict[str, float]:
    """Returns what the limits are on, where it is not a column itself."""
    derived: dict[str, float] = {}
    if columns.get("rounds_left_out"):
        derived["rounds_short"] = LEAST_KEPT - (columns.get("rounds_n") or 0)
    if (little := columns.get("little_ratio")) is not None:
        derived["little_excess"] = abs(little - 1)
    is_on_host = columns.get("device_clock_hz") is None and columns.get("device_time_p50_s") is None
    if (used := columns.get("cpu_cores_used")) is not None and (columns.get("threads_worth") or 0) > 1 and is_on_host:
        derived["threads_idle"] = 1 - used / columns["threads"]
    if (running := columns.get("threads_running")) is not None:
        derived["threads_beyond"] = running - columns["threads"]
    if (on_device := columns.get("device_time_p50_s")) is not None and columns.get("latency_p50_s"):
        derived["device_share"] = on_device / columns["latency_p50_s"]
    return derived


def of_cell(
    launches: Sequence[Launch], bounds: Callable[[Mapping[str, Any]], Bounds] = lambda columns: (None, None)
) -> tuple[Verdict, dict[str, Any]]:
    """Returns the verdict on a cell from all of its launches, at least one, and the columns that it is about.

    A launch that is wrong or refused makes the cell so; of a doubtful one that was repeated, the repetition counts.
    Else the numbers are those of the launches that are `ok` and not invalid, unless they are beyond what `bounds` says
    of a row with these columns. Where all that were measured are invalid, it is `disturbed`; where none was measured,
    it says what the first one says.
    """
    repetitions = {launch.number for launch in launches if launch.attempt > 1}
    final = [one for one in launches if not (one.is_repeated and one.number in repetitions)]
    decisive = [launch for status in DECISIVE for launch in final if launch.status == status]
    measured = [launch for launch in launches if launch.status == "ok"]
    good = [launch for launch in measured if not launch.is_invalid]
    if decisive or not measured:
        launch = [*decisive, *final][0]
        return launch.verdict, dict(launch.columns)
    if not good:
        last = measured[-1]
        reason = f"disturbed each time it was measured: {' '.join(last.verdict.flags)}; its samples are in the journal"
        verdict = Verdict("disturbed", last.verdict.quality, last.verdict.flags, "disturbed", reason)
        return verdict, without_numbers(last.columns) | {"stage": "measure"}
    columns = merged([launch.columns for launch in good])
    flags = tuple(sorted({flag for launch in good for flag in launch.verdict.flags}))
    is_degraded = any(launch.verdict.quality == "degraded" for launch in good)
    verdict = Verdict("ok", "degraded" if is_degraded else "valid", flags)
    if columns.get("verification") != "passed" or not all(launch.is_timed for launch in good):
        return verdict, columns
    return _held_against(bounds(columns), verdict, columns)


def _held_against(bounds: Bounds, verdict: Verdict, columns: dict[str, Any]) -> tuple[Verdict, dict[str, Any]]:
    """Returns verdict and columns with what reached most of its bound; refused where that, or both, cannot be true."""
    most_flops_per_s, most_bytes_per_s = bounds
    flops_per_s = max(columns["flops_per_s"], columns["throughput_flops_per_s"])
    reached = [
        (flops_per_s, most_flops_per_s, "FLOP/s"),
        (columns["throughput_bytes_per_s"], most_bytes_per_s, "byte/s"),
    ]
    bounded = [(value / most, value, most, unit) for value, most, unit in reached if most]
    why = ""
    if bounded:
        times, value, most, unit = max(bounded)
        columns = columns | {"times_bound": times}
        if times > IMPOSSIBLE:
            why = f"{value:.3g} {unit} is {times:.1f} times the highest peak known here, {most:.3g}"
        elif SUSPICIOUS.is_raised(columns):
            verdict = Verdict("ok", SUSPICIOUS.effect, tuple(sorted({*verdict.flags, SUSPICIOUS.name})))
    if why:
        verdict = Verdict("refused", verdict.quality, verdict.flags, "implausible", why)
    elif why := _contradiction(columns):
        is_shared = CPU_PRESSURE.name in verdict.flags and _overlap(columns) < OTHERS_WORK * columns.get("in_flight", 1)
        status, code = ("disturbed", "disturbed") if is_shared else ("refused", "implausible")
        verdict = Verdict(status, verdict.quality, verdict.flags, code, why)
    return verdict, without_numbers(columns) | {"stage": "measure"} if why else columns


def _overlap(columns: Mapping[str, Any]) -> float:
    """Returns how many steps were in flight, as throughput and latency have it."""
    of_one = columns["throughput_samples_per_s"] / columns["samples_per_step"]
    return float(of_one * columns["latency_p50_s"])


def _contradiction(columns: Mapping[str, Any]) -> str:
    """Returns how throughput and latency contradict each other; nothing where they do not."""
    overlap = _overlap(columns)
    # Too little throughput says nothing where a disturbance does as much: to the mean of serial steps, which stands
    # beside their median, and to what was measured for a moment only. Nor does somewhat too much of the latter.
    is_watched = (columns.get("watched_s") or 0.0) >= 1
    least = 1 / IMPOSSIBLE if is_watched and columns.get("throughput_mode") != "serial" else 0.0
    most = IMPOSSIBLE if is_watched else IN_A_MOMENT
    in_flight = columns.get("in_flight", 1)
    if least <= overlap <= most * in_flight:
        return ""
    product = f"their product is {overlap:.3g} steps, with {in_flight} in flight"
    return f"throughput and latency contradict each other: {product}"
