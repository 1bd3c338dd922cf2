"""A store on a branch or in a bucket: who publishes at once loses nothing."""

import shutil
import subprocess
from pathlib import Path

import pytest

from results.record.read import run_folders
from tests.fakes.nightly import SCRIPT, nightly, write_run


def git(folder, *arguments):
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=True)
    return done.stdout


@pytest.fixture
def checkouts(tmp_path):
    """Returns two checkouts of a project, each with its script, and the remote of both."""
    remote, found = tmp_path / "remote.git", []
    subprocess.run(["git", "init", "--quiet", "--bare", str(remote)], check=True)
    for name in ("one", "two"):
        subprocess.run(["git", "init", "--quiet", str(tmp_path / name)], check=True)
        git(tmp_path / name, "remote", "add", "origin", str(remote))
        git(tmp_path / name, "config", "core.autocrlf", "input")
        (tmp_path / name / "scripts").mkdir()
        found.append(Path(shutil.copy(SCRIPT, tmp_path / name / "scripts")))
    return *found, remote


def test_two_that_publish_at_once_lose_nothing(tmp_path, checkouts):
    *scripts, remote = checkouts
    stores = [tmp_path / "store-1", tmp_path / "store-2"]
    runs = [write_run(tmp_path / "from-1", "alpha"), write_run(tmp_path / "from-2", "beta")]
    shared = write_run(tmp_path / "both", "gamma")
    for script, store in zip(scripts, stores, strict=True):
        assert nightly("open-branch", store, "nights", script=script).returncode == 0
    for script, store, run in zip(scripts, stores, runs, strict=True):
        nightly("gather", store, run.parent, shared.parent, script=script)
        (store / "acknowledged.csv").write_text("mine, and not for the branch")
        done = nightly("publish-branch", store, "nights", script=script, SAMESTEP_PAUSE_S="0")
        assert done.returncode == 0, done.stderr
    listed = git(remote, "ls-tree", "-r", "--name-only", "nights").decode().split()
    names = [f"runs/2026-11/{run.name}/{name}" for run in (*runs, shared) for name in ("journal.jsonl", "results.csv")]
    assert listed == sorted([".gitattributes", *names])
    for run in (*runs, shared):
        assert git(remote, "show", f"nights:runs/2026-11/{run.name}/results.csv") == (run / "results.csv").read_bytes()
    again = nightly("publish-branch", stores[1], "nights", script=scripts[1])
    assert (again.returncode, "no new run" in again.stderr) == (0, True)


def test_a_change_that_is_not_committed_stays_when_a_branch_is_opened_again(tmp_path, checkouts):
    one, two, _ = checkouts
    stores = [tmp_path / "store-1", tmp_path / "store-2"]
    for script, store, machine in ((one, stores[0], "alpha"), (two, stores[1], "beta")):
        assert nightly("open-branch", store, "nights", script=script).returncode == 0
        nightly("gather", store, write_run(tmp_path / machine, machine).parent, script=script)
        assert nightly("publish-branch", store, "nights", script=script, SAMESTEP_PAUSE_S="0").returncode == 0
        (store / ".gitattributes").write_text("* -text\n# mine\n")
    done = nightly("open-branch", stores[0], "nights", script=one)
    assert done.returncode == 0, done.stderr
    assert (stores[0] / ".gitattributes").read_text() == "* -text\n# mine\n"
    assert len(run_folders(stores[0])) == 2
    nightly("gather", stores[0], write_run(tmp_path / "gamma", "gamma").parent, script=one)
    nightly("gather", stores[1], write_run(tmp_path / "delta", "delta").parent, script=two)
    for script, store in ((one, stores[0]), (two, stores[1])):
        done = nightly("publish-branch", store, "nights", script=script, SAMESTEP_PAUSE_S="0")
        assert done.returncode == 0, done.stderr
    assert len(run_folders(stores[1])) == 4


def test_branches_that_contradict_each_other_are_said(tmp_path, checkouts):
    stores = [tmp_path / "store-1", tmp_path / "store-2"]
    for script, store in zip(checkouts, stores, strict=False):
        assert nightly("open-branch", store, "nights", script=script).returncode == 0
        nightly("gather", store, write_run(tmp_path / store.name / "from", store.name).parent, script=script)
        assert nightly("publish-branch", store, "nights", script=script, SAMESTEP_PAUSE_S="0").returncode == 0
    for store in stores:
        (store / ".gitattributes").write_text(f"# of {store.name}\n")
        git(store, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-am", "mine")
    git(stores[0], "pull", "--quiet", "--rebase", "origin", "nights")
    git(stores[0], "push", "--quiet", "origin", "HEAD:nights")
    done = nightly("open-branch", stores[1], "nights", script=checkouts[1])
    assert (done.returncode, "contradict each other" in done.stderr) == (2, True)
    assert git(stores[1], "status", "--porcelain", "--untracked-files=no") == b""
    git(stores[1], "reset", "--quiet", "--hard", "HEAD~1")
    (stores[1] / ".gitattributes").write_text("# not committed\n")
    done = nightly("open-branch", stores[1], "nights", script=checkouts[1])
    assert (done.returncode, "not committed and contradicts" in done.stderr) == (2, True)
    assert b"# not committed" in git(stores[1], "stash", "show", "-p")
    checkouts[2].rename(tmp_path / "away.git")
    assert nightly("open-branch", stores[1], "nights", script=checkouts[1]).returncode == 2


def test_a_store_on_another_branch_or_without_a_remote_is_not_pushed(tmp_path, checkouts):
    script, _, remote = checkouts
    assert nightly("open-branch", tmp_path / "store", "nights", script=script).returncode == 0
    assert nightly("publish-branch", tmp_path / "store", "main", script=script).returncode == 2
    remote.rename(tmp_path / "away.git")
    assert nightly("open-branch", tmp_path / "other", "nights", script=script).returncode == 2
    done = nightly("publish-branch", tmp_path / "store", "nights", script=script, SAMESTEP_PAUSE_S="0")
    assert (done.returncode, "cannot push to nights" in done.stderr) == (2, True)


def test_a_bucket_gets_the_runs_and_then_what_is_made_from_them(tmp_path):
    (tmp_path / "store" / "runs").mkdir(parents=True)
    (tmp_path / "store" / "packed").mkdir()
    done = nightly("publish-bucket", tmp_path / "store", "s3://b/nights/", SAMESTEP_SYNC="echo aws s3 sync")
    sources = [f"aws s3 sync {tmp_path}/store/{part} s3://b/nights/{part}" for part in ("runs", "packed")]
    assert (done.returncode, done.stdout.splitlines()) == (0, sources)
    assert nightly("publish-bucket", tmp_path / "store", "s3://b", SAMESTEP_SYNC="false").returncode == 2
    assert nightly("publish-bucket", tmp_path / "store", "s3://b").returncode == 2
