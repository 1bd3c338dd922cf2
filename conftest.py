"""The wiring: pytest's hooks onto `bench.run`, and a cell's status as a test's outcome."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shutil import get_terminal_size
from threading import Lock
from typing import Any

import pytest

import backends
from bench import front
from bench.front import RUN, cell_of, service_of
from bench.parent.lock import BUSY_EXIT, Busy
from bench.parent.plans import options, plan
from bench.parent.plans.parse import PlanError
from bench.parent.run import OpenRun, in_order
from results.record.files import ResultsError
from results.record.text import printable

STEPS = Path(__file__).resolve().parent / "bench" / "test_steps.py"
SERVICES = STEPS.with_name("test_services.py")
SPEAKING = Lock()
"""Held by whoever shows a line: what several makers say must not meet in pytest's capturing."""
CHOSEN = pytest.StashKey[tuple[plan.Selection, options.Settings]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("samestep", "samestep: the same step on every backend (lists are comma-separated)")
    for name, keywords in options.options().items():
        group.addoption(name, **keywords)


def pytest_configure(config: pytest.Config) -> None:
    """Refuses what cannot be run before anything is, where `bench/` is collected or one of its options is given."""
    config.pluginmanager.register(front, "samestep")
    paths = [(config.invocation_params.dir / arg.partition("::")[0]).resolve() for arg in config.args]
    is_collected = any(path in (STEPS, SERVICES, *STEPS.parents) or STEPS.parent in path.parents for path in paths)
    if is_collected or any(config.getoption(name) is not None for name in options.options()):
        chosen(config)
    if is_collected:
        try:
            front.write_json_whole(config)
        except ResultsError as error:
            raise pytest.UsageError(str(error)) from error


def chosen(config: pytest.Config) -> tuple[plan.Selection, options.Settings]:
    """Returns what to run and how. Raises UsageError, in one line, where that cannot be."""
    if CHOSEN in config.stash:
        return config.stash[CHOSEN]
    if not front.is_loaded(config):
        raise pytest.UsageError("cells need pytest-benchmark, which is not loaded: add -p pytest_benchmark.plugin")
    if config.getoption("dist", "no") != "no" or any(config.getoption(name, None) for name in ("numprocesses", "tx")):
        raise pytest.UsageError("-n runs cells beside each other, as -d and --tx do, which disturbs every number")
    try:
        selection, settings = options.choose(config.getoption, config.invocation_params.args)
    except (ValueError, ResultsError) as error:
        raise pytest.UsageError(str(error)) from error
    settings = replace(settings, stops_at_failure=config.getoption("maxfail") == 1)
    if settings.past is None:
        settings = replace(settings, effort=front.timed_as_asked(config, settings.effort))
    config.stash[CHOSEN] = selection, settings
    return selection, settings


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out the file of the cells where the options plan none, and that of services."""
    is_empty = collection_path == STEPS and not plan.planned(chosen(config)[0], backends.names())
    has_none = collection_path == SERVICES and not chosen(config)[0].services
    return True if is_empty or has_none else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.path == STEPS:
        cells = plan.planned(chosen(metafunc.config)[0], backends.names())
        metafunc.parametrize("cell", cells, ids=[f"{cell.phase}-{cell.id}" for cell in cells])
    if metafunc.definition.path == SERVICES:
        services = chosen(metafunc.config)[0].services
        metafunc.parametrize("service", services, ids=[service.id for service in services])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives each cell the clock through which its samples reach pytest-benchmark."""
    for item in items:
        if (cell := cell_of(item)) is not None:
            # Nanoseconds beside milliseconds would make pytest-benchmark's table unreadable.
            is_work = backends.get(cell.backend).verifiable
            group = f"{cell.workload} {cell.phase}" if is_work else "the harness itself"
            item.add_marker(pytest.mark.benchmark(timer=front.ReplayTimer(), group=group), append=False)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begins the run: from here on every planned cell has a row, whatever happens."""
    config = session.config
    cells = [cell for item in session.items if (cell := cell_of(item)) is not None]
    services = [service for item in session.items if (service := service_of(item)) is not None]
    if not (cells or services) or config.option.collectonly:
        return
    try:
        config.stash[RUN] = run = OpenRun(*chosen(config), cells, lambda text: say(config, text), services)
    except Busy as error:
        pytest.exit(str(error), returncode=BUSY_EXIT)
    except (PlanError, ResultsError) as error:
        raise pytest.UsageError(str(error)) from error
    places = {cell: place for place, cell in enumerate(in_order(cells, run.order))}
    last = len(places)  # services come last: nothing of the run is under way then
    session.items.sort(
        key=lambda item: last if service_of(item) else -1 if (cell := cell_of(item)) is None else places[cell]
    )
    if (reporter := config.pluginmanager.getplugin("terminalreporter")) is not None:
        reporter.showfspath = False  # cells have lines of their own


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Launches the cells for all generations but the last one, which is that of the tests."""
    if (run := session.config.stash.get(RUN, None)) is None:
        return
    most_failures = session.config.getoption("maxfail") or 0  # what -x and --maxfail say
    failed = run.early_rounds(most_failures)
    if most_failures and len(failed) >= most_failures:  # they come first, and end the run: nothing more is launched
        session.items.sort(key=lambda item: front.place_of(cell_of(item), failed))


def terminal_encoding() -> str | None:
    """Returns what the terminal can show: pytest would write the rest, and each line's end, as escapes."""
    return getattr(sys.__stdout__, "encoding", None)


def say(config: pytest.Config, text: str) -> None:
    """Shows one line at once, past pytest's capturing; nothing without a terminal's reporter."""
    capture, reporter = map(config.pluginmanager.getplugin, ("capturemanager", "terminalreporter"))
    if reporter is not None:
        with SPEAKING, capture.global_and_fixture_disabled():
            reporter.write_line(printable(text, terminal_encoding()))
            reporter.flush()


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Iterator[None]:
    """Ends the run; then puts pytest-benchmark's JSON in its place, whatever it makes of its numbers."""
    if RUN in session.config.stash:
        session.config.stash[RUN].end(*front.why_it_ended(session, exitstatus))
    try:
        return (yield)
    finally:
        front.put_json_in_place(session.config)


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> Iterator[None]:
    """Shows the table last of all, also where pytest-benchmark ends the session for a regression."""
    try:
        return (yield)
    finally:
        if RUN in config.stash:
            from results.show.end import shown_at_the_end

            width = max(get_terminal_size((120, 24)).columns, 100)
            terminalreporter.section("samestep")
            table = shown_at_the_end(config.stash[RUN].result, config.getoption("--baseline"), width)
            terminalreporter.write_line(printable(table, terminal_encoding()))
