"""A row holds what the schema allows, and nothing that a table would have to explain away."""

import fractions
import re
from datetime import UTC, datetime

import numpy as np
import pytest

import backends
from results.record.dimensions import CELL_COLUMNS
from results.record.journal import new_run_id
from results.record.row import cell_of, make_row
from results.record.schema import COLUMN, COLUMNS, MEASURED, NAMED, ROW_FORMAT
from results.record.vocabulary import LEAST_LATENCY_S, NAME, REASON_CODES, REASON_LIMIT, STAGES, STATUSES
from tests.fakes.rows import CELL, row_of
from workloads.catalog import CATALOG, phases

OK = {**CELL, "status": "ok", "verification": "passed", "latency_p50_s": 0.5}
NOT_OK = {**CELL, "status": "timeout", "reason": "no answer for 60 s"}


def test_the_schema_is_consistent():
    assert len(COLUMN) == len(COLUMNS)
    assert {column.kind for column in COLUMNS} <= {"text", "integer", "number", "boolean"}
    assert [column.name for column in COLUMNS if bool(column.unit) == (column.kind == "text")] == []
    assert [column.name for column in COLUMNS if not column.description.endswith(".")] == []
    assert set(CELL_COLUMNS) <= set(COLUMN)
    for names in (STATUSES, STAGES, REASON_CODES):
        assert len(set(names)) == len(names)


def test_names_end_in_their_unit():
    ends = {
        "s": "_s",
        "byte": ("_bytes", "_bytes_per_step"),
        "samples/s": "_samples_per_s",
        "tokens/s": "_tokens_per_s",
        "FLOP": "flops_per_step",
        "FLOP/s": "flops_per_s",
        "byte/s": "bytes_per_s",
        "J": "_j",
        "W": "_w",
    }
    wrong = [column.name for column in COLUMNS if not column.name.endswith(ends.get(column.unit, ""))]
    assert wrong == []
    assert [
        c.name
        for c in COLUMNS
        if c.name.endswith("_s")
        and c.kind != "text"
        and c.unit not in ("s", "1/s", "FLOP/s", "byte/s", "samples/s", "tokens/s")
    ] == []


def test_only_measurements_are_withheld_from_a_row_that_is_not_ok():
    assert set(MEASURED) == {
        *("latency_p50_s", "latency_mean_s", "latency_min_s", "latency_max_s", "latency_p90_s", "latency_p99_s"),
        *("latency_n", "throughput_samples_per_s", "throughput_tokens_per_s", "throughput_n", "flops_per_s"),
        *("latency_ci_low_s", "latency_ci_high_s", "latency_effective_n", "device_time_p50_s", "times_bound"),
        *(
            "throughput_ci_low_samples_per_s",
            "throughput_ci_high_samples_per_s",
            "rounds_latency_s",
            "rounds_samples_per_s",
        ),
        *("throughput_flops_per_s", "throughput_bytes_per_s", "mfu", "bandwidth_utilisation", "times_memory_roof"),
        *("published_mfu", "published_bandwidth_utilisation"),
        *("energy_per_step_j", "energy_per_step_above_idle_j", "energy_window_s", "idle_power_w"),
        *("input_copy_s", "forward_s", "backward_s", "optimizer_s", "parts_sum_s", "parts_whole_s", "parts_ratio"),
        *("ttft_p50_s", "tpot_p50_s", "itl_p50_s", "itl_p90_s", "itl_p99_s"),
    }


def test_every_column_is_there_in_order():
    row = make_row(**OK)
    assert list(row) == [column.name for column in COLUMNS]
    assert {name: value for name, value in row.items() if value is not None} == {
        **{name: value for name, value in OK.items() if value is not None},
        "row_format": ROW_FORMAT,
    }


def test_a_row_is_a_row_again():
    row = row_of(reason="slow\nand\ttorn")
    assert make_row(**row) == row


