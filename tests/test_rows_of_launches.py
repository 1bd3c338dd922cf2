"""From launches to a row: medians over those that count, and what one wrong or disturbed launch does to the others."""

import json
from dataclasses import replace
from math import exp
from statistics import median

import pytest

import bench.parent.suite
from backends.base import Effective
from bench.parent.children.child import Outcome
from bench.parent.children.member import Measured, Slice
from bench.parent.record import Launch, to_launch, to_row, workload_columns
from results.record import rounds
from results.record.row import make_row
from results.record.schema import MEASURED
from tests.fakes.bench import CELL

KNOWN = CELL.columns() | workload_columns(CELL.load_workload(), CELL.phase)
RESULT = {
    "samples_s": [1.0, 1.1, 0.9],
    "throughput_samples_s": [1.0, 1.0, 1.0],
    "warm_up_samples_s": [2.0],
    "verification": "passed",
    "error_worst": 1e-6,
    "error_worst_of": "output logits",
    "effective": {"device": "cpu", "precision": "fp32", "threads": 1},
    "requested": {"device": "cpu", "precision": "fp32", "threads": 1},
    "watched_s": 3.0,
}


def launch(median_s=1.0, number=0, attempt=1, seconds=(), left_out=0, **changes):
    """Returns the launch of an `ok` cell whose samples lie about `median_s`, as do its rounds, or at `seconds`."""
    samples = [median_s, 1.1 * median_s, 0.9 * median_s]
    result = RESULT | {"samples_s": samples, "throughput_samples_s": samples} | changes
    kept = {
        1000 * (2 * number + attempt - 1) + n: Slice(one, CELL.batch / one, 3, ())
        for n, one in enumerate(seconds or [median_s] * 8)
    }
    outcome = Outcome("ok", "close", result=result)
    made = to_launch(CELL, KNOWN, outcome, measured=Measured(outcome, kept, left_out))
    return replace(made, number=number, attempt=attempt)


def failed(status, stage="measure"):
    return to_launch(CELL, KNOWN, Outcome(status, stage, "signal", "it fell over"))


def row_of(*launches):
    return make_row(**to_row(launches))


def test_the_row_of_one_launch_is_that_launch():
    row = row_of(launch())
    assert (row["status"], row["latency_p50_s"], row["latency_n"]) == ("ok", 1.0, 3)
    # Its rounds are all alike, and another process might not be.
    assert row["latency_ci_high_s"] == pytest.approx(exp(1.96 * rounds.PROCESS), rel=1e-5)
    assert (row["latency_ci_low_s"], row["launch_spread"]) == (pytest.approx(1 / row["latency_ci_high_s"]), None)
    assert (row["rounds_n"], row["rounds_left_out"]) == (8, 0)
    assert row["rounds_latency_s"] == " ".join(f"{n}:1" for n in range(8))
    assert row["rounds_samples_per_s"] == " ".join(f"{n}:4" for n in range(8))
    assert (row["launches_ok"], row["launches_failed"], row["launches_invalid"]) == (1, 0, 0)
    assert (row["quality"], row["flags"]) == ("valid", None)


SECONDS = (1.0, 1.04, 0.97, 1.2, 1.01, 0.99, 1.02, 0.98)


def test_latency_and_throughput_are_the_medians_of_the_rounds_with_their_intervals():
    row = row_of(launch(seconds=SECONDS))
    expected = rounds.between_processes(rounds.estimate(SECONDS), 1, 1)
    assert row["latency_p50_s"] == pytest.approx(median(SECONDS))
    assert (row["latency_ci_low_s"], row["latency_ci_high_s"]) == pytest.approx((expected.low, expected.high))
    rates = [CELL.batch / one for one in SECONDS]
    assert row["throughput_samples_per_s"] == pytest.approx(median(rates), rel=1e-5)
    ends = (row["throughput_ci_low_samples_per_s"], row["throughput_ci_high_samples_per_s"])
    assert ends == pytest.approx((CELL.batch / expected.high, CELL.batch / expected.low), rel=1e-5)
    assert row["flops_per_s"] == pytest.approx(row["flops_per_step"] / row["latency_p50_s"])


