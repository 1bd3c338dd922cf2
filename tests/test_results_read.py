"""Rows come from whatever holds them, each once."""

import binascii
import gzip
import re
from pathlib import Path

import pytest

from results.record.csvfile import write_csv
from results.record.files import ResultsError
from results.record.journal import Journal, encode_line
from results.record.read import read_rows
from results.record.run import read_run
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


HEAD = {**HEADER, "journal_format": 2, "run_id": RUN_ID}
PLAN = ("plan", {"cells": [cell(), cell(phase="train")]})
END = ("end", {"reason_code": None, "reason": "done"})


def journal_of(*lines):
    """Returns the bytes of a journal of these (kind, body) lines, each with its checksum: anybody can make one."""
    return b"".join(encode_line(seq, kind, body) for seq, (kind, body) in enumerate(lines))


def checked(text):
    """Returns a line with its checksum whose JSON is this, without its first brace."""
    return b'{"crc":"%08x",%s\n' % (binascii.crc32(text), text)


def row_with(**changes):
    return journal_of(("run", HEAD), ("row", {**row_of(), **changes}))


BAD = {
    "empty": (b"", "line 1: no whole line"),
    "truncated in its first line": (journal_of(("run", HEAD))[:-9], "line 1: no whole line"),
    "truncated in the middle": (journal_of(("run", HEAD), PLAN).replace(b'"plan"', b'"pl', 1), "line 2: its checksum"),
    "foreign text": (b"hello\nworld\n", "line 1: it does not begin with the checksum"),
    "foreign bytes": (bytes(range(256)) * 9, "line 1: it does not begin with the checksum"),
    "foreign JSON": (b'{"a": 1}\n', "line 1: it does not begin with the checksum"),
    "of a newer format": (journal_of(("run", {**HEAD, "journal_format": 4})), "line 1: it is of journal format 4"),
    "of a newer row format": (row_with(row_format=2), "line 2: row_format is 2, expected 1"),
    "with a newer column": (row_with(colour="blue"), r"line 2: unknown columns \['colour'\]"),
    "of another run": (
        journal_of(("run", {**HEAD, "run_id": LATER_RUN_ID}), PLAN),
        "line 1: it is of run .*; expected",
    ),
    "a number for a body": (journal_of(("run", 5)), "line 1: its body is a int; expected an object"),
    "without a kind": (checked(b'"seq":0,"body":{}}'), "line 1: it lacks 'kind'"),
    "nested": (checked(b'"seq":0,"kind":"run","body":' + b"[" * 99_999 + b"]" * 99_999 + b"}"), "line 1: it is nested"),
    "a machine that is text": (journal_of(("run", {**HEAD, "machine": "vm"})), "line 1: machine is 'vm'; expected"),
    "a machine of markup": (journal_of(("run", {**HEAD, "machine": {"name": "<b>"}})), "line 1: machine is '<b>'"),
    "a run id of numbers": (journal_of(("run", {**HEAD, "run_id": 5})), "line 1: run_id is 5; expected a str"),
    "a time of numbers": (journal_of(("run", {**HEAD, "started_utc": []})), r"line 1: started_utc is \[\]; expected"),
    "a plan of another run": (
        journal_of(("run", HEAD), ("plan", {"cells": [cell(run_id=LATER_RUN_ID)]})),
        "line 2: the row is of run",
    ),
    "a plan of numbers": (journal_of(("run", HEAD), ("plan", {"cells": [1]})), "line 2: "),
    "no plan": (journal_of(("run", HEAD), ("plan", {"cells": None})), "line 2: "),
    "a launch of lists": (journal_of(("run", HEAD), ("launch", {"workload": [1]})), "line 2: a launch of workload"),
    "an end of nothing": (journal_of(("run", HEAD), ("end", {})), "line 2: it lacks 'reason'"),
    "an end of numbers": (journal_of(("run", HEAD), ("end", {"reason": 1, "reason_code": []})), "line 2: reason is 1"),
    "an end of no code": (journal_of(("run", HEAD), ("end", {"reason": "x", "reason_code": "x"})), "line 2: unknown"),
    "a script for a workload": (row_with(workload="<script>alert(1)</script>"), "line 2: workload is '<script>"),
    "a command for a backend": (row_with(backend="=cmd|' /C calc'!A0"), 'line 2: backend is "=cmd'),
    "a path for a size": (row_with(size="../../etc"), r"line 2: size is '\.\./"),
    "a negative time": (row_with(latency_p50_s=-1.0), r"line 2: latency_p50_s is -1\.0; expected 0 or more"),
    "an absurd time": (row_with(latency_p50_s=1e300), r"line 2: latency_p50_s is 1e\+300; expected"),
    "no number": (row_with(latency_p50_s=12345.5).replace(b"12345.5", b"NaN"), "line 2: its checksum does not match"),
    "no number, checked": (
        journal_of(("run", HEAD)) + checked(b'"seq":1,"kind":"row","body":{"latency_p50_s":NaN}}'),
        "line 2: latency_p50_s is nan; expected a finite number",
    ),
    "the same row twice": (
        journal_of(("run", HEAD), ("row", row_of()), ("row", row_of())),
        "line 3: the cell has a row",
    ),
    "a line twice": (journal_of(("run", HEAD)) * 2, "line 2: its seq is 0, expected 1"),
    "more after the end": (journal_of(("run", HEAD), END, PLAN), "line 3: its kind is 'plan'; expected nothing but"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_run_is_left_out_of_its_folder_and_an_error_by_itself(runs, kind):
    content, message = BAD[kind]
    journal = runs / RUN_ID / "journal.jsonl"
    journal.write_bytes(content)
    rows, problems = read_rows(runs)
    assert rows == read_rows(runs / LATER_RUN_ID)[0]
    (problem,) = problems
    assert problem.startswith(f"left out: {journal}, {message.partition(': ')[0]}: ")
    assert re.search(message, problem)
    assert "\n" not in problem
    if kind != "of another run":  # by itself it is a run, whatever its folder is called
        for named in (journal, journal.parent):
            with pytest.raises(ResultsError, match=message):
                read_rows(named)


def test_a_folder_of_bad_runs_alone_is_an_error(runs):
    for run_id in (RUN_ID, LATER_RUN_ID):
        (runs / run_id / "journal.jsonl").write_text("hello\n")
    with pytest.raises(ResultsError, match=rf"holds no run that can be read: .*{RUN_ID}.*, line 1: .*{LATER_RUN_ID}"):
        read_rows(runs)


def journals_of(*paths):
    """Returns the runs that reading the paths shows."""
    shown = []
    read_rows(*paths, on_run=shown.append)
    return tuple(shown)


def test_the_journals_of_paths_are_read_whatever_lies_beside_them(runs):
    both = [RUN_ID, LATER_RUN_ID]
    assert [run.header["run_id"] for run in journals_of(runs)] == both
    assert [run.header["run_id"] for run in journals_of(runs / RUN_ID, runs / LATER_RUN_ID / "journal.jsonl")] == both
    (runs / RUN_ID / "journal.jsonl").write_text("hello\n")
    (runs / LATER_RUN_ID / "journal.jsonl").unlink()
    assert journals_of(runs, runs / LATER_RUN_ID, runs / LATER_RUN_ID / "results.csv") == ()
    assert {row["run_id"] for row in read_rows(runs)[0]} == {LATER_RUN_ID}


def test_what_holds_no_results_is_an_error(tmp_path):
    with pytest.raises(ResultsError, match="absent does not exist; expected a run's folder, a journal or a CSV"):
        read_rows(tmp_path / "absent")
    with pytest.raises(ResultsError, match=r"holds no run; expected journal\.jsonl in it"):
        read_rows(tmp_path)


def test_a_run_that_was_copied_linked_or_entered_may_be_called_anything(runs, tmp_path, monkeypatch):
    copied, linked = tmp_path / "before", tmp_path / "latest"
    (runs / RUN_ID).rename(copied)
    linked.symlink_to(copied)
    monkeypatch.chdir(copied)
    for named in (copied, linked, copied / "journal.jsonl", Path()):
        assert read_rows(named) == (ROWS, ())
    (copied / "journal.jsonl").unlink()
    for named in (copied, linked, Path()):
        assert read_rows(named) == (ROWS, ())
    assert {row["run_id"] for row in read_rows(runs)[0]} == {LATER_RUN_ID}  # there the name is the check


@pytest.mark.parametrize("name", ["results.csv", "sub.csv", "sub.CSV", "deep/er/results.csv", "deep/sub.csv.gz"])
def test_a_folder_with_nothing_but_a_csv_is_what_that_holds(runs, tmp_path, name):
    content = (runs / RUN_ID / "results.csv").read_bytes()
    path = tmp_path / "artifact" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    (tmp_path / "artifact" / "other.csv").write_text("a,b\n1,2\n")
    assert read_rows(tmp_path / "artifact") == (ROWS, ())


def test_artifacts_of_several_jobs_are_the_runs_in_them(runs, tmp_path):
    (tmp_path / "artifacts").mkdir()
    (runs / RUN_ID).rename(tmp_path / "artifacts" / "linux")
    (runs / LATER_RUN_ID).rename(tmp_path / "artifacts" / "mac")
    rows, problems = read_rows(tmp_path / "artifacts")
    assert ([row["run_id"] for row in rows], problems) == ([RUN_ID] * 2 + [LATER_RUN_ID] * 2, ())
    assert [run.header["run_id"] for run in journals_of(tmp_path / "artifacts")] == [RUN_ID, LATER_RUN_ID]