def test_a_cell_is_what_identifies_it():
    assert cell_of(make_row(**OK)) == (
        *("mlp", "tiny", "infer", "torch_cpu", 0, "fp32", 4, None, 2),
        *(None,) * 6,
    )


def test_an_unknown_column_is_refused_with_those_that_are_known():
    with pytest.raises(TypeError, match=r"unknown columns \['latency_ms'\]; a row has: row_format, run_id"):
        make_row(**OK, latency_ms=3.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("status", "fine"), ("stage", "warm-up"), ("reason_code", "unlucky"), ("verification", "skipped")],
)
def test_a_word_outside_its_vocabulary_is_refused(name, value):
    with pytest.raises(ValueError, match=f"unknown {name} '{value}'; known: "):
        make_row(**{**NOT_OK, name: value})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("batch", True, "an integer"),
        ("batch", 4.0, "an integer"),
        ("batch", "4", "an integer"),
        ("verify_s", True, "a finite number"),
        ("verify_s", "0.5", "a finite number"),
        ("verify_s", 1j, "a finite number"),
        ("device", 0, "a str"),
        ("device", b"cpu", "a str"),
    ],
)
def test_a_value_of_another_kind_is_refused(name, value, expected):
    with pytest.raises(TypeError, match=f"{name} is .*; expected {expected}"):
        make_row(**{**OK, name: value})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), np.float64("nan"), 10**400])
def test_a_number_that_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="expected a finite number"):
        make_row(**{**OK, "error_worst": value})


@pytest.mark.parametrize(("name", "value"), [("verify_s", -1e-9), ("batch", -1), ("peak_memory_bytes", 2**63)])
def test_a_number_out_of_range_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        make_row(**{**OK, name: value})


def test_a_scale_may_be_below_zero():
    assert make_row(**OK, scale_worst=-0.25)["scale_worst"] == -0.25


def test_numbers_become_those_of_python():
    row = make_row(**{**OK, "verify_s": np.float32(0.5), "build_s": fractions.Fraction(1, 4), "batch": np.int64(3)})
    assert [(type(row[name]), row[name]) for name in ("verify_s", "build_s", "batch")] == [
        (float, 0.5),
        (float, 0.25),
        (int, 3),
    ]


def test_text_becomes_one_printable_line_and_no_text_becomes_none():
    row = make_row(
        **{**NOT_OK, "reason": "\x1b[31mbad\x1b[0m\r\nthing\x00\ttorn \ud800", "device": "\x00", "stage": ""}
    )
    assert (row["reason"], row["device"], row["stage"]) == ("[31mbad[0m thing torn ?", None, None)


def test_a_long_reason_is_shortened_and_says_so():
    reason = make_row(**{**NOT_OK, "reason": "x" * 5000})["reason"]
    assert len(reason) == REASON_LIMIT
    assert reason.startswith("xxx")
    assert reason.endswith("x … (5000 characters in all)")


def test_other_text_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="effective has 40000 characters; expected 32767 at most"):
        make_row(**OK, effective="x" * 40_000)


@pytest.mark.parametrize("name", ["workload", "phase", "backend", "status"])
def test_a_row_names_its_cell_and_status(name):
    with pytest.raises(ValueError, match=f"{name} is missing"):
        make_row(**{**OK, name: None})


def test_a_row_of_another_format_is_refused():
    with pytest.raises(ValueError, match="row_format is 2, expected 1"):
        make_row(**OK, row_format=2)


@pytest.mark.parametrize("status", [status for status in STATUSES if status != "ok"])
def test_a_row_that_is_not_ok_has_a_reason_and_no_number(status):
    assert make_row(**{**NOT_OK, "status": status})["status"] == status
    with pytest.raises(ValueError, match=f"status is '{status}' and reason is missing"):
        make_row(**{**NOT_OK, "status": status, "reason": " \n".strip()})
    for name in MEASURED:
        with pytest.raises(ValueError, match=rf"status is '{status}' and \['{name}'\] are given"):
            make_row(**{**NOT_OK, "status": status, name: "0:1" if COLUMN[name].kind == "text" else 1})


