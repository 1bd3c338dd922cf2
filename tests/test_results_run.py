"""A run read back: a torn last line is forgiven, anything else is an error, and every planned cell has a row."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.record.files import ResultsError
from results.record.journal import Journal, JournalError, encode_line
from results.record.run import find_runs, latest_run, read_run
from tests.fakes.rows import HEADER, LATER_RUN_ID, RUN_ID, cell, row_of

HEADER_LINE = encode_line(0, "run", {**HEADER, "journal_format": 1, "run_id": RUN_ID})


def whole_journal(folder):
    """Returns the bytes of the journal of a whole run."""
    with Journal.create(folder, RUN_ID, HEADER) as journal:
        journal.plan([cell()])
        journal.launch({"samples_s": [0.001, 0.002]})
        journal.row(row_of())
        journal.end("the plan is done")
    return (folder / RUN_ID / "journal.jsonl").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return whole_journal(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("torn") / "journal.jsonl"


def journal_of(path, *lines):
    """Writes a journal of the header and these (kind, body) lines, each with its checksum."""
    encoded = [encode_line(seq, kind, body) for seq, (kind, body) in enumerate(lines, start=1)]
    path.write_bytes(HEADER_LINE + b"".join(encoded))
    return path


def test_a_journal_torn_at_any_byte_loses_its_last_line_only(whole, path):
    whole_lines = whole.split(b"\n")[:-1]
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        kept = whole[:length].count(b"\n")
        torn = whole[:length].rpartition(b"\n")[2]
        # Without its line end alone, a line is whole.
        kept += torn in whole_lines
        if kept == 0:
            with pytest.raises(JournalError, match="no whole line"):
                read_run(path)
            continue
        run = read_run(path)
        assert run.header["run_id"] == RUN_ID
        assert len(run.launches) == (kept >= 3)
        assert [row["status"] for row in run.rows] == (["ok"] if kept >= 4 else ["not_run"] if kept >= 2 else [])
        assert run.end_reason == ("the plan is done" if kept >= 5 else None)
        assert len(run.problems) == (torn not in (b"", *whole_lines))


def test_a_torn_line_is_noted_with_its_file_and_number(whole, path):
    path.write_bytes(whole[:-5])
    assert read_run(path).problems == (f"{path}, line 5: torn, and left out; the run ended while writing it",)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_other_changed_byte_is_an_error_with_its_line(whole, path, data):
    position = data.draw(st.integers(0, len(whole) - 2))
    changed = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[position]))
    path.write_bytes(whole[:position] + bytes([changed]) + whole[position + 1 :])
    number = whole[:position].count(b"\n") + 1
    with pytest.raises(JournalError, match=f"line {number}: "):
        read_run(path)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_lost_or_doubled_line_is_an_error(whole, path, number):
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: number - 1] + lines[number:]))
    with pytest.raises(JournalError, match=f"line {number}: its seq is {number}, expected {number - 1}: a line was"):
        read_run(path)
    path.write_bytes(b"".join(lines[:number] + lines[number - 1 :]))
    with pytest.raises(JournalError, match=f"line {number + 1}: its seq is {number - 1}, expected {number}: a line"):
        read_run(path)


def test_a_cell_that_the_run_did_not_come_to_is_not_run(path):
    extra = {"preset": "quick"}
    journal_of(path, ("plan", {"cells": [cell(), {**cell(phase="train"), **extra}]}), ("row", row_of()))
    run = read_run(path)
    assert run.rows[0] == row_of()
    assert {name: value for name, value in run.rows[1].items() if value is not None} == {
        **{name: value for name, value in cell(phase="train").items() if value is not None},
        "row_format": 1,
        "run_id": RUN_ID,
        "machine": "machine",
        "machine_id": "0123456789ab",
        "started_utc": "2026-11-23T12:59:00Z",
        "preset": "quick",
        "status": "not_run",
        "stage": "plan",
        "reason_code": "killed",
        "reason": "the run was killed before it came to this cell",
    }
    assert (run.end_reason, run.problems) == (None, ())


def test_a_cell_that_is_not_run_has_the_reason_of_the_end(path):
    plan = ("plan", {"cells": [cell()]})
    journal_of(path, plan, ("end", {"reason_code": "interrupted", "reason": "Ctrl-C"}))
    run = read_run(path)
    assert (run.rows[0]["reason_code"], run.rows[0]["reason"]) == ("interrupted", "the run ended first: Ctrl-C")
    assert (run.end_reason, run.problems) == ("Ctrl-C", ())


def test_a_cell_that_is_missing_from_a_finished_run_is_a_problem(path):
    plan = ("plan", {"cells": [cell()]})
    journal_of(path, plan, ("end", {"reason_code": None, "reason": "the plan is done"}))
    run = read_run(path)
    assert [(row["status"], row["reason_code"]) for row in run.rows] == [("not_run", None)]
    assert run.problems == (f"{path}: the run ended by itself, and 1 planned cells have no row",)


END = ("end", {"reason_code": None, "reason": "done"})
PLAN = ("plan", {"cells": [cell()]})


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([END, ("launch", {})], "line 3: its kind is 'launch'; expected nothing but `resume` after `end`"),
        ([PLAN, PLAN], "line 3: it is a second plan"),
        ([("run", HEADER)], "line 2: its kind is 'run'; expected `run` in the first line and only there"),
        (
            [("verdict", {})],
            "line 2: unknown kind 'verdict'; expected run, plan, round, launch, row, service, end or resume",
        ),
        ([("row", {**row_of(), "colour": "blue"})], r"line 2: unknown columns \['colour'\]"),
        ([("row", {**row_of(), "status": "wrong"})], "line 2: status is 'wrong' and reason is missing"),
        ([("row", row_of()), ("row", row_of())], "line 3: the cell has a row already"),
        ([PLAN, ("row", row_of(batch=8))], "line 3: the row's cell was not planned: .*batch=8"),
        ([("row", row_of(run_id=LATER_RUN_ID))], f"line 2: the row is of run '{LATER_RUN_ID}'; expected '{RUN_ID}'"),
        ([("plan", {"cells": [{"workload": "mlp"}]})], "line 2: a planned cell lacks"),
        ([("plan", {})], "line 2: it lacks 'cells'"),
    ],
)
def test_a_line_that_no_journal_would_write_is_an_error(path, lines, message):
    with pytest.raises(JournalError, match=message):
        read_run(journal_of(path, *lines))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            {"journal_format": 4},
            "journal format 4, and this samestep reads 1, 2, 3; update samestep, or read the results.csv",
        ),
        ({"journal_format": 1, "run_id": RUN_ID}, r"line 1: the header lacks \['machine', 'versions'"),
        ({}, "line 1: it lacks 'journal_format'"),
    ],
)
def test_a_header_of_another_format_is_an_error(path, header, message):
    path.write_bytes(encode_line(0, "run", header))
    with pytest.raises(JournalError, match=message):
        read_run(path)


def test_a_journal_begins_with_its_header(path):
    path.write_bytes(encode_line(0, *END))
    with pytest.raises(JournalError, match="line 1: its kind is 'end'; expected `run` in the first line"):
        read_run(path)


@pytest.mark.parametrize("content", [b"", b"\n", b"hello", b"hello\n", b'{"a": 1}\n', b"\x00\xff\n\n"])
def test_a_foreign_file_is_an_error(path, content):
    path.write_bytes(content)
    with pytest.raises(JournalError, match=str(path)):
        read_run(path)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(JournalError, match=r"cannot read .*absent \(No such file or directory\); give a run"):
        read_run(tmp_path / "absent")
    with pytest.raises(JournalError, match=r"cannot read .*journal\.jsonl \(No such file"):
        read_run(tmp_path)


def test_runs_are_found_by_time(tmp_path):
    for run_id in (LATER_RUN_ID, RUN_ID):
        Journal.create(tmp_path, run_id, HEADER).close()
    (tmp_path / "20261125T125900Z-never-begun-0000").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "journal.jsonl").write_text("")
    assert find_runs(tmp_path) == (tmp_path / RUN_ID, tmp_path / LATER_RUN_ID)
    assert latest_run(tmp_path) == tmp_path / LATER_RUN_ID


def test_a_run_of_the_future_is_the_newest_only_where_there_is_no_other(tmp_path):
    ahead, before = (f"{datetime.now(UTC) + timedelta(days):%Y%m%d}T125900Z-machine-1a2b" for days in (900, -900))
    Journal.create(tmp_path, ahead, HEADER).close()
    assert latest_run(tmp_path) == tmp_path / ahead
    Journal.create(tmp_path, before, HEADER).close()
    assert latest_run(tmp_path) == tmp_path / before


@pytest.mark.parametrize("folder", ["empty", "absent"])
def test_no_run_is_an_error_that_says_what_to_do(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResultsError, match=r"no run in .*; run `samestep run` first"):
        latest_run(tmp_path / folder)


def test_runs_are_in_folders(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("file", "absent"):
        with pytest.raises(ResultsError, match="is no folder"):
            find_runs(tmp_path / name)
