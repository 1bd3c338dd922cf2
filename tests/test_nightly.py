"""Every night on every machine: no run is overwritten, half there or made up, and 1 means a regression."""

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml

from results.nights.alarms import NEAR
from results.nights.issue import is_said
from results.record.csvfile import write_csv
from results.record.journal import Journal
from results.record.read import run_folders
from tests.fakes.rows import HEADER, cell, row_of

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "nightly"
WORKFLOW = ROOT / ".github" / "workflows" / "nightly.yml"
NIGHT = date(2026, 11, 23)


def nightly(*arguments, script=SCRIPT, path=None, **environment):
    """Runs the script with nothing of this shell's settings for it; `path` is a folder of commands that come first."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SAMESTEP_", "GIT_"))}
    first = f"{Path(sys.executable).parent}{os.pathsep}{inherited['PATH']}"
    environment["PATH"] = first if path is None else f"{path}{os.pathsep}{first}"
    return subprocess.run(
        ["bash", str(script), *map(str, arguments)],
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def command(folder, name, text):
    """Puts a command of that name, in shell, into the folder, which is returned."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
    (folder / name).chmod(0o755)
    return folder


def write_run(folder, machine="alpha", day=NIGHT, latency=1e-3, ended=True):
    """Writes a run with one cell that has a number; without its end and CSV it was killed, or is going on."""
    run_id, of_run = f"{day:%Y%m%d}T030000Z-{machine}-1a2b", {"machine": machine, "machine_id": f"id-{machine}"}
    header = {**HEADER, "machine": {"name": machine, "machine_id": f"id-{machine}"}, "started_utc": f"{day}T03:00:00Z"}
    rows = [
        row_of(
            run_id=run_id,
            software_id="s1",
            started_utc=f"{day}T03:00:00Z",
            method_version="2",
            quality="valid",
            latency_p50_s=latency,
            throughput_samples_per_s=4 / latency,
            throughput_mode="serial",
            **of_run,
        )
    ]
    with Journal.create(folder, run_id, header) as journal:
        journal.plan([cell()])
        if ended:
            journal.row(rows[0])
            journal.end("the plan is done")
    if ended:
        write_csv(rows, folder / run_id / "results.csv")
    return folder / run_id


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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


def tox_that(tmp_path, status, leaves=None):
    """Returns a folder with a tox that says how it was called, leaves a run (a folder to copy) and ends."""
    copy = "" if leaves is None else f'cp -R "{leaves}" "${{@: -1}}/"'
    return command(tmp_path / "bin", "tox", f'echo "$@"\n{copy}\nexit {status}')


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


# Gathering.


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


# Reporting: exit statuses, with made-up commands.

NEW = [{"alarm_id": "0f-latency-20261123", "is_open": True, "is_new": True}]
OPEN = [{"alarm_id": "0f-latency-20261101", "is_open": True, "is_new": False}]


def made_up(alarms, history, page, text):
    """Returns a program with made-up commands: `history` of that status leaves alarms (None: no file)."""
    return f"""
import sys
from pathlib import Path
from results.__main__ import main
from results.cli import history, report
from results.cli.common import Found

def made_up_history(options):
    if {alarms!r} is not None:
        options.json.write_text({alarms!r})
    if {history!r} == 1:
        raise Found({text!r})
    if {history!r} == 2:
        raise RuntimeError("a bug")
    return {text!r}

def made_up_report(options):
    if {page!r}:
        raise RuntimeError("a bug")
    Path(options.output).write_text("a page")
    return "a page"

history._history, report._report = made_up_history, made_up_report
sys.exit(main(sys.argv[3:]))
"""


def report_of(tmp_path, alarms, history, page=0, text="", **environment):
    """Returns what `report` did where these commands say so."""
    (tmp_path / "store").mkdir(exist_ok=True)
    (tmp_path / "bin").mkdir(exist_ok=True)
    alarms = alarms if isinstance(alarms, str | None) else json.dumps(alarms)
    (tmp_path / "bin" / "made_up.py").write_text(made_up(alarms, history, page, text))
    environment["SAMESTEP_PYTHON"] = f"{sys.executable} {tmp_path}/bin/made_up.py"
    return nightly("report", tmp_path / "store", tmp_path / "out", **environment)


