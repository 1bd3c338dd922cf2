"""CSV as others read it: a strict reader of RFC 4180, and what a spreadsheet would run."""

import csv
import io
import re
import unicodedata

import pandas as pd
import pytest

EXACT = {} if int(pd.__version__.partition(".")[0]) >= 3 else {"float_precision": "round_trip"}
"""What pandas must be told so that a float is the one that was written; since version 3 it is by itself."""

_FIELD = r'(?:"(?:[^"]|"")*"|[^",\r\n]*)'
_RECORD = rf"{_FIELD}(?:,{_FIELD})*\r\n"


def cells_of(content):
    """Returns the records as lists of text, after holding the bytes against the grammar of RFC 4180, section 2."""
    text = content.decode("utf-8")
    assert re.fullmatch(rf"(?:{_RECORD})+", text)
    records = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert len({len(record) for record in records}) == 1
    return records


def runs_in_a_spreadsheet(cell):
    """Returns whether a spreadsheet that trims, and reads full-width signs as plain ones, takes the text for a formula.

    Written without `results.record.text`, by what NFKC makes of the first character.
    """
    begun = cell.strip()[:1]
    return cell[:1] in ("\t", "\r") or unicodedata.normalize("NFKC", begun)[:1] in {"=", "+", "-", "@"}


def of_duckdb(path, columns):
    """Returns the records as DuckDB reads them, with SQL types by name; skips where it is not installed."""
    duckdb = pytest.importorskip("duckdb", reason="the extra `reports` is not installed")
    types = ", ".join(f"'{name}': '{kind}'" for name, kind in columns.items())
    query = (
        f"SELECT * FROM read_csv($path, columns = {{{types}}}, header = true, auto_detect = false, delim = ',',"
        " quote = '\"', escape = '\"', new_line = '\\r\\n', comment = '')"
    )
    with duckdb.connect() as connection:
        return [list(record) for record in connection.execute(query, {"path": str(path)}).fetchall()]
