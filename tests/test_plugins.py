"""Other plugins, and options that are meant for other tests: the run goes on, or one line says why it does not."""

import json
import os
import subprocess
import sys

import pytest

from tests.fakes.door import ROOT, bench, environment, run_in, statuses

NULL = ("--preset", "smoke", "--workloads", "mlp", "--phases", "infer", "--backends", "null", "--results-dir", "runs")
OWN = """
def test_fast(benchmark):
    benchmark(len, "")
"""


def other_tests(*arguments, cwd, **more):
    """Runs pytest on a test of somebody else, in the folder, beside our conftest.py."""
    (cwd / "test_own.py").write_text(OWN)
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "test_own.py", *arguments]
    env = environment(**more) | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def refusal(done):
    """Returns the one line with which pytest refused, before anything ran."""
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line)
    return line


def test_other_tests_run_beside_each_other(tmp_path):
    pytest.importorskip("xdist")
    done = other_tests("-n", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_other_tests_get_the_json_of_pytest_benchmark(tmp_path):
    done = other_tests("--benchmark-json=f", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [one["name"] for one in json.loads((tmp_path / "f").read_text())["benchmarks"]] == ["test_fast"]
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == []


def test_an_option_of_ours_is_checked_wherever_it_is_given(tmp_path):
    assert "unknown backend 'cuda'" in refusal(other_tests("--backends", "cuda", cwd=tmp_path))


def test_without_pytest_benchmark_one_line_says_what_to_do(tmp_path):
    for off, more in (((), {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}), (("-p", "no:benchmark"), {})):
        assert "add -p pytest_benchmark.plugin" in refusal(bench(*NULL, *off, cwd=tmp_path, **more))
    given = ("-p", "pytest_benchmark.plugin")
    assert bench(*NULL, *given, cwd=tmp_path, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1").returncode == 0


def test_cells_that_a_plugin_repeats_are_refused_in_one_line(tmp_path):
    done = bench("-p", "tests.fakes.repeater", *NULL, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert "a cell is there twice" in refusal(done)


@pytest.mark.parametrize("given", [("--benchmark-compare",), ("-p", "tests.fakes.warner"), ("-s",)], ids=" ".join)
def test_a_run_goes_on_with_a_warning(tmp_path, given):
    done = bench(*given, *NULL, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stdout + done.stderr
    assert statuses(run_in(tmp_path / "runs")) == {("infer", "null"): "ok"}


def test_a_saved_run_of_another_python_is_compared_with(tmp_path):
    assert bench(*NULL, "--benchmark-autosave", cwd=tmp_path).returncode == 0
    (saved,) = (tmp_path / ".benchmarks").rglob("*.json")
    content = json.loads(saved.read_text())
    content["machine_info"]["python_version"] = "3.0.0"
    saved.write_text(json.dumps(content))
    assert bench(*NULL, "--benchmark-compare", cwd=tmp_path).returncode == 0


def test_a_regression_of_pytest_benchmark_loses_no_table_and_no_row(tmp_path):
    assert bench(*NULL, "--benchmark-autosave", cwd=tmp_path).returncode == 0
    (saved,) = (tmp_path / ".benchmarks").rglob("*.json")
    content = json.loads(saved.read_text())
    for benchmark in content["benchmarks"]:
        benchmark["stats"] |= dict.fromkeys(("min", "max", "mean", "median"), 1e-15)
    saved.write_text(json.dumps(content))
    given = ("--benchmark-compare", "--benchmark-compare-fail=mean:5%", "--benchmark-json=out.json")
    done = bench(*NULL, *given, cwd=tmp_path)
    assert done.returncode != 0
    assert "Performance has regressed" in done.stdout + done.stderr
    run = run_in(tmp_path / "runs")
    assert f"rows: {run.path / 'results.csv'}" in done.stdout
    assert (run.path / "results.csv").is_file()
    assert len(json.loads((tmp_path / "out.json").read_text())["benchmarks"]) == 3


def test_a_cell_that_a_plugin_cuts_off_has_a_row_that_says_so(tmp_path):
    given = ("-p", "tests.fakes.cutter", *NULL[:-4], "--results-dir", "runs", "-k", "null or openvino")
    done = bench(*given, cwd=tmp_path, fake="sleep@measure")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    run = run_in(tmp_path / "runs")
    assert statuses(run) == {("infer", "null"): "ok", ("infer", "openvino_cpu"): "error"}
    (row,) = (row for row in run.rows if row["status"] == "error")
    assert row["reason"] == "the cell was begun and cut off by Failed: Timeout (>1.0s) from pytest-timeout."
    assert row["reason_code"] == "interrupted"
    assert run.end_reason == "the plan is done"


def test_with_x_nothing_is_launched_after_a_failure(tmp_path):
    given = (*NULL[:4], "--backends", "null,openvino_cpu", "--results-dir", "runs", "--launches", "3", "-x")
    done = bench(*given, cwd=tmp_path, fake="raise@compile")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    run = run_in(tmp_path / "runs")
    backends = [launch["backend"] for launch in run.launches]
    assert backends.index("openvino_cpu") == len(backends) - 1
    assert {row["reason_code"] for row in run.rows if row["status"] == "not_run"} == {"first_failure"}
    assert sorted(row["status"] for row in run.rows if row["status"] != "not_run") == ["broken"]


@pytest.mark.alone  # its load would disturb what runs beside it
def test_where_nothing_is_timed_no_load_beside_it_makes_a_cell_disturbed(tmp_path):
    busy = "while True: pass"
    others = [subprocess.Popen([sys.executable, "-c", busy]) for _ in range(2 * len(os.sched_getaffinity(0)))]
    try:
        done = bench(*NULL, "--benchmark-disable", cwd=tmp_path)
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert done.returncode == 0, done.stdout
    assert {row["status"] for row in run_in(tmp_path / "runs").rows} == {"ok"}