@pytest.mark.parametrize("python", ["/bin/false", "/nowhere/python", f"{sys.executable} -c raise(SystemExit(1))"])
def test_a_python_that_cannot_begin_is_no_regression(tmp_path, python):
    assert report_of(tmp_path, NEW, 1).returncode == 1
    done = nightly("report", tmp_path / "store", tmp_path / "out", SAMESTEP_PYTHON=python)
    assert (done.returncode, "does not start" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("alarms", "history", "page", "expected"),
    [
        ([], 0, 0, 0),
        (OPEN, 0, 0, 0),
        (NEW, 1, 0, 1),
        (NEW, 1, 2, 1),  # a regression is said although the page cannot be made
        ([], 0, 2, 2),
        ([], 1, 0, 2),  # a traceback ends with 1 too
        (OPEN, 1, 0, 2),
        (None, 1, 0, 2),
        (None, 2, 0, 2),
        ("of another form", 0, 0, 2),
    ],
)
def test_1_means_a_confirmed_regression_and_nothing_else(tmp_path, alarms, history, page, expected):
    done = report_of(tmp_path, alarms, history, page)
    assert done.returncode == expected, done.stderr
    is_said = alarms in (NEW, OPEN) and (alarms, history) != (OPEN, 1)
    assert (tmp_path / "out" / "regressions.md").exists() == is_said


def test_fail_on_open(tmp_path):
    assert report_of(tmp_path, OPEN, 1, SAMESTEP_FAIL_ON="open").returncode == 1
    assert report_of(tmp_path, OPEN, 1, SAMESTEP_FAIL_ON="anything").returncode == 2
    assert report_of(tmp_path, OPEN, 1, SAMESTEP_NIGHT="yesterday").returncode == 2


