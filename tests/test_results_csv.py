"""What is read back from a CSV equals what was written, and a spreadsheet runs none of it."""

import bz2
import csv
import gzip
import io
import lzma
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.record.csvfile import header_of, read_csv, write_csv
from results.record.files import ResultsError
from results.record.read import read_rows
from results.record.row import cell_of, make_row
from results.record.schema import COLUMN, COLUMNS, MEASURED, NAMED
from results.record.text import one_line, protect, restore, shortened
from results.record.vocabulary import LEAST_LATENCY_S, MOST, NAME, STATUSES, VOCABULARIES
from results.tables.table import to_frame
from tests.fakes.csv_readers import EXACT, cells_of, of_duckdb, runs_in_a_spreadsheet
from tests.fakes.rows import LATER_RUN_ID, RUN_ID, idle_row, row_of

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "  =1", "\xa0=1", "'=1", "''+1", "' -1", "=", '=HYPERLINK("x","y")']
FORMULAS += ["＝1", "＋1", "－1", "＠SUM(A1)", " \u3000＝1", "﹦1", "⁺1"]
HARMLESS = ["", "torch_cpu", "a=1", "'quoted'", "'", "' '=1", "1e-5", "(-1)", "ünï ✓", " ", "a  b "]

# Text that a CSV could stumble on, and any other.
texts = st.one_of(st.text("=+-@＝＋－＠'\"\t\r\n, ab\x00é\u2028", max_size=12), st.text(st.characters(), max_size=12))
names = st.from_regex(NAME, fullmatch=True)


def values_of(column):
    """Returns the strategy for what a row may hold in the column."""
    if column.kind == "text":
        return names if column.name in NAMED else texts
    return {
        "number": st.floats(0, MOST.get(column.unit), allow_nan=False, allow_infinity=False),
        "integer": st.integers(0, 2**63 - 1),
        "boolean": st.booleans(),
    }[column.kind]


@st.composite
def rows(draw):
    status = draw(st.sampled_from(STATUSES))
    free = [c for c in COLUMNS if c.name not in ("row_format", *VOCABULARIES, *MEASURED)]
    chosen = draw(st.lists(st.sampled_from(free), unique=True))
    values = {column.name: draw(values_of(column)) for column in chosen}
    values |= {name: draw(names) for name in ("workload", "phase", "backend")}
    values |= {"status": status, "scale_worst": draw(st.floats(allow_nan=False, allow_infinity=False))}
    if status == "ok":
        median = draw(st.floats(LEAST_LATENCY_S, MOST["s"]))
        values |= {"verification": "passed", "latency_p50_s": median, "latency_n": draw(values_of(COLUMN["latency_n"]))}
    else:
        values |= {"reason": "r" + draw(texts), "stage": draw(st.sampled_from(["verify", None]))}
    return make_row(**values)


def of_different_cells(max_size):
    return st.lists(rows(), max_size=max_size, unique_by=lambda row: (row["run_id"], *cell_of(row)))


@given(of_different_cells(3))
@settings(max_examples=60, deadline=None)
def test_what_is_read_equals_what_was_written(tmp_path_factory, written):
    path = tmp_path_factory.getbasetemp() / "property.csv"
    write_csv(written, path)
    assert read_csv(path) == tuple(written)


@given(of_different_cells(2))
@settings(max_examples=30, deadline=None)
def test_the_file_is_rfc_4180_and_no_spreadsheet_runs_it(tmp_path_factory, written):
    path = tmp_path_factory.getbasetemp() / "grammar.csv"
    write_csv(written, path)
    header, *records = cells_of(path.read_bytes())
    assert header == list(COLUMN)
    assert len(records) == len(written)
    text = [index for index, column in enumerate(COLUMNS) if column.kind == "text"]
    assert [record[index] for record in records for index in text if runs_in_a_spreadsheet(record[index])] == []


