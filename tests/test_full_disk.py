"""A run where the disk is full, and one on a terminal that has nothing but ASCII."""

import json
import os
import subprocess
import sys

import pytest

from results.record.run import find_runs, read_run
from tests.fakes.door import ROOT, environment

SMALL = ("--preset", "smoke", "--workloads", "mlp", "--phases", "infer", "--backends", "null")


def bench(*arguments, **more):
    """Returns what `pytest bench/` did."""
    command = [sys.executable, "-m", "pytest", "bench/", *SMALL, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment(**more), capture_output=True, text=True, check=False)


@pytest.fixture(params=["8k", "24k"])
def small(request, tmp_path):
    """A file system on which a run does not fit."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={request.param}", "tmpfs", str(folder)]
    if os.name != "posix" or os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_costs_neither_the_table_nor_the_json_elsewhere(small, tmp_path):
    done = bench("--results-dir", small, f"--benchmark-json={tmp_path / 'out.json'}")
    assert "Traceback" not in done.stdout + done.stderr
    assert "INTERNALERROR" not in done.stdout + done.stderr
    if not find_runs(small):
        assert f"cannot write results into {small} (No space left on device); choose a folder" in done.stderr
        return
    assert f"no room for {small}" in done.stdout
    assert "mlp" in done.stdout.rpartition(" samestep ")[2]
    assert "null computes nothing" in done.stdout.rpartition(" samestep ")[2]
    names = [entry["name"] for entry in json.loads((tmp_path / "out.json").read_text())["benchmarks"]]
    assert [name for name in names if "mlp" in name and "null" in name] != []
    assert read_run(find_runs(small)[0]).problems == ()


def test_the_table_of_a_run_reads_well_in_ascii(tmp_path):
    done = bench("--results-dir", tmp_path, PYTHONIOENCODING="ascii")
    table = done.stdout.rpartition(" samestep ")[2]
    assert "null computes nothing" in table
    assert "\\n" not in table
    assert "\\u" not in done.stdout
    assert "\\xb5" not in done.stdout
