"""One run at a time on a machine: the second says who holds the lock, and the lock ends with its process."""

import os
import signal
import subprocess
import sys

import pytest

from bench.parent.lock import BUSY_EXIT, DEFAULT, Busy, MachineLock, holder
from tests.fakes.door import ROOT, bench, wait_for

HOLD = """
import sys, time
from bench.parent.lock import MachineLock
lock = MachineLock({"SAMESTEP_LOCK": sys.argv[1]})
print("held", flush=True)
time.sleep(3600)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lock"


@pytest.fixture
def elsewhere(path):
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def locked(path):
    return MachineLock({"SAMESTEP_LOCK": str(path)})


def test_a_second_run_is_refused_and_told_by_whom(path, elsewhere):
    with pytest.raises(Busy, match=rf"another run is measuring on this machine \(process {elsewhere.pid}: .*python"):
        locked(path)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_ends_with_its_process(path, elsewhere, signum):
    elsewhere.send_signal(signum)
    elsewhere.wait()
    locked(path).release()


def test_a_lock_is_released_once_and_taken_again(path):
    first = locked(path)
    with pytest.raises(Busy):
        locked(path)
    first.release()
    first.release()
    locked(path).release()


def test_a_link_in_its_place_is_not_followed(path, tmp_path):
    path.symlink_to(tmp_path / "somebody elses file")
    with pytest.raises(OSError, match="symbolic link"):
        locked(path)
    assert not (tmp_path / "somebody elses file").exists()


def test_a_file_that_may_only_be_read_will_do(path):
    path.touch()
    path.chmod(0o444)
    locked(path).release()


def test_without_a_list_of_locks_the_holder_is_unknown(path, tmp_path):
    path.touch()
    assert holder(path, tmp_path) == ""


def test_all_users_have_the_same_default():
    assert str(DEFAULT) == "/tmp/samestep.lock"


def test_the_second_pytest_ends_with_try_again_later(tmp_path, path, elsewhere):
    done = bench("--preset", "smoke", "--backends", "null", cwd=tmp_path, SAMESTEP_LOCK=str(path))
    assert done.returncode == BUSY_EXIT
    assert f"another run is measuring on this machine (process {elsewhere.pid}" in done.stdout + done.stderr
    assert not (tmp_path / "results").exists()


def test_a_run_lets_go_at_its_end(tmp_path, path):
    given = ("--preset", "smoke", "--backends", "null", "--workloads", "mlp", "-k", "null", "--results-dir", "runs")
    for _ in range(2):
        assert bench(*given, cwd=tmp_path, SAMESTEP_LOCK=str(path)).returncode == 0
    assert wait_for(lambda: holder(path) == "")
    assert os.access(path, os.R_OK)
