"""The report of a night: 1 means a regression, and nothing of another night stands in for what is missing."""

import re
import shutil
import sys
from datetime import timedelta

import numpy as np
import pytest

from tests.fakes.nightly import NEW, NIGHT, OPEN, files_of, nightly, report_of, write_run

# Reporting: exit statuses, with made-up commands.


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
