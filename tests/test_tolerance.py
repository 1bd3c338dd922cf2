"""A tolerance that nobody has measured: our own fault, with the command that measures one, whose status is told."""

import tempfile
from dataclasses import replace

import pytest

from bench import correct_errors
from results.record.row import make_row
from tests.fakes.bench import CELL, faulty_suite, filled_cache
from tests.fakes.faulty import Faulty
from workloads.catalog import tolerances
from workloads.tolerance import MissingTolerance

COMMAND = "`python -m bench.correct_errors mlp tiny BACKEND…`"


def test_a_missing_tolerance_is_no_backends_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(Faulty, "precisions", ("fp32", "fp99"))
    monkeypatch.setenv("SAMESTEP_FAKE", "says@precision=fp99")
    suite = faulty_suite(filled_cache(tmp_path / "cache"), tmp_path)
    row = make_row(**suite.run(replace(CELL, precision="fp99")).columns)
    assert (row["status"], row["reason_code"]) == ("error", "no_tolerance")
    assert row["reason"].startswith(f"no tolerances for mlp tiny at fp99; measure correct code with {COMMAND}")


def test_neither_is_that_of_one_quantity():
    allowed = tolerances("mlp", "tiny", "fp32")
    assert allowed["output"].error > 0
    with pytest.raises(MissingTolerance, match="no tolerance for second_moment of mlp tiny at fp32") as missing:
        allowed["second_moment"]
    assert COMMAND in str(missing.value)


def test_a_backend_that_fails_is_in_the_exit_status_and_named(capfd):
    assert correct_errors.main(["mlp", "tiny", "nowhere", "elsewhere"]) == 1
    assert "failed: nowhere (status 1), elsewhere (status 1)" in capfd.readouterr().err


def test_the_others_are_printed_all_the_same(monkeypatch):
    ended = {"a": 0, "b": -11, "c": 0}
    asked = []

    def run(command, check):
        asked.append(command[-1])
        return type("Done", (), {"returncode": ended[command[-1]]})

    monkeypatch.setattr(correct_errors.subprocess, "run", run)
    assert correct_errors.main(["mlp", "tiny", *ended]) == 1
    assert asked == [*ended]
    assert correct_errors.main(["mlp", "tiny", "a", "c"]) == 0
    assert correct_errors.main(["mlp"]) == 2


def test_it_leaves_no_folder(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(correct_errors, "print_backend", lambda *given: seen.append(given[-1].logs))
    assert correct_errors.main(["mlp", "tiny", "null"]) == 0
    assert seen[0].parent == tmp_path
    assert list(tmp_path.iterdir()) == []