def test_an_interval_always_holds_its_number():
    """The estimate that it belongs to is another one than the median."""
    skewed = (1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0)
    row = row_of(launch(seconds=skewed))
    assert row["latency_ci_low_s"] <= row["latency_p50_s"] == 1.0 <= row["latency_ci_high_s"]


@pytest.mark.parametrize("second", [0.0007583140000000001, 0.0007583139999])
def test_a_median_of_rounded_rounds_is_between_the_extremes_of_its_samples(second):
    samples = {"samples_s": [second], "throughput_samples_s": [second]}
    assert row_of(launch(seconds=[second], **samples))["latency_p50_s"] == second
    both = [launch(seconds=[second], number=n, **samples) for n in (0, 1)]
    assert row_of(*both)["latency_p50_s"] == second


def test_few_rounds_have_no_interval():
    row = row_of(launch(seconds=SECONDS[:5]))
    assert (row["rounds_n"], row["latency_p50_s"]) == (5, 1.01)
    ends = (
        "latency_ci_low_s",
        "latency_ci_high_s",
        "throughput_ci_low_samples_per_s",
        "throughput_ci_high_samples_per_s",
    )
    assert [row[name] for name in ends] == [None] * 4


def test_rounds_that_were_left_out_are_counted_and_few_that_are_left_disturb():
    row = row_of(launch(seconds=SECONDS, left_out=9))
    assert (row["status"], row["rounds_n"], row["rounds_left_out"]) == ("ok", 8, 9)
    row = row_of(launch(seconds=SECONDS[:4], left_out=1))
    assert (row["status"], row["flags"], row["rounds_latency_s"]) == ("disturbed", "unsettled", None)


def test_the_row_of_several_is_their_median_with_their_spread():
    medians = (1.0, 1.3, 1.1)
    row = row_of(*(launch(m, n) for n, m in enumerate(medians)))
    assert row["latency_p50_s"] == 1.1
    assert (row["latency_min_s"], row["latency_max_s"], row["latency_n"]) == (0.9, pytest.approx(1.43), 9)
    assert row["launch_spread"] == pytest.approx(0.3 / 1.1)
    assert row["launches_ok"] == 3


def test_the_rounds_of_several_are_put_together():
    row = row_of(launch(1.0), launch(1.2, 1))
    expected = rounds.between_processes(rounds.estimate([1.0] * 8 + [1.2] * 8), 2, 1)
    assert row["latency_p50_s"] == pytest.approx(1.1)
    assert (row["latency_ci_low_s"], row["latency_ci_high_s"]) == pytest.approx((expected.low, expected.high))
    assert row["launch_spread"] == pytest.approx(0.2 / 1.1)
    assert (row["rounds_n"], [*rounds.from_text(row["rounds_latency_s"])]) == (16, [*range(8), *range(2000, 2008)])


def test_the_energy_of_several_is_their_median():
    power = {"energy_origin": "measured: NVML board", "energy_window_s": 2.0, "idle_power_w": 60.0}
    row = row_of(*(launch(number=n, energy_per_step_j=joules, **power) for n, joules in enumerate((3.0, 9.0, 4.0))))
    assert (row["energy_per_step_j"], row["idle_power_w"]) == (4.0, 60.0)
    assert row["energy_origin"] == "measured: NVML board"


def test_the_worst_error_of_all_launches_counts():
    row = row_of(launch(), launch(number=1, error_worst=5e-6, error_worst_of="output other"))
    assert (row["error_worst"], row["error_worst_of"]) == (5e-6, "output other")


