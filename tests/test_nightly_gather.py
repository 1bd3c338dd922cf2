"""Runs come into a store whole or not at all; none is overwritten."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from results.record.read import run_folders
from tests.fakes.nightly import ROOT, files_of, nightly, write_run


def test_runs_are_copied_into_the_store_and_stay_as_they_are(tmp_path):
    run = write_run(tmp_path / "from" / "artifact-1")
    before = files_of(run)
    assert nightly("gather", tmp_path / "store", tmp_path / "from").returncode == 0
    stored = tmp_path / "store" / "runs" / "2026-11" / run.name
    assert files_of(stored) == before
    (run / "results.csv").write_bytes(b"something else")
    again = nightly("gather", tmp_path / "store", tmp_path / "from")
    assert again.returncode == 0
    assert f"{run} differs from {stored}, which stays" in again.stderr
    assert files_of(stored) == before


HALF = """
import os, shutil, signal, sys
from pathlib import Path
from results.__main__ import main

def half(run, incoming, **_):
    shutil.copy(Path(run) / "journal.jsonl", incoming)
    {end}

shutil.copytree = half
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("end", "expected"), [("raise OSError('no space left')", 2), ("os.kill(os.getpid(), signal.SIGKILL)", -9)]
)
def test_the_half_of_a_copy_is_no_run(tmp_path, end, expected):
    run, store = write_run(tmp_path / "from"), tmp_path / "store"
    asked = [sys.executable, "-c", HALF.format(end=end), "nightly", "gather", str(store), str(tmp_path / "from")]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == expected, done.stderr
    assert run_folders(store) == ()
    assert bool(list(store.glob(".incoming.*"))) == (expected == -9)
    assert nightly("gather", store, tmp_path / "from").returncode == 0
    (stored,) = run_folders(store)
    assert files_of(stored) == files_of(run)


def test_what_a_killed_copy_left_goes_a_day_later_and_a_copy_that_goes_on_stays(tmp_path):
    write_run(tmp_path / "from")
    (tmp_path / "store" / ".incoming.old").mkdir(parents=True)
    (tmp_path / "store" / ".incoming.new").mkdir()
    two_days_ago = (tmp_path / "store" / ".incoming.old").stat().st_mtime - 2 * 86_400
    os.utime(tmp_path / "store" / ".incoming.old", (two_days_ago, two_days_ago))
    assert nightly("gather", tmp_path / "store", tmp_path / "from").returncode == 0
    assert [path.name for path in (tmp_path / "store").glob(".incoming.*")] == [".incoming.new"]


def test_a_run_that_may_be_going_on_is_left_for_the_next_time(tmp_path):
    run, store = write_run(tmp_path / "from", ended=False), tmp_path / "store"
    done = nightly("gather", store, tmp_path / "from")
    assert "may be going on" in done.stderr
    assert (done.returncode, run_folders(store)) == (0, ())
    hours_ago = (run / "journal.jsonl").stat().st_mtime - 7200
    os.utime(run / "journal.jsonl", (hours_ago, hours_ago))
    assert nightly("gather", store, tmp_path / "from").returncode == 0
    assert [folder.name for folder in run_folders(store)] == [run.name]


def test_a_run_of_the_future_is_taken_and_said(tmp_path):
    run = write_run(tmp_path / "from", day=datetime.now(UTC).date() + timedelta(900))
    done = nightly("gather", tmp_path / "store", tmp_path / "from")
    assert f"{run} is dated in the future" in done.stderr
    assert [folder.name for folder in run_folders(tmp_path / "store")] == [run.name]


def test_a_killed_run_in_an_artifact_is_taken_at_once(tmp_path):
    run = write_run(tmp_path / "from", ended=False)
    nightly("gather", tmp_path / "store", tmp_path / "from", SAMESTEP_SETTLED_MINUTES="0")
    assert [folder.name for folder in run_folders(tmp_path / "store")] == [run.name]


def test_what_is_no_run_is_left_out(tmp_path):
    run = write_run(tmp_path / "from")
    (run / "logs" / "secret.log").symlink_to("/etc/passwd")
    (tmp_path / "from" / "20261123T030000Z-Beta-1a2b").mkdir()
    done = nightly("gather", tmp_path / "store", tmp_path / "from", tmp_path / "absent")
    assert (done.returncode, run_folders(tmp_path / "store")) == (0, ())
    assert "holds a link or a device" in done.stderr
    assert f"{tmp_path}/absent is no folder" in done.stderr
