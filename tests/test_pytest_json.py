"""What pytest-benchmark itself makes of our export: its loader, its `compare`, its statistics."""

import json
import statistics
import subprocess
import sys

import pytest
from pytest_benchmark.stats import Stats
from pytest_benchmark.utils import load_storage

from results import __main__ as door
from results.record.csvfile import write_csv
from results.record.files import ResultsError
from results.record.journal import Journal
from results.record.row import cell_of
from results.record.run import read_run
from results.record.samples import samples_of
from results.tables.pytest_json import FROM_SAMPLES, MOST_SAMPLES, export_pytest
from tests.fakes.rows import HEADER, LATER_RUN_ID, RUN_ID, cell, row_of

NAME = "mlp/tiny/infer/b4/fp32/t2/torch_cpu"
SAMPLES_S = [1.0e-3, 1.5e-3, 0.5e-3, 9e-3]


def launch(samples_s, status="ok", quality="valid", **changes):
    return {**cell(**changes), "status": status, "columns": {"quality": quality}, "samples_s": samples_s}


def run_of(folder, launches, run_id=RUN_ID, rows=(), header=HEADER):
    with Journal.create(folder, run_id, header) as journal:
        for record in launches:
            journal.launch(record)
        for row in rows or [row_of(run_id=run_id)]:
            journal.row(row)
        journal.end("the plan is done")
    return read_run(journal.folder)


def content_of(rows, runs=()):
    return json.loads(export_pytest(rows, runs).text)


def compared(folder, *files):
    """Returns what `pytest-benchmark compare` prints of the files, in a folder without a conftest.py."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", *files],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Failed to load" not in done.stdout + done.stderr
    return done.stdout


class Complaints:
    """A logger for pytest-benchmark's storage, which warns where it cannot load a file, and goes on."""

    def warning(self, text):
        raise AssertionError(text)


def test_statistics_are_those_of_pytest_benchmark_over_the_launches_that_count(tmp_path):
    launches = [
        launch(SAMPLES_S[:2]),
        launch(SAMPLES_S[2:], quality="degraded"),
        launch([5.0], quality="invalid"),
        launch([6.0], status="wrong"),
        launch([7.0], phase="train"),
    ]
    run = run_of(tmp_path, launches)
    assert [*samples_of(run)[(RUN_ID, *cell_of(cell()))]] == SAMPLES_S
    (benchmark,) = content_of(run.rows, [run])["benchmarks"]
    expected = Stats()
    for sample in SAMPLES_S:
        expected.update(sample)
    assert benchmark["stats"] == {**expected.as_dict(), "data": SAMPLES_S, "iterations": 1}
    assert benchmark["stats"]["stddev"] == statistics.stdev(SAMPLES_S)
    assert "stats_unknown" not in benchmark["extra_info"]


def test_a_row_alone_says_which_statistics_are_not_known():
    (benchmark,) = content_of([row_of(latency_min_s=0.5e-3, latency_mean_s=2e-3, latency_n=50)])["benchmarks"]
    stats = benchmark["stats"]
    assert {name: stats[name] for name in ("min", "max", "mean", "median", "rounds", "ops", "total", "stddev")} == {
        "min": 0.5e-3,
        "max": 1e-3,
        "mean": 2e-3,
        "median": 1e-3,
        "rounds": 50,
        "ops": 500.0,
        "total": 0.1,
        "stddev": 0,
    }
    assert set(stats) >= set(Stats.fields)
    assert benchmark["extra_info"]["stats_unknown"] == [*FROM_SAMPLES, "max"]


def test_a_benchmark_has_the_cell_and_the_row(tmp_path):
    row = row_of(quality="degraded", flags="steal")
    content = content_of([row, row_of("wrong", phase="train")])
    (benchmark,) = content["benchmarks"]
    assert (benchmark["name"], benchmark["fullname"], benchmark["group"]) == (NAME, NAME, "mlp infer")
    later = ("depth", "generated_tokens", "rank", "accumulation_steps", "checkpoint")
    assert benchmark["params"] == {**cell(), "variant": None, **dict.fromkeys(later)}
    assert (benchmark["extra_info"]["quality"], benchmark["extra_info"]["flags"]) == ("degraded", "steal")
    assert content["samestep"] == {
        "without_number": ["mlp/tiny/train/b4/fp32/t2/torch_cpu is left out: wrong: no device here"]
    }


