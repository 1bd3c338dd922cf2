"""What is read back from a CSV equals what was written, and a spreadsheet runs none of it."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.csvfile import read_csv, write_csv
from results.files import ResultsError
from results.row import COLUMN, COLUMNS, MEASURED, STATUSES, VOCABULARIES, make_row
from results.text import one_line, protect, restore, shortened
from tests.fakes.rows import RUN_ID, idle_row, row_of

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "  =1", "\xa0=1", "'=1", "''+1", "' -1", "=", '=HYPERLINK("x","y")']
HARMLESS = ["", "torch_cpu", "a=1", "'quoted'", "'", "' '=1", "1e-5", "(-1)", "ünï ✓", " ", "a  b "]

# Text that a CSV could stumble on, and any other.
texts = st.one_of(st.text("=+-@'\"\t\r\n, ab\x00é\u2028", max_size=12), st.text(st.characters(), max_size=12))
numbers = st.floats(0, allow_nan=False, allow_infinity=False)
integers = st.integers(0, 2**63 - 1)
VALUES = {"text": texts, "number": numbers, "integer": integers, "boolean": st.booleans()}


@st.composite
def rows(draw):
    status = draw(st.sampled_from(STATUSES))
    free = [c for c in COLUMNS if c.name not in ("row_format", *VOCABULARIES, *MEASURED)]
    chosen = draw(st.lists(st.sampled_from(free), unique=True))
    values = {column.name: draw(VALUES[column.kind]) for column in chosen}
    values |= {name: "w" + draw(texts) for name in ("workload", "phase", "backend")}
    values |= {"status": status, "scale_worst": draw(st.floats(allow_nan=False, allow_infinity=False))}
    if status == "ok":
        values |= {"verification": "passed", "latency_p50_s": draw(numbers.filter(bool)), "latency_n": draw(integers)}
    else:
        values |= {"reason": "r" + draw(texts), "stage": draw(st.sampled_from(["verify", None]))}
    return make_row(**values)


@given(st.lists(rows(), max_size=3))
@settings(max_examples=60, deadline=None)
def test_what_is_read_equals_what_was_written(tmp_path_factory, written):
    path = tmp_path_factory.getbasetemp() / "property.csv"
    write_csv(written, path)
    assert read_csv(path) == tuple(written)


@given(texts)
def test_restore_gives_back_what_was_protected(text):
    assert restore(protect(text)) == text


@given(texts)
def test_one_line_is_one_printable_line_of_utf_8(text):
    line = one_line(text)
    assert line.splitlines() == ([line] if line else [])
    assert line.encode("utf-8").decode("utf-8") == line == one_line(line)
    assert [character for character in line if ord(character) < 32 or 127 <= ord(character) < 160] == []


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_gets_an_apostrophe(text):
    assert protect(text) == "'" + text
    assert restore("'" + text) == text


@pytest.mark.parametrize("text", HARMLESS)
def test_other_text_stays_as_it_is(text):
    assert protect(text) == text == restore(text)


def test_shortened_text_fits_its_limit():
    assert shortened("x" * 50, 50) == "x" * 50
    assert shortened("x" * 51, 50) == "x" * 25 + " … (51 characters in all)"
    assert len(shortened("x" * 51, 50)) == 50


def test_the_file_is_what_the_rules_say(tmp_path):
    row = row_of(device='a "b", c', reason="=cmd()\n", scale_worst=-0.1, error_worst=1e-300, peak_memory_bytes=2**62)
    write_csv([row], tmp_path / "results.csv")
    content = (tmp_path / "results.csv").read_bytes()
    assert content.count(b"\n") == 2
    assert content.endswith(b"\n")
    assert b"\r" not in content
    assert content.split(b"\n")[0].decode() == ",".join(column.name for column in COLUMNS)
    cells = dict(zip(*csv.reader(io.StringIO(content.decode())), strict=True))
    assert b'"a ""b"", c"' in content
    assert cells["reason"] == "'=cmd() "
    assert (cells["scale_worst"], cells["error_worst"]) == ("-0.1", "1e-300")
    assert cells["peak_memory_bytes"] == "4611686018427387904"
    assert (cells["sequence"], cells["stage"]) == ("", "")
    assert cells["run_id"] == RUN_ID


@given(st.lists(rows(), min_size=1, max_size=2))
@settings(max_examples=30, deadline=None)
def test_no_text_cell_begins_like_a_formula(tmp_path_factory, written):
    path = tmp_path_factory.getbasetemp() / "formulas.csv"
    write_csv(written, path)
    with path.open(newline="", encoding="utf-8") as file:
        for cells in csv.DictReader(file):
            begun = {name: cell.lstrip()[:1] for name, cell in cells.items() if COLUMN[name].kind == "text"}
            assert [name for name, first in begun.items() if first and first in "=+-@\t\r"] == []


def test_the_same_rows_make_the_same_bytes(tmp_path):
    written = [row_of(), idle_row(), row_of("unavailable", backend="torch_cuda")]
    for name in ("a.csv", "b.csv"):
        write_csv(written, tmp_path / name)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_only_rows_are_written(tmp_path):
    with pytest.raises(ValueError, match="reason is missing"):
        write_csv([{**row_of(), "status": "wrong"}], tmp_path / "results.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_byte_order_mark_and_line_ends_of_another_system_are_read(tmp_path):
    path = tmp_path / "results.csv"
    write_csv([row_of()], path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_csv(path) == (row_of(),)


def test_a_column_that_came_later_is_empty(tmp_path):
    path = tmp_path / "results.csv"
    write_csv([row_of(preset="quick")], path)
    path.write_text("\n".join(line.rpartition(",")[0] for line in path.read_text().splitlines()) + "\n")
    assert COLUMNS[-1].name == "preset"
    assert read_csv(path) == (row_of(),)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("row_format,", "format,", "line 1: this is no CSV of samestep; expected a header with row_format, workload"),
        ("preset", "price", r"line 1: unknown columns \['price'\]; update samestep"),
        ("preset", "phase", "line 1: a column is there twice"),
        (",infer,", ",infer,1,", rf"line 2: {len(COLUMNS) + 1} cells; expected {len(COLUMNS)}"),
        (",infer,", ',"infer"s,', "line 2: ',' expected after '\"'"),
        (",0.001,", ",1ms,", "line 2: latency_p50_s is '1ms'; expected a number"),
        (",0.001,", ",nan,", "line 2: latency_p50_s is nan; expected a finite number"),
        (",4,", ",4.0,", "line 2: batch is '4.0'; expected an integer"),
        (",ok,", ",great,", "line 2: unknown status 'great'"),
        ("\n1,", "\n2,", "line 2: row_format is 2, expected 1"),
    ],
)
def test_anything_else_is_an_error_with_its_line(tmp_path, old, new, message):
    path = tmp_path / "results.csv"
    write_csv([row_of()], path)
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, 1))
    with pytest.raises(ResultsError, match=message) as raised:
        read_csv(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"\n", b"a,b\n1,2\n", b"\xff\xfe\x00", b'"torn'])
def test_a_foreign_file_is_an_error(tmp_path, content):
    path = tmp_path / "results.csv"
    path.write_bytes(content)
    with pytest.raises(ResultsError, match=r"results\.csv"):
        read_csv(path)
