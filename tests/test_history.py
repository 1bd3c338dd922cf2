"""Nights in a row: what changed is alarmed once, grouped by cause; what is missing is said and never replaced."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from results.__main__ import main
from results.nights.history import history
from results.nights.lists import read_acknowledged
from results.record.files import ResultsError
from tests.fakes.nights import BACKENDS, NIGHTS, write_nights
from tests.fakes.runs import FIRST, write_run


def test_nothing_planted_nothing_alarmed(tmp_path):
    write_nights(tmp_path, "alpha")
    found = history(tmp_path)
    assert found.alarms[found.alarms["is_open"].astype(bool)].empty
    assert not found.missing_machines["is_away"].any()
    assert found.missing_cells.empty


def test_another_method_is_said_with_its_night_and_alarms_nothing(tmp_path, capsys):
    for number in range(20):
        method = {"method_version": "3" if number >= 10 else "2"}
        write_run(tmp_path, "alpha", FIRST + timedelta(number), {"torch_cpu": 2e-3 if number >= 10 else 1e-3}, **method)
        write_run(tmp_path, "beta", FIRST + timedelta(number), {"torch_cpu": 1e-3})
    found = history(tmp_path)
    assert found.alarms.empty
    (line,) = found.breaks
    day = FIRST + timedelta(10)
    assert line.startswith(f"alpha: from {day} on measured by method 3, before by 2; its series begin anew")
    assert main(["history", str(tmp_path)]) == 0
    assert f"alpha: from {day} on measured by method 3" in capsys.readouterr().out


def test_a_step_is_alarmed_with_its_night_size_and_cause(tmp_path):
    write_nights(tmp_path, "alpha", 20, backends=("jax_cpu",), software="s2")
    found = history(tmp_path)
    (alarm,) = found.alarms.to_dict("records")
    assert (alarm["backend"], alarm["direction"], alarm["metric"]) == ("jax_cpu", "slower", "latency")
    assert alarm["began"] == FIRST + timedelta(20)
    assert alarm["ratio"] == pytest.approx(1.2, rel=0.02)
    assert alarm["cause"] == "software changed between the two runs"
    assert alarm["group"] == f"alpha {FIRST + timedelta(20)} jax_cpu"
    assert alarm["is_open"]
    assert not alarm["is_new"]


def test_it_is_new_on_the_night_on_which_it_is_confirmed_and_on_no_other(tmp_path):
    write_nights(tmp_path, "alpha", 20, backends=("jax_cpu",))
    new = [
        number
        for number in range(18, NIGHTS)
        if history(tmp_path, until=FIRST + timedelta(number)).alarms["is_new"].any()
    ]
    assert len(new) == 1
    assert 20 <= new[0] <= 22


def test_alarms_of_several_backends_are_one_group(tmp_path):
    write_nights(tmp_path, "alpha", 20, backends=BACKENDS[:3])
    found = history(tmp_path).alarms
    assert len(found) == 3
    assert found["group"].nunique() == 1


def test_an_acknowledged_alarm_is_not_open(tmp_path, capsys):
    write_nights(tmp_path, "alpha", 20, backends=("jax_cpu",))
    (alarm,) = history(tmp_path).alarms.to_dict("records")
    assert main(["history", str(tmp_path), "--fail-on", "open"]) == 1
    (tmp_path / "acknowledged.csv").write_text(f"alarm_id,day,by,note\n{alarm['alarm_id']},2026-10-01,me,wanted\n")
    (after,) = history(tmp_path).alarms.to_dict("records")
    assert after["acknowledged"] == "2026-10-01 me: wanted"
    assert not after["is_open"]
    assert main(["history", str(tmp_path), "--fail-on", "open"]) == 0
    assert "2026-10-01" not in capsys.readouterr().err


@pytest.mark.parametrize("content", ["id,why\nx,y\n", "alarm_id,day,by,note\nnonsense,2026-10-01,me,why\n"])
def test_a_file_of_acknowledgements_that_is_none(tmp_path, content):
    path = tmp_path / "acknowledged.csv"
    path.write_text(content)
    with pytest.raises(ResultsError, match=r"acknowledged.csv"):
        read_acknowledged(path)


def test_a_machine_that_is_away_is_said_and_old_data_do_not_stand_in(tmp_path, capsys):
    write_nights(tmp_path, "alpha")
    write_nights(tmp_path, "beta", nights=NIGHTS - 2, away=(5,), seed=1)
    found = history(tmp_path)
    beta = found.missing_machines.set_index("machine").loc["beta"]
    assert beta["is_away"]
    assert (beta["last_night"], beta["missed"]) == (FIRST + timedelta(NIGHTS - 3), 3)
    names, x = found.nights.matrix("latency")
    of_beta = [names.index(name) for name in found.nights.series.index[found.nights.series["machine"] == "beta"]]
    assert np.isnan(x[of_beta, -2:]).all()
    assert main(["history", str(tmp_path)]) == 0
    assert "beta did not run in the newest night" in capsys.readouterr().out


def test_a_cell_that_lost_its_number_or_its_name_is_said(tmp_path):
    write_run(tmp_path, "alpha", FIRST, dict.fromkeys(BACKENDS, 1e-3))
    write_run(tmp_path, "alpha", FIRST + timedelta(1), {"torch_cpu": 1e-3, "jax_cpu": None})
    cells = history(tmp_path).missing_cells
    assert cells["status"].tolist() == ["refused", "not in the run", "not in the run"]


def test_a_cell_that_broke_is_said_each_night_and_one_that_is_gone_once(tmp_path):
    write_run(tmp_path, "alpha", FIRST, dict.fromkeys(BACKENDS, 1e-3))
    for day in (1, 2):
        write_run(tmp_path, "alpha", FIRST + timedelta(day), {"torch_cpu": 1e-3, "jax_cpu": None})
    (cell,) = history(tmp_path).missing_cells.to_dict("records")
    assert (cell["status"], cell["last_ok"]) == ("refused", FIRST)
    assert " jax_cpu " in f"{cell['cell']} "


@pytest.mark.parametrize("packed", [False, True])
def test_a_machine_that_has_been_away_for_longer_than_the_window_is_still_missing(tmp_path, packed, capsys):
    write_nights(tmp_path, "alpha", nights=3)
    write_nights(tmp_path, "beta", nights=9, seed=1)
    if packed:
        assert main(["pack", str(tmp_path)]) == 0
    found = history(tmp_path, window=4).missing_machines.set_index("machine")
    assert (found.loc["alpha", "is_away"], found.loc["alpha", "last_night"]) == (True, FIRST + timedelta(2))
    later = history(tmp_path, window=4, until=FIRST + timedelta(40))
    assert later.nights.rows.empty
    assert later.missing_machines["is_away"].all()
    assert main(["history", str(tmp_path), "--window", "4", "--until", "2027-01-01"]) == 0
    text = capsys.readouterr().out
    assert f"alpha did not run in the newest night; its last was {FIRST + timedelta(2)}" in text
    assert "0 of 0 series can have an alarm" in text


def test_how_many_series_can_have_an_alarm_is_said_and_which_there_are(tmp_path, capsys):
    write_nights(tmp_path, "alpha", nights=9)
    assert main(["history", str(tmp_path)]) == 0
    assert "0 of 4 series can have an alarm, which takes 10 valid nights" in capsys.readouterr().out
    write_run(tmp_path, "alpha", FIRST + timedelta(9), dict.fromkeys(BACKENDS, 1e-3))
    assert main(["history", str(tmp_path)]) == 0
    assert "4 of 4 series" in capsys.readouterr().out
    assert main(["history", str(tmp_path), "--series", "all"]) == 0
    assert set(history(tmp_path).nights.series.index) <= set(capsys.readouterr().out.split())


def test_a_wrong_run_is_left_out_and_the_rest_is_reported(tmp_path, capsys):
    write_nights(tmp_path, "alpha", 20, backends=("jax_cpu",))
    (tmp_path / "20260905T030001Z-alpha-ffff").mkdir()
    (tmp_path / "20260905T030001Z-alpha-ffff" / "results.csv").write_text("<script>,=1+1\n")
    assert main(["history", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "20260905T030001Z-alpha-ffff" in said.err
    assert "jax_cpu" in said.out


def test_the_rows_of_a_series_and_wrong_options(tmp_path, capsys):
    write_nights(tmp_path, "alpha", nights=3)
    (name, *_) = history(tmp_path).nights.series.index
    assert main(["history", str(tmp_path), "--series", name]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert main(["history", str(tmp_path), "--series", "absent"]) == 2
    assert main(["history", str(tmp_path / "absent")]) == 2


def test_the_numbers_of_a_series_have_their_interval(tmp_path, capsys):
    write_run(tmp_path, "alpha", FIRST, {"torch_cpu": 1e-3}, latency_ci_low_s=0.98e-3, latency_ci_high_s=1.02e-3)
    write_run(tmp_path, "alpha", FIRST + timedelta(1), {"torch_cpu": 2e-3})
    (name,) = history(tmp_path).nights.series.index
    assert main(["history", str(tmp_path), "--series", name]) == 0
    said = capsys.readouterr().out
    assert "1.00 ms ±2%" in said
    assert "2.00 ms  " in said


@pytest.mark.parametrize("command", ["history", "report"])
def test_a_window_that_no_calendar_has(tmp_path, capsys, command):
    write_nights(tmp_path, "alpha", nights=3)
    arguments = [command, str(tmp_path), *(["--output", str(tmp_path / "a.html")] if command == "report" else [])]
    for window, said in (("100000000", "100000000 nights"), ("1", "1 nights"), ("0", "0 nights"), ("-3", "-3 nights")):
        assert main([*arguments, "--window", window]) == 2
        assert capsys.readouterr().err == f"error: the window is {said}; expected 2 to 36,500\n"
    assert main([*arguments, "--until", "0001-01-05"]) == 2
    assert "90 nights up to 0001-01-05 begin before the calendar does" in capsys.readouterr().err
    assert main([*arguments, "--window", "36500"]) == 0


def test_a_store_without_runs_of_which_some_are_expected(tmp_path):
    (tmp_path / "machines.txt").write_text("# nobody\n")
    with pytest.raises(ResultsError, match="holds no run"):
        history(tmp_path)
    (tmp_path / "machines.txt").write_text("Alpha\nbeta\n")
    for until in (FIRST, None):
        found = history(tmp_path, until=until)
        assert found.nights.nights[-1] == (until or datetime.now(UTC).date())
        assert found.missing_machines[["machine", "is_away", "nights"]].to_numpy().tolist() == [
            ["alpha", True, 0],
            ["beta", True, 0],
        ]
        assert found.alarms.empty
        assert found.missing_cells.empty


def test_nights_after_all_that_ran_hold_nothing_of_them(tmp_path):
    write_nights(tmp_path, "alpha", nights=3)
    found = history(tmp_path, window=5, until=FIRST + timedelta(9))
    assert found.nights.rows.empty
    assert found.nights.series.empty
    assert found.missing_machines[["machine", "last_night"]].to_numpy().tolist() == [["alpha", FIRST + timedelta(2)]]
