"""The wiring: the only place that knows all four rooms. Options, cells, the run's journal, the table at the end."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from shutil import get_terminal_size
from threading import Lock
from typing import Any

import pytest

import backends
from backends.base import PHASES
from bench.cell import Cell
from bench.effort import METHOD_VERSION, Effort
from bench.parent import plan
from bench.parent.cache import Cache, UnsafeCache, default_root
from bench.parent.control import Control
from bench.parent.lock import BUSY_EXIT, Busy, MachineLock, NoLockError
from bench.parent.record import Launch
from bench.parent.replay import ReplayTimer, replay
from bench.parent.session import SKIPPED, BenchSession, Order, whole_pairs
from bench.parent.suite import Suite, probed
from host.home import NoHomeError
from host.installation import installation_id
from host.machine import MachineNameError, describe_machine, describe_software
from host.topology import usable_cpus
from results.record.csvfile import write_csv
from results.record.files import AtomicPath, ResultsError
from results.record.human import in_words
from results.record.journal import Journal, JournalError, new_run_id
from results.record.peaks import published
from results.record.row import cell_of as key_of
from results.record.row import make_row
from results.record.run import Run, read_run
from results.record.text import slug
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
SEED = pytest.StashKey[str]()
PAST = pytest.StashKey[Run | None]()
LOCK = pytest.StashKey[MachineLock]()
JSON = pytest.StashKey[AtomicPath]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("samestep", "samestep: the same step on every backend (lists are comma-separated)")
    known = ", ".join(backends.names())
    group.addoption("--backends", metavar="LIST", help=f"backends that must run here, of: {known}")
    group.addoption("--workloads", metavar="LIST", help=f"workloads, of: {', '.join(CATALOG)}")
    group.addoption("--phases", metavar="LIST", help=f"phases, of: {', '.join(PHASES)}")
    group.addoption("--batch", metavar="LIST", help="samples per step; several values make several cells")
    group.addoption("--sequence", metavar="LIST", help="tokens per sample, for language models")
    group.addoption("--preset", metavar="NAME", help=f"one of: {', '.join(plan.PRESETS)} (default: quick)")
    group.addoption("--threads", metavar="N", help="threads for each backend (default: all physical cores)")
    group.addoption("--launches", metavar="N", help="fresh processes per cell (default: the preset's)")
    group.addoption("--ab", metavar="SIDE", nargs=2, help="two settings in pairs: `base`, or KEY=VALUE,… (README)")
    group.addoption("--pairs", metavar="N", help=f"pairs of launches of --ab (default: {plan.PAIRS})")
    group.addoption("--order-seed", metavar="SEED", help="launch in the order of another run, whose seed this is")
    group.addoption("--weights", metavar="NAME=PATH", help="safetensors files of public models, of the preset's size")
    group.addoption("--results-dir", metavar="DIR", help="where runs are kept (default: results/runs)")
    group.addoption("--baseline", metavar="NAME", help="backend that the table's ratios refer to")
    group.addoption("--stage-deadline", metavar="SECONDS", help="end any stage of a child that takes longer")
    group.addoption("--time-budget", metavar="MINUTES", help="begin no cell once the run has taken so long")
    group.addoption("--operators", action="store_true", default=None, help="last of all, time by kind of operator")
    group.addoption(
        "--parts", action="store_true", default=None, help="take apart also steps whose parts are compiled for it"
    )
    group.addoption("--resume", metavar="RUN", help="go on with an interrupted run: its folder, and no other choice")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None):
        raise pytest.UsageError("-n runs cells beside each other, which disturbs every number: leave it out")
    try:
        config.stash[PAST] = past = interrupted_run(config)
        option = config.getoption if past is None else past.header["options"]["selection"].get
        config.stash[SELECTION] = plan.select(option, backends.names(), cores())
        seed = config.getoption("--order-seed") or os.urandom(4).hex()
        config.stash[SEED] = seed if past is None else past.header["options"]["order_seed"]
        planned = plan.chosen_backends(config.stash[SELECTION], backends.names())
        baseline = config.getoption("--baseline")
        if baseline is not None and plan.words(baseline, "--baseline", backends.names()) not in [(p,) for p in planned]:
            raise plan.PlanError(
                f"--baseline takes one backend of the run, got {baseline!r}; it has {', '.join(planned)}"
            )
        published("", "")  # a table of peaks that cannot be used is said now
        for name in ("--stage-deadline", "--time-budget"):
            plan.number(config.getoption(name), name)
        if config.getoption("benchmark_json"):
            config.option.benchmark_json = config.stash[JSON] = AtomicPath(config.getoption("benchmark_json"))
    except (plan.PlanError, ResultsError, MachineNameError) as error:
        raise pytest.UsageError(str(error)) from error


CHOICES = (
    "backends",
    "workloads",
    "phases",
    "batch",
    "sequence",
    "preset",
    "threads",
    "launches",
    "weights",
    "ab",
    "pairs",
)
"""Options that decide which cells there are; a run that goes on has its own."""


def interrupted_run(config: pytest.Config) -> Run | None:
    """Returns the run that `--resume` names. Raises PlanError or ResultsError where it cannot go on here."""
    given = config.getoption("--resume")
    if given is None:
        return None
    others = [
        f"--{name}"
        for name in (*CHOICES, "results-dir", "order-seed", "operators", "parts")
        if config.getoption(f"--{name}") is not None
    ]
    if others:
        raise plan.PlanError(f"--resume takes what to run from the run itself; leave out {', '.join(others)}")
    run = read_run(Path(given).absolute())
    if run.header["journal_format"] < 2:
        raise plan.PlanError(f"{given} was written by a samestep whose runs cannot go on; start a new one")
    here, there = new_header(), run.header
    differ = {
        name: (there[part].get(name), here[part][name])
        for part, names in (("machine", ("machine_id", "software_id")), ("versions", ("samestep", "method")))
        for name in names
        if there[part].get(name) != here[part][name]
    }
    if differ:
        said = "; ".join(f"{name} was {a} and is {b}" for name, (a, b) in differ.items())
        raise plan.PlanError(f"--resume {given}: not the same machine and software any more ({said}); start a new run")
    return run


def new_header() -> dict[str, Any]:
    """Returns what every run says of itself before it begins."""
    machine = describe_machine()
    return {
        "machine": machine
        | {"name": slug(str(machine["name"])), "installation_id": installation_id()}
        | describe_software(),
        "versions": {"samestep": __version__, "pytest": pytest.__version__, "method": METHOD_VERSION},
        "started_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def cores() -> int:
    """Returns how many cores a child may use: physical ones, of those that affinity and quota leave to us."""
    of_quota = describe_machine()["usable_cores"]
    return min(len(usable_cpus()), of_quota) if isinstance(of_quota, int) else len(usable_cpus())


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out the file of a phase that has no cells."""
    phase = PHASE_OF_FILE.get(collection_path.name) if collection_path.parent == BENCH else None
    return True if phase and not plan.cells(config.stash[SELECTION], phase, backends.names()) else None


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


