"""Every night on every machine: which kinds there are, what measures on them, and what gathers by cron."""

import configparser
import json
import re
import shutil
import subprocess
import sys
import tomllib
from datetime import timedelta

import pytest
import yaml

from tests.fakes.nightly import (
    NIGHT,
    ROOT,
    WORKFLOW,
    command,
    nightly,
    tox_that,
    write_run,
)

# The workflow.


@pytest.fixture(scope="module")
def workflow():
    return yaml.safe_load(WORKFLOW.read_text())


def environments():
    return dict(line.split() for line in nightly("environments").stdout.splitlines())


def test_the_workflow_measures_at_one_hour_and_gathers_at_another(workflow):
    assert set(workflow["jobs"]) == {"measure", "gather", "pages"}
    triggers = workflow[True]  # YAML 1.1 takes `on` for true
    assert set(triggers) == {"schedule", "workflow_dispatch"}  # a fork's pull request never reaches a machine of ours
    for job, when in zip(("measure", "gather"), triggers["schedule"], strict=True):
        condition = workflow["jobs"][job]["if"]
        assert f"github.event.schedule == '{when['cron']}'" in condition
        assert f"inputs.job == '{job}'" in condition
        assert "vars.SAMESTEP_MACHINES != ''" in condition
        assert "vars.SAMESTEP_MACHINES != '[]'" in condition
    assert "needs" not in workflow["jobs"]["gather"]  # a machine that is away would hold it up for a day


def test_what_is_measured_on_another_branch_stays_out_of_the_history(workflow):
    gather = workflow["jobs"]["gather"]
    assert "inputs.job == 'gather' && github.ref_name == github.event.repository.default_branch)" in gather["if"]
    (download,) = [step["run"] for step in gather["steps"] if "gh run list" in step.get("run", "")]
    assert '--branch "$GITHUB_REF_NAME"' in download


def test_one_machine_does_not_stop_the_others(workflow):
    measure = workflow["jobs"]["measure"]
    assert measure["strategy"]["fail-fast"] is False
    assert measure["continue-on-error"] is True
    uploads = [step for step in measure["steps"] if "upload-artifact" in step.get("uses", "")]
    assert [step["if"] for step in uploads] == ["always()"]
    assert "${{ matrix.machine }}" in uploads[0]["with"]["name"]


