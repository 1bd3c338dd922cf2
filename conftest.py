"""The wiring: the only place that knows all four rooms. Options, cells, the run's journal, the table at the end."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from shutil import get_terminal_size
from threading import Lock
from typing import Any

import pytest

import backends
from backends.base import PHASES
from bench import plan
from bench.cache import Cache, default_root
from bench.cell import Cell
from bench.environment import usable_cpus
from bench.measure import Effort
from bench.replay import ReplayTimer, replay
from bench.session import SKIPPED, BenchSession
from bench.suite import Suite
from results.csvfile import write_csv
from results.human import in_words
from results.journal import Journal, JournalError, new_run_id
from results.machine import describe_machine
from results.run import read_run
from samestep import __version__
from workloads.catalog import CATALOG

PYTEST_BENCHMARK_MAX_TIME = 1.0
PYTEST_BENCHMARK_MIN_ROUNDS = 5

PHASE_OF_FILE = {"test_inference.py": "infer", "test_training.py": "train"}
BENCH = Path(__file__).resolve().parent / "bench"
SPEAKING = Lock()
"""Held by whoever shows a line: what several makers say must not meet in pytest's capturing."""
SESSION = pytest.StashKey[BenchSession]()
SELECTION = pytest.StashKey[plan.Selection]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("samestep", "samestep: the same step on every backend (lists are comma-separated)")
    known = ", ".join(backends.names())
    group.addoption("--backends", metavar="LIST", help=f"backends that must run here, of: {known}")
    group.addoption("--workloads", metavar="LIST", help=f"workloads, of: {', '.join(CATALOG)}")
    group.addoption("--phases", metavar="LIST", help=f"phases, of: {', '.join(PHASES)}")
    group.addoption("--batch", metavar="LIST", help="samples per step; several values make several cells")
    group.addoption("--sequence", metavar="LIST", help="tokens per sample, for language models")
    group.addoption("--preset", metavar="NAME", default="quick", help=f"one of: {', '.join(plan.PRESETS)}")
    group.addoption("--threads", metavar="N", help="threads for each backend (default: all physical cores)")
    group.addoption("--weights", metavar="NAME=PATH", help="safetensors files of public models, of the preset's size")
    group.addoption("--results-dir", metavar="DIR", help="where runs are kept (default: results/runs)")
    group.addoption("--baseline", metavar="NAME", help="backend that the table's ratios refer to")
    group.addoption("--stage-deadline", metavar="SECONDS", help="end any stage of a child that takes longer")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None):
        raise pytest.UsageError("-n runs cells beside each other, which disturbs every number: leave it out")
    try:
        config.stash[SELECTION] = plan.select(config.getoption, backends.names(), cores())
        planned = plan.chosen_backends(config.stash[SELECTION], backends.names())
        baseline, deadline = config.getoption("--baseline"), config.getoption("--stage-deadline")
        if baseline is not None and plan.words(baseline, "--baseline", backends.names()) not in [(p,) for p in planned]:
            raise plan.PlanError(
                f"--baseline takes one backend of the run, got {baseline!r}; it has {', '.join(planned)}"
            )
        if deadline is not None and len(plan.numbers(deadline, "--stage-deadline") or ()) != 1:
            raise plan.PlanError(f"--stage-deadline takes one number, got {deadline!r}")
    except plan.PlanError as error:
        raise pytest.UsageError(str(error)) from error


def cores() -> int:
    """Returns how many cores a child may use: physical ones, of those that affinity and quota leave to us."""
    of_quota = describe_machine()["usable_cores"]
    return min(len(usable_cpus()), of_quota) if isinstance(of_quota, int) else len(usable_cpus())


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out the file of a phase that was not asked for."""
    phase = PHASE_OF_FILE.get(collection_path.name) if collection_path.parent == BENCH else None
    wanted = config.stash[SELECTION].phases
    return True if phase and wanted is not None and phase not in wanted else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cell" in metafunc.fixturenames:
        phase = PHASE_OF_FILE[Path(metafunc.module.__file__).name]
        cells = plan.cells(metafunc.config.stash[SELECTION], phase, backends.names())
        metafunc.parametrize("cell", cells, ids=[cell.id for cell in cells])


def cell_of(item: pytest.Item) -> Cell | None:
    callspec = getattr(item, "callspec", None)
    found = None if callspec is None else callspec.params.get("cell")
    return found if isinstance(found, Cell) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives each cell the clock through which its samples reach pytest-benchmark."""
    for item in items:
        if (cell := cell_of(item)) is not None:
            # Nanoseconds beside milliseconds would make pytest-benchmark's table unreadable.
            group = (
                "the harness itself" if not backends.get(cell.backend).verifiable else f"{cell.workload} {cell.phase}"
            )
            item.add_marker(pytest.mark.benchmark(timer=ReplayTimer(), group=group), append=False)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begins the run: from here on every planned cell has a row, whatever happens."""
    cells = [cell for item in session.items if (cell := cell_of(item)) is not None]
    if cells and not session.config.option.collectonly:
        session.config.stash[SESSION] = begin(session.config, cells)


def begin(config: pytest.Config, cells: list[Cell]) -> BenchSession:
    """Returns the session of a new run, whose folder exists and whose plan is written."""
    selection, now, machine = config.stash[SELECTION], datetime.now(UTC), describe_machine()
    given = config.getoption("--results-dir")
    results_dir = Path(given).absolute() if given else config.rootpath / "results" / "runs"
    header = {
        "machine": machine,
        "versions": {"samestep": __version__, "pytest": pytest.__version__},
        "options": {"arguments": list(config.invocation_params.args), "preset": selection.preset},
        "started_utc": now.isoformat(timespec="seconds"),
    }
    try:
        journal = Journal.create(results_dir, new_run_id(str(machine["name"]), now), header)
    except JournalError as error:
        raise pytest.UsageError(str(error)) from error
    common = {
        "run_id": journal.run_id,
        "machine": machine["name"],
        "machine_id": machine["machine_id"],
        "started_utc": header["started_utc"],
        "samestep_version": __version__,
        "preset": selection.preset,
    }
    journal.plan([common | cell.columns() for cell in cells])
    deadline = config.getoption("--stage-deadline")
    suite = Suite(
        cache=Cache(default_root(os.environ), lambda text: say(config, f"    {text}")),
        logs=journal.logs,
        effort=effort(config, selection),
        longest_stage_s=None if deadline is None else float(deadline),
    )
    config.pluginmanager.getplugin("terminalreporter").showfspath = False  # cells have lines of their own
    return BenchSession(journal, suite, len(cells), common, lambda text: say(config, text), in_words)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Makes what the cells need before the first of them is timed, so that nothing is made beside a measurement."""
    if SESSION in session.config.stash:
        cells = [cell for item in session.items if (cell := cell_of(item)) is not None]
        session.config.stash[SESSION].suite.prepare(cells)


