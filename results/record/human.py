"""Numbers as a person reads them: three significant digits and a unit. Nothing here is for a machine to read."""

import math
from collections.abc import Iterable, Mapping

TIME_UNITS = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
PREFIXES = ("", "k", "M", "G", "T", "P", "E")
DEGRADED = "~"
"""Stands behind a number that was disturbed while it was measured."""
EMULATED = "e"
"""Stands behind a number whose products ran in a wider type than was asked for."""


def significant(value: float) -> str:
    """Returns the value with three significant digits and no exponent: 0.0123, 1.20, 339, 12,300."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.2e}")
    decimals = 2 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:,.{max(0, decimals)}f}"


def time_unit(values: Iterable[float]) -> str:
    """Returns the unit in which the times (s) of one table row read best: that of their geometric mean."""
    logarithms = [math.log10(value) for value in values if value > 0]
    if not logarithms:
        return "s"
    middle = float(f"{10 ** (sum(logarithms) / len(logarithms)):.2e}")
    return _unit_of(middle)


def in_time_unit(value: float, unit: str) -> str:
    """Returns the time (s) in the unit, or in its own where the unit would need more than four digits."""
    rounded = float(f"{value:.2e}")
    if rounded > 0 and not 0.1 <= rounded / TIME_UNITS[unit] < 10_000:
        unit = _unit_of(rounded)
    return f"{significant(value / TIME_UNITS[unit])} {unit}"


def rate(value: float) -> str:
    """Returns a rate per second: `18.2`, `391,000`, `25.4 M`."""
    return significant(value) if value < 999_500 else prefixed(value, "")


def quantity(value: float) -> str:
    """Returns a quantity of any size: `0.0579`, `2,050`, `204 M`; beyond that with an exponent, `1.16e-14`."""
    return rate(value) if value == 0 or 1e-6 <= value < 999.5e18 else f"{value:.2e}"


def prefixed(value: float, unit: str) -> str:
    """Returns the value with an SI prefix: `1.35 GB`, `312 TFLOP/s`."""
    rounded = float(f"{value:.2e}")
    steps = 0 if rounded < 1 else min(math.floor(math.log10(rounded)) // 3, len(PREFIXES) - 1)
    return f"{significant(value / 1000**steps)} {PREFIXES[steps]}{unit}"


def ratio(value: float) -> str:
    """Returns a ratio such as `1.39x`, `0.72x`, `0.012x`, `139x`."""
    if value < 0.1:
        return f"{float(f'{value:.1e}'):f}".rstrip("0") + "x"
    return f"{value:.2f}x" if value < 9.995 else f"{significant(value)}x"


def mark(quality: object) -> str:
    """Returns the mark of a number of this quality, nothing where it was not disturbed."""
    return DEGRADED if quality == "degraded" else ""


def in_words(row: Mapping[str, object]) -> str:
    """Returns what came out of a cell in one line, for whoever follows a run."""
    latency, throughput, error = (
        row.get(name) for name in ("latency_p50_s", "throughput_samples_per_s", "error_worst")
    )
    if not isinstance(latency, float) or not isinstance(throughput, float):
        return f"{row['status']}: {row['reason']}"
    checked = f", worst error {error:.1e}" if isinstance(error, float) else ""
    disturbed = f", degraded ({row['flags']})" if row.get("quality") == "degraded" else ""
    return f"{row['status']}: {time_in_words(latency)} per step, {rate(throughput)} samples/s{checked}{disturbed}"


def time_in_words(seconds: float) -> str:
    """Returns the time in its own unit: `12.3 ms`."""
    return in_time_unit(seconds, _unit_of(seconds))


def _unit_of(seconds: float) -> str:
    fitting = [unit for unit, size in TIME_UNITS.items() if seconds >= size]
    return fitting[-1] if fitting else "ns"
