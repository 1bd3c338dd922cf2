"""The journal on disk: whole lines, one by one, and one row per cell."""

import json
import os
import re
import resource
import subprocess
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone

import pytest

from results.record.journal import JOURNAL_FORMAT, Journal, JournalError, decode_line, encode_line, new_run_id
from results.record.journal import RUN_ID as RUN_ID_PATTERN
from results.record.run import read_run, run_so_far
from tests.fakes.rows import HEADER, LATER_RUN_ID, RUN_ID, cell, row_of


@pytest.fixture
def journal(tmp_path):
    with Journal.create(tmp_path, RUN_ID, HEADER) as journal:
        yield journal


def lines_of(journal):
    return (journal.folder / "journal.jsonl").read_bytes().splitlines()


def test_a_new_run_is_a_folder_with_a_header(tmp_path, journal):
    assert journal.folder == tmp_path / RUN_ID
    assert journal.logs == tmp_path / RUN_ID / "logs"
    assert journal.logs.is_dir()
    assert [json.loads(line)["body"] for line in lines_of(journal)] == [
        {**HEADER, "journal_format": JOURNAL_FORMAT, "run_id": RUN_ID}
    ]


def test_a_line_is_json_with_a_checksum():
    line = encode_line(7, "launch", {"samples_s": [0.1, 1e-9], "name": "é\u2028"})
    assert json.loads(line) == {
        "crc": line[8:16].decode(),
        "seq": 7,
        "kind": "launch",
        "body": {"samples_s": [0.1, 1e-9], "name": "é\u2028"},
    }
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert decode_line(line[:-1]) == (7, "launch", {"samples_s": [0.1, 1e-9], "name": "é\u2028"})


def test_a_checksum_is_that_of_the_bytes_after_it():
    # From the definition of CRC-32: its check value is that of these nine digits.
    with pytest.raises(ValueError, match=r"Extra data|Expecting"):
        decode_line(b'{"crc":"cbf43926",123456789')
    with pytest.raises(ValueError, match="its checksum does not match"):
        decode_line(b'{"crc":"cbf43926",123456780')


def test_what_is_written_is_read(tmp_path, journal):
    cells = [cell(), cell(phase="train")]
    rows = [row_of(), row_of("unavailable", phase="train")]
    journal.plan(cells)
    for row in rows:
        journal.launch({"samples_s": [0.25], "nested": {"a": None}})
        journal.row(row)
    journal.end("the plan is done")
    run = read_run(tmp_path / RUN_ID)
    assert run.rows == tuple(rows)
    assert run.launches == ({"samples_s": [0.25], "nested": {"a": None}},) * 2
    assert (run.end_reason, run.problems) == ("the plan is done", ())
    assert run.header == {**HEADER, "journal_format": JOURNAL_FORMAT, "run_id": RUN_ID}
    assert [json.loads(line)["seq"] for line in lines_of(journal)] == list(range(7))
    assert read_run(tmp_path / RUN_ID / "journal.jsonl").rows == run.rows


def test_each_line_is_on_disk_when_the_method_returns(journal, monkeypatch):
    synced, sizes = os.fsync, []

    def fsync(descriptor):
        synced(descriptor)
        sizes.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", fsync)
    journal.plan([cell()])
    journal.launch({})
    journal.row(row_of())
    journal.end("done")
    lengths = [len(line) + 1 for line in lines_of(journal)]
    assert sizes == [sum(lengths[:count]) for count in (2, 3, 4, 5)]


def test_an_existing_run_is_refused_and_left_alone(tmp_path, journal):
    journal.launch({})
    before = lines_of(journal)
    with pytest.raises(JournalError, match=f"{RUN_ID}.* exists; choose another results folder or run id"):
        Journal.create(tmp_path, RUN_ID, HEADER)
    assert lines_of(journal) == before


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for results_dir in (tmp_path / "file", tmp_path / "file" / "runs"):
        with pytest.raises(JournalError, match=str(results_dir)):
            Journal.create(results_dir, RUN_ID, HEADER)


