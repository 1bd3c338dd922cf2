"""Which batches of a ladder are tried: each by the backends that gained enough by the last, and have room for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.cell import Cell
from bench.parent.record import Launch, to_row
from host.memory import available_bytes
from results.record.cells.ladder import LEAST_GAIN, NOT_NEEDED, best_batch

LONGEST_REFERENCE_S = 300.0
"""A batch is left out whose reference is likely to take longer to make: looking for the best one is no night's work."""
TIMES_HELD = 2
"""The float64 reference of a step takes twice what the step does, on the host."""
UNKNOWN = ("disturbed", "not_run")
"""Statuses of smaller batches from which nothing follows: they may have a number yet."""
ENDS = "out_of_memory"
"""How the largest batch that is tried may end: that is what was asked, and no fault."""
RATE, LOW, HIGH = (f"throughput_{of}samples_per_s" for of in ("", "ci_low_", "ci_high_"))

Rows = Mapping[Cell, Mapping[str, Any]]


@dataclass(frozen=True)
class Climb:
    """The cells that smaller batches may stop, each with these, ascending."""

    rungs: Mapping[Cell, Sequence[Cell]] = field(default_factory=dict)
    is_timed: bool = True
    """Whether there are numbers to gain by; where there are none, no larger batch is tried."""
    made_s: dict[Cell, float] = field(default_factory=dict)
    """What making references and graphs took for a cell and those beside it."""

    def left_out(
        self, group: Iterable[Cell], rows: Rows, launches: Mapping[Cell, Sequence[Launch]]
    ) -> Iterator[tuple[Cell, dict[str, Any]]]:
        """Yields the cells of the group that are not tried, each with the columns of its row.

        It is decided once, before the first launch of a cell, by what is known of the smaller batches then.
        """
        for cell in group:
            if cell not in self.rungs or cell in rows or launches.get(cell):
                continue
            smaller = [rows.get(one) or _so_far(launches.get(one, ())) for one in self.rungs[cell]]
            why = why_skipped(cell.batch, smaller, available_bytes()) if self.is_timed else NOTHING_TIMED
            why = why or self._takes_long(cell)
            if why is not None:
                yield cell, cell.columns() | why

    def _takes_long(self, cell: Cell) -> dict[str, Any] | None:
        """Returns that what the cell needs is likely to take too long to make, by what the last batch took, or None."""
        last = self.rungs[cell][-1]
        likely_s = cell.batch / last.batch * self.made_s.get(last, 0.0)
        if likely_s <= LONGEST_REFERENCE_S:
            return None
        minutes = f"{likely_s / 60:.0f} min to make, over {LONGEST_REFERENCE_S / 60:.0f}"
        return _skipped("budget", f"the reference of batch {cell.batch} is likely to take {minutes}")

    def has_ended(self, cell: Cell, status: str) -> bool:
        """Returns whether the status says no more than that memory ended at this batch: the smaller ones count."""
        return status == ENDS and cell in self.rungs


def _so_far(launches: Sequence[Launch]) -> Mapping[str, Any]:
    """Returns the columns of the row that the launches so far would make, nothing where there are none."""
    return to_row(launches) if launches else {}


def why_skipped(batch: int, smaller: Sequence[Mapping[str, Any]], room_bytes: int | None) -> dict[str, Any] | None:
    """Returns status and reason of a batch that is not tried after the smaller ones, None where it is.

    `smaller` has the columns of their rows, ascending; of one without a number so far nothing follows. `room_bytes` is
    what the host has left, None where nobody knows.
    """
    known = [columns for columns in smaller if columns.get("status") not in (None, *UNKNOWN)]
    if not known:
        return None
    last = known[-1]
    if last["status"] == NOT_NEEDED:
        return {name: last[name] for name in ("status", "stage", "reason_code", "reason")}
    if last["status"] != "ok":
        return _skipped("smaller_failed", f"no larger batch is tried: {last['batch']} is {last['status']}")
    rates = {columns["batch"]: columns[RATE] for columns in known if columns["status"] == "ok"}
    best = best_batch(rates)
    (of_best,) = (columns for columns in known if columns["batch"] == best and columns["status"] == "ok")
    if best != last["batch"] and _most_gained(of_best, last) < LEAST_GAIN:
        gain, least = (100 * (times - 1) for times in (rates[last["batch"]] / rates[best], LEAST_GAIN))
        return _skipped("saturated", f"batch {last['batch']} gained {gain:.1f} % over {best}, under {least:.0f} %")
    return _too_large(batch, known, room_bytes)


def _most_gained(before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
    """Returns how many times the rate of before that of after may be, by the intervals of both where they have one."""
    low, high = before.get(LOW), after.get(HIGH)
    return float(after[RATE] if high is None else high) / float(before[RATE] if low is None else low)


def _too_large(batch: int, known: Sequence[Mapping[str, Any]], room_bytes: int | None) -> dict[str, Any] | None:
    """Returns that the batch and its reference hold more than the host has left, by what the last two held, or None."""
    held = [(columns["batch"], columns["peak_memory_bytes"]) for columns in known if columns.get("peak_memory_bytes")]
    if room_bytes is None or len(held) < 2:
        return None
    (smaller, less), (larger, more) = held[-2:]
    likely = more + max(more - less, 0) / (larger - smaller) * (batch - larger)
    if TIMES_HELD * likely <= room_bytes:
        return None
    reason = f"batch {batch} and its float64 reference are likely to hold {TIMES_HELD * likely / 1e9:.1f} GB"
    return _skipped("memory", f"{reason}, and {room_bytes / 1e9:.1f} GB are left")


def _skipped(code: str, reason: str) -> dict[str, Any]:
    return {"status": NOT_NEEDED, "stage": "plan", "reason_code": code, "reason": reason}


NOTHING_TIMED = _skipped("saturated", "nothing is timed, so that no batch is better than another")
