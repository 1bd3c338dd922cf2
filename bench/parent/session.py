"""A run in progress: launches in seeded random order, each on disk before the next, and progress to follow."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import inf
from random import Random
from time import monotonic
from typing import Any

import backends
from bench.cell import Cell
from bench.parent.control import Control
from bench.parent.environment import cpu_ceiling_flops_per_s
from bench.parent.record import Launch, to_row
from bench.parent.suite import CellResult, Suite
from bench.parent.verdict import REPEATABLE, SKIPPED, Bounds, fails
from results.record.dimensions import SHARED
from results.record.human import in_words
from results.record.journal import Journal, not_run_row
from results.record.limits import bounds_of
from results.record.row import make_row
from workloads.catalog import LIMITS


@dataclass(frozen=True)
class Order:
    """How often each cell is launched, and in what order: shuffled anew in each round, as the seed has it."""

    launches: int
    seed: str

    def shuffled(self, cells: Iterable[Cell], number: int) -> list[Cell]:
        """Returns the cells in the order of round `number`: what bounds the chip first, the others held against it.

        The two sides of an A/B follow each other, and the one that comes first takes turns: A B, B A, A B …
        """
        pairs: dict[tuple[object, ...], list[Cell]] = {}
        for cell in sorted(cells, key=lambda cell: (cell.phase, cell.id)):
            pairs.setdefault(cell.pair, []).append(cell)
        ordered = list(pairs.values())
        Random(f"{self.seed}:{number}").shuffle(ordered)
        ordered.sort(key=lambda pair: pair[0].workload not in LIMITS)
        return [cell for pair in ordered for cell in (reversed(pair) if number % 2 else pair)]


def whole_pairs(launches: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Returns the launches without those of an A/B at their end whose other side the run did not come to."""
    kept = list(launches)
    while kept and kept[-1].get("variant") is not None:
        last = kept[-1]
        if any(one["number"] == last["number"] and _is_other_side(one, last) for one in kept):
            break
        kept.pop()
    return kept


def _is_other_side(one: Mapping[str, Any], another: Mapping[str, Any]) -> bool:
    return one.get("variant") != another.get("variant") and all(one.get(name) == another.get(name) for name in SHARED)


