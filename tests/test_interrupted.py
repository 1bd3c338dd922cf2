"""A run that is ended from outside: what was finished is readable, the rest is `not_run`, and no process is left."""

import json
import signal
import subprocess
from contextlib import contextmanager

import pytest

from results.record.csvfile import read_csv
from tests.fakes.door import command, environment, run_in, seed_of, statuses, wait_for, workers_of

ORDER = (("infer", "null"), ("infer", "openvino_cpu"), ("train", "null"), ("train", "openvino_cpu"))
CELLS = (
    *("--preset", "smoke", "--workloads", "mlp", "--backends", "null,openvino_cpu"),
    *("-k", "not numpy", "--order-seed", seed_of(ORDER)),
)
"""Of which the second, on the fake adapter, never ends."""


@contextmanager
def hanging_run(folder, fake):
    """Runs `pytest bench/` until its first row is written and its second cell hangs; yields its process."""
    arguments = [*CELLS, "--results-dir", str(folder / "runs"), f"--benchmark-json={folder / 'out.json'}"]
    with (
        (folder / "output").open("wb") as output,
        subprocess.Popen(
            # A shell that starts us in the background has Ctrl-C ignored, and its children inherit that.
            ["env", "--default-signal=INT", *command(*arguments, fake=fake)],
            cwd=folder,
            env=environment(fake),
            stdout=output,
            stderr=output,
        ) as parent,
    ):
        try:
            assert wait_for(lambda: acts(folder, fake)), (folder / "output").read_text()
            yield parent
        finally:
            parent.kill()


def acts(folder, fake):
    """Whether the child of the second cell has come to where it hangs."""
    words = fake.replace("@", " in ")
    return any(words in log.read_text() for log in (folder / "runs").glob("*/logs/infer-*openvino_cpu.log"))


ALL_BUT_THE_FIRST = {
    ("infer", "null"): "ok",
    ("infer", "openvino_cpu"): "not_run",
    ("train", "null"): "not_run",
    ("train", "openvino_cpu"): "not_run",
}


@pytest.mark.parametrize("fake", ["sleep@import", "stop@measure"])
def test_killing_the_parent(tmp_path, fake):
    with hanging_run(tmp_path, fake) as parent:
        pid = parent.pid
        parent.kill()
        parent.wait()
        assert wait_for(lambda: workers_of(pid) == [])
    run = run_in(tmp_path / "runs")
    assert statuses(run) == ALL_BUT_THE_FIRST
    assert {row["reason_code"] for row in run.rows} == {None, "killed"}
    assert run.rows[0]["latency_p50_s"] > 0
    assert (run.end_reason, run.problems) == (None, ())


def test_ctrl_c(tmp_path):
    with hanging_run(tmp_path, "sleep@measure") as parent:
        parent.send_signal(signal.SIGINT)
        assert parent.wait() == pytest.ExitCode.INTERRUPTED
        assert workers_of(parent.pid) == []
    run = run_in(tmp_path / "runs")
    assert statuses(run) == ALL_BUT_THE_FIRST
    assert {row["reason_code"] for row in run.rows} == {None, "interrupted"}
    assert read_csv(run.path / "results.csv") == run.rows
    exported = json.loads((tmp_path / "out.json").read_text())
    assert [entry["name"] for entry in exported["benchmarks"]] == ["test_step[infer-mlp-b4-fp32-null]"]


def test_the_search_for_workers_finds_one(tmp_path):
    with hanging_run(tmp_path, "sleep@measure") as parent:
        assert len(workers_of(parent.pid)) == 1
