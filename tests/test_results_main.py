"""`samestep table`, as a person calls it: on runs, on nothing, on what is no run."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from results import __main__ as door
from results.cli import common as cli
from results.record.csvfile import read_csv, write_csv
from results.record.journal import Journal
from results.show.render import render
from results.tables.table import to_frame
from tests.fakes.rows import HEADER, LATER_RUN_ID, RUN_ID, cell, row_of

ROOT = Path(__file__).resolve().parent.parent
ROWS = [row_of(), row_of(backend="jax_cpu", latency_p50_s=2e-3, peak_memory_bytes=5_000_000)]


@pytest.fixture(autouse=True)
def _terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def runs(tmp_path):
    for run_id, rows in ((RUN_ID, ROWS), (LATER_RUN_ID, [row_of(run_id=LATER_RUN_ID, latency_p50_s=7e-3)])):
        with Journal.create(tmp_path / "runs", run_id, HEADER) as journal:
            journal.plan([cell(), cell(backend="jax_cpu")])
            for row in rows:
                journal.row(row)
            journal.end("Ctrl-C", "interrupted")
    return tmp_path / "runs"


def output_of(capsys, *arguments):
    """Returns status, output and complaints of the command."""
    status = door.main(["table", *map(str, arguments)])
    return status, *capsys.readouterr()


def test_a_run_is_rendered(runs, capsys):
    assert output_of(capsys, runs / RUN_ID) == (0, render(to_frame(ROWS)) + "\n", "")


def test_the_newest_run_of_the_checkout_is_the_default(runs, capsys, monkeypatch):
    assert cli.RUNS == ROOT / "results" / "runs"
    monkeypatch.setattr(cli, "RUNS", runs)
    status, output, complaints = output_of(capsys)
    assert (status, complaints) == (0, "")
    assert output.splitlines()[0] == f"Run {LATER_RUN_ID} on machine: 2 cells, 1 ok, 1 not_run"
    assert "the run ended first: Ctrl-C" in output


def test_options_reach_the_table(runs, capsys):
    status, output, _ = output_of(capsys, runs / RUN_ID, "--baseline", "jax_cpu", "--metric", "peak_memory_bytes")
    assert status == 0
    assert output == render(to_frame(ROWS), "jax_cpu", ["peak_memory_bytes"]) + "\n"
    assert "5.00 MB" in output


def test_rows_can_be_taken_along_as_csv(runs, tmp_path, capsys):
    assert output_of(capsys, runs / RUN_ID, "--csv", tmp_path / "taken.csv")[0] == 0
    assert read_csv(tmp_path / "taken.csv") == tuple(ROWS)
    assert output_of(capsys, tmp_path / "taken.csv") == output_of(capsys, runs / RUN_ID)


def test_a_torn_run_is_shown_with_a_note(runs, capsys):
    journal = runs / RUN_ID / "journal.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole[: whole.rstrip().rfind(b"\n") - 3])
    status, output, complaints = output_of(capsys, runs / RUN_ID)
    assert status == 0
    assert complaints == f"note: {journal}, line 4: torn, and left out; the run ended while writing it\n"
    assert "jax_cpu  not_run  mlp infer  the run was killed before it came to this cell" in output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["absent"], "error: absent does not exist; expected a run's folder, a journal or a CSV of results"),
        (["{runs}/empty"], "holds no run; expected journal.jsonl in it, or in folders of runs in it"),
        (["{runs}/foreign.txt"], "foreign.txt, line 1: it does not begin with the checksum of a journal's line"),
        (["{runs}/foreign.csv"], "foreign.csv, line 1: this is no CSV of samestep; expected a header with row_format"),
        (["{runs}/binary"], "binary, line 1: no whole line; it is no journal, or its run ended before it began"),
        (["{run}", "--baseline", "cuda"], "error: unknown baseline 'cuda'; known: jax_cpu, torch_cpu"),
        (["{run}", "--metric", "speed"], "error: unknown metric 'speed'; known: row_format, device_index"),
        (["{run}", "--csv", "{runs}/absent/a.csv"], "No such file or directory"),
    ],
)
def test_what_cannot_be_done_is_said_with_status_2(runs, capsys, arguments, complaint):
    (runs / "empty").mkdir()
    (runs / "foreign.txt").write_text("hello\nworld\n")
    (runs / "foreign.csv").write_text("a,b\n1,2\n")
    (runs / "binary").write_bytes(bytes(range(256)).replace(b"\n", b""))
    filled = [argument.format(runs=runs, run=runs / RUN_ID) for argument in arguments]
    status, output, complaints = output_of(capsys, *filled)
    assert (status, output) == (2, "")
    assert complaint in complaints
    assert complaints.count("\n") == 1


def test_no_run_yet_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli, "RUNS", tmp_path / "runs")
    assert output_of(capsys) == (
        2,
        "",
        f"error: no run in {tmp_path / 'runs'}; run `samestep run` first, or name a run\n",
    )


def module(*arguments, python=(), **how):
    """Returns what `python -m results` did in a process of its own."""
    command = [sys.executable, *python, "-m", "results", *map(str, arguments)]
    return subprocess.run(command, check=False, **{"cwd": ROOT, "capture_output": True, "text": True, **how})


def test_it_runs_as_a_module_on_a_terminal_without_unicode(tmp_path):
    write_csv(
        [row_of(latency_p50_s=3e-6), row_of("wrong", backend="jax_cpu", reason="é 3 µs × 2 → 日")], tmp_path / "a.csv"
    )
    ascii_only = {"PYTHONIOENCODING": "ascii", "COLUMNS": "120"}
    done = module("table", tmp_path / "a.csv", env=ascii_only)
    assert "  3.00 us  " in done.stdout
    assert "e 3 us x 2 -> ?" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")
    done = module("table", tmp_path / "µ.csv", env=ascii_only)
    assert done.stderr.startswith(f"error: {tmp_path}/u.csv does not exist; expected a run's folder")
    for command in (["compare", "--help"], ["--help"]):
        done = module(*command, env=ascii_only)
        assert (done.returncode, done.stderr, "\\u" in done.stdout) == (0, "", False)


def test_it_runs_without_docstrings_and_assertions(tmp_path):
    write_csv(ROWS, tmp_path / "a.csv")
    write_csv([{**row, "run_id": LATER_RUN_ID} for row in ROWS], tmp_path / "b.csv")
    for command in (["table", tmp_path / "a.csv"], ["compare", tmp_path / "a.csv", tmp_path / "b.csv"], ["columns"]):
        done = module(*command, python=["-OO"])
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout


def test_a_full_disk_costs_neither_the_table_nor_a_file_elsewhere(runs, tmp_path, capsys):
    files = ["--csv", "/dev/full", "--json", tmp_path / "out.json"]
    status, output, complaints = output_of(capsys, runs / RUN_ID, *files)
    assert (status, output) == (2, render(to_frame(ROWS)) + "\n")
    assert complaints == "error: cannot write /dev/full: No space left on device\n"
    assert [row["backend"] for row in json.loads((tmp_path / "out.json").read_text())] == ["torch_cpu", "jax_cpu"]


def test_an_output_that_is_full_is_said_in_one_line(tmp_path):
    write_csv(ROWS, tmp_path / "a.csv")
    with Path("/dev/full").open("w") as full:
        done = module("table", tmp_path / "a.csv", stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert (done.returncode, done.stderr) == (2, "error: [Errno 28] No space left on device\n")


def test_a_table_is_written_into_what_its_path_leads_to(runs, tmp_path, capsys):
    (tmp_path / "target.csv").write_text("")
    (tmp_path / "link.csv").symlink_to("target.csv")
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor() as pool:
        reading = pool.submit((tmp_path / "pipe").read_text)
        assert output_of(capsys, runs / RUN_ID, "--csv", tmp_path / "link.csv", "--json", tmp_path / "pipe")[0] == 0
        assert len(json.loads(reading.result())) == 2
    assert (tmp_path / "link.csv").is_symlink()
    assert read_csv(tmp_path / "target.csv") == tuple(ROWS)
    done = module("table", runs / RUN_ID, "--csv", "/dev/stdout")
    assert done.stdout.startswith("row_format,run_id")
    assert done.stdout.endswith(render(to_frame(ROWS)) + "\n")


def test_a_run_that_was_entered_copied_or_linked_is_a_side_of_a_comparison(runs, tmp_path, capsys, monkeypatch):
    shutil.copytree(runs / RUN_ID, tmp_path / "before")
    (tmp_path / "latest").symlink_to(runs / LATER_RUN_ID)
    monkeypatch.chdir(tmp_path / "before")
    for before, after, heading in (
        (tmp_path / "before", tmp_path / "latest", "latest against before: 1 slower"),
        (Path(), tmp_path / "latest", "latest against before: 1 slower"),
        (tmp_path / "latest", Path(), "before against latest: 1 faster"),
    ):
        assert door.main(["compare", str(before), str(after)]) == 0
        assert capsys.readouterr().out.startswith(heading)
    assert output_of(capsys, ".") == (0, render(to_frame(ROWS)) + "\n", "")


def test_a_reader_that_leaves_ends_it_quietly(tmp_path):
    write_csv([row_of()], tmp_path / "results.csv")
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "results", "table", tmp_path / "results.csv"],
        cwd=ROOT,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + 13, "")


def test_a_bug_has_its_traceback_and_never_the_status_of_a_regression(tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise KeyError("planted")

    monkeypatch.setattr("results.nights.history.history", fail)
    assert door.main(["history", str(tmp_path), "--fail-on", "new"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("Traceback")
    assert said.err.endswith("KeyError: 'planted'\n")


def test_without_a_command_its_usage_is_said(capsys):
    with pytest.raises(SystemExit) as exited:
        door.main([])
    assert exited.value.code == 2
    assert "the following arguments are required: COMMAND" in capsys.readouterr().err
