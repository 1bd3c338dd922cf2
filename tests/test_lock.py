"""One run at a time on a machine: the second says who holds the lock, and the lock ends with its process."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import rmtree

import pytest

from bench.parent.lock import BUSY_EXIT, DEFAULT, Busy, MachineLock, NoLockError, holder
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


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def strict_umask():
    before = os.umask(0o077)
    yield
    os.umask(before)


def test_whoever_makes_it_all_users_can_take_it(path, strict_umask):
    locked(path).release()
    assert mode(path) == 0o644


def test_one_that_was_made_for_one_user_is_opened_to_all_by_its_owner(path):
    path.touch(0o600)
    locked(path).release()
    assert mode(path) == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_shares_the_lock(tmp_path, strict_umask):
    folder = Path(tempfile.mkdtemp())  # what pytest makes is for its user alone
    folder.chmod(0o755)
    lock = locked(folder / "lock")
    take = (
        "import fcntl, os, sys; os.setuid(12345); sys.path.insert(0, sys.argv[2])\n"
        "from bench.parent.lock import MachineLock; MachineLock({'SAMESTEP_LOCK': sys.argv[1]}); print('taken')"
    )
    command = [sys.executable, "-c", f"import bench.parent.lock; {take}", str(folder / "lock"), str(ROOT)]

    def other():
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert "Busy: another run is measuring" in other().stderr
    lock.release()
    assert other().stdout == "taken\n"
    rmtree(folder)


def no_permission(path, *_):
    raise PermissionError(13, "Permission denied", str(path))


def test_one_that_may_not_be_read_is_named_with_a_cure_that_keeps_it_one_lock(path, monkeypatch):
    path.touch(0o600)
    monkeypatch.setattr(os, "open", no_permission)
    with pytest.raises(NoLockError) as caught:
        locked(path)
    told = f"Permission denied: '{path}'; it belongs to user {os.geteuid()}, who or root shall: chmod a+r {path}"
    assert told in str(caught.value)
    assert "SAMESTEP_LOCK" not in str(caught.value)


@pytest.mark.parametrize("missing", ["no-folder/lock", "file/lock"])
def test_one_that_cannot_be_made_says_what_to_set(tmp_path, missing):
    (tmp_path / "file").touch()
    with pytest.raises(NoLockError, match="set SAMESTEP_LOCK, the same for all runs on this machine"):
        locked(tmp_path / missing)


def test_a_lock_that_cannot_be_made_ends_in_one_line(tmp_path):
    done = bench("--preset", "smoke", "--backends", "null", cwd=tmp_path, SAMESTEP_LOCK=str(tmp_path / "no" / "lock"))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: cannot lock this machine for the run: " in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_holder_that_may_not_be_looked_at_is_told_by_its_number(path, tmp_path):
    path.touch()
    line = f"1: FLOCK  ADVISORY  WRITE 77 08:01:{path.stat().st_ino} 0 EOF\n"
    (tmp_path / "locks").write_text(line)
    assert holder(path, tmp_path) == " (process 77: )"


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