def test_the_machine_is_the_one_that_was_measured(tmp_path):
    machine = {
        **HEADER["machine"],
        "cpu": "AMD EPYC",
        "architecture": "x86_64",
        "python": "3.11.7",
        "packages": {"a": "1"},
    }
    run = run_of(tmp_path, [], header={**HEADER, "machine": machine})
    content = content_of(run.rows, [run])
    known = content["machine_info"]
    assert [known[name] for name in ("node", "processor", "machine", "python_version", "release")] == [
        "machine",
        "AMD EPYC",
        "x86_64",
        "3.11.7",
        None,
    ]
    assert known["samestep"] == {name: value for name, value in machine.items() if name != "packages"}
    assert (content["commit_info"]["id"], content["commit_info"]["project"]) == ("unknown", "samestep")


def test_many_samples_are_thinned_and_counted_in_full(tmp_path):
    run = run_of(tmp_path, [launch([1e-3] * MOST_SAMPLES), launch([2e-3])])
    (benchmark,) = content_of(run.rows, [run])["benchmarks"]
    assert (benchmark["stats"]["rounds"], len(benchmark["stats"]["data"])) == (MOST_SAMPLES + 1, MOST_SAMPLES // 2 + 1)
    assert benchmark["extra_info"]["data_is_every"] == 2


@pytest.mark.parametrize("wrong", [-1.0, 0.0, "fast", True, None, [1.0], 10**400, 5e-324])
def test_a_sample_that_is_no_time_is_an_error(tmp_path, wrong):
    run = run_of(tmp_path, [launch([1e-3, wrong])])
    with pytest.raises(ResultsError, match=r"a launch of workload=mlp .* has .* as a time in s"):
        samples_of(run)


def test_samples_that_are_no_list_are_an_error(tmp_path):
    with pytest.raises(ResultsError, match="has 5 as its samples"):
        samples_of(run_of(tmp_path, [launch(5)]))


def test_one_file_is_of_one_machine():
    with pytest.raises(ValueError, match="a file of pytest-benchmark's is of one machine, and there are gpu-box"):
        export_pytest([row_of(), row_of(machine="gpu-box")], [])


def test_pytest_benchmark_loads_and_compares_two_nights(tmp_path, capsys):
    files = []
    for run_id, factor in ((RUN_ID, 1), (LATER_RUN_ID, 2)):
        samples_s = [factor * sample for sample in SAMPLES_S]
        run = run_of(tmp_path, [launch(samples_s)], run_id)
        files.append(tmp_path / f"{run_id[:8]}.json")
        assert door.main(["export", str(run.path), "--format", "pytest-benchmark", "--output", str(files[-1])]) == 0
    assert capsys.readouterr().err == ""
    storage = load_storage(f"file://{tmp_path}/storage", logger=Complaints(), netrc="")
    loaded = {bench["path"]: bench for bench in storage.load_benchmarks(*map(str, files))}
    assert [loaded[str(path)]["fullname"] for path in files] == [NAME, NAME]
    assert [loaded[str(path)]["median"] for path in files] == [1.25e-3, 2.5e-3]
    table = compared(tmp_path, *files)
    assert "benchmark 'mlp infer': 2 tests" in table
    assert table.count(NAME) == 2
    assert "1,250.0000" in table
    between = compared(tmp_path, "--between=median,ops", *files)
    assert "1 tests, 2 sources" in between
    assert "+100.0%" in between


def test_pytest_benchmark_compares_rows_of_a_csv(tmp_path):
    write_csv([row_of(), row_of(backend="jax_cpu", latency_p50_s=2e-3)], tmp_path / "run.csv")
    output = tmp_path / "out.json"
    assert (
        door.main(["export", str(tmp_path / "run.csv"), "--format", "pytest-benchmark", "--output", str(output)]) == 0
    )
    table = compared(tmp_path, output)
    assert "benchmark 'mlp infer': 2 tests" in table
    assert "jax_cpu" in table
