"""A run in progress: cells are run one by one, each row is on disk before the next, and progress can be followed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from bench.cell import Cell
from bench.suite import CellResult, Suite
from results.journal import Journal
from results.row import make_row

SKIPPED = ("unavailable", "unsupported")
"""Statuses of cells that need no attention, unless their backend was asked for by name and is absent."""


class BenchSession:
    """Runs the planned cells of one run and keeps its journal. `say` shows one line to whoever follows,
    `in_words` makes one of a row."""

    def __init__(
        self,
        journal: Journal,
        suite: Suite,
        planned: int,
        common: Mapping[str, Any],
        say: Callable[[str], None],
        in_words: Callable[[Mapping[str, Any]], str],
    ) -> None:
        self.journal = journal
        self.suite = suite
        self.planned = planned
        self.common = dict(common)
        self.say = say
        self.in_words = in_words
        self.begun = 0
        self.failed: list[dict[str, Any]] = []
        self._launched_s: list[float] = []

    def run(self, cell: Cell) -> CellResult:
        """Runs `cell`; its launch record and its row are on disk when this returns."""
        self.begun += 1
        self.say(f"[{self.begun}/{self.planned}] {cell.title}{self._remaining()}")
        started = monotonic()
        result = self.suite.run(cell)
        row = make_row(**self.common, **result.columns)
        self.journal.launch({**cell.columns(), "status": row["status"], "samples_s": result.samples_s})
        self.journal.row(row)
        if "launch_s" in result.columns:
            self._launched_s.append(monotonic() - started)
        if row["status"] not in ("ok", *SKIPPED):
            self.failed.append({"cell": cell.id, "phase": cell.phase, "status": row["status"], "reason": row["reason"]})
        self.say(f"    {self.in_words(row)}")
        return CellResult({name: value for name, value in row.items() if value is not None}, result.samples_s)

    def _remaining(self) -> str:
        """Returns how long the rest should take, from the mean of the cells that were launched so far."""
        if not self._launched_s:
            return ""
        left = self.planned - self.begun + 1
        seconds = left * sum(self._launched_s) / len(self._launched_s)
        return f"  (about {seconds / 60:.0f} min left)" if seconds >= 90 else f"  (about {seconds:.0f} s left)"

    def summary(self) -> dict[str, Any]:
        """Returns what other tools should know of the run besides its timings."""
        return {"schema": 1, "run_id": self.journal.run_id, "failed": self.failed, **self.common}