@pytest.mark.parametrize("status", ["wrong", "refused"])
def test_one_launch_that_is_wrong_makes_the_row_wrong(status):
    row = row_of(launch(), failed(status, "verify"), launch(number=2))
    assert row["status"] == status
    assert (row["launches_ok"], row["launches_failed"]) == (2, 1)
    assert [row[name] for name in MEASURED] == [None] * len(MEASURED)


def test_a_crash_leaves_the_other_launches_their_number():
    row = row_of(failed("crashed"), launch(number=1))
    assert (row["status"], row["latency_p50_s"], row["launches_ok"], row["launches_failed"]) == ("ok", 1.0, 1, 1)


def test_where_all_failed_the_row_says_how():
    row = row_of(failed("crashed"), failed("timeout"))
    assert (row["status"], row["reason"], row["launches_failed"]) == ("crashed", "it fell over", 2)


def test_a_disturbed_launch_enters_no_statistic():
    row = row_of(launch(9.0, device_other_processes=1), launch(1.0, attempt=2))
    assert (row["status"], row["latency_p50_s"], row["latency_n"], row["quality"]) == ("ok", 1.0, 3, "valid")
    assert (row["launches_ok"], row["launches_invalid"]) == (1, 1)


def test_where_all_were_disturbed_there_is_no_number():
    row = row_of(launch(device_other_processes=1), launch(attempt=2, device_other_processes=1))
    assert (row["status"], row["reason_code"], row["quality"]) == ("disturbed", "disturbed", "invalid")
    assert "disturbed each time it was measured: device_shared" in row["reason"]
    assert row["flags"] == "device_shared"
    assert [row[name] for name in MEASURED] == [None] * len(MEASURED)


def test_flags_of_all_launches_are_named():
    row = row_of(launch(swapped_pages=1), launch(number=1, thermal_events=2))
    assert (row["quality"], row["flags"]) == ("degraded", "cpu_thermal swapped")


@pytest.mark.parametrize("made", [launch(), failed("crashed"), launch(number=2, attempt=2, device_other_processes=1)])
def test_a_launch_comes_back_from_its_record_as_it_was(made):
    record = json.loads(json.dumps(made.to_record(CELL), allow_nan=False))
    assert Launch.from_record(record) == made


def test_a_launch_that_failed_leaves_no_samples():
    assert failed("wrong").series == {}


def doubtful(number=0, attempt=1):
    outcome = Outcome("refused", "verify", "does_not_wait", "twice as many steps took 1.00 times as long")
    return replace(to_launch(CELL, KNOWN, outcome), number=number, attempt=attempt)


def test_of_a_launch_that_seemed_not_to_wait_the_repetition_decides():
    row = row_of(doubtful(), launch(attempt=2))
    assert (row["status"], row["latency_p50_s"], row["launches_failed"]) == ("ok", 1.0, 1)
    row = row_of(doubtful(), doubtful(attempt=2))
    assert (row["status"], row["reason_code"]) == ("refused", "does_not_wait")
    assert row_of(launch(), doubtful(1), doubtful(1, attempt=2), launch(number=2))["status"] == "refused"
    assert row_of(doubtful(), failed("crashed"))["status"] == "refused"  # it was never repeated


class Suite(bench.parent.suite.Suite):
    """Its launches come out as given."""

    def attempt(self, cell):
        return next(self.launches)


def test_who_asks_what_a_step_computes_is_told_however_disturbed_it_was():
    suite = Suite(None, None, None)
    suite.launches = iter([launch(device_other_processes=1)])
    assert suite.outcome(CELL)["status"] == "ok"
    suite.launches = iter([doubtful(), launch()])
    assert suite.outcome(CELL)["status"] == "ok"
    suite.launches = iter([doubtful(), doubtful()])
    assert suite.outcome(CELL)["reason_code"] == "does_not_wait"


def deviation(error, tensor, tolerance, name="error"):
    return {f"{name}_worst": error, f"{name}_worst_of": tensor, f"{name}_tolerance": tolerance}


