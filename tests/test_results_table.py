"""Rows as frames: tidy, exact, and beside each other only where they did the same work."""

from statistics import median

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.record.csvfile import read_csv, write_csv
from results.record.rounds import to_text
from results.record.row import make_row
from results.record.schema import COLUMNS
from results.tables.ratio import fastest, times_as_fast
from results.tables.table import (
    comparison,
    default_baseline,
    is_rate,
    is_speed,
    load,
    newest,
    placed,
    ratios,
    to_frame,
    to_rows,
)
from tests.fakes.rows import LATER_RUN_ID, RUN_ID, idle_row, row_of

INFER = [
    row_of(),
    row_of(backend="jax_cpu", latency_p50_s=2e-3, throughput_samples_per_s=8000.0),
    row_of(backend="openvino_cpu", latency_p50_s=0.5e-3, workload_digest="d2"),
    row_of("wrong", backend="onnxruntime_cpu"),
    idle_row(),
]


def cells_of(frame):
    """Returns the only line of a comparison as a dict, None where NA."""
    (line,) = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return line


def test_columns_and_dtypes_are_those_of_the_schema():
    dtypes = {"text": "string", "integer": "Int64", "number": "Float64", "boolean": "boolean"}
    for rows in ([], INFER, [row_of("unavailable")]):
        frame = to_frame(rows)
        assert [(name, str(dtype)) for name, dtype in frame.dtypes.items()] == [
            (column.name, dtypes[column.kind]) for column in COLUMNS
        ]
        assert len(frame) == len(rows)


def test_large_integers_stay_exact_beside_missing_ones():
    frame = to_frame([row_of(), row_of(peak_memory_bytes=2**62 + 1), row_of(peak_memory_bytes=2**53 + 1)])
    assert frame["peak_memory_bytes"].tolist()[1:] == [2**62 + 1, 2**53 + 1]
    assert frame["peak_memory_bytes"].isna().tolist() == [True, False, False]


@given(st.lists(st.floats(1e-12, 1e9), min_size=1, max_size=4), st.booleans())
@settings(max_examples=25, deadline=None)
def test_rows_survive_a_frame_and_a_csv(tmp_path_factory, latencies_s, with_failure):
    rows = [row_of(latency_p50_s=latency_s, batch=batch) for batch, latency_s in enumerate(latencies_s)]
    rows += [row_of("crashed", reason="=1+1", batch=99)] * with_failure
    path = tmp_path_factory.getbasetemp() / "frame.csv"
    write_csv(to_rows(to_frame(rows)), path)
    assert read_csv(path) == tuple(rows)
    assert to_rows(load(path)) == rows


def test_load_warns_of_what_was_forgiven(tmp_path, monkeypatch):
    monkeypatch.setattr("results.tables.table.read_rows", lambda *_: ((row_of(),), ("line 3: torn",)))
    with pytest.warns(UserWarning, match="line 3: torn"):
        assert len(load(tmp_path)) == 1


def test_a_comparison_has_backends_beside_each_other_and_numbers_of_ok_rows_only():
    table = comparison(to_frame(INFER), "latency_p50_s")
    shape = ("batch", "sequence", "depth", "generated_tokens", "rank", "accumulation_steps")
    assert table.index.names == ["workload", "size", "phase", *shape, "precision", "checkpoint", "threads"]
    assert list(table.columns) == ["torch_cpu", "jax_cpu", "onnxruntime_cpu", "openvino_cpu", "null"]
    assert cells_of(table) == {
        "torch_cpu": 0.001,
        "jax_cpu": 0.002,
        "onnxruntime_cpu": None,
        "openvino_cpu": 0.0005,
        "null": 1e-9,
    }


def test_a_number_of_a_row_that_is_not_ok_is_not_compared():
    rows = [row_of(compile_s=1.0), row_of("wrong", backend="jax_cpu", compile_s=2.0)]
    assert cells_of(comparison(to_frame(rows), "compile_s")) == {"torch_cpu": 1.0, "jax_cpu": None}


def test_every_cell_has_its_place():
    rows = [row_of(), row_of(phase="train"), row_of(batch=8), row_of(sequence=16), row_of(threads=None)]
    table = comparison(to_frame([*rows, row_of(precision="bf16", precision_requested="bf16")]))
    assert table.shape == (6, 1)
    assert table["torch_cpu"].tolist() == [0.001] * 6


