"""The strictness of our own tests: here a warning is an error. A user's run of `bench/` warns and goes on."""

import warnings
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
TIMED = ("tests.fakes.hardware", "verify_step", "flow_throughput", '"pytest", "bench')
"""What a file of tests names that checks whether steps wait, or counts on the numbers of a run: another test beside it
would disturb them, and what is disturbed is refused. Such tests are marked `alone`."""


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    with warnings.catch_warnings():
        if collector.path.is_relative_to(TESTS):
            warnings.simplefilter("error")
        return (yield)


@cache
def takes_time(path):
    """Returns whether the tests of a file look at times, as what they import says."""
    text = path.read_text()
    return any(name in text for name in TIMED)


@pytest.fixture(autouse=True)
def a_terminal_of_no_known_width(monkeypatch):
    """What is printed has the width that it has without a terminal: tox names that of its own."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("LINES", raising=False)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(TESTS) and takes_time(item.path):
            item.add_marker(pytest.mark.alone)
        if item.path.is_relative_to(TESTS):
            # First, so that a test's own marks, and what pyproject.toml ignores, come after it and win.
            item.add_marker(pytest.mark.filterwarnings("error"), append=False)


@pytest.fixture
def when(monkeypatch):
    """Returns what has `do(pid)` done as a child begins the stage: as it says so, or as its parent has it measure."""

    from bench.parent.children.child import Child

    enter = Child._enter

    def arranged(stage, do):
        def entering(child, entered):
            enter(child, entered)
            if entered == stage:
                do(child.pid)

        monkeypatch.setattr(Child, "_enter", entering)

    return arranged
