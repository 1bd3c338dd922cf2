"""Numbers as a person reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.record.human import (
    TIME_UNITS,
    in_time_unit,
    in_words,
    prefixed,
    quantity,
    rate,
    ratio,
    significant,
    time_unit,
)
from results.show.layout import Cell, hanging, side_by_side
from results.show.money import dollars


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *(
            (0.0, "0"),
            (1.0, "1.00"),
            (9.994, "9.99"),
            (9.996, "10.0"),
            (99.96, "100"),
            (339.4, "339"),
            (999.6, "1,000"),
        ),
        *((12345.0, "12,300"), (0.01234, "0.0123"), (0.09996, "0.100"), (-2.5, "-2.50")),
    ],
)
def test_three_significant_digits(value, text):
    assert significant(value) == text


@given(st.floats(1e-9, 1e9))
def test_significant_digits_are_near_the_value(value):
    assert float(significant(value).replace(",", "")) == pytest.approx(value, rel=0.005)


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        *(
            ([0.339], "ms"),
            ([1e-3, 1e-3], "ms"),
            ([0.9999e-3], "ms"),
            ([0.999e-3], "µs"),
            ([5e-9], "ns"),
            ([5e-12], "ns"),
        ),
        *(([0.01, 100.0], "s"), ([1e-5, 0.1], "ms"), ([1e-6, 4e-5], "µs"), ([], "s"), ([0.0], "s")),
    ],
)
def test_the_times_of_a_line_share_the_unit_of_their_middle(values, unit):
    assert time_unit(values) == unit


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.339, "ms", "339 ms"),
        (1.13, "ms", "1,130 ms"),
        (0.12e-3, "ms", "0.120 ms"),
        (99e-6, "ms", "99.0 µs"),
        (9.99, "ms", "9,990 ms"),
        (10.0, "ms", "10.0 s"),
        (1.3e-9, "s", "1.30 ns"),
        (0.0, "ms", "0 ms"),
    ],
)
def test_a_time_far_from_its_line_has_its_own_unit(value, unit, text):
    assert in_time_unit(value, unit) == text


@given(st.floats(1e-9, 1e6), st.sampled_from(list(TIME_UNITS)))
def test_a_time_in_any_unit_is_near_the_value(value, unit):
    number, shown = in_time_unit(value, unit).split()
    assert float(number.replace(",", "")) * TIME_UNITS[shown] == pytest.approx(value, rel=0.006)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((1.0, "1.00x"), (0.716, "0.72x"), (1.389, "1.39x"), (9.99, "9.99x"), (9.996, "10.0x"), (138.7, "139x")),
        *((0.0994, "0.099x"), (0.1, "0.10x"), (0.0123, "0.012x"), (0.00001, "0.00001x")),
    ],
)
def test_a_ratio(value, text):
    assert ratio(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0 B"), (999.0, "999 B"), (999.9, "1.00 kB"), (1.35e9, "1.35 GB"), (2e21, "2,000 EB"), (0.5, "0.500 B")],
)
def test_prefixes(value, text):
    assert prefixed(value, "B") == text


@pytest.mark.parametrize(
    ("value", "text"), [(18.24, "18.2"), (391_234.0, "391,000"), (999_900.0, "1.00 M"), (2.54e7, "25.4 M")]
)
def test_rates(value, text):
    assert rate(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (2.5e-6, "0.00000250"),
        (1.158e-14, "1.16e-14"),
        (2050.0, "2,050"),
        (2.05e14, "205 T"),
        (1e24, "1.00e+24"),
    ],
)
def test_quantities_of_any_size(value, text):
    assert quantity(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.0, "$0"), (9.15e-9, "$9.15e-09"), (0.0879, "$0.0879"), (12_345.0, "$12,300"), (999_600.0, "$1.00 M")),
        *(
            (1.25e6, "$1.25 M"),
            (9.996e8, "$1.00 bn"),
            (3.1e10, "$31.0 bn"),
            (1.02e14, "$102 tn"),
            (1.02e23, "$1.02e+23"),
        ),
    ],
)
def test_dollars(value, text):
    assert dollars(value) == text


CELLS = {"one": [Cell("1 s", "1.00x"), Cell(word="crashed")], "another": [Cell("20 s"), Cell("3 s", "12x")]}


def test_columns_are_aligned():
    assert side_by_side(["name", "batch"], [["a", "8"], ["b", "16"]], CELLS, 80).splitlines() == [
        "name  batch        one   another",
        "a         8  1 s 1.00x  20 s",
        "b        16    crashed   3 s 12x",
    ]


def test_columns_that_do_not_fit_go_on_below_with_their_lines():
    text = side_by_side(["name"], [["a"], ["b"]], CELLS, 21)
    assert text.splitlines() == [
        "name        one",
        "a     1 s 1.00x",
        "b       crashed",
        "",
        "name   another",
        "a     20 s",
        "b      3 s 12x",
    ]


@given(st.integers(1, 60))
def test_no_column_is_lost_at_any_width(width):
    text = side_by_side(["name"], [["a"], ["b"]], CELLS, width)
    assert [text.count(title) for title in ("one", "another", "crashed", "12x")] == [1, 1, 1, 1]


def test_texts_hang_under_themselves():
    columns, texts = [["a", "long name"], ["bb", "c"]], ["word " * 12, "short"]
    assert hanging(columns, texts, 60) == (
        "  a   long name  word word word word word word word word\n"
        "                 word word word word\n"
        "  bb  c          short"
    )


def test_a_row_in_words():
    row = {"status": "ok", "latency_p50_s": 0.33912, "throughput_samples_per_s": 11.84, "error_worst": 1.2e-6}
    assert in_words(row) == "ok: 339 ms per step, 11.8 samples/s, worst error 1.2e-06"
    null = {"status": "ok", "latency_p50_s": 5.7e-8, "throughput_samples_per_s": 3.44e7, "error_worst": None}
    assert in_words(null) == "ok: 57.0 ns per step, 34.4 M samples/s"
    assert in_words({"status": "timeout", "reason": "measure took longer than 5 s"}) == (
        "timeout: measure took longer than 5 s"
    )
