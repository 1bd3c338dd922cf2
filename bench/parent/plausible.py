"""Whether a row's numbers can be true: held against what bounds the chip, and against each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.parent.quality import FLAGS
from bench.parent.record import without_numbers

SUSPICIOUS = next(flag for flag in FLAGS if flag.name == "suspicious")
IMPOSSIBLE = 2.5
"""Times the highest peak known: Winograd's F(2x2, 3x3) saves 2.25 (arXiv:1509.09308), and nothing in use saves more."""


def judged(
    columns: Mapping[str, Any], most_flops_per_s: float | None, most_bytes_per_s: float | None
) -> dict[str, Any]:
    """Returns a row's columns, flagged `suspicious` or refused as `implausible` where its numbers ask for it.

    The bounds are the highest peaks known of its device, None where there are none.
    """
    found = dict(columns)
    if found["status"] != "ok" or found["verification"] != "passed":
        return found
    flops = max(found["flops_per_s"], found["throughput_flops_per_s"])
    reached = [
        (flops, most_flops_per_s, "FLOP/s"),
        (found["throughput_bytes_per_s"], most_bytes_per_s, "byte/s"),
    ]
    bounded = [(value / most, value, most, unit) for value, most, unit in reached if most]
    if bounded:
        times, value, most, unit = max(bounded)
        found["times_bound"] = times
        if times > IMPOSSIBLE:
            return _refused(found, f"{value:.3g} {unit} is {times:.1f} times the highest peak known here, {most:.3g}")
        if SUSPICIOUS.is_raised(found):
            found["flags"] = " ".join(sorted({*(found["flags"] or "").split(), SUSPICIOUS.name}))
            found["quality"] = SUSPICIOUS.effect
    overlap = found["throughput_samples_per_s"] / found["samples_per_step"] * found["latency_p50_s"]
    # A disturbance may do as much to a mean beside a median, or over a moment: that is not for this rule to judge.
    is_told = found.get("throughput_mode") != "serial" and (found.get("watched_s") or 0.0) >= 1
    least = 1 / IMPOSSIBLE if is_told else 0.0
    if not least <= overlap <= IMPOSSIBLE * found.get("in_flight", 1):
        reason = f"throughput and latency contradict each other: their product is {overlap:.3g} steps"
        return _refused(found, f"{reason}, with {found['in_flight']} in flight")
    return found


def _refused(columns: Mapping[str, Any], reason: str) -> dict[str, Any]:
    return without_numbers(columns) | {"reason_code": "implausible", "reason": reason}