SQL = {"text": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN"}
DTYPES = {"text": "str", "integer": "str", "number": "float64", "boolean": "str"}


def plain(values):
    """Returns the values as a row of ours has them: text as it was before it was protected."""
    return [restore(value) if isinstance(value, str) else value for value in values]


@given(of_different_cells(2))
@settings(max_examples=20, deadline=None)
def test_duckdb_reads_what_was_written(tmp_path_factory, written):
    path = tmp_path_factory.getbasetemp() / "duckdb.csv"
    write_csv(written, path)
    found = of_duckdb(path, {column.name: SQL[column.kind] for column in COLUMNS})
    assert [plain(record) for record in found] == [list(row.values()) for row in written]


@given(of_different_cells(2))
@settings(max_examples=20, deadline=None)
def test_pandas_reads_what_was_written(tmp_path_factory, written):
    path = tmp_path_factory.getbasetemp() / "pandas.csv"
    write_csv(written, path)
    frame = pd.read_csv(
        path,
        dtype={column.name: DTYPES[column.kind] for column in COLUMNS},
        keep_default_na=False,
        na_values=[""],
        **EXACT,
    )
    found = frame.astype(object).where(frame.notna(), None).to_numpy().tolist()
    words = {int: str, bool: lambda flag: str(flag).lower()}
    expected = [[words.get(type(value), lambda same: same)(value) for value in row.values()] for row in written]
    assert [plain(record) for record in found] == expected


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
    assert content.count(b"\r\n") == content.count(b"\n") == content.count(b"\r") == 2
    assert content.endswith(b"\r\n")
    assert content.split(b"\r\n")[0].decode() == ",".join(column.name for column in COLUMNS)
    cells = dict(zip(*csv.reader(io.StringIO(content.decode())), strict=True))
    assert b'"a ""b"", c"' in content
    assert cells["reason"] == "'=cmd() "
    assert (cells["scale_worst"], cells["error_worst"]) == ("-0.1", "1e-300")
    assert cells["peak_memory_bytes"] == "4611686018427387904"
    assert (cells["sequence"], cells["stage"]) == ("", "")
    assert cells["run_id"] == RUN_ID


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
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\r\n", b"\n"))
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
        (",0.001,", ",nan,", "line 2: latency_p50_s is 'nan'; expected a number"),
        (",0.001,", ",Infinity,", "line 2: latency_p50_s is 'Infinity'; expected a number"),
        (",0.001,", ",1e999,", "line 2: latency_p50_s is inf; expected a finite number"),
        (",0.001,", ",-0.001,", "line 2: latency_p50_s is -0.001; expected 0 or more"),
        (",0.001,", ",1e300,", r"line 2: latency_p50_s is 1e\+300; expected 1e\+09 s at most"),
        (",0.001,", ",1e-300,", "line 2: latency_p50_s is 1e-300; expected 1e-12 s or more"),
        (",4000.0,", ",4e33,", r"line 2: throughput_samples_per_s is 4e\+33; expected 1e\+24 samples/s at most"),
        (",4,", ",1_000,", "line 2: batch is '1_000'; expected an integer"),
        (",4,", ",４,", "line 2: batch is '４'; expected an integer"),
        (",4,", ",9999999999999999999,", "line 2: batch is 9999999999999999999; expected an integer of 64 bits"),
        (",4,", f",{'9' * 9999},", r"line 2: batch is '9{20,60} … \(9999 characters in all\)'; expected an integer"),
        (",mlp,", ",<script>,", "line 2: workload is '<script>'; expected a name"),
        (",torch_cpu,", ",=cmd|calc,", r"line 2: backend is '=cmd\|calc'; expected a name"),
        (",4,", ",4.5,", "line 2: batch is '4.5'; expected an integer"),
        (",4,", ",4611686018427387904.0,", "batch is '4611686018427387904.0'; .* one so large has lost digits"),
        (",4,", ",4e999,", "line 2: batch is '4e999'; expected an integer"),
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


def test_a_cell_that_is_there_twice_is_an_error_with_both_lines(tmp_path):
    path = tmp_path / "results.csv"
    write_csv([row_of(), row_of(batch=8), row_of(latency_p50_s=2e-3)], path)
    with pytest.raises(ResultsError, match=r"results\.csv, line 4: the cell is there already, in line 2: workload=mlp"):
        read_csv(path)
    write_csv([row_of(), row_of(run_id=LATER_RUN_ID)], path)
    assert len(read_csv(path)) == 2


def test_a_file_that_was_cut_off_within_a_row_is_an_error(tmp_path):
    path = tmp_path / "results.csv"
    write_csv([row_of(), row_of(batch=8)], path)
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"mlp") + 10])
    with pytest.raises(ResultsError, match=r"line 3: \d+ cells; expected"):
        read_csv(path)