def order_of(config: pytest.Config) -> Order:
    return Order(config.stash[SELECTION].launches, config.stash[SEED])


def in_order(items: list[pytest.Item], order: Order) -> list[pytest.Item]:
    """Returns the items: those that are no cells, cells that cannot start, then the others as in the last round."""
    found = {cell: item for item in items if (cell := cell_of(item)) is not None}
    others = [item for item in items if cell_of(item) is None]
    idle = [cell for cell in found if probed(backends.get(cell.backend)).status != "usable"]
    shuffled = order.shuffled((cell for cell in found if cell not in idle), order.launches - 1)
    return others + [found[cell] for cell in (*idle, *shuffled)]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begins the run: from here on every planned cell has a row, whatever happens."""
    cells = [cell for item in session.items if (cell := cell_of(item)) is not None]
    if cells and not session.config.option.collectonly:
        session.items[:] = in_order(session.items, order_of(session.config))
        session.config.stash[SESSION] = begin(session.config, cells)
        if alone := plan.left_out(session.config.stash[SELECTION], backends.names()):
            say(session.config, alone)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Makes what the cells need, then launches them for all rounds but the last one, which is that of the tests."""
    if SESSION not in session.config.stash:
        return
    run, cells = session.config.stash[SESSION], [cell for item in session.items if (cell := cell_of(item)) is not None]
    run.suite.prepare(cell for cell in cells if not run.is_done(cell))
    failed = set()
    for cell, has_failed in run.early_rounds(cells):
        if has_failed:
            failed.add(cell)
        if failed and len(failed) == session.config.getoption("maxfail"):  # None, or what -x and --maxfail say
            return


def begin(config: pytest.Config, cells: list[Cell]) -> BenchSession:
    """Returns the session of a run, new or going on: its folder exists and its plan is written."""
    selection, past = config.stash[SELECTION], config.stash[PAST]
    try:
        config.stash[LOCK] = MachineLock()
    except Busy as error:
        pytest.exit(str(error), returncode=BUSY_EXIT)
    except NoLockError as error:
        raise pytest.UsageError(f"cannot lock this machine for the run: {error}") from error
    try:
        cache = Cache(default_root(os.environ), lambda text: say(config, f"    {text}"))
    except (UnsafeCache, NoHomeError) as error:
        raise pytest.UsageError(str(error)) from error
    header = new_header() if past is None else past.header
    machine = header["machine"]
    try:
        journal = new_journal(config, header) if past is None else past.go_on()
        common = {
            "run_id": journal.run_id,
            "machine": machine["name"],
            "machine_id": machine["machine_id"],
            "installation_id": machine.get("installation_id"),
            "software_id": machine["software_id"],
            "started_utc": header["started_utc"],
            "samestep_version": __version__,
            "preset": selection.preset,
        }
        if past is None:
            journal.plan([common | cell.columns() for cell in cells])
    except JournalError as error:
        raise pytest.UsageError(str(error)) from error
    deadline, minutes = config.getoption("--stage-deadline"), config.getoption("--time-budget")
    suite = Suite(
        cache=cache,
        logs=journal.logs,
        effort=effort(config),
        longest_stage_s=None if deadline is None else float(deadline),
    )
    config.pluginmanager.getplugin("terminalreporter").showfspath = False  # cells have lines of their own
    session = BenchSession(
        journal,
        suite,
        len(cells),
        common,
        order_of(config),
        lambda text: say(config, text),
        in_words,
        float("inf") if minutes is None else 60 * float(minutes),
        Control() if effort(config).warm_up_s > 0 else None,
    )
    if past is not None:
        recall(session, past, cells)
    return session