@dataclass(kw_only=True)
class BenchSession:
    """Runs the planned cells of one run and keeps its journal."""

    journal: Journal
    suite: Suite
    order: Order
    planned: int
    """How many cells there are."""
    common: Mapping[str, Any]
    """The columns that all rows of the run share."""
    say: Callable[[str], None]
    """Shows one line to whoever follows."""
    asked: Collection[str] = ()
    """Backends asked for by name: they must not be absent."""
    time_budget_s: float = inf
    """Ends the run: cells that were not begun by then have no row."""
    control: Control | None = None
    """Read after each launch."""
    begun: int = field(default=0, init=False)
    failed: list[dict[str, Any]] = field(default_factory=list, init=False)
    ran_out_of_time: bool = field(default=False, init=False)
    _started: float = field(default_factory=monotonic, init=False)
    _launched_s: list[float] = field(default_factory=list, init=False)
    _launches: dict[Cell, list[Launch]] = field(default_factory=dict, init=False)
    _rows: dict[Cell, Mapping[str, Any]] = field(default_factory=dict, init=False)
    _n_launches: int = field(default=0, init=False)

    def remember(self, cell: Cell, launches: Iterable[Launch], row: Mapping[str, Any] | None) -> None:
        """Takes over what an interrupted run knows of a cell: nothing of it is done again."""
        self._launches[cell] = list(launches)
        self._n_launches += len(self._launches[cell])
        if row is not None:
            self._rows[cell] = row

    def is_done(self, cell: Cell) -> bool:
        """Returns whether the cell has its row already."""
        return cell in self._rows

    def early_rounds(self, cells: Iterable[Cell]) -> Iterator[tuple[Cell, bool]]:
        """Launches every cell for all rounds but the last, and yields each with whether it failed for good."""
        listed = list(cells)
        for number in range(self.order.launches - 1):
            for cell in self.order.shuffled(listed, number):
                if cell in self._rows or (self._time_is_up() and not self._other_has(cell, number)):
                    continue
                with self._begun(cell):
                    while (place := self._next(cell)) is not None and place[0] == number:
                        self._launch(cell, *place)
                yield cell, self._has_failed(cell)

    def run(self, cell: Cell) -> CellResult:
        """Launches `cell` as often as it still needs to be; its launches and its row are on disk when this returns.

        Whatever is raised meanwhile, but Ctrl-C, leaves a row that says so, and is raised.
        """
        self.begun += 1
        if cell in self._rows:
            self.say(f"[{self.begun}/{self.planned}] {cell.title}: in the journal already")
            return self._result(cell, self._rows[cell])
        if self._time_is_up() and not self._launches.get(cell):
            reason = f"the run's {self.time_budget_s:g} s were spent before this cell began"
            self.ran_out_of_time = True
            return self._result(cell, not_run_row({**self.common, **cell.columns()}, reason, "budget"))
        self.say(f"[{self.begun}/{self.planned}] {cell.title}{self._remaining()}")
        with self._begun(cell):
            while (place := self._next(cell)) is not None and self._is_due(cell, place[0]):
                self._launch(cell, *place)
            self.ran_out_of_time |= place is not None and self._time_is_up()
            columns = to_row(self._launches[cell], lambda columns: self._bounds(cell, columns))
            self._write(cell, columns)
        row = self._rows[cell]
        self.say(f"    {in_words(row)}")
        return self._result(cell, row)

    def _bounds(self, cell: Cell, columns: Mapping[str, Any]) -> Bounds:
        """Returns the most FLOP/s and byte/s that the cell may reach: the highest peaks known of its device."""
        is_on_cpu = cell.workload in LIMITS and backends.get(cell.backend).device_kind == "cpu"
        ceiling = cpu_ceiling_flops_per_s(cell.threads) if is_on_cpu else None
        return bounds_of({**self.common, **columns}, self._rows.values(), ceiling)

    def _write(self, cell: Cell, columns: Mapping[str, Any]) -> None:
        row = make_row(**self.common, **columns)
        self.journal.row(row)
        self._rows[cell] = row
        if row["status"] not in ("ok", *SKIPPED):
            self.failed.append({"cell": cell.id, "phase": cell.phase, "status": row["status"], "reason": row["reason"]})

    @contextmanager
    def _begun(self, cell: Cell) -> Iterator[None]:
        """Writes a row of a cell that somebody cuts off: a time limit of pytest's, another plugin, a fault of ours."""
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may end a test by any; it is raised again
            if cell not in self._rows:
                reason = f"the cell was begun and cut off by {type(error).__name__}: {error}"
                columns = {"status": "error", "reason_code": "interrupted", "reason": reason}
                self._write(cell, cell.columns() | columns)
            raise

    def _next(self, cell: Cell) -> tuple[int, int] | None:
        """Returns number and attempt of the cell's next launch, None where it needs no more."""
        made = self._launches.get(cell, [])
        if self._is_over(cell) or (made and any(map(self._is_over, self._others(cell)))):
            return None
        if made and made[-1].is_repeated:
            return made[-1].number, 2
        number = made[-1].number + 1 if made else 0
        return (number, 1) if number < self.order.launches else None

    def _is_due(self, cell: Cell, number: int) -> bool:
        """Returns whether launch `number` belongs into the last round: a side of an A/B catches up with none alone."""
        if cell.variant is None or not self._launches.get(cell) or self._other_has(cell, number):
            return True
        return number == self.order.launches - 1 and not self._time_is_up()

    def _others(self, cell: Cell) -> list[Cell]:
        """Returns the other side of an A/B, once it was launched; nothing for other cells."""
        return [other for other in self._launches if other != cell and other.pair == cell.pair]

    def _other_has(self, cell: Cell, number: int) -> bool:
        return any(one.number >= number for other in self._others(cell) for one in self._launches[other])

    def _is_over(self, cell: Cell) -> bool:
        return any(
            launch.status not in REPEATABLE and not launch.is_repeated for launch in self._launches.get(cell, [])
        )

    def _has_failed(self, cell: Cell) -> bool:
        """Returns whether no more launch is made of the cell, and its row will fail the run."""
        asked = cell.backend in self.asked
        return self._is_over(cell) and any(fails(launch.status, asked) for launch in self._launches[cell])

    def _launch(self, cell: Cell, number: int, attempt: int) -> None:
        """Launches the cell once; what came of it is on disk when this returns."""
        started = monotonic()
        launch = replace(self.suite.attempt(cell), number=number, attempt=attempt, order=self._n_launches)
        if self.control is not None and launch.was_launched:
            launch = replace(launch, columns=launch.columns | {"machine_slower": self.control.read()})
        self._launches.setdefault(cell, []).append(launch)
        if launch.was_launched:
            self.journal.launch(launch.to_record(cell))
            self._n_launches += 1
            self._launched_s.append(monotonic() - started)
        self._tell(cell, launch)

    def _tell(self, cell: Cell, launch: Launch) -> None:
        if launch.is_invalid:
            then = "it is repeated" if launch.attempt == 1 else "and it was repeated already"
            self.say(f"    {cell.title}: disturbed ({' '.join(launch.verdict.flags)}), {then}")
        elif launch.is_doubtful and launch.is_repeated:
            self.say(f"    {cell.title}: {launch.columns['reason']}; it is asked once more")
        elif self.order.launches > 1:
            place = f"launch {launch.number + 1} of {self.order.launches}"
            self.say(f"    {cell.title}, {place}: {in_words(launch.columns | launch.verdict.columns())}")

    def _result(self, cell: Cell, row: Mapping[str, Any]) -> CellResult:
        """Returns the row's columns that have a value, and the samples of the launches behind its numbers."""
        counted = [one for one in self._launches.get(cell, []) if one.status == "ok" and not one.is_invalid]
        samples = tuple(value for launch in counted for value in launch.series.get("samples_s", ()))
        columns = {name: value for name, value in row.items() if value is not None}
        return CellResult(columns, samples if row["status"] == "ok" else ())

    def _time_is_up(self) -> bool:
        return monotonic() - self._started >= self.time_budget_s

    def _remaining(self) -> str:
        """Returns how long the rest should take, from the mean of the launches so far."""
        if not self._launched_s:
            return ""
        left = self.planned - self.begun + 1
        seconds = left * sum(self._launched_s) / len(self._launched_s)
        return f"  (about {seconds / 60:.0f} min left)" if seconds >= 90 else f"  (about {seconds:.0f} s left)"

    def summary(self) -> dict[str, Any]:
        """Returns what other tools should know of the run besides its timings."""
        return {"schema": 1, "run_id": self.journal.run_id, "failed": self.failed, **self.common}
