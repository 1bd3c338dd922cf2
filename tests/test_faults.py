"""Whatever a child does or suffers costs its own cell its number, says what happened, and leaves no process."""

import os
import signal
import subprocess
from dataclasses import asdict, replace

import pytest

from bench import launch as launching
from bench import suite as suites
from bench.cache import Cache
from bench.launch import launch
from results.row import make_row
from tests.fakes.bench import CELL, EFFORT, faulty_suite, filled_cache
from tests.fakes.door import group_members, wait_for, workers_of

STAGES = ("import", "build", "compile", "verify", "warm_up", "measure", "close")
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


def job_of(suite):
    adapter = suite.find_adapter("faulty")
    kinds = {kind: entry.path for kind, entry in suite.entries(CELL, CELL.load_workload(), adapter).items()}
    return {
        "job": "cell",
        "cell": asdict(CELL),
        "adapter": type(adapter).__module__,
        "paths": [],
        "entries": {kind: str(path) for kind, path in kinds.items()},
        "effort": asdict(EFFORT),
        "cpus": None,
    }


def when(stage, do):
    """Returns what does `do(pid)` as the child says that it begins the stage."""

    def on_event(event, pid):
        if event["event"] == "stage" and event["stage"] == stage:
            do(pid)

    return on_event


def struck(signum):
    return lambda pid: os.kill(pid, signum)


def summary(outcome):
    return outcome.status, outcome.stage, outcome.reason_code


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSEGV], ids=lambda s: s.name)
def test_a_signal_to_the_child(suite, tmp_path, monkeypatch, signum, stage):
    monkeypatch.setenv("SAMESTEP_FAKE", f"sleep@{stage}")
    outcome = launch(job_of(suite), tmp_path / "log", 1, LONGEST_STAGE_S, when(stage, struck(signum)))
    assert summary(outcome) == ("crashed", stage, "signal")
    assert f"{signum.name} in stage {stage}" in outcome.reason
    assert outcome.result == {}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stopped_child(suite, tmp_path, monkeypatch, stage):
    monkeypatch.setenv("SAMESTEP_FAKE", f"sleep@{stage}")
    monkeypatch.setitem(launching.DEADLINES_S, stage, SHORT_S)
    outcome = launch(job_of(suite), tmp_path / "log", 1, None, when(stage, struck(signal.SIGSTOP)))
    assert summary(outcome) == ("timeout", stage, "deadline")
    assert outcome.reason == f"{stage} took longer than {SHORT_S:g} s"
    assert outcome.result == {}