def test_a_cell_that_is_not_ok_stands_beside_the_precision_that_was_asked_for():
    rows = [row_of(), row_of("refused", backend="jax_cpu", precision="tf32"), row_of("wrong", backend="null")]
    precisions = placed(to_frame(rows)).set_index("backend")["precision"].to_dict()
    assert precisions == {"torch_cpu": "fp32", "jax_cpu": "fp32 as tf32", "null": "fp32"}


def test_the_baseline_is_first_and_the_idle_last():
    columns = list(comparison(to_frame(INFER), baseline="openvino_cpu").columns)
    assert columns == ["openvino_cpu", "jax_cpu", "onnxruntime_cpu", "torch_cpu", "null"]


def test_ratios_say_how_many_times_as_fast():
    latency = cells_of(ratios(to_frame(INFER), "latency_p50_s", "torch_cpu"))
    throughput = cells_of(ratios(to_frame(INFER), "throughput_samples_per_s", "torch_cpu"))
    other = {"onnxruntime_cpu": None, "openvino_cpu": None, "null": None}
    assert latency == {"torch_cpu": 1.0, "jax_cpu": 0.5, **other}
    assert throughput == {"torch_cpu": 1.0, "jax_cpu": 2.0, **other}


def test_ratios_are_against_the_default_baseline():
    assert cells_of(ratios(to_frame(INFER)))["jax_cpu"] == 0.5


@pytest.mark.parametrize("digests", [("d1", "d2"), ("d1", None), (None, "d1"), (None, None)])
def test_no_ratio_between_different_or_unknown_work(digests):
    rows = [row_of(workload_digest=digests[0]), row_of(backend="jax_cpu", workload_digest=digests[1])]
    assert cells_of(ratios(to_frame(rows), baseline="torch_cpu"))["jax_cpu"] is None
    same = [row_of(workload_digest="d"), row_of(backend="jax_cpu", workload_digest="d")]
    assert cells_of(ratios(to_frame(same), baseline="torch_cpu"))["jax_cpu"] == 1.0


def test_digests_are_compared_line_by_line():
    rows = [row_of(), row_of(phase="train", workload_digest="t")]
    rows += [row_of(backend="jax_cpu"), row_of(backend="jax_cpu", phase="train", workload_digest="d1")]
    assert ratios(to_frame(rows))["jax_cpu"].isna().tolist() == [False, True]


def test_no_ratio_where_the_baseline_has_no_number():
    rows = [
        row_of(),
        row_of("crashed", phase="train"),
        row_of(backend="jax_cpu"),
        row_of(backend="jax_cpu", phase="train"),
    ]
    table = ratios(to_frame(rows))
    assert table["jax_cpu"].isna().tolist() == [False, True]


def test_what_was_not_verified_is_in_no_ratio():
    with pytest.raises(ValueError, match="null cannot be the baseline: it has no verified number"):
        ratios(to_frame(INFER), baseline="null")
    assert ratios(to_frame([idle_row()])).isna().all(axis=None)


@pytest.mark.parametrize("function", [comparison, ratios])
def test_unknown_words_are_refused_with_those_that_are_known(function):
    frame = to_frame(INFER)
    with pytest.raises(ValueError, match="unknown metric 'speed'; known: row_format, device_index"):
        function(frame, "speed")
    with pytest.raises(ValueError, match="unknown metric 'backend'; known: "):
        function(frame, "backend")
    with pytest.raises(ValueError, match="unknown baseline 'cuda'; known: jax_cpu, null, onnxruntime_cpu"):
        function(frame, baseline="cuda")


def test_ratios_are_of_speed():
    metrics = ("latency_p50_s", "compile_s", "flops_per_s", "throughput_tokens_per_s", "peak_memory_bytes", "batch")
    assert [is_speed(name) for name in metrics] == [True, True, True, True, False, False]
    assert [is_rate(name) for name in metrics] == [False, False, True, True, False, False]
    with pytest.raises(ValueError, match="peak_memory_bytes is neither a time nor a rate"):
        ratios(to_frame(INFER), "peak_memory_bytes")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (INFER, "torch_cpu"),
        ([row_of("wrong"), row_of(backend="openvino_cpu"), row_of(backend="jax_cpu")], "jax_cpu"),
        ([row_of("wrong"), idle_row()], None),
        ([idle_row(backend="torch_cpu"), row_of(backend="zzz_cpu")], "zzz_cpu"),
        ([], None),
    ],
)
def test_the_default_baseline_has_a_verified_number(rows, expected):
    assert default_baseline(to_frame(rows)) == expected


