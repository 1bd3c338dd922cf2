"""A reduced precision is believed only where the same adapter's fp32 cell passes."""

from dataclasses import replace

import pytest

from bench.parent import belief
from bench.parent.record import Launch
from tests.fakes.bench import CELL, faulty_suite, filled_cache
from tests.fakes.faulty import Faulty

LOW = replace(CELL, precision="bf16")


@pytest.fixture
def suite(tmp_path, monkeypatch):
    monkeypatch.setattr(Faulty, "precisions", ("fp32", "bf16"))
    monkeypatch.setenv("SAMESTEP_FAKE", "says")
    return faulty_suite(filled_cache(tmp_path / "cache"), tmp_path)


def launch(cell, status="ok", **columns):
    return Launch(cell.columns() | {"status": status, "verification": "passed", "latency_p50_s": 1.0} | columns)


def test_fp32_rests_on_itself():
    assert belief.twin_of(CELL) is None
    assert belief.twin_of(LOW) == CELL


def test_without_its_fp32_cell_in_the_run_that_is_verified_first_and_once(suite, monkeypatch):
    asked = []
    monkeypatch.setattr(type(suite), "outcome", lambda self, cell: asked.append(cell) or PASSED)
    assert belief.refused(suite, [LOW]) == {}
    assert belief.refused(suite, [LOW]) == {}
    assert asked == [CELL]


PASSED = {"status": "ok", "verification": "passed", "launch_s": 1.0}


def test_what_does_not_pass_in_fp32_is_refused_in_bf16_and_that_is_not_remembered(suite, monkeypatch):
    failed = {"status": "wrong", "reason": "error of output is 1, tolerance 1e-6"}
    asked = []
    monkeypatch.setattr(type(suite), "outcome", lambda self, cell: asked.append(cell) or failed)
    for _ in range(2):
        (found,) = belief.refused(suite, [LOW]).values()
        assert (found.status, found.columns["reason_code"]) == ("refused", "fp32_not_verified")
        assert found.columns["reason"] == "its fp32 cell is wrong: error of output is 1, tolerance 1e-6"
    assert len(asked) == 2


def test_one_that_is_in_the_run_is_not_verified_apart(suite, monkeypatch):
    monkeypatch.setattr(type(suite), "outcome", lambda self, cell: pytest.fail("it is in the run"))
    assert belief.refused(suite, [LOW, CELL]) == {}


def test_beside_an_fp32_cell_that_failed_it_has_no_number():
    wrong = launch(CELL, "wrong", verification=None, reason="error of output is 1")
    held = belief.held_together({CELL: wrong, LOW: launch(LOW)})
    assert held[CELL] is wrong
    assert (held[LOW].status, held[LOW].columns["reason_code"]) == ("refused", "fp32_not_verified")
    assert "latency_p50_s" not in held[LOW].columns


def test_beside_one_that_passed_it_stands():
    both = {CELL: launch(CELL), LOW: launch(LOW)}
    assert belief.held_together(both) == both
    disturbed = {CELL: launch(CELL, "disturbed"), LOW: launch(LOW)}
    assert belief.held_together(disturbed) == disturbed
