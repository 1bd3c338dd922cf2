"""Whatever a child suffers, at whatever stage: its launch says what happened, and leaves no process."""

import os
import signal
import subprocess
from dataclasses import asdict
from random import Random

import pytest

from bench.parent.children import child as children
from bench.parent.children.child import Outcome
from bench.parent.children.group import Group
from bench.parent.children.launch import launch
from bench.parent.record import to_launch, to_row
from results.record.row import make_row
from tests.fakes.bench import CELL, faulty_suite, filled_cache
from tests.fakes.door import group_members, wait_for, workers_of

STAGES = ("import", "build", "compile", "verify", "warm_up", "measure", "after", "close")
LONGEST_STAGE_S = 120.0
"""Only ever reached by a test that fails."""
SHORT_S = 0.3


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return filled_cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def suite(cache, tmp_path):
    return faulty_suite(cache, tmp_path, longest_stage_s=LONGEST_STAGE_S)


@pytest.fixture(autouse=True)
def _no_child_is_left():
    yield
    assert workers_of(os.getpid()) == []


def struck(signum):
    return lambda pid: os.kill(pid, signum)


def summary(outcome):
    return outcome.status, outcome.stage, outcome.reason_code


def outcome_of(suite):
    """Returns how the child of the suite's cell ends, alone in its group."""
    return Group(suite.effort, Random(0), suite.longest_stage_s).run([suite.ready(CELL)])[CELL].outcome


every_signal = pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP], ids=lambda s: s.name)


def fate(signum, stage):
    return ("timeout", stage, "deadline") if signum == signal.SIGSTOP else ("crashed", stage, "signal")


def short_for(signum, stage, monkeypatch):
    """Shortens the deadline of the stage where only a deadline ends the child."""
    if signum == signal.SIGSTOP:
        monkeypatch.setitem(children.DEADLINES_S, stage, SHORT_S)


@pytest.mark.parametrize("stage", STAGES)
@every_signal
def test_a_signal_to_the_child(suite, tmp_path, monkeypatch, when, signum, stage):
    monkeypatch.setenv("SAMESTEP_FAKE", f"sleep@{stage}")
    short_for(signum, stage, monkeypatch)
    when(stage, struck(signum))
    outcome = outcome_of(suite)
    assert summary(outcome) == fate(signum, stage)
    is_stopped = signum == signal.SIGSTOP
    reason = f"{stage} took longer than {SHORT_S:g} s" if is_stopped else f"{signum.name} in stage {stage}"
    assert reason in outcome.reason
    assert outcome.result == {}


@every_signal
def test_a_signal_before_the_child_says_anything(suite, tmp_path, monkeypatch, signum):
    class Struck(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.send_signal(signum)

    short_for(signum, "start", monkeypatch)
    monkeypatch.setattr(subprocess, "Popen", Struck)
    assert summary(outcome_of(suite)) == fate(signum, "start")


@every_signal
def test_a_signal_to_a_child_that_makes_an_artifact(tmp_path, monkeypatch, when, signum):
    os.mkfifo(tmp_path / "parameters.safetensors")  # nobody writes into it, so that whoever opens it waits
    job = {
        "job": "artifact",
        "kind": "batches",
        "cell": asdict(CELL),
        "folder": str(tmp_path),
        "inputs": {"parameters": str(tmp_path)},
        "cpus": None,
    }
    short_for(signum, "artifacts", monkeypatch)
    when("artifacts", struck(signum))
    assert summary(launch(job, tmp_path / "log", 1)) == fate(signum, "artifacts")


def test_a_child_that_hangs_leaves_its_stack_in_the_log(suite, tmp_path, monkeypatch):
    monkeypatch.setenv("SAMESTEP_FAKE", "sleep@compile")
    monkeypatch.setitem(children.DEADLINES_S, "compile", SHORT_S)
    row = make_row(**suite.run(CELL).columns)
    assert (row["status"], row["stage"], row["reason_code"]) == ("timeout", "compile", "deadline")
    (log,) = tmp_path.glob("*.log")
    assert "faulty.py" in log.read_text()


def test_what_a_child_started_ends_with_it(suite, tmp_path, monkeypatch, when):
    monkeypatch.setenv("SAMESTEP_FAKE", "fork@measure")
    pids = []
    when("measure", pids.append)
    assert summary(outcome_of(suite)) == ("crashed", "measure", "exit_code")
    assert wait_for(lambda: group_members(pids[0]) == [])


def test_ctrl_c_ends_the_child(suite, tmp_path, monkeypatch, when):
    def interrupt(pid):
        raise KeyboardInterrupt

    monkeypatch.setenv("SAMESTEP_FAKE", "sleep@measure")
    when("measure", interrupt)
    with pytest.raises(KeyboardInterrupt):
        outcome_of(suite)


def test_a_stage_that_only_the_child_knows_has_a_deadline_of_its_own(suite, tmp_path, monkeypatch):
    """Another checkout of an A/B may report one."""
    monkeypatch.setenv("SAMESTEP_FAKE", "sleep@compile")
    monkeypatch.setattr(children, "OTHER_DEADLINE_S", SHORT_S)
    enter = children.Child._enter
    renamed = lambda child, stage: enter(child, "link" if stage == "compile" else stage)  # noqa: E731
    monkeypatch.setattr(children.Child, "_enter", renamed)
    outcome = outcome_of(suite)
    assert summary(outcome) == ("timeout", "build", "deadline")
    assert outcome.reason == f"link took longer than {SHORT_S:g} s"


def test_what_only_the_child_knows_costs_no_row():
    result = {"verification": "passed", "invented_s": 1.0}
    outcome = Outcome("wrong", "verify", "invented_code", "planted", result)
    row = make_row(**to_row([to_launch(CELL, CELL.columns(), outcome)]))
    assert (row["status"], row["reason_code"], row["reason"]) == ("wrong", None, "planted")
    assert make_row(**to_row([to_launch(CELL, CELL.columns(), Outcome("lost", "verify", None, "planted"))]))
