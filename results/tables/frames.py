"""Any frame as a file: CSV (RFC 4180), JSON, or a table in Markdown, the same bytes each time it is made.

CSV: UTF-8, CRLF, quotes only where needed, a header always; empty is null; a number is the shortest text that reads
back as the same float; text that a spreadsheet would take for a formula has an apostrophe in front.
"""

import csv
import io
import json
import math

import pandas as pd

from results.record.text import LINE_END, csv_cell, one_line, protect


def to_csv(frame: pd.DataFrame) -> str:
    """Returns the frame as CSV."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=LINE_END, quoting=csv.QUOTE_MINIMAL)
    writer.writerow([protect(one_line(str(name))) for name in frame.columns])
    for values in zip(*(_plain(frame[name]) for name in frame.columns), strict=True):
        writer.writerow([csv_cell(value) for value in values])
    return text.getvalue()


def to_json(frame: pd.DataFrame) -> str:
    """Returns the frame as a list of objects, one per row; null where there is no value."""
    names = [str(name) for name in frame.columns]
    columns = [_plain(frame[name]) for name in frame.columns]
    records = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    return json.dumps(records, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_markdown(frame: pd.DataFrame) -> str:
    """Returns the frame as a table of GitHub's Markdown: numbers to the right, nothing in a cell that breaks it."""
    numeric = [pd.api.types.is_numeric_dtype(frame[name]) for name in frame.columns]
    lines = ["| " + " | ".join(_escaped(str(name)) for name in frame.columns) + " |"]
    lines.append("| " + " | ".join("---:" if right else "---" for right in numeric) + " |")
    lines.extend(
        "| " + " | ".join(_escaped(_shown(value)) for value in values) + " |"
        for values in zip(*(_plain(frame[name]) for name in frame.columns), strict=True)
    )
    return "\n".join(lines) + "\n"


def _plain(column: pd.Series) -> list[object]:
    """Returns the values as Python's own, None where there is none; what is not finite is none."""
    values = column.astype(object).where(column.notna(), None).tolist()
    return [_value(value) for value in values]


def _value(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float)):
        return value
    item = getattr(value, "item", None)
    return _value(item()) if item is not None else one_line(str(value))


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _escaped(text: str) -> str:
    """Returns the text as one cell: no line end, no bar, and no HTML."""
    safe = one_line(text).replace("\\", "\\\\").replace("|", "\\|")
    return safe.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
