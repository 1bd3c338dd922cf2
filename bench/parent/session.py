"""A run in progress: groups in seeded random order, each launch on disk before the next, and progress to follow."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from time import monotonic
from typing import Any

import backends
from bench.cell import Cell
from bench.parent import belief
from bench.parent.children.control import Control
from bench.parent.children.group import Group
from bench.parent.environment import cpu_ceiling_flops_per_s
from bench.parent.groups import Order, group_id_of
from bench.parent.plans.climb import Climb
from bench.parent.record import Launch, to_round, to_row
from bench.parent.suite import CellResult, Suite
from bench.parent.verdict import REPEATABLE, SKIPPED, Bounds, fails
from results.record.human import in_words
from results.record.journal import Journal, not_run_row
from results.record.limits import bounds_of
from results.record.rounds import OF_LAUNCH
from results.record.row import make_row
from workloads.catalog import LIMITS

MOST_ATTEMPTS = 2
"""A launch of a group is repeated once at most; the rounds of each attempt have numbers of their own."""


@dataclass(kw_only=True)
class BenchSession:
    """Runs the planned cells of one run and keeps its journal."""

    journal: Journal
    suite: Suite
    order: Order
    groups: Sequence[Sequence[Cell]]
    common: Mapping[str, Any]
    """The columns that all rows of the run share."""
    say: Callable[[str], None]
    """Shows one line to whoever follows."""
    asked: Collection[str] = ()
    """Backends asked for by name: they must not be absent."""
    time_budget_s: float = inf
    """Ends the run: groups that were not begun by then have no row."""
    control: Control | None = None
    """Read beside each slice."""
    fails_on_disturbed: bool = False
    stops_at_failure: bool = False
    """Whether nothing of a group is timed once one of its cells has failed."""
    climb: Climb = field(default_factory=Climb)
    begun: int = field(default=0, init=False)
    failed: list[dict[str, Any]] = field(default_factory=list, init=False)
    ran_out_of_time: bool = field(default=False, init=False)
    _started: float = field(default_factory=monotonic, init=False)
    _group_s: list[float] = field(default_factory=list, init=False)
    _launches: dict[Cell, list[Launch]] = field(default_factory=dict, init=False)
    _rows: dict[Cell, Mapping[str, Any]] = field(default_factory=dict, init=False)
    _n_launches: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._group_of = {cell: group for group in self.groups for cell in group}
        self._last_order = self.order.shuffled(self.groups, self.order.launches - 1)
        self._postponed: list[Sequence[Cell]] = []
        self._stopped: list[Sequence[Cell]] = []

    @property
    def planned(self) -> int:
        """How many cells there are."""
        return len(self._group_of)

    def remember(self, cell: Cell, launches: Iterable[Launch], row: Mapping[str, Any] | None) -> None:
        """Takes over what an interrupted run knows of a cell: nothing of it is done again."""
        self._launches[cell] = list(launches)
        self._n_launches += len(self._launches[cell])
        if row is not None:
            self._rows[cell] = row

    def take_over(self, rows: Mapping[Cell, Mapping[str, Any]]) -> None:
        """Writes rows that another run has measured: nothing of theirs is done again."""
        for cell, columns in rows.items():
            self._write(cell, {**columns, **self.common})
        if rows:
            names = ", ".join(dict.fromkeys(cell.workload for cell in rows))
            self.say(f"{names}: measured within a day on this machine with this software, and not again")

    def is_done(self, cell: Cell) -> bool:
        """Returns whether the cell has its row already."""
        return cell in self._rows

    def early_rounds(self) -> Iterator[tuple[Cell, bool]]:
        """Launches every group for all generations but the last; yields each cell with whether it failed for good."""
        for number in range(self.order.launches - 1):
            for group in self.order.shuffled(self.groups, number):
                if self._time_is_up() or all(map(self.is_done, group)) or group in self._stopped:
                    continue
                with self._begun(group):
                    self._generation(group, number)
                yield from ((cell, self._has_failed(cell)) for cell in group)

    def run(self, cell: Cell) -> CellResult:
        """Runs groups until `cell` has its row; its launches and its row are on disk when this returns.

        Whatever is raised meanwhile, but Ctrl-C, leaves rows that say so, and is raised.
        """
        self.begun += 1
        if cell in self._rows:
            return self._result(cell, self._rows[cell])
        own = self._group_of[cell]
        for group in [] if own in self._stopped else self._to_run(cell):
            if self._time_is_up() and not any(self._launches.get(one) for one in group):
                reason = f"the run's {self.time_budget_s:g} s were spent before this cell began"
                self.ran_out_of_time = True
                if cell in group:
                    return self._result(cell, not_run_row({**self.common, **cell.columns()}, reason, "budget"))
                continue
            self._run_group(group)
            if cell in self._rows or (group is own and own not in self._postponed):
                break
        if cell not in self._rows:  # `stops_at_failure`
            reason = "another cell of its group failed, and none was timed"
            return self._result(cell, not_run_row({**self.common, **cell.columns()}, reason, "first_failure"))
        return self._result(cell, self._rows[cell])

    def _to_run(self, cell: Cell) -> Iterator[Sequence[Cell]]:
        """Yields the groups to run until `cell` has its row: its own, then all others, then those that were disturbed.

        What was disturbed is measured again in a later minute of the run, and not at once.
        """
        own = self._group_of[cell]
        yield own
        for group in self._last_order:
            is_due = not all(map(self.is_done, group)) and group not in [*self._postponed, *self._stopped]
            if group is not own and is_due:
                yield group
        while self._postponed:
            yield self._postponed.pop(0)

    def _run_group(self, group: Sequence[Cell]) -> None:
        """Launches a group for the generations that it lacks, and writes the rows; what was disturbed waits."""
        with self._begun(group):
            is_late = False
            for number in range(self.order.launches):
                is_late = any(map(self._launches.get, group)) and self._time_is_up()
                if is_late or group in self._stopped:
                    break
                self._generation(group, number)
            self.ran_out_of_time |= is_late
            again = [cell.name for cell in group if self._is_asked_again(cell)]
            if again and not (is_late or group in self._stopped):
                self.say(f"    {', '.join(again)}: measured again, with the group, later in the run")
                self._postponed.append(group)
                return
            for cell in group:
                if self._launches.get(cell) and cell not in self._rows:
                    self._write(cell, to_row(self._launches[cell], partial(self._bounds, cell)))

    def _is_asked_again(self, cell: Cell) -> bool:
        return any(one.is_repeated for one in self._launches.get(cell, [])[-1:])

    def _generation(self, group: Sequence[Cell], number: int) -> None:
        """Launches those of a group that need launch `number`, side by side; each record is on disk afterwards."""
        for cell, columns in self.climb.left_out(group, self._rows, self._launches):
            self._write(cell, columns)
            self.say(f"    {cell.title}: {columns['reason']}")
        places = {cell: place for cell in group if (place := self._next(cell)) is not None and place[0] == number}
        if not places:
            return
        started = monotonic()
        if any(map(self.suite.can_start, places)):  # what is not here is said once, below the tables
            self.say(self._title(group, number))
        self.suite.prepare(places)
        self.climb.made_s.update(dict.fromkeys(places, monotonic() - started))
        readies = {cell: self.suite.ready(cell) for cell in places} | belief.refused(self.suite, places)
        idle = {cell: ready for cell, ready in readies.items() if isinstance(ready, Launch)}
        working = [ready for ready in readies.values() if not isinstance(ready, Launch)]
        group_id, attempt = group_id_of(group[0]), max(attempt for _, attempt in places.values())
        effort = self.suite.effort
        if group[0].workload in LIMITS:  # the most that any backend reaches bounds the chip: no ratio is wanted
            effort = replace(effort, relative_half_width=inf)
        engine = Group(
            effort,
            self.order.random(group_id, number, attempt),
            self.suite.longest_stage_s,
            self.control if working else None,
            self.stops_at_failure,
            first_round=OF_LAUNCH * number + OF_LAUNCH // MOST_ATTEMPTS * (attempt - 1),
            say=self.say,
            on_slice=lambda cell, n, one: self.journal.round(to_round(cell, number, n, one)),
        )
        found = engine.run(working)
        if len(found) < len(working):
            self._stopped.append(group)
        launches = idle | {
            cell: self.suite.concluded(readies[cell], measured)  # type: ignore[arg-type]
            for cell, measured in found.items()
        }
        for cell, made in belief.held_together(launches).items():
            columns = made.columns | ({"group_id": group_id} if made.status == "ok" else {})
            at, attempt = places[cell]
            launch = replace(made, columns=columns, number=at, attempt=attempt, order=self._n_launches)
            self._launches.setdefault(cell, []).append(launch)
            if launch.was_launched:
                self.journal.launch(launch.to_record(cell))
                self._n_launches += 1
            if launch.was_launched or working:
                self._tell(cell, launch)
        if working:
            self._group_s.append(monotonic() - started)

    def _bounds(self, cell: Cell, columns: Mapping[str, Any]) -> Bounds:
        """Returns the most FLOP/s and byte/s that the cell may reach: the highest peaks known of its device."""
        is_on_cpu = cell.workload in LIMITS and backends.get(cell.backend).device_kind == "cpu"
        ceiling = cpu_ceiling_flops_per_s(cell.threads) if is_on_cpu else None
        return bounds_of({**self.common, **columns}, self._rows.values(), ceiling)

    def _write(self, cell: Cell, columns: Mapping[str, Any]) -> None:
        row = make_row(**{**self.common, **columns})
        self.journal.row(row)
        self._rows[cell] = row
        if row["status"] not in ("ok", *SKIPPED) and not self.climb.has_ended(cell, str(row["status"])):
            self.failed.append({"cell": cell.id, "phase": cell.phase, "status": row["status"], "reason": row["reason"]})

    @contextmanager
    def _begun(self, group: Sequence[Cell]) -> Iterator[None]:
        """Writes rows of a group that somebody cuts off: a time limit of pytest's, another plugin, a fault of ours."""
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may end a test by any; it is raised again
            for cell in group:
                if cell not in self._rows:
                    reason = f"the cell was begun and cut off by {type(error).__name__}: {error}"
                    columns = {"status": "error", "reason_code": "interrupted", "reason": reason}
                    self._write(cell, cell.columns() | columns)
            raise

    def _next(self, cell: Cell) -> tuple[int, int] | None:
        """Returns number and attempt of the cell's next launch, None where it needs no more."""
        made = self._launches.get(cell, [])
        sides = self._group_of[cell] if made and cell.variant is not None else (cell,)
        if cell in self._rows or any(map(self._is_over, sides)):
            return None
        if made and any(map(self._is_asked_again, self._group_of[cell])):
            return made[-1].number, made[-1].attempt + 1
        number = made[-1].number + 1 if made else 0
        return (number, 1) if number < self.order.launches else None

    def _is_over(self, cell: Cell) -> bool:
        return any(
            launch.status not in REPEATABLE and not launch.is_repeated for launch in self._launches.get(cell, [])
        )

    def _has_failed(self, cell: Cell) -> bool:
        """Returns whether no more launch is made of the cell, and its row will fail the run."""
        return self._is_over(cell) and any(self.fails(cell, launch.status) for launch in self._launches[cell])

    def fails(self, cell: Cell, status: str) -> bool:
        """Returns whether a row of this status fails the run."""
        is_end = self.climb.has_ended(cell, status)
        return not is_end and fails(status, cell.backend in self.asked, self.fails_on_disturbed)

    def _title(self, group: Sequence[Cell], number: int) -> str:
        """Returns the line that says what is being done, and how long the rest should take."""
        of = f", launch {number + 1} of {self.order.launches}" if self.order.launches > 1 else ""
        names = ", ".join(cell.name for cell in group if self.suite.can_start(cell) and not self.is_done(cell))
        return f"{group_id_of(group[0])}{of}: {names}{self._remaining()}"

    def _tell(self, cell: Cell, launch: Launch) -> None:
        self.say(f"    {cell.title}: {in_words(launch.columns | launch.verdict.columns())}")

    def _result(self, cell: Cell, row: Mapping[str, Any]) -> CellResult:
        """Returns the row's columns that have a value, and the samples of the launches behind its numbers."""
        counted = [one for one in self._launches.get(cell, []) if one.status == "ok" and not one.is_invalid]
        samples = tuple(value for launch in counted for value in launch.series.get("samples_s", ()))
        columns = {name: value for name, value in row.items() if value is not None}
        return CellResult(columns, samples if row["status"] == "ok" else ())

    def _remaining(self) -> str:
        """Returns how long the rest should take, from the mean of the groups so far."""
        if not self._group_s:
            return ""
        left = sum(not all(map(self.is_done, group)) for group in self.groups)
        seconds = left * sum(self._group_s) / len(self._group_s)
        about = "at most" if self.climb.rungs else "about"
        return f"  ({about} {seconds / 60:.0f} min left)" if seconds >= 90 else f"  ({about} {seconds:.0f} s left)"

    def _time_is_up(self) -> bool:
        return monotonic() - self._started >= self.time_budget_s

    def summary(self) -> dict[str, Any]:
        """Returns what other tools should know of the run besides its timings."""
        return {"schema": 1, "run_id": self.journal.run_id, "failed": self.failed, **self.common}
