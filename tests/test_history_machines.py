"""Machines that look alike, retire, change names or have a wrong clock; and nights without what finds change points."""

import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from results.__main__ import main
from results.nights.history import history
from tests.fakes.nights import BACKENDS, NIGHTS, open_alarms, write_nights
from tests.fakes.runs import FIRST, write_run

# Machines that look alike.


def write_two_boards(store, machine="alpha", ids=("one", "two"), nights=NIGHTS):
    """Writes a run per night of two boards in turns, under one name; the second is slower by a half."""
    generator = np.random.default_rng(2)
    for number in range(nights):
        noise = np.exp(generator.normal(0, 0.005, len(BACKENDS)))
        which = number // 5 % 2  # five nights each
        times = {name: 1e-3 * float(n) * (1.5 if which else 1) for name, n in zip(BACKENDS, noise, strict=True)}
        write_run(store, machine, FIRST + timedelta(number), times, installation_id=ids[which])


@pytest.mark.parametrize("packed", [False, True])
def test_two_boards_under_one_name_are_two_machines_and_no_regression(tmp_path, packed, capsys):
    write_two_boards(tmp_path)
    if packed:
        assert main(["pack", str(tmp_path)]) == 0
    found = history(tmp_path)
    assert open_alarms(found).empty
    assert len(found.nights.series) == 2 * len(BACKENDS)
    (problem,) = [problem for problem in found.problems if "look alike" in problem]
    assert "alpha (hardware id-alpha) is 2 installations that run in turns (one, two)" in problem
    assert main(["history", str(tmp_path), "--fail-on", "open"]) == 0
    assert "look alike" in capsys.readouterr().err
    (name, *_) = found.nights.series.index
    assert main(["history", str(tmp_path), "--series", name]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 + NIGHTS // 2


def test_without_their_ids_they_are_one_machine_as_ever(tmp_path):
    write_two_boards(tmp_path, ids=(None, None))
    found = history(tmp_path)
    assert len(found.nights.series) == len(BACKENDS)
    assert not found.problems


def test_what_was_set_up_anew_is_the_same_machine_and_its_regression_says_so(tmp_path):
    before = history_with_new_installation(tmp_path / "a", None)
    after = history_with_new_installation(tmp_path / "b", "new")
    assert set(before.nights.series.index) == set(after.nights.series.index)
    assert not after.problems
    assert set(open_alarms(before)["cause"]) == {"unknown: same machine, same software"}
    (cause,) = set(open_alarms(after)["cause"])
    assert cause == "another installation of the machine: it was replaced, or set up anew, between the two runs"


def history_with_new_installation(store, new):
    """Returns the history of a machine whose installation is another one, and slower, from the 20th night on."""
    generator = np.random.default_rng(3)
    for number in range(NIGHTS):
        seconds = 1e-3 * float(np.exp(generator.normal(0, 0.005))) * (1.2 if number >= 20 else 1)
        installation = new if number >= 20 else new and "old"
        write_run(store, "alpha", FIRST + timedelta(number), {"jax_cpu": seconds}, installation_id=installation)
    return history(store)


# Clocks that are wrong.


@pytest.mark.parametrize("packed", [False, True])
def test_a_run_of_the_future_is_named_and_is_no_night(tmp_path, packed, capsys):
    write_nights(tmp_path, "alpha", nights=24)
    ahead = datetime.now(UTC).date() + timedelta(3000)
    run = write_run(tmp_path, "beta", ahead, dict.fromkeys(BACKENDS, 1e-3))
    if packed:
        assert main(["pack", str(tmp_path)]) == 0
    found = history(tmp_path)
    assert found.nights.nights[-1] == FIRST + timedelta(23)
    assert set(found.nights.rows["machine"]) == {"alpha"}
    assert found.missing_machines[["machine", "is_away"]].to_numpy().tolist() == [["alpha", False]]
    (problem,) = [problem for problem in found.problems if "future" in problem]
    assert run.name in problem and "beta" in problem
    assert main(["history", str(tmp_path)]) == 0
    text = capsys.readouterr()
    assert run.name in text.err
    assert str(ahead.year) not in text.out
    assert main(["report", str(tmp_path), "--output", str(tmp_path / "page.html")]) == 0
    assert f"{ahead:%Y-%m-%d}" not in (tmp_path / "page.html").read_text()
    assert history(tmp_path, until=ahead).nights.rows.empty  # also where that night is asked for


def test_a_run_of_this_night_is_none_of_the_future_wherever_it_is_noon(tmp_path):
    for number in range(3):
        write_run(tmp_path, "alpha", datetime.now(UTC).date() + timedelta(number - 1), {"jax_cpu": 1e-3})
    assert len(history(tmp_path).nights.rows) == 3


def test_where_all_is_in_the_future_it_is_the_clock_here_that_is_said(tmp_path):
    far = datetime.now(UTC).date() + timedelta(900)
    for number in range(3):
        write_run(tmp_path, "alpha", far + timedelta(number), {"jax_cpu": 1e-3})
    found = history(tmp_path)
    assert len(found.nights.rows) == 3
    assert "is it right?" in found.problems[0]


# Machines that retire, and names that change.


@pytest.mark.parametrize("packed", [False, True])
def test_a_list_of_machines_is_the_list(tmp_path, packed, capsys):
    write_run(tmp_path, "old", FIRST - timedelta(200), {"jax_cpu": 1e-3})
    write_nights(tmp_path, "gone", nights=20)
    write_nights(tmp_path, "alpha")
    if packed:
        assert main(["pack", str(tmp_path)]) == 0
    assert main(["history", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "Missing: old did not run" in text and "Missing: gone did not run" in text
    (tmp_path / "machines.txt").write_text("alpha\nbeta\n")
    assert main(["history", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if line.startswith("Missing")] == [
        "Missing: beta is expected, and did not run in any of these nights"
    ]
    (tmp_path / "machines.txt").write_text("# all of them are retired\n")
    assert not history(tmp_path).missing_machines["is_away"].any()


def test_names_that_change_are_said_once_with_the_cure(tmp_path, capsys):
    for number in range(12):
        write_run(tmp_path, f"c0ffee{number:02d}", FIRST + timedelta(number), {"jax_cpu": 1e-3}, machine_id="hw")
    found = history(tmp_path)
    assert not found.missing_machines["is_away"].any()
    assert main(["history", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "Missing" not in text
    (line,) = [line for line in text.splitlines() if "SAMESTEP_MACHINE" in line]
    assert line.startswith("Names that change: c0ffee11 was called c0ffee00, c0ffee01, c0ffee02 … (11 names) before")
    assert "machines.txt" in line
    (tmp_path / "machines.txt").write_text("c0ffee05\n")
    (away,) = history(tmp_path).missing_machines.query("is_away").to_dict("records")
    assert away["machine"] == "c0ffee05"


def test_boards_of_one_kind_that_run_side_by_side_have_not_changed_names(tmp_path):
    for number in range(12):
        for machine in ("alpha", "beta") if number < 9 else ("alpha",):
            write_run(tmp_path, machine, FIRST + timedelta(number), {"jax_cpu": 1e-3}, machine_id="hw")
    found = history(tmp_path)
    assert found.names == ()
    assert found.missing_machines.query("is_away")["machine"].tolist() == ["beta"]


# Without what finds change points.


@pytest.mark.parametrize("missing", ["ruptures", "scipy"])
def test_history_and_report_of_few_nights_need_nothing_to_judge_them(tmp_path, missing, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    write_nights(tmp_path, "alpha", nights=2)
    assert main(["history", str(tmp_path), "--fail-on", "new"]) == 0
    assert main(["report", str(tmp_path), "--output", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().err == ""


def test_where_change_points_are_needed_a_line_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ruptures", None)
    write_nights(tmp_path, "alpha", 20, backends=("jax_cpu",))
    assert main(["history", str(tmp_path)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "ruptures" in line]
    assert line.startswith("Regressions: not looked for: ") and "pip install -e '.[reports]'" in line
    assert main(["report", str(tmp_path), "--output", str(tmp_path / "page.html")]) == 0
    assert "not looked for" in (tmp_path / "page.html").read_text()
    assert main(["history", str(tmp_path), "--fail-on", "new"]) == 2  # a check that cannot fail is none
    assert "cannot be looked for" in capsys.readouterr().err