def test_the_workflow_may_do_little_and_ends(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    assert "permissions" not in workflow["jobs"]["measure"]
    assert workflow["jobs"]["measure"]["steps"][0]["with"]["persist-credentials"] is False
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 300
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")  # a name is a value of the shell there, never its text
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/none@v1"))


def tox_says(root, environments, key):
    """Returns what tox, asked in that folder, has under the key for each of the environments, as words."""
    asked = ["tox", "config", "-c", str(root / "tox.ini"), "-e", ",".join(environments), "-k", key]
    done = subprocess.run([sys.executable, "-m", *asked], capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr
    told = configparser.ConfigParser(interpolation=None)
    told.read_string(done.stdout)
    return {name.removeprefix("testenv:"): told[name][key].split() for name in told.sections()}


def test_every_environment_that_is_named_exists():
    assert environments() == {
        "cpu": "bench-cpu",
        "cuda": "bench-cuda",
        "edge": "bench-onnxruntime",
        "inferentia": "bench-neuron",
        "openvino": "bench-openvino",
        "tpu": "bench-tpu",
    }
    extras = tox_says(ROOT, environments().values(), "extras")
    assert {name: set(words) for name, words in extras.items()} == {
        "bench-cpu": {"torch", "jax", "onnxruntime", "openvino"},
        **{name: {name.removeprefix("bench-")} for name in environments().values() if name != "bench-cpu"},
    }
    constraints = tox_says(ROOT, environments().values(), "constraints")
    assert {name for name, words in constraints.items() if not words} == {"bench-cuda", "bench-neuron"}
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {name for words in extras.values() for name in words} <= set(declared)


NEW_BACKEND = """
from backends.null import Null


class Quantum(Null):
    extra = "quantum"
    workloads = None
"""


def test_an_adapter_file_and_its_dependency_group_are_all_that_a_night_takes(tmp_path):
    for name in ("backends", "bench", "host", "workloads", "results", "samestep", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "runs"))
    for name in ("tox.ini", "toxfile.py", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "backends" / "quantum.py").write_text(NEW_BACKEND)
    group = "[project.optional-dependencies]\n"
    pyproject = (tmp_path / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(pyproject.replace(group, f'{group}quantum = ["quantum>=1"]\n'))
    script = tmp_path / "scripts" / "nightly"
    assert "quantum bench-quantum" in nightly("environments", script=script).stdout.splitlines()
    done = nightly("measure", "quantum", tmp_path / "runs", script=script, path=tox_that(tmp_path, 0))
    assert done.stdout == f"run -e bench-quantum -- --preset quick --results-dir {tmp_path}/runs\n"
    assert tox_says(tmp_path, ["bench-quantum"], "extras") == {"bench-quantum": ["quantum"]}
    command = "pytest bench --backends quantum --preset quick"
    assert tox_says(tmp_path, ["bench-quantum"], "commands") == {"bench-quantum": command.split()}


def test_the_documented_machines_are_of_kinds_that_exist():
    comment = "".join(line[1:] for line in WORKFLOW.read_text().splitlines() if line.startswith("#"))
    machines = json.loads(re.search(r"\[\{.*?\}\]", comment)[0])
    assert (
        {machine["kind"] for machine in machines} == {"cuda", "tpu", "inferentia", "cpu", "edge"} <= set(environments())
    )


# Measuring.


@pytest.mark.parametrize("status", [0, 1])
def test_a_run_is_kept_whatever_pytest_says(tmp_path, status):
    run = write_run(tmp_path / "made")
    done = nightly("measure", "inferentia", tmp_path / "runs", path=tox_that(tmp_path, status, run))
    assert done.returncode == status
    assert done.stdout == f"run -e bench-neuron -- --preset quick --results-dir {tmp_path}/runs\n"
    assert f"status {status}; the run: {tmp_path}/runs/{run.name}" in done.stderr


def test_options_reach_pytest(tmp_path):
    done = nightly("measure", "edge", tmp_path / "runs", "--preset", "full", "-x", path=tox_that(tmp_path, 0))
    assert done.stdout == f"run -e bench-onnxruntime -- --preset full -x --results-dir {tmp_path}/runs\n"


@pytest.mark.parametrize(
    ("status", "expected", "said"), [(75, 75, "another run is measuring"), (1, 1, "no run was left"), (0, 1, "no run")]
)
def test_the_run_of_another_night_does_not_stand_in_for_one_that_is_missing(tmp_path, status, expected, said):
    old = write_run(tmp_path / "runs")
    done = nightly("measure", "cpu", tmp_path / "runs", path=tox_that(tmp_path, status))
    assert done.returncode == expected
    assert said in done.stderr
    assert old.name not in done.stderr


@pytest.mark.parametrize("arguments", [["measure", "abacus", "runs"], ["measure"], ["gather"], ["dance"], []])
def test_what_is_not_understood_ends_with_2(tmp_path, arguments):
    done = nightly(*arguments, path=tox_that(tmp_path, 0))
    assert (done.returncode, done.stdout) == (2, "")
    kinds = "expected one of: cpu cuda edge inferentia openvino tpu"
    assert re.search(rf"{kinds}|scripts/nightly gather STORE FROM|nightly gather \[-h\] STORE FROM", done.stderr)


# The documented script of cron.


@pytest.mark.parametrize(
    ("rsync", "store", "expected"),
    [
        (1, "a folder", ["alpha was not reached"]),
        (0, "a folder", []),
        (0, "a file", ["alpha: what came was not gathered"]),
    ],
)
def test_cron_says_what_failed(tmp_path, rsync, store, expected):
    (text,) = re.findall("```\n(#!/usr/bin/env bash\n.*?)```", (ROOT / "docs" / "nightly.md").read_text(), re.DOTALL)
    text = text.replace("/home/bench/", f"{tmp_path}/").replace("gpu-box cpu-server edge-board", "alpha")
    (tmp_path / "samestep").symlink_to(ROOT)
    write_run(tmp_path / "incoming" / "alpha", "alpha")
    if store == "a file":
        (tmp_path / "store").write_text("")
    else:
        write_run(tmp_path / "store", "alpha", NIGHT - timedelta(1))
    fakes = command(tmp_path / "bin", "rsync", f"exit {rsync}")
    done = nightly(script=command(tmp_path / "scripts", "gather.sh", text) / "gather.sh", path=fakes)
    assert done.returncode == (0 if store == "a folder" else 2), done.stderr
    assert re.findall("alpha.*(?:reached|gathered)", done.stdout) == expected