def new_journal(config: pytest.Config, header: Mapping[str, Any]) -> Journal:
    """Returns the journal of a new run, which holds all that it takes to go on with it."""
    given = config.getoption("--results-dir")
    results_dir = Path(given).absolute() if given else config.rootpath / "results" / "runs"
    options = {
        "arguments": list(config.invocation_params.args),
        "preset": config.stash[SELECTION].preset,
        "selection": {f"--{name}": config.getoption(f"--{name}") for name in CHOICES},
        "order_seed": config.stash[SEED],
        "effort": asdict(effort(config)),
    }
    now = datetime.fromisoformat(header["started_utc"])
    return Journal.create(results_dir, new_run_id(str(header["machine"]["name"]), now), {**header, "options": options})


def recall(session: BenchSession, past: Run, cells: list[Cell]) -> None:
    """Tells the session what the run knows of its cells. Raises UsageError where their plan is another one."""
    planned = {key_of(row): row for row in past.rows}
    mine = {key_of(make_row(**cell.columns(), status="not_run", reason="planned")): cell for cell in cells}
    if unknown := [cell.title for key, cell in mine.items() if key not in planned]:
        raise pytest.UsageError(f"--resume {past.path}: the run did not plan {', '.join(unknown)}; start a new one")
    launches = whole_pairs(past.launches)
    for key, cell in mine.items():
        records = [record for record in launches if key_of(record) == key]
        row = planned[key]
        session.remember(cell, map(Launch.from_record, records), None if row["status"] == "not_run" else row)


def effort(config: pytest.Config) -> Effort:
    """Returns the preset's effort, with what was given to pytest-benchmark; its own defaults mean the preset's."""
    if (past := config.stash[PAST]) is not None:
        return Effort(**past.header["options"]["effort"])
    preset = plan.PRESETS[config.stash[SELECTION].preset]
    chosen = replace(preset.effort, operators=bool(config.getoption("--operators")))
    if config.getoption("--parts"):
        chosen = replace(chosen, parts="all")
    elif config.getoption("--ab"):
        chosen = replace(chosen, parts="none")
    if config.getoption("benchmark_disable"):
        return replace(chosen, warm_up_s=0.0, warm_up_steps=0, budget_s=0.0, min_rounds=1, least_s=0.0, energy_s=0.0)
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


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Iterator[None]:
    """Ends the journal and writes `results.csv` from it; then puts pytest-benchmark's JSON in its place."""
    if SESSION in session.config.stash:
        finish(session, exitstatus)
    yield
    if SESSION in session.config.stash and JSON in session.config.stash:
        nothing = {"benchmarks": [], "samestep": session.config.stash[SESSION].summary()}
        session.config.stash[JSON].commit(json.dumps(nothing))


def finish(session: pytest.Session, exitstatus: int) -> None:
    journal = session.config.stash[SESSION].journal
    if exitstatus == pytest.ExitCode.INTERRUPTED:
        journal.end("interrupted before the plan was done", "interrupted")
    elif session.config.stash[SESSION].ran_out_of_time:
        journal.end("its time was spent before the plan was done", "budget")
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
    from results.show.pairs import render_pairs
    from results.show.render import render
    from results.tables.pairs import pairs_of
    from results.tables.table import load

    folder = config.stash[SESSION].journal.folder
    terminalreporter.section("samestep")
    with warnings.catch_warnings(record=True) as problems:
        warnings.simplefilter("always")
        frame = load(folder)
    for problem in problems:
        terminalreporter.write_line(str(problem.message))
    width = max(get_terminal_size((120, 24)).columns, 100)
    if config.stash[SELECTION].sides:
        terminalreporter.write_line(render_pairs(pairs_of(read_run(folder)), width))
    else:
        terminalreporter.write_line(render(frame, config.getoption("--baseline"), width=width))
    terminalreporter.write_line(f"\nrows: {folder / 'results.csv'}")