@pytest.mark.parametrize("latency_s", [None, 0.0])
def test_an_ok_row_has_a_latency(latency_s):
    with pytest.raises(ValueError, match="expected more than 0 s"):
        make_row(**{**OK, "latency_p50_s": latency_s})


def test_an_ok_row_says_how_it_was_verified():
    with pytest.raises(
        ValueError, match="'ok' without verification; expected one of: passed, before only, unverified, not applicable"
    ):
        make_row(**{**OK, "verification": None})


@pytest.mark.parametrize(("name", "needed"), [("latency_p90_s", 100), ("latency_p99_s", 1000)])
def test_a_percentile_takes_samples(name, needed):
    assert make_row(**OK, **{name: 0.75}, latency_n=needed)[name] == 0.75
    for too_few in (needed - 1, None):
        with pytest.raises(ValueError, match=f"{name} is given for latency_n = {too_few}; it takes {needed}"):
            make_row(**OK, **{name: 0.75}, latency_n=too_few)


@pytest.mark.parametrize("extreme", [{"latency_min_s": 0.6}, {"latency_max_s": 0.4}])
def test_a_median_lies_between_its_extremes(extreme):
    assert make_row(**OK, latency_min_s=0.5, latency_max_s=0.5)["latency_p50_s"] == 0.5
    with pytest.raises(ValueError, match=r"latency_p50_s is 0\.5, outside its own extremes"):
        make_row(**OK, **extreme)


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("value", ["<script>", "=cmd|' /C calc'!A0", "a b", "../x", "-rf", "a/b", "naïve", "x" * 101])
def test_a_name_is_one(name, value):
    with pytest.raises(ValueError, match=rf"{name} is .*; expected a name: 100 at most of A-Z a-z 0-9 \. _ : -"):
        make_row(**{**NOT_OK, name: value})


def test_every_name_of_ours_is_one():
    ours = {*backends.names(), *CATALOG, *phases(), *(size for module in CATALOG.values() for size in module.SIZES)}
    assert [name for name in ours if not NAME.fullmatch(name)] == []
    assert NAME.fullmatch(new_run_id("A machine, " + "x" * 99, datetime.now(UTC)))


def test_what_somebody_typed_or_a_runtime_said_is_free_text():
    row = make_row(**{**NOT_OK, "variant": "B: env.X=<1>", "precision": "f32 with tf32 matmul", "device": "=1"})
    assert (row["variant"], row["precision"], row["device"]) == ("B: env.X=<1>", "f32 with tf32 matmul", "=1")


@pytest.mark.parametrize(
    ("name", "value", "most"),
    [
        ("verify_s", 1.1e9, "1e+09 s"),
        ("flops_per_s", 2e24, "1e+24 FLOP/s"),
        ("throughput_bytes_per_s", 2e24, "1e+24 byte/s"),
    ],
)
def test_a_number_beyond_what_can_be_is_refused(name, value, most):
    with pytest.raises(ValueError, match=re.escape(f"{name} is {value}; expected {most} at most")):
        make_row(**{**OK, name: value})


def test_a_latency_of_less_than_light_needs_is_refused():
    assert make_row(**{**OK, "latency_p50_s": LEAST_LATENCY_S})["latency_p50_s"] == LEAST_LATENCY_S
    with pytest.raises(ValueError, match="latency_p50_s is 1e-13; expected 1e-12 s or more"):
        make_row(**{**OK, "latency_p50_s": 1e-13})


@pytest.mark.parametrize("text", ["0:fast", "0:0.1 0:0.2", "nonsense", "1:-3"])
def test_rounds_that_are_none_are_refused(text):
    with pytest.raises(ValueError, match="rounds_latency_s: "):
        make_row(**{**OK, "rounds_latency_s": text})