def test_a_folder_without_permission_is_refused(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(JournalError, match=r"cannot write results into .* \(Permission denied\); choose a folder"):
        Journal.create(tmp_path, RUN_ID, HEADER)


@pytest.mark.parametrize("run_id", ["", ".", "..", "../x", "a/b", "run", RUN_ID + "/..", RUN_ID + "\n", RUN_ID.upper()])
def test_a_run_stays_in_its_results_folder(tmp_path, run_id):
    with pytest.raises(ValueError, match="expected what new_run_id returns"):
        Journal.create(tmp_path / "runs", run_id, HEADER)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", HEADER)
def test_a_header_is_whole(tmp_path, key):
    header = {name: value for name, value in HEADER.items() if name != key}
    with pytest.raises(ValueError, match=rf"the header of a run lacks \['{key}'\]"):
        Journal.create(tmp_path, RUN_ID, header)


def test_a_header_names_its_machine(tmp_path):
    with pytest.raises(ValueError, match="machine is 'vm'; expected what describe_machine returns"):
        Journal.create(tmp_path, RUN_ID, {**HEADER, "machine": "vm"})
    assert list(tmp_path.iterdir()) == []


def test_a_row_is_one_of_this_run_and_its_plan_and_the_only_one_of_its_cell(journal):
    journal.plan([cell()])
    with pytest.raises(ValueError, match=f"the row is of run '{LATER_RUN_ID}'"):
        journal.row(row_of(run_id=LATER_RUN_ID))
    with pytest.raises(ValueError, match=r"no such cell is in the plan: .*backend=jax_cpu"):
        journal.row(row_of(backend="jax_cpu"))
    with pytest.raises(ValueError, match="reason is missing"):
        journal.row({**row_of(), "status": "wrong"})
    journal.row(row_of())
    with pytest.raises(ValueError, match="the cell has a row already: workload=mlp size=tiny"):
        journal.row(row_of("unavailable"))
    assert len(lines_of(journal)) == 3


def test_a_plan_is_one_list_of_different_whole_cells(journal):
    incomplete = {name: value for name, value in cell().items() if name != "threads"}
    with pytest.raises(ValueError, match=r"a planned cell lacks \['threads'\]"):
        journal.plan([incomplete])
    with pytest.raises(TypeError, match="unknown columns"):
        journal.plan([cell(colour="blue")])
    with pytest.raises(ValueError, match="the plan has 2 cells, 1 of them different"):
        journal.plan([cell(), cell()])
    journal.plan([cell()])
    with pytest.raises(ValueError, match="the run has a plan"):
        journal.plan([cell(phase="train")])
    assert len(lines_of(journal)) == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_a_launch_is_what_json_can_hold(journal, value):
    with pytest.raises((TypeError, ValueError), match="the launch line cannot be written as JSON"):
        journal.launch({"samples_s": [1.0, value]})
    assert len(lines_of(journal)) == 1


def test_nothing_is_written_after_the_end(journal):
    with pytest.raises(ValueError, match="unknown reason_code 'boredom'; known: not_installed"):
        journal.end("enough", "boredom")
    journal.end("enough", "interrupted")
    with pytest.raises(ValueError, match="is ended; nothing more can be written"):
        journal.launch({})
    journal.close()
    journal.close()
    with pytest.raises(ValueError, match="nothing more can be written"):
        journal.end("again")


def test_nothing_is_written_after_closing(journal):
    journal.close()
    with pytest.raises(ValueError, match="is closed; nothing more can be written"):
        journal.launch({})


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_line_whose_writing_failed_is_gone_with_the_next(journal, monkeypatch, error):
    synced = os.fsync

    def fail(descriptor):
        monkeypatch.setattr(os, "fsync", synced)
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(error):
        journal.row(row_of())
    assert len(lines_of(journal)) == 2
    journal.row(row_of(error_worst=2e-6))
    assert read_run(journal.folder).rows == (row_of(error_worst=2e-6),)


def test_a_part_of_a_line_is_gone_and_the_line_is_written_with_the_next(journal, monkeypatch):
    write = os.write

    def write_a_part(descriptor, line):
        monkeypatch.setattr(os, "write", write)
        return write(descriptor, line[:10])

    monkeypatch.setattr(os, "write", write_a_part)
    journal.row(row_of())
    assert journal.problem.endswith("journal.jsonl: no room for its last 1 lines; they are in memory only")
    run = read_run(journal.folder)
    assert (run.rows, run.problems) == ((), ())
    journal.launch({})
    run = read_run(journal.folder)
    assert (run.rows, run.problems, journal.problem) == ((row_of(),), (), None)


CELLS = [{"batch": batch} for batch in range(1, 9)]


@contextmanager
def limited(size):
    """Lets no file grow beyond so many bytes: what the kernel then says is what it says of a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_on_a_full_disk_what_fits_is_kept_and_the_rest_is_in_memory(journal):
    journal.on_no_room = (told := []).append
    journal.plan([cell(**changes) for changes in CELLS])
    with limited(14_000):
        for changes in CELLS:
            journal.launch({})
            journal.row(row_of(**changes))
        on_disk = read_run(journal.folder)
        assert on_disk.problems == ()
        assert 0 < len(on_disk.finished) < len(CELLS)
        assert on_disk.finished == tuple(row_of(**changes) for changes in CELLS)[: len(on_disk.finished)]
        assert run_so_far(journal).finished == tuple(row_of(**changes) for changes in CELLS)
        journal.end("the plan is done")
        assert run_so_far(journal).end_reason == "the plan is done"
        assert len(told) == 1
        assert told[0].startswith(f"no room for {journal.folder / 'journal.jsonl'}: what comes from here on is in mem")
    journal.close()  # there is room again
    assert read_run(journal.folder) == run_so_far(journal)
    assert journal.problem is None


def test_a_run_that_stays_without_room_is_closed_and_says_so(journal):
    with limited(3_000):
        for changes in CELLS:
            journal.row(row_of(**changes))
        journal.close()
    assert re.search(r"no room for its last \d lines", journal.problem)
    assert len(run_so_far(journal).rows) == len(CELLS)


def test_room_that_comes_back_is_told(journal):
    journal.on_no_room = (told := []).append
    with limited(3_000):
        for changes in CELLS[1:]:
            journal.row(row_of(**changes))
    journal.row(row_of(**CELLS[0]))
    assert told[1:] == [f"{journal.folder / 'journal.jsonl'} is whole again: there is room"]
    assert len(read_run(journal.folder).rows) == len(CELLS)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root mounts")
def test_a_file_system_of_16_kib(tmp_path):
    (tmp_path / "small").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(tmp_path / "small")]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        with Journal.create(tmp_path / "small", RUN_ID, HEADER) as journal:
            for changes in CELLS:
                journal.row(row_of(**changes))
            assert journal.problem is not None
            assert len(run_so_far(journal).rows) == len(CELLS)
            assert read_run(journal.folder).problems == ()
    finally:
        subprocess.run(["umount", str(tmp_path / "small")], check=True)


def test_run_ids_are_safe_and_sort_by_time():
    now = datetime(2026, 11, 23, 14, 59, 0, tzinfo=timezone(timedelta(hours=2)))
    run_id = new_run_id("../../My Box_7/..", now)
    assert re.fullmatch(r"20261123T125900Z-my-box-7-[0-9a-f]{4}", run_id)
    later = [new_run_id("a", now + timedelta(seconds=step)) for step in range(1, 100)]
    assert [run_id, *later] == sorted([run_id, *later])
    assert all(RUN_ID_PATTERN.fullmatch(each) for each in [run_id, *later])
    assert len({new_run_id("a", now)[-4:] for _ in range(20)}) > 1


@pytest.mark.parametrize("name", ["", "...", "日本", "x" * 300, "-", "a" * 39 + "--b"])
def test_any_machine_name_makes_a_safe_id(name):
    assert RUN_ID_PATTERN.fullmatch(new_run_id(name, datetime(2026, 11, 23, tzinfo=UTC)))


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="without a time zone"):
        new_run_id("machine", datetime(2026, 11, 23))