def effort(config: pytest.Config, selection: plan.Selection) -> Effort:
    """Returns the preset's effort, with what was given to pytest-benchmark; its own defaults mean the preset's."""
    chosen = plan.PRESETS[selection.preset].effort
    if config.getoption("benchmark_disable"):
        return replace(chosen, warm_up_s=0.0, warm_up_steps=0, budget_s=0.0, min_rounds=1)
    max_time, min_rounds = config.getoption("benchmark_max_time"), config.getoption("benchmark_min_rounds")
    if float(max_time) != PYTEST_BENCHMARK_MAX_TIME:
        chosen = replace(chosen, budget_s=float(max_time))
    if int(min_rounds) != PYTEST_BENCHMARK_MIN_ROUNDS:
        chosen = replace(chosen, min_rounds=int(min_rounds))
    return chosen


def say(config: pytest.Config, text: str) -> None:
    """Shows one line at once, past pytest's capturing."""
    capture = config.pluginmanager.getplugin("capturemanager")
    with SPEAKING, capture.global_and_fixture_disabled():
        reporter = config.pluginmanager.getplugin("terminalreporter")
        reporter.write_line(text)
        reporter.flush()


@pytest.fixture
def run_cell(request: pytest.FixtureRequest, benchmark: Any) -> Callable[[Cell], None]:
    """Runs a cell, hands its samples to pytest-benchmark, and turns its status into a pytest outcome."""
    timer = request.node.get_closest_marker("benchmark").kwargs["timer"]
    asked = request.config.stash[SELECTION].backends or ()

    def run(cell: Cell) -> None:
        result = request.config.stash[SESSION].run(cell)
        benchmark.extra_info.update(result.columns)
        if result.samples_s:
            replay(benchmark, timer, result.samples_s)
        conclude(cell, result.columns, asked)

    return run


def conclude(cell: Cell, row: Mapping[str, Any], asked: Collection[str]) -> None:
    """Raises pytest's outcome for a cell's status; a backend asked for by name must not be absent."""
    status, reason = row["status"], row.get("reason", "")
    declared = [f for f in backends.get(cell.backend).known_failures if f.covers(cell.workload, cell.phase)]
    if status == "ok" and declared:
        pytest.fail(f"passes, but is declared to fail: {declared[0].reason}; remove the declaration", pytrace=False)
    if status == "known_failure":
        pytest.xfail(reason)
    if status in SKIPPED and not (status == "unavailable" and cell.backend in asked):
        pytest.skip(f"{status}: {reason}")
    if status != "ok":
        pytest.fail(f"{cell.title}: {status} in stage {row['stage']}: {reason}", pytrace=False)


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Cells have lines of their own: no dot beside them."""
    if report.when == "call" and report.passed and "bench/test_" in report.nodeid:
        return "passed", "", "PASSED"
    return None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_benchmark_generate_json(benchmarks: list[Any]) -> Iterator[None]:
    """Leaves out what has no samples: pytest-benchmark would lose the whole session's file over it (5.3.1)."""
    for benchmark in benchmarks:
        if not benchmark:
            benchmark.fixture.has_error = True
    return (yield)


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["samestep"] = describe_machine()


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    if SESSION in config.stash:
        output_json["samestep"] = config.stash[SESSION].summary()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Ends the journal and writes `results.csv` from it."""
    if SESSION not in session.config.stash:
        return
    journal = session.config.stash[SESSION].journal
    if exitstatus == pytest.ExitCode.INTERRUPTED:
        journal.end("interrupted before the plan was done", "interrupted")
    elif session.shouldfail or session.shouldstop:
        journal.end(f"ended early: {session.shouldfail or session.shouldstop}", "first_failure")
    else:
        journal.end("the plan is done")
    journal.close()
    write_csv(read_run(journal.folder).rows, journal.folder / "results.csv")


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if SESSION not in config.stash:
        return
    from results.render import render
    from results.table import load

    folder = config.stash[SESSION].journal.folder
    terminalreporter.section("samestep")
    with warnings.catch_warnings(record=True) as problems:
        warnings.simplefilter("always")
        frame = load(folder)
    for problem in problems:
        terminalreporter.write_line(str(problem.message))
    width = max(get_terminal_size((120, 24)).columns, 100)
    terminalreporter.write_line(render(frame, config.getoption("--baseline"), width=width))
    terminalreporter.write_line(f"\nrows: {folder / 'results.csv'}")
