"""Whatever an adapter does, and whatever cannot be made, costs its own cell its number; the row says what happened."""

from dataclasses import replace

import pytest

from bench.artifacts import PARAMETERS
from bench.parent.cache import Cache, entry_name
from bench.parent.children import crew
from bench.parent.children.launch import launch
from results.record.row import make_row
from tests.fakes.bench import CELL, faulty_suite, filled_cache
from workloads.precision import FP32


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return filled_cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def suite(cache, tmp_path):
    return faulty_suite(cache, tmp_path)


FAULTS = {
    "raise@start": ("broken", "start", "import_failed"),
    "raise@import": ("broken", "import", "import_failed"),
    "raise@build": ("broken", "build", "start_failed"),
    "raise@compile": ("broken", "compile", "compile_failed"),
    "raise@verify": ("broken", "verify", "step_failed"),
    "raise@warm_up": ("broken", "warm_up", "step_failed"),
    "raise@measure": ("broken", "measure", "step_failed"),
    "raise@close": ("broken", "close", "step_failed"),
    "raise_twice@compile": ("broken", "compile", "compile_failed"),
    "lose@measure": ("broken", "measure", "device_lost"),
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
    assert row["latency_n"] == len(result.samples_s)
    assert row["warm_up_steps"] >= 1
    assert row["launches_ok"] == 1


def test_a_fault_leaves_the_next_cell_alone(suite, monkeypatch):
    monkeypatch.setenv("SAMESTEP_FAKE", "segfault@measure")
    assert suite.run(CELL).columns["status"] == "crashed"
    monkeypatch.delenv("SAMESTEP_FAKE")
    assert suite.run(CELL).columns["status"] == "ok"


def test_nothing_more_is_started_on_a_device_that_was_lost(suite, monkeypatch):
    monkeypatch.setenv("SAMESTEP_FAKE", "lose@measure")
    suite.run(CELL)
    monkeypatch.delenv("SAMESTEP_FAKE")
    row = make_row(**suite.run(CELL).columns)
    assert (row["status"], row["stage"], row["reason_code"]) == ("broken", "plan", "device_lost")
    assert "planted: the device is lost" in row["reason"]
    other = replace(CELL, device_index=1)
    assert suite.run(other).columns["status"] == "ok"


def test_a_cache_that_cannot_be_written_is_an_error_of_its_cell(tmp_path):
    (tmp_path / "file").touch()
    suite = faulty_suite(Cache(tmp_path / "file" / "cache", lambda text: None), tmp_path)
    row = make_row(**suite.run(CELL).columns)
    assert (row["status"], row["stage"], row["reason_code"]) == ("error", "artifacts", "artifact_failed")
    assert str(tmp_path / "file") in row["reason"]


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
    monkeypatch.setattr(crew, "launch", lambda *given, **more: launches.append(given) or launch(*given, **more))
    workload = CELL.load_workload()
    suite = faulty_suite(Cache(tmp_path / "cache", lambda text: None), tmp_path)

    def make_garbage(folder):
        (folder / "parameters.safetensors").write_bytes(b"garbage")
        return {"seconds": 0.0}

    suite.cache.ensure(entry_name(PARAMETERS, workload, "infer", FP32), make_garbage)
    for cell in (CELL, replace(CELL, **second)):
        row = make_row(**suite.run(cell).columns)
        assert (row["status"], row["stage"], row["reason_code"]) == ("error", "artifacts", "artifact_failed")
        assert "making the batches failed" in row["reason"]
    assert len(launches) == 1