def test_the_newest_row_of_a_cell_counts():
    later = row_of(run_id=LATER_RUN_ID, latency_p50_s=3e-3)
    for rows in ([later, row_of()], [row_of(), later]):
        assert newest(to_frame(rows))["run_id"].tolist() == [LATER_RUN_ID]
        assert cells_of(comparison(to_frame(rows))) == {"torch_cpu": 3e-3}
    other_cell = row_of(phase="train")
    assert sorted(newest(to_frame([later, row_of(), other_cell]))["run_id"]) == [RUN_ID, LATER_RUN_ID]


def test_machines_stand_beside_each_other():
    there = {"machine": "gpu-box", "machine_id": "ba9876543210", "run_id": LATER_RUN_ID}
    rows = [row_of(), row_of(**there, latency_p50_s=0.25e-3), row_of(**there, backend="torch_cuda", latency_p50_s=1e-4)]
    frame = to_frame(rows)
    assert default_baseline(frame) == "torch_cpu@gpu-box"
    assert cells_of(ratios(frame, baseline="torch_cpu@machine")) == {
        "torch_cpu@machine": 1.0,
        "torch_cpu@gpu-box": 4.0,
        "torch_cuda@gpu-box": 10.0,
    }
    assert cells_of(ratios(frame, baseline="torch_cuda"))["torch_cpu@machine"] == 0.1
    with pytest.raises(ValueError, match="unknown baseline 'torch_cpu'; known: torch_cpu@gpu-box, torch_cpu@machine"):
        ratios(frame, baseline="torch_cpu")


def test_machines_of_one_name_stay_apart():
    rows = [row_of(), row_of(machine_id="ba9876543210", latency_p50_s=2e-3)]
    assert cells_of(comparison(to_frame(rows))) == {
        "torch_cpu@machine-0123456789ab": 1e-3,
        "torch_cpu@machine-ba9876543210": 2e-3,
    }


def test_devices_stand_beside_each_other():
    rows = [row_of(backend="torch_cuda"), row_of(backend="torch_cuda", device_index=1, latency_p50_s=2e-3)]
    rows += [row_of(device_index=None)]
    assert list(comparison(to_frame(rows)).columns) == ["torch_cpu", "torch_cuda", "torch_cuda:1"]


def test_a_frame_may_be_filtered_first():
    frame = to_frame([*INFER, row_of(phase="train", latency_p50_s=7e-3)])
    train = frame[frame["phase"] == "train"]
    assert cells_of(comparison(train)) == {"torch_cpu": 7e-3}
    assert isinstance(train["latency_p50_s"].iloc[0], float)
    assert pd.isna(train["sequence"].iloc[0])


def test_to_rows_gives_plain_values():
    (row,) = to_rows(to_frame([make_row(**row_of(peak_memory_bytes=5))]))
    assert [type(row[name]) for name in ("batch", "latency_p50_s", "backend", "sequence")] == [
        *(int, float, str, type(None)),
    ]


def in_rounds(backend, latencies, **changes):
    """Returns a row of one group, with a label, whose number is the median of its rounds."""
    known = dict(enumerate(latencies))
    row = row_of(backend=backend, latency_p50_s=median(latencies), rounds_latency_s=to_text(known), group_id="g")
    return row | {"label": backend} | changes


def test_the_fastest_is_so_in_the_rounds_that_both_were_in():
    """One went on while the machine was slow: its own median is worse, and it is the faster one all the same."""
    settled = in_rounds("a", [1.06, 1.061, 1.059, 1.06, 1.062, 1.058, 1.06, 1.06])
    goes_on = in_rounds("b", [1.0, 1.001, 0.999, 1.0, 1.002, 0.998, 1.0, 1.0] + [1.15] * 12)
    assert settled["latency_p50_s"] < goes_on["latency_p50_s"]
    found = fastest([settled, goes_on], "latency_p50_s")
    assert (found.labels, found.next_label) == (("b",), "a")
    assert found.next_ratio.value == pytest.approx(1.06, abs=0.001)


def test_rows_that_another_run_measured_are_not_paired():
    rows = [in_rounds(name, [1.0, 1.1] * 4) for name in "ab"]
    assert times_as_fast(*rows, "latency_p50_s").is_paired
    rows[0]["measured_in"] = "20261123T125900Z-machine-1a2b"
    assert not times_as_fast(*rows, "latency_p50_s").is_paired