WRITTEN = (
    row_of(device='a "b", c', is_steady=True, has_drifted=False, peak_memory_bytes=2**40, reason="1;2\t3|4"),
    row_of("unavailable", backend="torch_cuda", reason="=cmd()"),
    idle_row(sequence=128, error_worst=None),
)


def as_other_tools_write(rows, **how):
    """Returns the text of what pandas makes of a frame of the rows."""
    return to_frame(rows).to_csv(**{"index": False, **how})


VARIANTS = {
    "pandas": as_other_tools_write(WRITTEN),
    "pandas with its index": as_other_tools_write(WRITTEN, index=True),
    "an index that was read and written again": as_other_tools_write(WRITTEN, index=True, index_label="Unnamed: 0"),
    "an index that became a column": to_frame(WRITTEN).reset_index().to_csv(index=False),
    "semicolons": as_other_tools_write(WRITTEN, sep=";"),
    "semicolons and decimal commas": as_other_tools_write(WRITTEN, sep=";", decimal=","),
    "tabs": as_other_tools_write(WRITTEN, sep="\t"),
    "bars": as_other_tools_write(WRITTEN, sep="|"),
    "a hint for Excel": "sep=;\r\n" + as_other_tools_write(WRITTEN, sep=";"),
    "everything in quotes": as_other_tools_write(WRITTEN, quoting=csv.QUOTE_ALL),
    "NA as R writes it": as_other_tools_write(WRITTEN, na_rep="NA"),
    "NULL": as_other_tools_write(WRITTEN, na_rep="NULL"),
    "integers as floats": to_frame(WRITTEN)
    .astype({column.name: "Float64" for column in COLUMNS if column.kind == "integer"})
    .to_csv(index=False),
    "scientific notation": as_other_tools_write(WRITTEN, float_format="%.17E"),
    "booleans of a spreadsheet": as_other_tools_write(WRITTEN).replace("True", "TRUE").replace("False", "FALSE"),
    "booleans of a database": as_other_tools_write(WRITTEN).replace("True", "1").replace("False", "0"),
    "line ends of old Macs": as_other_tools_write(WRITTEN, lineterminator="\r"),
    "line ends of Windows": as_other_tools_write(WRITTEN, lineterminator="\r\n"),
    "empty lines": "\n\n".join(as_other_tools_write(WRITTEN).splitlines()) + "\n\n",
    "an empty row of a sheet": as_other_tools_write(WRITTEN) + "," * (len(COLUMNS) - 1) + "\n",
    "no line end at the end": as_other_tools_write(WRITTEN).rstrip("\n"),
    "two files joined": as_other_tools_write(WRITTEN[:1]) + "\ufeff" + as_other_tools_write(WRITTEN[1:]),
    "columns in another order": to_frame(WRITTEN)[[column.name for column in reversed(COLUMNS)]].to_csv(index=False),
    "only the columns that have a value": to_frame(WRITTEN).dropna(axis=1, how="all").to_csv(index=False),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_other_tools_write_is_read(tmp_path, variant):
    (tmp_path / "sub.csv").write_text(VARIANTS[variant], newline="")
    assert read_csv(tmp_path / "sub.csv") == WRITTEN


PACKING = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "UTF-16, as Excel's Unicode text": lambda content: content.decode().encode("utf-16"),
    "UTF-8 with a byte order mark": lambda content: b"\xef\xbb\xbf" + content,
}