@pytest.mark.parametrize("name", ["error", "scale"])
def test_error_tensor_and_tolerance_are_of_one_launch_the_one_nearest_to_its_tolerance(name):
    wide, narrow = deviation(0.006, "loss 2", 0.025, name), deviation(9e-6, "output logits", 1e-5, name)
    for pair in ((wide, narrow), (narrow, wide)):
        row = row_of(*(launch(number=n, **one) for n, one in enumerate(pair)))
        assert {column: row[column] for column in narrow} == narrow


def test_what_a_flag_is_about_is_in_the_row_whichever_launch_has_it():
    row = row_of(launch(swapped_pages=0), launch(number=1, swapped_pages=7), launch(number=2))
    assert (row["flags"], row["swapped_pages"]) == ("swapped", 7)


def test_samples_of_several_steps_are_not_called_one_step():
    blocks = launch(steps_per_sample=20)
    row = row_of(blocks)
    assert (row["latency_p50_s"], row["latency_min_s"], row["latency_max_s"]) == (1.0, None, None)
    both = row_of(launch(steps_per_sample=1), replace(blocks, number=1))
    assert (both["latency_p50_s"], both["latency_min_s"], both["latency_max_s"]) == (1.0, None, None)
    assert both["steps_per_sample"] == 20


def test_what_was_never_launched_is_no_launch_that_failed():
    refused = KNOWN | {"status": "unavailable", "stage": "plan", "reason_code": "no_device", "reason": "none here"}
    assert row_of(Launch(refused))["launches_failed"] == 0
    made = to_launch(CELL, KNOWN, Outcome("error", "artifacts", "artifact_failed", "planned", launch_s=3.0))
    row = row_of(made)
    assert (row["status"], row["launches_failed"], row["launch_s"]) == ("error", 0, None)
    assert row_of(failed("crashed", "start"))["launches_failed"] == 1


def test_where_nothing_is_timed_it_is_verified_and_neither_disturbed_nor_impossible():
    impossible = RESULT | {"throughput_mode": "queued", "in_flight": 2, "throughput_samples_s": [1e-3] * 3}
    for beside, status in (({"device_other_processes": 1}, "disturbed"), ({}, "refused")):
        outcome = Outcome("ok", "close", result=impossible | beside)
        untimed, timed = (to_launch(CELL, KNOWN, outcome, is_timed=is_timed) for is_timed in (False, True))
        assert (untimed.is_invalid, timed.is_invalid) == (False, status == "disturbed")
        assert [row_of(one)["status"] for one in (untimed, timed)] == ["ok", status]
        assert row_of(untimed)["flags"] == ("device_shared" if beside else None)
        assert Launch.from_record(json.loads(json.dumps(untimed.to_record(CELL)))) == untimed


def test_samples_of_what_computes_nothing_are_not_in_its_record():
    idle = launch(verification="not applicable")
    assert "samples_s" not in idle.to_record(CELL)
    again = Launch.from_record(idle.to_record(CELL))
    assert (again.columns, again.series) == (idle.columns, {})


def test_a_second_device_is_named_as_the_runtime_names_it():
    known = KNOWN | {"device": "Model A (driver 1)"}

    def device_of(index, name):
        effective = {"device": "cuda", "precision": "fp32", "device_name": name}
        outcome = Outcome("ok", "close", result=RESULT | {"effective": effective})
        return row_of(to_launch(replace(CELL, device_index=index), known, outcome))["device"]

    assert [device_of(0, "Model B"), device_of(1, "Model A"), device_of(1, "Model B")] == [
        "Model A (driver 1)",
        "Model A (driver 1)",
        "Model B",
    ]


def test_a_precision_that_the_runtime_does_not_tell_is_an_empty_cell():
    effective = Effective(device=None, precision=None).told()
    row = row_of(to_launch(CELL, KNOWN, Outcome("ok", "close", result=RESULT | {"effective": effective})))
    assert (row["status"], row["precision"], row["precision_requested"]) == ("ok", None, "fp32")
