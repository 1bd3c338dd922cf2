"""`pytest bench/` from a folder with packages of the same names: its rows, its JSON, and pytest-benchmark's options."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from backends._graphs import ONNX
from bench import front
from bench.artifacts import BATCHES, EXPECTED, PARAMETERS
from bench.child.expected import load_expected, save_expected
from bench.parent.cache import default_root, entry_name
from results.record import rounds
from results.record.csvfile import read_csv
from tests.fakes.door import bench, rows_of_work, run_in, seed_of, statuses
from workloads.catalog import CONTROLS, load
from workloads.precision import FP32

BACKENDS = ("null", "onnxruntime_cpu", "openvino_cpu")
MLP = ("--preset", "smoke", "--workloads", "mlp", "--results-dir", "runs", "--benchmark-json", "out.json")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A folder that holds the JSON, the run and the output of one run of everything."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for name in ("results", "backends", "bench", "workloads"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"raise ImportError('this is the {name} of somebody else')\n")
    done = bench(*MLP, "--backends", ",".join(BACKENDS), cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "output").write_text(done.stdout)
    return folder


@pytest.fixture(scope="module")
def rows(elsewhere):
    return {(row["phase"], row["backend"]): row for row in rows_of_work(run_in(elsewhere / "runs"))}


@pytest.fixture(scope="module")
def entries(elsewhere):
    found = json.loads((elsewhere / "out.json").read_text())["benchmarks"]
    work = (e for e in found if e["extra_info"]["workload"] not in CONTROLS)
    return {(e["extra_info"]["phase"], e["extra_info"]["backend"]): e for e in work}


def entries_in(folder):
    return [entry["name"] for entry in json.loads((folder / "out.json").read_text())["benchmarks"]]


def test_every_cell_is_ok(rows):
    assert {cell: row["status"] for cell, row in rows.items()} == {
        (phase, backend): "ok" for phase in ("infer", "train") for backend in BACKENDS
    }
    assert {cell: row["verification"] for cell, row in rows.items()} == {
        cell: "not applicable" if "null" in cell else "passed" for cell in rows
    }


def test_the_json_has_one_entry_per_cell(elsewhere, entries, rows):
    assert len(entries_in(elsewhere)) == len(rows) + len(CONTROLS)
    assert entries.keys() == rows.keys()


def test_the_json_has_the_samples_behind_the_number_of_a_row(entries, rows):
    for cell, row in rows.items():
        stats = entries[cell]["stats"]
        assert stats["rounds"] == row["latency_n"]
        assert stats["mean"] == pytest.approx(row["latency_mean_s"])
        assert stats["min"] <= row["latency_p50_s"] <= stats["max"]


def test_samples_in_the_json_are_those_of_the_journal(elsewhere, entries):
    samples = {cell: tuple(entry["stats"]["data"]) for cell, entry in entries.items()}
    launches = [one for one in run_in(elsewhere / "runs").launches if one["workload"] not in CONTROLS]
    kept = {(launch["phase"], launch["backend"]): launch.get("samples_s") for launch in launches}
    assert {cell for cell, of_cell in kept.items() if of_cell is None} == {("infer", "null"), ("train", "null")}
    assert {cell: samples[cell] for cell in kept if kept[cell]} == {
        cell: tuple(kept[cell]) for cell in kept if kept[cell]
    }
    assert all(samples.values())  # also of what computes nothing, which the journal leaves out


def test_every_cell_is_launched_once_before_any_is_launched_again(tmp_path):
    arguments = ("--preset", "smoke", "--workloads", "mlp", "--backends", "null", "--launches", "2")
    done = bench(*arguments, "--results-dir", "runs", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert [launch["number"] for launch in run_in(tmp_path / "runs").launches] == [0] * 4 + [1] * 4


def test_the_control_is_in_every_run(elsewhere):
    rows = {row["workload"]: row for row in run_in(elsewhere / "runs").rows if row["workload"] in CONTROLS}
    assert {name: (row["backend"], row["status"], row["verification"]) for name, row in rows.items()} == dict.fromkeys(
        CONTROLS, ("numpy_cpu", "ok", "passed")
    )


def test_a_launch_says_what_happened_meanwhile(elsewhere, rows):
    for row in rows.values():
        assert row["watched_s"] > 0
        assert row["cpu_cores_used"] > 0
        assert "short_window" in row["flags"]
        assert row["quality"] == "degraded"
        assert row["rounds_n"] >= 3
        assert (row["latency_ci_low_s"] is None) == (row["rounds_n"] < 6)
        assert len(rounds.from_text(row["rounds_latency_s"])) == row["rounds_n"]
        assert json.loads(row["requested"]).keys() == {"device", "precision", "threads"}


def test_extra_info_is_the_row(entries, rows):
    for cell, entry in entries.items():
        assert entry["extra_info"] == {name: value for name, value in rows[cell].items() if value is not None}
        assert entry["extra_info"]["throughput_samples_per_s"] > 0


def test_the_csv_says_what_the_journal_says(elsewhere):
    run = run_in(elsewhere / "runs")
    assert read_csv(run.path / "results.csv") == run.rows
    assert (run.end_reason, run.problems) == ("the plan is done", ())


def test_the_table_at_the_end_names_every_backend(elsewhere):
    table = (elsewhere / "output").read_text().rpartition(" samestep ==")[2]
    assert [name for name in BACKENDS if name not in table] == []
    assert "8 cells, 8 ok" in table


def test_pytest_benchmark_compares_the_file(elsewhere, tmp_path):
    compare = [sys.executable, "-m", "pytest_benchmark", "compare", str(elsewhere / "out.json")]
    done = subprocess.run(compare, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [name for name in entries_in(elsewhere) if name not in done.stdout] == []


def test_disabled_runs_and_verifies_each_cell_once(tmp_path):
    done = bench(*MLP[:-2], "--backends", "null,onnxruntime_cpu", "--benchmark-disable", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    run = run_in(tmp_path / "runs")
    assert [row["status"] for row in run.rows] == ["ok"] * 6
    assert [row["latency_n"] for row in run.rows] == [1] * 6
    assert {row["verification"] for row in run.rows if row["backend"] == "onnxruntime_cpu"} == {"passed"}


def test_rounds_and_time_that_are_given_are_honoured(tmp_path):
    given = ("--benchmark-min-rounds=7", "--benchmark-max-time=0.01", "--phases", "infer")
    # Two steps of 5 ms each spend the time, and the preset's 0.1 s would not be spent by seven.
    bench(*MLP, *given, "--backends", "openvino_cpu", cwd=tmp_path, fake="slow@measure")
    # Of the launches, because what runs beside the tests may have them disturbed.
    launches = [one for one in run_in(tmp_path / "runs").launches if one["backend"] == "openvino_cpu"]
    assert {(one["status"], one["columns"]["latency_n"]) for one in launches} == {("ok", 7)}


def test_k_selects_cells(tmp_path):
    done = bench(*MLP, "-k", "train and openvino", "--benchmark-disable", cwd=tmp_path)
    assert done.returncode == 0
    assert statuses(run_in(tmp_path / "runs")) == {("train", "openvino_cpu"): "ok"}


def test_x_stops_at_the_first_failure(tmp_path):
    order = [("infer", "null"), ("infer", "openvino_cpu"), ("train", "null"), ("train", "openvino_cpu")]
    given = ("-x", "-k", "not numpy", "--order-seed", seed_of(order))
    done = bench(*MLP, *given, "--backends", "null,openvino_cpu", cwd=tmp_path, fake="raise@compile")
    run = run_in(tmp_path / "runs")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert [(row["phase"], row["backend"], row["status"], row["reason_code"]) for row in run.rows] == [
        ("infer", "null", "ok", None),
        ("infer", "openvino_cpu", "broken", "compile_failed"),
        ("train", "null", "not_run", "first_failure"),
        ("train", "openvino_cpu", "not_run", "first_failure"),
    ]
    assert read_csv(run.path / "results.csv") == run.rows


def test_a_crash_leaves_all_other_cells_in_the_json(tmp_path):
    done = bench(*MLP, "--backends", "openvino_cpu,null", cwd=tmp_path, fake="segfault@measure")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    crashed = {("infer", "openvino_cpu"): "crashed", ("train", "openvino_cpu"): "crashed"}
    assert statuses(run_in(tmp_path / "runs")) == {("infer", "null"): "ok", ("train", "null"): "ok"} | crashed
    assert sorted(name for name in entries_in(tmp_path) if "numpy" not in name) == [
        "test_step[infer-mlp-b4-fp32-null]",
        "test_step[train-mlp-b4-fp32-null]",
    ]
    failed = json.loads((tmp_path / "out.json").read_text())["samestep"]["failed"]
    assert {(cell["phase"], cell["status"]) for cell in failed} == {("infer", "crashed"), ("train", "crashed")}


def test_a_fault_of_our_own_costs_its_cell_and_not_the_table(tmp_path):
    done = bench(*MLP, "--backends", "null,openvino_cpu", cwd=tmp_path, fake="raise@probe")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    run = run_in(tmp_path / "runs")
    assert [row["status"] for row in run.rows if row["backend"] == "null"] == ["ok", "ok"]
    assert [row["latency_p50_s"] for row in run.rows if row["backend"] == "openvino_cpu"] == [None, None]
    assert "planted failure" in done.stdout
    assert f"rows: {run.path / 'results.csv'}" in done.stdout


def test_a_benchmark_without_samples_is_left_out_of_the_json():
    class Benchmark(list):
        def __init__(self, *samples):
            super().__init__(samples)
            self.fixture = SimpleNamespace(has_error=False)

    benchmarks = [Benchmark(), Benchmark(1.0)]
    next(front.pytest_benchmark_generate_json(benchmarks))
    assert [benchmark.fixture.has_error for benchmark in benchmarks] == [True, False]


def test_a_wrong_result_has_no_number_and_leaves_the_others_theirs(elsewhere, tmp_path):
    expect_twice_as_much(tmp_path / "cache")
    given = (*MLP, "--backends", "null,onnxruntime_cpu")
    done = bench(*given, cwd=tmp_path, SAMESTEP_CACHE=str(tmp_path / "cache"))
    run = run_in(tmp_path / "runs")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert statuses(run) == {
        ("infer", "null"): "ok",
        ("infer", "onnxruntime_cpu"): "wrong",
        ("train", "null"): "ok",
        ("train", "onnxruntime_cpu"): "ok",
    }
    (row,) = (row for row in run.rows if row["status"] == "wrong")
    assert (row["stage"], row["reason_code"], row["latency_p50_s"]) == ("verify", "output_differs", None)
    assert re.search(r"of output [01]\.logits is 0\.5, tolerance", row["reason"])
    assert len(entries_in(tmp_path)) == 3 + len(CONTROLS)


def expect_twice_as_much(root):
    """Makes a cache like the one in use, in which inference's expected outputs are doubled and the sums fit."""
    workload = load("mlp", "tiny")
    kinds = (PARAMETERS, BATCHES, EXPECTED, ONNX)
    for name in {entry_name(kind, workload, phase, FP32) for kind in kinds for phase in ("infer", "train")}:
        shutil.copytree(default_root(os.environ) / name, root / name)
    entry = root / entry_name(EXPECTED, workload, "infer", FP32)
    expected = load_expected(entry)
    doubled = {k: replace(s, norm=2 * s.norm, total=2 * s.total, values=2 * s.values) for k, s in expected.items()}
    save_expected(doubled, entry)
    manifest = json.loads((entry / "manifest.json").read_text())
    manifest["files"] = {name: hashlib.sha256((entry / name).read_bytes()).hexdigest() for name in manifest["files"]}
    (entry / "manifest.json").write_text(json.dumps(manifest))