@pytest.mark.parametrize("packing", PACKING)
def test_a_packed_file_is_read_whatever_it_is_called(tmp_path, packing):
    write_csv(WRITTEN, tmp_path / "results.csv")
    content = (tmp_path / "results.csv").read_bytes()
    for name in ("results.csv", "results.csv.gz", "packed"):
        (tmp_path / name).write_bytes(PACKING[packing](content))
        assert read_rows(tmp_path / name) == (WRITTEN, ())
        assert header_of(tmp_path / name) == tuple(COLUMN)


def test_a_zip_is_read_where_it_is_clear_which_of_its_files_is_meant(tmp_path):
    write_csv(WRITTEN, tmp_path / "results.csv")
    for more in ({}, {"logs/a.log": "hello"}):
        with zipfile.ZipFile(tmp_path / "artifact.zip", "w") as archive:
            archive.write(tmp_path / "results.csv", "run/results.csv")
            for name, text in more.items():
                archive.writestr(name, text)
        assert read_rows(tmp_path / "artifact.zip") == (WRITTEN, ())
    with zipfile.ZipFile(tmp_path / "artifact.zip", "a") as archive:
        archive.writestr("other.csv", "a,b")
    with pytest.raises(
        ResultsError, match=r"artifact\.zip holds 3 files \(run/results\.csv, .*unpack it, and name one"
    ):
        read_rows(tmp_path / "artifact.zip")


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        (b"PAR1\x15\x04", r"is Parquet: write it as CSV \(pandas"),
        (b"\x28\xb5\x2f\xfd\x00", "is compressed by zstd: decompress it first"),
        (b"\x1f\x8b torn", "cannot read"),
        ("row_format;wörkload".encode("latin-1"), "line 1: it is not text in UTF-8 .*; save it as CSV in UTF-8"),
        (as_other_tools_write(WRITTEN, sep=" ").encode(), "line 1: this is no CSV of samestep"),
    ],
)
def test_what_cannot_be_read_says_what_to_do(tmp_path, content, advice):
    (tmp_path / "sub.csv").write_bytes(content)
    with pytest.raises(ResultsError, match=advice):
        read_csv(tmp_path / "sub.csv")


def test_a_workbook_is_to_be_saved_as_csv(tmp_path):
    with zipfile.ZipFile(tmp_path / "results.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(ResultsError, match=r"results\.xlsx is an Excel workbook; save it as CSV in UTF-8"):
        read_rows(tmp_path / "results.xlsx")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (";0,001;", ";0.001;", r"line 1: '.*,.*' and '0\.001': is the decimal sign a comma or a point"),
        (";4000,0;", ";4,000;", "line 1: '0,001'|'1,000'|'4,000' may have a decimal comma or thousands"),
    ],
)
def test_numbers_that_can_be_meant_in_two_ways_are_an_error(tmp_path, old, new, message):
    row = row_of(error_worst=None, error_tolerance=None, latency_p50_s=1.0 if "4000" in old else 1e-3)
    text = as_other_tools_write([row], sep=";", decimal=",").replace(";1,0;", ";1,000;")
    assert old in text
    (tmp_path / "sub.csv").write_text(text.replace(old, new))
    with pytest.raises(ResultsError, match=message):
        read_csv(tmp_path / "sub.csv")


def test_a_pipe_is_read_once(tmp_path):
    write_csv(WRITTEN, tmp_path / "results.csv")
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor() as pool:
        writing = pool.submit((tmp_path / "pipe").write_bytes, (tmp_path / "results.csv").read_bytes())
        assert read_rows(tmp_path / "pipe") == (WRITTEN, ())
        writing.result()
