"""Pairs of launches: the interval is that of rounds, the verdict follows from it, and disturbed pairs go."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.record.run import Run
from results.show.pairs import render_pairs
from results.tables.frames import to_csv
from results.tables.pairs import LEAST_PAIRS, Ratio, compare, pairs_frame, pairs_of
from tests.fakes.rows import row_of
from tests.qa.ab import simulated


def test_with_fewer_than_eight_pairs_nothing_can_be_said():
    assert LEAST_PAIRS == 8
    assert compare([(1.0, 2.0)] * 7).verdict == "too few pairs"
    assert compare([(1.0, 2.0)] * 8).verdict == "B slower"


@given(st.lists(st.tuples(st.floats(1e-6, 10), st.floats(1e-6, 10)), min_size=1, max_size=15))
def test_the_other_way_round_it_is_the_inverse(pairs):
    there, back = compare(pairs), compare([(b, a) for a, b in pairs])
    assert there.ratio == pytest.approx(1 / back.ratio)
    assert there.spread == (None if len(pairs) == 1 else pytest.approx(back.spread))
    if there.low is not None:
        assert (there.low, there.high) == (pytest.approx(1 / back.high), pytest.approx(1 / back.low))
        assert there.low <= there.ratio <= there.high


def test_one_outlying_pair_moves_little():
    pairs = [(1.0, 1.0 + 0.001 * i) for i in range(-6, 6)]
    assert compare([*pairs, (1.0, 9.0)]).ratio == pytest.approx(1.0, abs=2e-3)


def test_the_spread_is_that_of_normal_noise_and_one_pair_has_none():
    generator = np.random.default_rng(1)
    spreads = [compare([(1.0, b) for b in np.exp(generator.normal(0, 0.02, 12))]).spread for _ in range(1000)]
    assert 0.98 <= np.mean(spreads) / 0.02 <= 1.1
    assert np.std(spreads) / np.mean(spreads) <= 0.28  # that of the median absolute deviation is 0.33
    assert (compare([(1.0, 2.0)]).spread, compare([(1.0, 2.0)]).pairs_needed) == (None, None)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.001, 1.1, "B slower"),
        (0.9, 0.999, "B faster"),
        (0.985, 1.015, "same"),
        (0.985, 1.03, "unclear"),
        (0.97, 1.01, "unclear"),
        (None, None, "too few pairs"),
    ],
)
def test_verdicts(low, high, verdict):
    assert Ratio(1.0, low, high, 12, 0.01).verdict == verdict


def test_the_rate_of_false_alarms_and_the_power_are_as_promised():
    assert simulated(0.013, 0.0, 12, series=1000) <= 0.02
    assert simulated(0.013, 0.02, 12, series=300) >= 0.9
    for spread in (0.02, 0.04):
        needed = Ratio(1.0, None, None, 12, spread).pairs_needed
        assert 0.8 <= simulated(spread, 0.02, needed, series=300) <= 0.99


A, B = "A: base", "B: threads=1"


def launch(variant, number, p50, status="ok", quality="valid", mode="serial", digest="d1", rate=4.0):
    cell = {name: value for name, value in row_of().items() if name in ("workload", "size", "phase", "backend")}
    shape = {"batch": 4, "sequence": None, "precision_requested": "fp32", "device_index": 0, "variant": variant}
    columns = {"latency_p50_s": p50, "throughput_samples_per_s": rate / (p50 or 1), "throughput_mode": mode}
    columns |= {"quality": quality, "workload_digest": digest}
    return {**cell, **shape, "status": status, "number": number, "columns": columns if status == "ok" else {}}


def run(launches, b_row=None):
    rows = (row_of(variant=A), row_of(variant=B, threads=1) if b_row is None else b_row)
    return Run(path=None, header={}, rows=rows, launches=tuple(launches), end_reason=None, problems=())


def test_pairs_are_launches_of_one_number_and_a_disturbed_one_spoils_its_own():
    launches = [launch(A, n, 1.0 + n) for n in range(10)] + [launch(B, n, 2.0 * (1.0 + n)) for n in range(8)]
    launches[3] = launch(A, 3, 99.0, quality="invalid")
    launches[4] = launch(A, 4, 0, status="crashed")
    launches.append(launch(A, 3, 4.0))  # its repetition
    (found,) = pairs_of(run(launches))
    assert (found.a, found.b, found.metric, found.result.n) == (A, B, "latency", 7)
    assert found.result.ratio == pytest.approx(2.0)


def test_throughput_is_compared_where_steps_overlap():
    launches = [launch(side, n, p50, mode="queued", rate=8.0) for side, p50 in ((A, 1.0), (B, 0.5)) for n in range(8)]
    latency, throughput = pairs_of(run(launches))
    assert (latency.metric, throughput.metric) == ("latency", "throughput")
    assert (throughput.a_s, throughput.b_s, throughput.result.ratio) == (0.125, 0.0625, pytest.approx(0.5))


def test_sides_that_compute_different_work_are_not_compared():
    launches = [launch(A, n, 1.0) for n in range(8)] + [launch(B, n, 1.0, digest="d2") for n in range(8)]
    (found,) = pairs_of(run(launches))
    assert (found.result, found.reason) == (None, "not comparable: the sides compute different work")


def test_a_side_without_a_number_says_why():
    absent = row_of("broken", variant=B, threads=1, reason="it does not start")
    (found,) = pairs_of(run([launch(A, n, 1.0) for n in range(8)], absent))
    assert found.reason == "B: it does not start"
    assert "mlp infer 4 torch_cpu: B: it does not start" in render_pairs([found])


@pytest.mark.parametrize("status", ["wrong", "refused"])
def test_a_side_that_is_wrong_has_no_verdict_whatever_its_other_launches_took(status):
    launches = [launch(side, n, p50) for side, p50 in ((A, 1.0), (B, 0.5)) for n in range(8)]
    launches.append(launch(B, 8, 0, status=status))
    (found,) = pairs_of(run(launches, row_of(status, variant=B, threads=1, reason="its loss differs")))
    assert (found.result, found.reason) == (None, "B: its loss differs")


def test_a_run_that_was_interrupted_has_the_pairs_that_it_made():
    launches = [launch(side, n, p50) for side, p50 in ((A, 1.0), (B, 0.5)) for n in range(8)]
    missing = row_of("not_run", variant=B, threads=1, reason="interrupted", reason_code="interrupted")
    (found,) = pairs_of(run(launches, missing))
    assert (found.result.n, found.result.verdict) == (8, "B faster")


def test_a_run_without_sides_has_no_ab():
    assert pairs_of(Run(None, {}, (row_of(),), (), None, ())) == []
    assert "samestep run --ab" in render_pairs([])


def test_the_table_and_its_csv():
    launches = [launch(A, n, 0.010) for n in range(12)] + [launch(B, n, 0.0098) for n in range(12)]
    found = pairs_of(run(launches))
    lines = render_pairs(found).splitlines()
    assert lines[:2] == [f"Side {A}", f"Side {B}"]
    assert lines[4].split() == [
        *("mlp", "infer", "4", "torch_cpu", "10.0", "ms", "9.80", "ms", "0.980"),
        *("0.980-0.980", "B", "faster", "0.0", "%", "12", "8"),
    ]
    (row,) = csv.DictReader(to_csv(pairs_frame(found)).splitlines())
    assert (row["a"], float(row["a_s"]), row["verdict"], int(row["n"])) == (A, 0.010, "B faster", 12)
