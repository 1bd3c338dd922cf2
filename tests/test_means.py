"""Geometric means: over what both sides have, with the rest by name."""

import pytest

from results.record.rounds import Estimate
from results.tables.compare import compare
from results.tables.means import geometric_mean, means_of_comparison, means_of_ratios
from results.tables.table import to_frame
from tests.fakes.rows import idle_row, row_of


def ratio(value, half=None):
    """Returns a ratio known within a factor of `half`."""
    return Estimate(value, None, None, 1) if half is None else Estimate(value, value / half, value * half, 8)


def test_the_mean_of_2_and_a_half_is_1():
    assert geometric_mean([ratio(2.0, 1.1), ratio(0.5, 1.1)])[0] == pytest.approx(1)
    with pytest.raises(ValueError, match="at least one"):
        geometric_mean([])


def test_a_mean_is_known_better_than_each_of_its_ratios():
    assert geometric_mean([ratio(3.0, 1.1)]) == pytest.approx((3, 3 / 1.1, 3.3))
    _, low, high = geometric_mean([ratio(1.0, 1.1)] * 4)
    assert (low, high) == pytest.approx((1.1**-0.5, 1.1**0.5))


def test_what_is_wrong_with_all_of_them_is_wrong_with_their_mean():
    _, low, high = geometric_mean([ratio(1.0, 1.1)] * 4, together=True)
    assert (low, high) == pytest.approx((1 / 1.1, 1.1))


def test_a_mean_of_ratios_of_which_one_has_no_interval_has_none():
    assert geometric_mean([ratio(2.0, 1.1), ratio(2.0)]) == (pytest.approx(2), None, None)


def test_only_cells_of_both_sides_count_and_the_others_are_named():
    rows = [row_of(), row_of(workload="gpt2", workload_digest="g"), row_of(workload="bert_base", workload_digest="b")]
    rows += [row_of(backend="jax_cpu", latency_p50_s=0.5e-3), idle_row()]
    rows += [row_of(backend="jax_cpu", workload="gpt2", workload_digest="g", latency_p50_s=2e-3)]
    rows += [row_of("crashed", backend="jax_cpu", workload="bert_base")]
    (line,) = means_of_ratios(to_frame(rows), "latency_p50_s", "torch_cpu").to_dict("records")
    assert (line["label"], line["phase"], line["cells"], line["missing"]) == ("jax_cpu", "infer", 2, 1)
    assert line["ratio"] == pytest.approx(1)
    assert line["missing_cells"] == "bert_base tiny batch 4"


def test_the_control_and_the_limits_enter_no_mean():
    rows = [row_of(), row_of(backend="jax_cpu", latency_p50_s=0.5e-3)]
    for name in ("control_matmul", "matmul", "stream"):
        for backend, latency_s in (("torch_cpu", 1e-3), ("jax_cpu", 1.0)):
            rows.append(row_of(backend=backend, workload=name, workload_digest=name, latency_p50_s=latency_s))
    (line,) = means_of_ratios(to_frame(rows), "latency_p50_s", "torch_cpu").to_dict("records")
    assert (line["ratio"], line["cells"], line["missing"]) == (pytest.approx(2), 1, 0)


def test_means_of_a_comparison():
    before = [row_of(), row_of(backend="jax_cpu"), row_of(backend="openvino_cpu")]
    after = [row_of(latency_p50_s=0.5e-3), row_of(backend="jax_cpu", latency_p50_s=2e-3)]
    compared = compare(to_frame(before), to_frame(after), metrics=["latency_p50_s"])
    (line,) = means_of_comparison(compared).to_dict("records")
    assert line["ratio"] == pytest.approx(1)
    assert (line["cells"], line["missing_cells"]) == (2, "mlp tiny openvino_cpu batch 4")


def test_no_mean_goes_over_two_precisions():
    low = {"precision_requested": "bf16", "precision": "bf16"}
    rows = [row_of(), row_of(backend="jax_cpu", latency_p50_s=2e-3)]
    rows += [row_of(**low), row_of(backend="jax_cpu", latency_p50_s=0.5e-3, **low)]
    means = means_of_ratios(to_frame(rows)).set_index("phase")
    assert means["ratio"].to_dict() == {"infer bf16": pytest.approx(2), "infer fp32": pytest.approx(0.5)}
    assert means_of_ratios(to_frame(rows[:2]))["phase"].tolist() == ["infer"]


def test_a_baseline_with_limits_alone_has_no_mean_and_an_unknown_one_is_an_error():
    rows = [row_of(backend=name, workload="stream_read", latency_p50_s=1.0) for name in ("torch_cpu", "jax_cpu")]
    frame = to_frame([*rows, row_of(backend="jax_cpu", workload="gpt2", latency_p50_s=1.0)])
    for one in (to_frame(rows), frame):
        assert means_of_ratios(one, "latency_p50_s", "torch_cpu").empty
    with pytest.raises(ValueError, match="unknown baseline 'torch'"):
        means_of_ratios(frame, "latency_p50_s", "torch")
