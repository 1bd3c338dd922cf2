"""A run from its selection to its rows: lock, journal, plan, order, launches, end. `pytest bench/` drives it too."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import backends
from bench.cell import Cell
from bench.parent.cache import Cache, UnsafeCache, default_root
from bench.parent.children.control import Control
from bench.parent.groups import Order, groups_of, is_idle, whole_groups
from bench.parent.header import new_header
from bench.parent.limits import of_today
from bench.parent.lock import MachineLock, NoLockError
from bench.parent.plans import plan
from bench.parent.plans.climb import Climb
from bench.parent.plans.ladder import rungs_of
from bench.parent.plans.options import Settings, effort
from bench.parent.plans.parse import PlanError
from bench.parent.record import Launch
from bench.parent.scenarios import Scenarios
from bench.parent.services import DEADLINE_S, Services
from bench.parent.session import BenchSession
from bench.parent.suite import CellResult, Suite
from bench.scenario_cell import Loaded, ScenarioCell
from host.home import NoHomeError
from host.topology import usable_cpus
from results.record.csvfile import write_csv
from results.record.journal import Journal, new_run_id
from results.record.row import Row, cell_of, make_row
from results.record.run import Run, run_so_far
from results.record.services.csvfile import CSV_NAME, write_services
from results.record.services.row import key_of
from results.record.vocabulary import PREFERRED_BASELINE

INTERRUPTED = ("interrupted before the plan was done", "interrupted")
"""How a run ends that somebody stops by Ctrl-C."""
Say = Callable[[str], None]
Done = Callable[[Cell, CellResult], None]


def run(
    selection: plan.Selection,
    settings: Settings | None = None,
    *,
    say: Say = print,
    done: Done = lambda cell, result: None,
) -> Run:
    """Returns the run of all cells that `selection` plans, when it has ended and its journal and CSV are written.

    `settings` are those of the selection's preset where they are not given. `say` is called with each line for whoever
    follows, `done` with each cell when its row is written. Raises Busy where another run holds the machine, PlanError
    or ResultsError where this one cannot begin; what a backend does is in its row.
    """
    settings = settings or Settings(effort=effort(selection, selection.chosen.get), order_seed=os.urandom(4).hex())
    cells = plan.planned(selection, backends.names())
    with OpenRun(selection, settings, cells, say) as opened:
        opened.early_rounds()
        for cell in in_order(cells, opened.order):
            done(cell, opened.run(cell))
        for service in opened.services_left:
            opened.run_service(service)
    return opened.result


def in_order(cells: Collection[Cell], order: Order) -> list[Cell]:
    """Returns the cells as the last generation has them: those that cannot start, then the others group by group."""
    idle = [cell for cell in cells if is_idle(cell)]
    groups = groups_of(cell for cell in cells if cell not in idle)
    return [*idle, *(cell for group in order.shuffled(groups, order.launches - 1) for cell in group)]


class OpenRun:
    """A run, new or going on, until `end()`: its folder exists, its plan is written, the machine is locked.

    As a context manager it ends by itself. Raises Busy, PlanError and ResultsError before anything runs.
    """

    def __init__(
        self,
        selection: plan.Selection,
        settings: Settings,
        cells: Sequence[Cell],
        say: Say,
        services: Sequence[Loaded] | None = None,
    ) -> None:
        self.cells = tuple(cells)
        asked = selection.services if services is None else tuple(services)
        rungs = rungs_of(selection, self.cells)
        self.order = Order(selection.launches, settings.order_seed, rungs)
        if len({*cells}) < len(cells):
            raise PlanError(
                "a cell is there twice (pytest-repeat's --count?); a run has each once, and repeats by --launches N"
            )
        self._say = say
        self._lock = _locked()
        try:
            cache = _cache(say)
            header = new_header() if settings.past is None else settings.past.header
            self.journal = settings.past.go_on() if settings.past else _new_journal(selection, settings, header)
            self.journal.on_no_room = say
            common = _common(self.journal, header, selection)
            suite = Suite(cache, self.journal.logs, settings.effort, settings.stage_deadline_s)
            self.services = Services(
                self.journal,
                _of_services(common),
                say,
                settings.stage_deadline_s or DEADLINE_S,
                asked=selection.backends or (),
            )
            if settings.past is None:
                planned = [self.services.planned(service) for service in asked]
                self.journal.plan([common | cell.columns() for cell in cells], planned)
            past = () if settings.past is None else settings.past.services
            known = {key_of(row): row for row in past if row["status"] != "not_run"}
            self.services_left = [one for one in asked if key_of(self.services.planned(one)) not in known]
            self._services_known = known
            loads = [one for one in self.services_left if isinstance(one, ScenarioCell)]
            self.services.scenarios = Scenarios(suite, self.order, loads, say)
            self.control = Control(usable_cpus()[: selection.threads], self.journal.logs / "control.log")
            self.session = BenchSession(
                journal=self.journal,
                suite=suite,
                order=self.order,
                groups=groups_of(cells, settings.baseline or PREFERRED_BASELINE),
                common=common,
                say=say,
                asked=selection.backends or (),
                time_budget_s=settings.time_budget_s,
                control=self.control if settings.effort.warm_up_s > 0 else None,
                fails_on_disturbed=settings.fails_on_disturbed,
                stops_at_failure=settings.stops_at_failure,
                climb=Climb(rungs, settings.effort.is_timed),
            )
            if settings.past is not None:
                _recall(self.session, settings.past, cells)
            if settings.past is None:
                not_named = [cell for cell in cells if cell.workload not in (selection.workloads or ())]
                self.session.take_over(of_today(not_named, settings.results_dir, common))
            if left_out := plan.left_out(selection, backends.names()):
                say(left_out)
        except BaseException:  # Ctrl-C too must not leave the machine locked; it is raised again
            self._lock.release()
            raise

    @property
    def folder(self) -> Any:
        """The run's folder."""
        return self.journal.folder

    def early_rounds(self, most_failures: int = 0) -> set[Cell]:
        """Launches all cells for all rounds but the last; returns those that failed for good.

        With `most_failures` (0 is any number) it returns as soon as so many have.
        """
        failed: set[Cell] = set()
        for cell, has_failed in self.session.early_rounds():
            if has_failed:
                failed.add(cell)
            if failed and len(failed) == most_failures:
                break
        return failed

    def run(self, cell: Cell) -> CellResult:
        """Launches `cell` as often as it still needs to be, and returns what came of it: its row is on disk."""
        return self.session.run(cell)

    def run_service(self, service: Loaded) -> Row:
        """Measures a service, and returns its row, which is on disk; that of the interrupted run where it has one."""
        if service not in self.services_left:
            return self._services_known[key_of(self.services.planned(service))]
        row = self.services.measure(service)
        self.services_left.remove(service)
        return row

    def end(self, why: str = "", reason_code: str | None = None) -> None:
        """Ends the journal, writes `results.csv` from it, and lets the next run begin.

        `why` and `reason_code` are what the rows say of cells that whoever drives the run did not come to.
        """
        if reason_code != "interrupted" and self.session.ran_out_of_time:
            why, reason_code = "its time was spent before the plan was done", "budget"
        elif not why and not (all(map(self.session.is_done, self.cells)) and not self.services_left):
            why, reason_code = "who drove the run did not come to every cell", "interrupted"
        self.control.close()
        self.journal.end(why or "the plan is done", reason_code)
        self.journal.close()
        self.result: Run = run_so_far(self.journal)
        try:
            write_csv(self.result.rows, self.folder / "results.csv")
            if self.result.services:
                write_services(self.result.services, self.folder / CSV_NAME)
        except OSError as error:
            self._say(f"cannot write {self.folder / 'results.csv'}: {error.strerror}")
        if self.journal.problem is not None:
            self._say(self.journal.problem)
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ends the run; one that something of ours raised in stays without an end, as one that was killed."""
        if error is None:
            self.end()
        elif isinstance(error, KeyboardInterrupt):
            self.end(*INTERRUPTED)
        else:
            self.control.close()
            self.journal.close()
            self._lock.release()


def _locked() -> MachineLock:
    try:
        return MachineLock()
    except NoLockError as error:
        raise PlanError(f"cannot lock this machine for the run: {error}") from error


def _cache(say: Say) -> Cache:
    try:
        return Cache(default_root(os.environ), lambda text: say(f"    {text}"))
    except (UnsafeCache, NoHomeError) as error:
        raise PlanError(str(error)) from error


def _new_journal(selection: plan.Selection, settings: Settings, header: Mapping[str, Any]) -> Journal:
    """Returns the journal of a new run, which holds all that it takes to go on with it."""
    options = {
        "arguments": list(settings.arguments),
        "preset": selection.preset,
        "selection": dict(selection.chosen),
        "order_seed": settings.order_seed,
        "effort": asdict(settings.effort),
    }
    run_id = new_run_id(str(header["machine"]["name"]), datetime.fromisoformat(header["started_utc"]))
    return Journal.create(settings.results_dir, run_id, {**header, "options": options})


def _common(journal: Journal, header: Mapping[str, Any], selection: plan.Selection) -> dict[str, Any]:
    machine = header["machine"]
    return {
        "run_id": journal.run_id,
        "machine": machine["name"],
        "machine_id": machine["machine_id"],
        "installation_id": machine.get("installation_id"),
        "software_id": machine["software_id"],
        "started_utc": header["started_utc"],
        "samestep_version": header["versions"].get("samestep"),
        "preset": selection.preset,
    }


def _of_services(common: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what all rows of services share."""
    shared = ("run_id", "machine", "machine_id", "software_id", "started_utc")
    return {name: common[name] for name in shared} | {"source": f"samestep {common['samestep_version']}"}


def _recall(session: BenchSession, past: Run, cells: Iterable[Cell]) -> None:
    """Tells the session what the run knows of its cells. Raises PlanError where their plan is another one."""
    planned = {cell_of(row): row for row in past.rows}
    ours = {cell_of(make_row(**cell.columns(), status="not_run", reason="planned")): cell for cell in cells}
    if unknown := [cell.title for key, cell in ours.items() if key not in planned]:
        raise PlanError(f"--resume {past.path}: the run did not plan {', '.join(unknown)}; start a new one")
    columns = [[cell.columns() for cell in group] for group in session.groups]

    def needs_none(of_cell: Mapping[str, Any]) -> bool:
        key = cell_of(of_cell)
        return planned[key]["status"] != "not_run" or not session.suite.can_start(ours[key])

    launches = whole_groups(past.launches, columns, needs_none)
    for key, cell in ours.items():
        records = [record for record in launches if cell_of(record) == key]
        row = planned[key]
        session.remember(cell, map(Launch.from_record, records), None if row["status"] == "not_run" else row)
