"""`bench.run`: a run from Python, without pytest; its order, its end, and what a second run on the machine is told."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

import bench
from bench.parent.lock import Busy, MachineLock
from bench.parent.plans.options import Settings
from bench.parent.plans.parse import PlanError
from bench.parent.plans.presets import PRESETS
from bench.parent.run import INTERRUPTED, OpenRun
from results.record.csvfile import read_csv
from results.record.run import read_run
from tests.fakes.door import ROOT, environment

OPTIONS = {"--preset": "smoke", "--workloads": "mlp", "--phases": "infer", "--backends": "null"}


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMESTEP_LOCK", str(tmp_path / "lock"))
    return Settings(effort=PRESETS["smoke"].effort, order_seed="1", results_dir=tmp_path / "runs")


def test_a_run_from_python(settings):
    lines, cells = [], []
    run = bench.run(bench.select(OPTIONS.get), settings, say=lines.append, done=lambda *pair: cells.append(pair))
    assert [row["status"] for row in run.rows] == ["ok"] * 3
    assert [cell.backend for cell, result in cells if result.samples_s] == [row["backend"] for row in run.rows]
    assert run.end_reason == "the plan is done"
    assert read_csv(run.path / "results.csv") == run.rows
    assert run.header["options"]["selection"]["--workloads"] == "mlp"
    titles = [line.partition("  (about")[0] for line in lines if not line.startswith(" ")]
    assert sorted(titles) == [
        "control_copy tiny infer b4 t2 cpu: numpy_cpu",
        "control_matmul tiny infer b4 t2 cpu: numpy_cpu",
        "mlp tiny infer b4 t2 none: null",
    ]


def test_it_goes_on_where_it_ended(settings):
    selection = bench.select(OPTIONS.get)
    first = bench.run(selection, settings, say=lambda text: None)
    again = bench.run(selection, replace(settings, past=first), say=lambda text: None)
    assert (again.path, again.rows, again.launches) == (first.path, first.rows, first.launches)


def test_it_needs_no_pytest(tmp_path):
    code = f"""if True:
        import sys, bench
        from pathlib import Path
        from bench.parent.plans.options import Settings
        from bench.parent.plans.presets import PRESETS
        runs = Path({str(tmp_path / "runs")!r})
        settings = Settings(effort=PRESETS["smoke"].effort, order_seed="1", results_dir=runs)
        run = bench.run(bench.select({OPTIONS!r}.get), settings, say=lambda text: None)
        print([row["status"] for row in run.rows], sorted({{"pytest", "torch", "pandas"}} & set(sys.modules)))
    """
    variables = environment() | {"SAMESTEP_LOCK": str(tmp_path / "lock")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=variables, capture_output=True, text=True, check=True
    )
    assert done.stdout == "['ok', 'ok', 'ok'] []\n"


def test_only_one_at_a_time(settings, tmp_path):
    lock = MachineLock()
    with pytest.raises(Busy):
        bench.run(bench.select(OPTIONS.get), settings)
    lock.release()
    assert not (tmp_path / "runs").exists()


def opened(settings, say=lambda text: None):
    selection = bench.select(OPTIONS.get)
    return OpenRun(selection, settings, bench.parent.plans.plan.planned(selection, ["null", "numpy_cpu"]), say)


def test_an_open_run_says_why_it_ended(settings):
    for error, reasons in ((KeyboardInterrupt, {"interrupted"}), (RuntimeError, {"killed"})):
        with pytest.raises(error), opened(settings) as run:
            raise error
        assert {row["reason_code"] for row in read_run(run.folder).rows} == reasons
    with opened(settings) as run:
        run.run(run.cells[0])
    ended = read_run(run.folder)
    assert ended.end_reason == "who drove the run did not come to every cell"
    assert [row["status"] for row in ended.rows] == ["ok", "not_run", "not_run"]
    assert ended.problems == ()
    assert INTERRUPTED[1] == "interrupted"


def test_a_run_that_cannot_begin_lets_the_next_one(settings, tmp_path):
    (tmp_path / "runs").touch()
    for _ in range(2):
        with pytest.raises(Exception, match="choose another results folder"):
            opened(settings)


def test_cells_that_are_there_twice_are_refused(settings):
    selection = bench.select(OPTIONS.get)
    cells = bench.parent.plans.plan.planned(selection, ["null", "numpy_cpu"])
    with pytest.raises(PlanError, match="a cell is there twice"):
        OpenRun(selection, settings, [*cells, cells[0]], print)


def test_the_journal_has_no_samples_of_what_computes_nothing(settings):
    run = bench.run(bench.select(OPTIONS.get), settings, say=lambda text: None)
    by_backend = {launch["backend"]: launch for launch in run.launches}
    assert "samples_s" not in by_backend["null"]
    assert len(by_backend["numpy_cpu"]["samples_s"]) == by_backend["numpy_cpu"]["columns"]["latency_n"]
    assert by_backend["null"]["columns"]["latency_p50_s"] > 0
    assert len(json.dumps(by_backend["null"])) < 10_000


def test_what_the_door_does_not_have():
    with pytest.raises(AttributeError, match="it has: Settings, run, select"):
        bench.walk  # noqa: B018 - asked for