def test_the_report_of_another_night_does_not_stand_in_for_one_that_failed(tmp_path):
    assert report_of(tmp_path, NEW, 1).returncode == 1
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made >= {"report.html", "history.txt", "history.json", "regressions.md", "new-alarms.txt", "night.txt"}
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert report_of(tmp_path, None, 2).returncode == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["night.txt", "notes.txt"]
    assert report_of(tmp_path, [], 0).returncode == 0  # it is known as ours after a failure too
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("mark", [None, "a dark night\n"])
def test_a_folder_that_is_not_ours_is_left_as_it_is(tmp_path, mark):
    out = tmp_path / "out"
    for name in ("csv/mine.csv", "export/mine.json", "report.html"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("mine")
    if mark is not None:
        (out / "night.txt").write_text(mark)
    before = files_of(out)
    done = report_of(tmp_path, NEW, 1)
    assert (done.returncode, files_of(out)) == (2, before)
    assert f"{out} holds what no report left" in done.stderr


@pytest.mark.parametrize("out", ["store", "store/runs/../", "store/out", "link"])
def test_a_report_does_not_go_into_the_store(tmp_path, out):
    (tmp_path / "store" / "runs").mkdir(parents=True)
    (tmp_path / "link").symlink_to("store")
    done = nightly("report", tmp_path / "store", f"{tmp_path}/{out}")
    assert (done.returncode, "or in it; expected a folder elsewhere" in done.stderr) == (2, True)
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["runs"]


# Reporting: what is in it, with the commands themselves.


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Returns 20 nights of two machines: beta is away in the last, alpha is slower by a fifth in the last eight."""
    folder, generator = tmp_path_factory.mktemp("nights"), np.random.default_rng(0)
    for number in range(20):
        day = NIGHT - timedelta(19 - number)
        noise = np.exp(generator.normal(0, 0.005, 2))
        write_run(folder / "alpha", "alpha", day, 1e-3 * noise[0] * (1.2 if number > 11 else 1))
        if day != NIGHT:
            write_run(folder / "beta", "beta", day, 2e-3 * noise[1])
    done = nightly("gather", folder / "store", folder / "alpha", folder / "beta")
    assert "39 runs were added" in done.stderr
    (folder / "store" / "machines.txt").write_text("alpha\nbeta  # the server\n\nGamma\n")
    return folder / "store"


def test_a_machine_that_was_away_is_said_and_not_replaced(store, tmp_path):
    done = nightly("report", store, tmp_path / "out", SAMESTEP_NIGHT=str(NIGHT))
    assert done.returncode == 0, done.stderr
    assert "Missing: beta did not run in the newest night; its last was 2026-11-22" in done.stdout
    assert "Missing: gamma is expected, and did not run in any of these nights" in done.stdout
    assert "alpha did not run" not in done.stdout
    assert "beta" not in (tmp_path / "out" / "csv" / "tonight.csv").read_text()
    assert [path.name for path in (tmp_path / "out" / "export").iterdir()] == ["20261123T030000Z-alpha-1a2b"]
    assert (tmp_path / "out" / "csv" / "compare-nights-alpha.csv").exists()
    assert not (tmp_path / "out" / "csv" / "compare-nights-beta.csv").exists()
    assert (tmp_path / "out" / "report.html").stat().st_size > 0


def test_a_night_on_which_nobody_ran_has_no_numbers(store, tmp_path):
    done = nightly("report", store, tmp_path / "out", SAMESTEP_NIGHT=str(NIGHT + timedelta(1)))
    assert done.returncode == 0, done.stderr
    assert "Missing: alpha did not run in the newest night; its last was 2026-11-23" in done.stdout
    assert not (tmp_path / "out" / "csv" / "tonight.csv").exists()
    assert not (tmp_path / "out" / "export").exists()
    assert lines_of(tmp_path / "out", "rows") == []
    assert [line[:15] for line in lines_of(tmp_path / "out", "missing-machines")] == [
        "alpha,true,2026",
        "beta,true,2026-",
        "gamma,true,,0,0",
    ]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "No machine ran in the night 2026-11-24" in page
    assert re.search("Nights 2026-11-.. to 2026-11-24", page)


def lines_of(out, name):
    """Returns the lines of a CSV of the report, without its header."""
    return (out / "csv" / f"{name}.csv").read_text().splitlines()[1:]


def test_an_earlier_night_is_reported_as_it_was(store, tmp_path):
    done = nightly("report", store, tmp_path / "out", SAMESTEP_NIGHT=str(NIGHT - timedelta(1)))
    assert done.returncode == 0, done.stderr
    assert [re.findall("2026112.T[^,]*", line) for line in lines_of(tmp_path / "out", "rows")] == [
        ["20261122T030000Z-alpha-1a2b"],
        ["20261122T030000Z-beta-1a2b"],
    ]
    assert [line[:11] for line in lines_of(tmp_path / "out", "missing-machines")] == [
        "alpha,false",
        "beta,false,",
        "gamma,true,",
    ]


def test_on_the_first_day_all_that_are_expected_are_missing(tmp_path):
    assert nightly("gather", tmp_path / "store", tmp_path).returncode == 0
    assert nightly("report", tmp_path / "store", tmp_path / "out").returncode == 2
    (tmp_path / "store" / "machines.txt").write_text("alpha\nbeta\n")
    done = nightly("report", tmp_path / "store", tmp_path / "out", SAMESTEP_NIGHT=str(NIGHT))
    assert done.returncode == 0, done.stderr
    for machine in ("alpha", "beta"):
        assert f"Missing: {machine} is expected, and did not run in any of these nights" in done.stdout
    assert lines_of(tmp_path / "out", "missing-machines") == ["alpha,true,,0,0,", "beta,true,,0,0,"]
    assert "No machine ran in the night 2026-11-23" in (tmp_path / "out" / "report.html").read_text()


def test_a_regression_ends_with_1_until_it_is_acknowledged(store, tmp_path):
    mine = shutil.copytree(store, tmp_path / "store")
    settings = {"SAMESTEP_NIGHT": str(NIGHT), "SAMESTEP_FAIL_ON": "open"}
    done = nightly("report", mine, tmp_path / "out", **settings)
    assert done.returncode == 1, done.stderr
    (alarm,) = (tmp_path / "out" / "open-alarms.txt").read_text().split()
    assert alarm in (tmp_path / "out" / "regressions.md").read_text()
    (mine / "acknowledged.csv").write_text(f"alarm_id,day,by,note\n{alarm},2026-11-23,Ada,wanted\n")
    assert nightly("report", mine, tmp_path / "out", **settings).returncode == 0
    assert not (tmp_path / "out" / "regressions.md").exists()


# Telling people, and keeping what was measured.


@pytest.mark.parametrize(
    ("said", "number", "expected"),
    [
        ("", "", "issue create --title Confirmed regressions"),
        ("about 0f-latency-20261101", "7", "issue comment 7 --body-file"),
        ("about 0f-latency-20261123", "7", None),
        ("about 0f-latency-20261123", "", None),  # a person closed it
        ("about 0f-latency-20261120", "7", None),  # it is dated anew
        ("about 0f-throughput-20261123", "7", "issue comment 7 --body-file"),
    ],
)
def test_a_regression_is_said_once(tmp_path, said, number, expected):
    (tmp_path / "open-alarms.txt").write_text("0f-latency-20261123\n")
    (tmp_path / "regressions.md").write_text("What is slower.\n")
    answers = f'case "$*" in *state\\ all*) echo "{said}" ;; *state\\ open*) echo "{number}" ;; esac'
    text = f'echo "$@" >>"{tmp_path}/calls"\n{answers}'
    assert nightly("issue", tmp_path, path=command(tmp_path / "bin", "gh", text)).returncode == 0
    written = [
        line for line in (tmp_path / "calls").read_text().splitlines() if re.match("issue (create|comment)", line)
    ]
    assert [line.startswith(expected or "?") for line in written] == [True] * bool(expected)


def test_how_far_a_date_may_move_is_what_the_history_says():
    text = "about 0f-latency-20261115 and 0f-latency-20269999"
    assert [is_said("0f-latency-20261123", text, near) for near in (7, 8)] == [False, True]
    assert [is_said(f"0f-latency-202611{15 + NEAR + more}", text) for more in (0, 1)] == [True, False]
    assert not is_said("0f-throughput-20261115", text)


def test_a_gh_that_fails_is_said(tmp_path):
    (tmp_path / "open-alarms.txt").write_text("0f-latency-20261123\n")
    done = nightly("issue", tmp_path, path=command(tmp_path / "bin", "gh", "echo 'not logged in' >&2; exit 4"))
    assert done.returncode == 2
    assert "gh issue list ended with status 4: not logged in" in done.stderr


def test_an_issue_is_as_long_as_github_takes_and_says_the_rest_the_next_time(tmp_path):
    ids = [f"{number:016x}-throughput-20261123" for number in range(1200)]
    alarms = [{"alarm_id": one, "is_open": True, "is_new": True} for one in ids]
    text = "~~~~~~~~\n```\n\r</pre>\n\n" + "a row of a run é\n" * 3000
    assert report_of(tmp_path, alarms, 1, text=text).returncode == 1
    fakes, said, body = tmp_path / "bin", tmp_path / "said", tmp_path / "body"
    said.write_text("")
    answers = f'*state\\ all*) cat "{said}" ;; issue\\ create*) cp "${{@: -1}}" "{body}" ;;'
    command(fakes, "gh", f'case "$*" in {answers} esac')
    found = []
    for _ in range(2):
        assert nightly("issue", tmp_path / "out", path=fakes).returncode == 0
        written = body.read_text()
        assert len(written) < 65_536
        of_run = [line for line in written.splitlines() if re.search("~~~|```|pre>|a row", line)]
        assert {line[:4] for line in of_run} == {"    "}
        assert f"{3004 - 1 - len(of_run)} lines more are in `history.txt`" in written
        (comment,) = re.findall(r"<!-- alarms: (.*) -->", written)
        found.append(comment.split())
        assert f"{1200 - len(found[-1])} alarms more are in `open-alarms.txt`" in written
        said.write_text(said.read_text() + written)
    assert set(found[0]) | set(found[1]) == set(ids)
    body.unlink()
    assert nightly("issue", tmp_path / "out", path=fakes).returncode == 0
    assert not body.exists()


def test_no_regression_no_issue(tmp_path):
    (tmp_path / "open-alarms.txt").write_text("")
    gh = command(tmp_path / "bin", "gh", "exit 9")
    assert nightly("issue", tmp_path, path=gh).returncode == 0
    assert nightly("issue", tmp_path / "absent", path=gh).returncode == 2


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
