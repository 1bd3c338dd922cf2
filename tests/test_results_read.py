"""Rows come from whatever holds them, each once."""

import pytest

from results.csvfile import write_csv
from results.files import ResultsError
from results.journal import Journal
from results.read import read_rows
from results.run import read_run
from tests.fakes.rows import HEADER, LATER_RUN_ID, RUN_ID, cell, row_of


@pytest.fixture
def runs(tmp_path):
    """A results folder with a whole run and one that was killed, each with its CSV."""
    for run_id in (RUN_ID, LATER_RUN_ID):
        with Journal.create(tmp_path, run_id, HEADER) as journal:
            journal.plan([cell(), cell(phase="train")])
            journal.row(row_of(run_id=run_id))
            if run_id == RUN_ID:
                journal.row(row_of("wrong", phase="train", reason_code="loss_differs"))
                journal.end("the plan is done")
        write_csv(read_run(journal.folder).rows, journal.folder / "results.csv")
    return tmp_path


ROWS = (row_of(), row_of("wrong", phase="train", reason_code="loss_differs"))


@pytest.mark.parametrize("name", ["", "journal.jsonl", "results.csv"])
def test_a_run_can_be_named_in_three_ways(runs, name):
    assert read_rows(runs / RUN_ID / name) == (ROWS, ())


def test_a_results_folder_holds_the_rows_of_its_runs(runs):
    rows, problems = read_rows(runs)
    assert rows[:2] == ROWS
    assert [(row["run_id"], row["status"]) for row in rows[2:]] == [(LATER_RUN_ID, "ok"), (LATER_RUN_ID, "not_run")]
    assert problems == ()


def test_the_same_row_given_twice_is_one(runs):
    assert read_rows(runs, runs / RUN_ID, runs / RUN_ID / "results.csv") == read_rows(runs)


def test_different_rows_of_one_cell_and_run_are_an_error(runs, tmp_path):
    other = tmp_path / "other.csv"
    write_csv([row_of(latency_p50_s=0.5)], other)
    with pytest.raises(ResultsError, match=r"say different things of one cell of run .*backend=torch_cpu"):
        read_rows(runs / RUN_ID, other)


def test_rows_of_no_run_are_kept_apart(tmp_path):
    write_csv([row_of(run_id=None), row_of(run_id=None, latency_p50_s=0.5)], tmp_path / "a.csv")
    rows, _ = read_rows(tmp_path / "a.csv")
    assert [row["latency_p50_s"] for row in rows] == [0.001, 0.5]


def test_what_was_forgiven_is_said(runs):
    journal = runs / RUN_ID / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-4])
    rows, problems = read_rows(runs)
    assert len(rows) == 4
    assert problems == (f"{journal}, line 5: torn, and left out; the run ended while writing it",)


def test_a_broken_run_in_a_results_folder_is_an_error(runs):
    journal = runs / RUN_ID / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"ok"', b'"no"'))
    with pytest.raises(ResultsError, match=rf"{RUN_ID}.*line 3: its checksum does not match"):
        read_rows(runs)


def test_what_holds_no_results_is_an_error(tmp_path):
    with pytest.raises(ResultsError, match="absent does not exist; expected a run's folder, a journal or a CSV"):
        read_rows(tmp_path / "absent")
    with pytest.raises(ResultsError, match=r"holds no run; expected journal\.jsonl in it"):
        read_rows(tmp_path)
