"""pytest as the front end: a cell as a test, its status as an outcome; pytest-benchmark's clock, options and JSON.

A plugin of pytest; `conftest.py` registers it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

import backends
from bench.cell import Cell
from bench.effort import Effort
from bench.parent.groups import is_idle
from bench.parent.plans.options import verified_only
from bench.parent.run import INTERRUPTED, OpenRun
from bench.scenario_cell import Loaded
from host.machine import describe_machine
from results.record.files import AtomicPath

MAX_TIME_S, MIN_ROUNDS = 1.0, 5
"""pytest-benchmark's own defaults: they stand for the preset's."""
RUN = pytest.StashKey[OpenRun]()
"""The run of this session, from the end of its collection on."""
JSON = pytest.StashKey[AtomicPath]()


class ReplayTimer:
    """A clock that reads 0, s1, 0, s2 …, so that the rounds between its readings last exactly s1, s2 …"""

    def __init__(self) -> None:
        self.__name__ = "samestep_child"
        self.__module__ = "bench"
        self._readings: list[float] = []

    def load(self, samples_s: Sequence[float]) -> None:
        """Sets what the coming readings say."""
        self._readings = [reading for sample in reversed(samples_s) for reading in (sample, 0.0)]

    def __call__(self) -> float:
        return self._readings.pop()


def replay(benchmark: Any, timer: ReplayTimer, samples_s: Sequence[float]) -> None:
    """Feeds `samples_s` into the `benchmark` fixture as its rounds."""
    timer.load(samples_s)
    benchmark.pedantic(lambda: None, rounds=len(samples_s), iterations=1)


def is_loaded(config: pytest.Config) -> bool:
    """Returns whether pytest-benchmark is here: `PYTEST_DISABLE_PLUGIN_AUTOLOAD` and `-p no:benchmark` keep it out."""
    return config.getoption("benchmark_max_time", None) is not None


def timed_as_asked(config: pytest.Config, effort: Effort) -> Effort:
    """Returns the effort with what was given to pytest-benchmark."""
    if config.getoption("benchmark_disable"):
        return verified_only(effort)
    max_time_s, min_rounds = (
        float(config.getoption("benchmark_max_time")),
        int(config.getoption("benchmark_min_rounds")),
    )
    if max_time_s != MAX_TIME_S:
        effort = replace(effort, budget_s=max_time_s)
    return effort if min_rounds == MIN_ROUNDS else replace(effort, min_rounds=min_rounds)


def write_json_whole(config: pytest.Config) -> None:
    """Has pytest-benchmark write its JSON beside the place that was asked for. Raises ResultsError."""
    if config.getoption("benchmark_json"):
        config.option.benchmark_json = config.stash[JSON] = AtomicPath(config.getoption("benchmark_json"))


def put_json_in_place(config: pytest.Config) -> None:
    """Puts the JSON where it was asked for; a run without a number has one as well, without benchmarks."""
    written, run = config.stash.get(JSON, None), config.stash.get(RUN, None)
    if written is not None and (run is not None or written.temporary.exists()):
        summary: Mapping[str, Any] = {} if run is None else {"samestep": run.session.summary()}
        written.commit(json.dumps({"benchmarks": [], **summary}))


@pytest.hookimpl(wrapper=True, tryfirst=True, optionalhook=True)
def pytest_benchmark_generate_json(benchmarks: list[Any]) -> Iterator[None]:
    """Leaves out what has no samples: pytest-benchmark would lose the whole session's file over it (5.3.1)."""
    for benchmark in benchmarks:
        if not benchmark:
            benchmark.fixture.has_error = True
    return (yield)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Says which machine this is, as a run's header does."""
    machine_info["samestep"] = describe_machine()


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Adds what failed, and which run it is."""
    if RUN in config.stash:
        output_json["samestep"] = config.stash[RUN].session.summary()


def cell_of(item: pytest.Item) -> Cell | None:
    """Returns the cell of a test, None where the test is none of ours."""
    callspec = getattr(item, "callspec", None)
    cell = None if callspec is None else callspec.params.get("cell")
    return cell if isinstance(cell, Cell) else None


def place_of(cell: Cell | None, failed: set[Cell]) -> int:
    """Returns where a test comes once enough have failed: after those that cost no time, before all others."""
    return 0 if cell is None or is_idle(cell) else 1 if cell in failed else 2


@pytest.fixture
def run_cell(request: pytest.FixtureRequest, benchmark: Any) -> Callable[[Cell], None]:
    """Runs a cell, hands its samples to pytest-benchmark, and turns its status into a pytest outcome."""
    timer = request.node.get_closest_marker("benchmark").kwargs["timer"]

    def run(cell: Cell) -> None:
        opened = request.config.stash[RUN]
        result = opened.run(cell)
        benchmark.extra_info.update(result.columns)
        if result.samples_s:
            replay(benchmark, timer, result.samples_s)
        conclude(cell, result.columns, opened.session.fails(cell, result.columns["status"]))

    return run


@pytest.fixture
def run_service(request: pytest.FixtureRequest) -> Callable[[Loaded], None]:
    """Measures a service, or a step under a load, and turns its status into a pytest outcome."""

    def run(service: Loaded) -> None:
        opened = request.config.stash[RUN]
        row = opened.run_service(service)
        if opened.services.fails(service, row):
            pytest.fail(f"{service.title}: {row['status']}: {row['reason']}", False)
        if row["status"] != "ok":
            pytest.skip(f"{row['status']}: {row['reason']}")

    return run


def service_of(item: pytest.Item) -> Loaded | None:
    """Returns the service of a test, or the step under a load; None where the test is none of them."""
    callspec = getattr(item, "callspec", None)
    service = None if callspec is None else callspec.params.get("service")
    return service if isinstance(service, Loaded) else None


def conclude(cell: Cell, row: Mapping[str, Any], has_failed: bool) -> None:
    """Raises pytest's outcome for a cell's status."""
    status, reason = row["status"], row.get("reason", "")
    declared = [f for f in backends.get(cell.backend).known_failures if f.covers(cell.workload, cell.phase)]
    if status == "ok" and declared:
        pytest.fail(f"passes, but is declared to fail: {declared[0].reason}; remove the declaration", pytrace=False)
    if has_failed:
        pytest.fail(f"{cell.title}: {status} in stage {row['stage']}: {reason}", pytrace=False)
    if status == "known_failure":
        pytest.xfail(reason)
    if status != "ok":
        pytest.skip(f"{status}: {reason}")


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Cells have lines of their own: no dot beside them."""
    is_shown = report.when == "call" and report.passed and "bench/test_" in report.nodeid
    return ("passed", "", "PASSED") if is_shown else None


def why_it_ended(session: pytest.Session, exitstatus: int) -> tuple[str, str | None]:
    """Returns why the run ended before its plan was done and the code for it; nothing where it did not."""
    if exitstatus == pytest.ExitCode.INTERRUPTED:
        return INTERRUPTED
    if exitstatus == pytest.ExitCode.INTERNAL_ERROR:
        return "pytest or a plugin of it failed; its output says how", "interrupted"
    stopped = session.shouldfail or session.shouldstop
    return (f"ended early: {stopped}", "first_failure") if stopped else ("", None)