@pytest.mark.parametrize(
    ("signum", "expected"),
    [
        (signal.SIGKILL, ("crashed", "start", "signal")),
        (signal.SIGSEGV, ("crashed", "start", "signal")),
        (signal.SIGSTOP, ("timeout", "start", "deadline")),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_signal_before_the_child_says_anything(suite, tmp_path, monkeypatch, signum, expected):
    class Struck(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.send_signal(signum)

    if signum == signal.SIGSTOP:
        monkeypatch.setitem(launching.DEADLINES_S, "start", SHORT_S)
    monkeypatch.setattr(subprocess, "Popen", Struck)
    assert summary(launch(job_of(suite), tmp_path / "log", 1, None)) == expected


@pytest.mark.parametrize(
    ("signum", "expected"),
    [
        (signal.SIGKILL, ("crashed", "artifacts", "signal")),
        (signal.SIGSEGV, ("crashed", "artifacts", "signal")),
        (signal.SIGSTOP, ("timeout", "artifacts", "deadline")),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_signal_to_a_child_that_makes_an_artifact(tmp_path, monkeypatch, signum, expected):
    os.mkfifo(tmp_path / "parameters.safetensors")  # nobody writes into it, so that whoever opens it waits
    job = {
        "job": "artifact",
        "kind": "batches",
        "cell": asdict(CELL),
        "folder": str(tmp_path),
        "inputs": {"parameters": str(tmp_path)},
        "cpus": None,
    }
    if signum == signal.SIGSTOP:
        monkeypatch.setitem(launching.DEADLINES_S, "artifacts", SHORT_S)
    outcome = launch(job, tmp_path / "log", 1, None, when("artifacts", struck(signum)))
    assert summary(outcome) == expected


FAULTS = {
    "raise@start": ("broken", "start", "import_failed"),
    "raise@import": ("broken", "import", "import_failed"),
    "raise@build": ("broken", "build", "start_failed"),
    "raise@compile": ("broken", "compile", "compile_failed"),
    "raise@verify": ("broken", "verify", "step_failed"),
    "raise@warm_up": ("broken", "warm_up", "step_failed"),
    "raise@measure": ("broken", "measure", "step_failed"),
    "raise@close": ("broken", "close", "step_failed"),
    "memory@build": ("out_of_memory", "build", "memory"),
    "memory@measure": ("out_of_memory", "measure", "memory"),
    "says@device=cuda": ("refused", "verify", "effective_device"),
    "says@precision=bf16": ("refused", "verify", "effective_precision"),
    "exit@start": ("crashed", "start", "exit_code"),
    "exit@measure": ("crashed", "measure", "exit_code"),
    "exit_well@measure": ("crashed", "measure", "exit_code"),
    "exit_well@close": ("crashed", "close", "exit_code"),
    "leave@compile": ("crashed", "compile", "exit_code"),
    "abort@compile": ("crashed", "compile", "signal"),
    "segfault@measure": ("crashed", "measure", "signal"),
    "kill@close": ("crashed", "close", "signal"),
    "broken@probe": ("broken", "plan", "no_device"),
    "absent@probe": ("unavailable", "plan", "no_device"),
}


@pytest.mark.parametrize("fake", FAULTS)
def test_what_an_adapter_does_is_in_its_row(suite, monkeypatch, fake):
    monkeypatch.setenv("SAMESTEP_FAKE", fake)
    result = suite.run(CELL)
    row = make_row(**result.columns)
    assert (row["status"], row["stage"], row["reason_code"]) == FAULTS[fake]
    assert row["reason"]
    assert (row["latency_p50_s"], result.samples_s) == (None, ())


@pytest.mark.parametrize(
    ("fake", "words"),
    [
        ("raise@compile", "compile: RuntimeError: planted failure"),
        ("memory@measure", "planted: no memory left"),
        ("exit@measure", "child left with exit status 3 in stage measure"),
        ("abort@compile", "SIGABRT in stage compile"),
        ("segfault@measure", "SIGSEGV in stage measure"),
        ("says@device=cuda", "asked for fake, the runtime runs on cuda"),
        ("says@precision=bf16", "asked for fp32, the runtime runs bf16"),
    ],
)
def test_the_reason_says_what_happened(suite, monkeypatch, fake, words):
    monkeypatch.setenv("SAMESTEP_FAKE", fake)
    assert words in suite.run(CELL).columns["reason"]


def test_without_a_fault_the_cell_is_ok(suite):
    result = suite.run(CELL)
    row = make_row(**result.columns)
    assert (row["status"], row["stage"], row["reason_code"]) == ("ok", "close", None)
    assert (row["latency_n"], row["warm_up_steps"]) == (len(result.samples_s), 1)
    assert row["launches_ok"] == 1


def test_a_fault_leaves_the_next_cell_alone(suite, monkeypatch):
    monkeypatch.setenv("SAMESTEP_FAKE", "segfault@measure")
    assert suite.run(CELL).columns["status"] == "crashed"
    monkeypatch.delenv("SAMESTEP_FAKE")
    assert suite.run(CELL).columns["status"] == "ok"


def test_a_child_that_hangs_leaves_its_stack_in_the_log(suite, tmp_path, monkeypatch):
    monkeypatch.setenv("SAMESTEP_FAKE", "sleep@compile")
    monkeypatch.setitem(launching.DEADLINES_S, "compile", SHORT_S)
    row = make_row(**suite.run(CELL).columns)
    assert (row["status"], row["stage"], row["reason_code"]) == ("timeout", "compile", "deadline")
    (log,) = tmp_path.glob("*.log")
    assert "faulty.py" in log.read_text()


def test_what_a_child_started_ends_with_it(suite, tmp_path, monkeypatch):
    monkeypatch.setenv("SAMESTEP_FAKE", "fork@measure")
    pids = []
    outcome = launch(job_of(suite), tmp_path / "log", 1, LONGEST_STAGE_S, when("measure", pids.append))
    assert summary(outcome) == ("crashed", "measure", "exit_code")
    assert wait_for(lambda: group_members(pids[0]) == [])


def test_ctrl_c_ends_the_child(suite, tmp_path, monkeypatch):
    def interrupt(pid):
        raise KeyboardInterrupt

    monkeypatch.setenv("SAMESTEP_FAKE", "sleep@measure")
    with pytest.raises(KeyboardInterrupt):
        launch(job_of(suite), tmp_path / "log", 1, LONGEST_STAGE_S, when("measure", interrupt))


def test_adapters_may_lie_anywhere(suite, tmp_path, monkeypatch):
    (tmp_path / "elsewhere.py").write_text("from backends.null import Null\n\nclass Elsewhere(Null):\n    ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    import elsewhere

    adapter = elsewhere.Elsewhere()
    found = replace(suite, find_adapter=lambda name: adapter, adapter_paths=(str(tmp_path),))
    assert found.run(CELL).columns["status"] == "ok"


@pytest.mark.parametrize("second", [{"backend": "another"}, {"phase": "train"}], ids=["backend", "phase"])
def test_what_cannot_be_made_is_an_error_and_not_tried_again(tmp_path, monkeypatch, second):
    launches = []
    monkeypatch.setattr(suites, "launch", lambda *given: launches.append(given) or launch(*given))
    workload = CELL.load_workload()
    suite = faulty_suite(Cache(tmp_path / "cache", lambda text: None), tmp_path)

    def make_garbage(folder):
        (folder / "parameters.safetensors").write_bytes(b"garbage")
        return {"seconds": 0.0}

    suite.cache.ensure("parameters", workload, "infer", make_garbage)
    for cell in (CELL, replace(CELL, **second)):
        row = make_row(**suite.run(cell).columns)
        assert (row["status"], row["stage"], row["reason_code"]) == ("error", "artifacts", "artifact_failed")
        assert "making the batches failed" in row["reason"]
    assert len(launches) == 1
