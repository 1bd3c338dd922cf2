"""Any frame as CSV, JSON and Markdown: exact, the same bytes each time, and harmless where it is read."""

import json
import math

import numpy as np
import pandas as pd
from hypothesis import example, given, settings
from hypothesis import strategies as st

from results.record.files import write_atomic
from results.record.text import one_line, restore
from results.tables.frames import to_csv, to_json, to_markdown
from tests.fakes.csv_readers import EXACT, cells_of, of_duckdb, runs_in_a_spreadsheet

texts = st.one_of(st.text("=+-@＝＋－＠'\"\t\r\n, ab|<\x00é\u2028", max_size=12), st.text(st.characters(), max_size=12))
KINDS = {
    "text": ("string", st.none() | texts),
    "number": ("Float64", st.none() | st.floats(allow_nan=False, allow_infinity=False)),
    "integer": ("Int64", st.none() | st.integers(-(2**63), 2**63 - 1)),
    "flag": ("boolean", st.none() | st.booleans()),
}
SQL = {"text": "VARCHAR", "number": "DOUBLE", "integer": "BIGINT", "flag": "BOOLEAN"}
NASTY = {"text": '=cmd|" /C calc"!A0', "number": 5e-324, "integer": -(2**63), "flag": False}
rows = st.lists(st.fixed_dictionaries({name: values for name, (_, values) in KINDS.items()}), min_size=1, max_size=4)


def frame_of(records):
    return pd.DataFrame(
        {name: pd.Series([row[name] for row in records], dtype=dtype) for name, (dtype, _) in KINDS.items()}
    )


def expected(records):
    """Returns the records as any reader should have them: text as one line, no text as none."""
    return [
        [None if row["text"] is None else one_line(row["text"]) or None, row["number"], row["integer"], row["flag"]]
        for row in records
    ]


def restored(record):
    text, *others = record
    return [restore(text) if text else None, *others]


@given(rows)
@example([NASTY])
@example([dict.fromkeys(KINDS)])
@settings(max_examples=150, deadline=None)
def test_csv_is_rfc_4180_and_exact(records):
    content = to_csv(frame_of(records)).encode()
    header, *found = cells_of(content)
    assert header == list(KINDS)
    flags = {"": None, "true": True, "false": False}
    read = [
        [text, float(number) if number else None, int(integer) if integer else None, flags[flag]]
        for text, number, integer, flag in found
    ]
    assert [restored(record) for record in read] == expected(records)
    signs = [math.copysign(1, row["number"]) for row in records if row["number"] is not None]
    assert [math.copysign(1, record[1]) for record in read if record[1] is not None] == signs
    assert [text for text, *_ in found if runs_in_a_spreadsheet(text)] == []


@given(rows)
@settings(max_examples=60, deadline=None)
def test_the_same_frame_makes_the_same_bytes(records):
    for make in (to_csv, to_json, to_markdown):
        assert make(frame_of(records)).encode() == make(frame_of(records)).encode()


@given(rows)
@example([NASTY])
@settings(max_examples=60, deadline=None)
def test_csv_is_read_by_pandas(tmp_path_factory, records):
    path = tmp_path_factory.getbasetemp() / "frame.csv"
    write_atomic(path, to_csv(frame_of(records)))
    found = pd.read_csv(
        path,
        dtype={name: dtype for name, (dtype, _) in KINDS.items()},
        keep_default_na=False,
        na_values=[""],
        **EXACT,
    )
    plain = found.astype(object).where(found.notna(), None).to_numpy().tolist()
    assert [restored(record) for record in plain] == expected(records)


@given(rows)
@example([NASTY])
@settings(max_examples=40, deadline=None)
def test_csv_is_read_by_duckdb(tmp_path_factory, records):
    path = tmp_path_factory.getbasetemp() / "frame-duckdb.csv"
    write_atomic(path, to_csv(frame_of(records)))
    assert [restored(record) for record in of_duckdb(path, SQL)] == expected(records)


def test_a_column_has_a_harmless_name():
    assert to_csv(pd.DataFrame({"=1+1": [1], "a,\nb": [2]})) == '\'=1+1,"a, b"\r\n1,2\r\n'


def test_what_is_not_finite_is_no_value():
    frame = pd.DataFrame({"a": [math.nan, math.inf, -math.inf, 0.1], "b": [1, 2, 3, 4]})
    assert to_csv(frame) == "a,b\r\n,1\r\n,2\r\n,3\r\n0.1,4\r\n"
    assert json.loads(to_json(frame)) == [{"a": value, "b": n} for n, value in enumerate([None, None, None, 0.1], 1)]
    assert to_markdown(frame).splitlines()[2:] == ["|  | 1 |", "|  | 2 |", "|  | 3 |", "| 0.1 | 4 |"]


def test_values_of_numpy_are_those_of_python():
    frame = pd.DataFrame({"a": np.array([0.1], np.float32), "b": np.array([7], np.uint64), "c": np.array([True])})
    assert to_csv(frame) == f"a,b,c\r\n{float(np.float32(0.1))!r},7,true\r\n"
    assert json.loads(to_json(frame)) == [{"a": float(np.float32(0.1)), "b": 7, "c": True}]


def test_a_time_is_text():
    frame = pd.DataFrame({"at": [pd.Timestamp("2026-11-26T12:00:00Z"), pd.NaT]})
    assert to_csv(frame) == 'at\r\n2026-11-26 12:00:00+00:00\r\n""\r\n'


@given(rows)
@settings(max_examples=60, deadline=None)
def test_json_is_strict_and_exact(records):
    def refuse(constant):
        raise ValueError(constant)

    found = json.loads(to_json(frame_of(records)), parse_constant=refuse)
    assert [list(record) for record in found] == [list(KINDS)] * len(records)
    assert [[record["text"] or None, *list(record.values())[1:]] for record in found] == expected(records)


@given(rows)
@settings(max_examples=60, deadline=None)
def test_a_cell_of_markdown_stays_one(records):
    header, rule, *lines = to_markdown(frame_of(records)).split("\n")[:-1]
    assert (header, rule) == ("| text | number | integer | flag |", "| --- | ---: | ---: | ---: |")
    for line in lines:
        bars = line.replace("\\\\", "").replace("\\|", "").count("|")
        assert bars == len(KINDS) + 1
        assert "<" not in line
        assert ">" not in line
    assert len(lines) == len(records)


def test_bars_backslashes_and_html_of_markdown_are_text():
    frame = pd.DataFrame({"a|b": ["x|y", "\\|", "<script>alert(1)</script>", "&amp;\n"]})
    assert to_markdown(frame).splitlines() == [
        "| a\\|b |",
        "| --- |",
        "| x\\|y |",
        "| \\\\\\| |",
        "| &lt;script&gt;alert(1)&lt;/script&gt; |",
        "| &amp;amp;  |",
    ]


def test_no_rows_are_a_header():
    empty = pd.DataFrame({"a": pd.Series([], dtype="Int64")})
    assert (to_csv(empty), to_json(empty), to_markdown(empty)) == ("a\r\n", "[]\n", "| a |\n| ---: |\n")
