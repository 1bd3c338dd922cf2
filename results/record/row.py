"""Rows made and checked: what came out of one cell in one run, whatever came out."""

import math
import numbers
from collections.abc import Mapping

from results.record.dimensions import CELL_COLUMNS, DEFAULTS, FILLED, IN_EVERY_ROW
from results.record.rounds import from_text
from results.record.schema import COLUMN, MEASURED, NAMED, ROW_FORMAT, Column
from results.record.text import TEXT_LIMIT, one_line, shortened
from results.record.vocabulary import (
    LEAST_LATENCY_S,
    MOST,
    NAME,
    REASON_LIMIT,
    SAMPLES_NEEDED,
    SIGNED,
    VERIFICATIONS,
    VOCABULARIES,
)

Row = dict[str, object]
OF_ROUNDS = ("rounds_latency_s", "rounds_samples_per_s")
"""Text of which ratios are made: one that is none is refused with its row, and costs no other."""


def make_row(**values: object) -> Row:
    """Returns a row: every column of `COLUMNS` in order, None where `values` has none.

    Text becomes one printable line, and no text becomes None; a dimension that came after the first ten and has
    no value is at its default. Raises TypeError for an unknown column or a value of another kind, ValueError for a
    value or a combination that a row cannot have.
    """
    unknown = [name for name in values if name not in COLUMN]
    if unknown:
        raise TypeError(f"unknown columns {unknown}; a row has: {', '.join(COLUMN)}")
    return whole_row({name: checked(column, values.get(name)) for name, column in COLUMN.items()})


def whole_row(row: Row) -> Row:
    """Returns the row of `checked` values, one for every column of `COLUMNS` in order, checked as a whole.

    Raises ValueError for a combination that a row cannot have.
    """
    if row["row_format"] is None:
        row["row_format"] = ROW_FORMAT
    row |= {name: default for name, default in FILLED.items() if row[name] is None}
    _check_together(row)
    return row


def cell_of(row: Mapping[str, object]) -> tuple[object, ...]:
    """Returns what identifies the row's cell within its run: the values of `CELL_COLUMNS`, of a launch record too."""
    return tuple(row.get(name, DEFAULTS.get(name)) for name in CELL_COLUMNS)


def describe_cell(row: Mapping[str, object]) -> str:
    """Returns the row's cell in words, such as `workload=gpt2 size=tiny phase=infer backend=torch_cpu …`."""
    return " ".join(f"{name}={row[name]}" for name in CELL_COLUMNS if row.get(name) is not None)


def checked(column: Column, value: object) -> object:
    """Returns a column's value as a row holds it. Raises TypeError and ValueError, as `make_row` does."""
    if value is None:
        return None
    if column.kind == "text":
        return _checked_text(column, value)
    if column.kind == "boolean":
        if isinstance(value, bool):
            return value
        raise TypeError(f"{column.name} is {value!r}; expected True, False or None")
    number = _integer_in(column, value) if column.kind == "integer" else _number_in(column, value)
    if number < 0 and column.name not in SIGNED:
        raise ValueError(f"{column.name} is {value!r}; expected 0 or more")
    if number > MOST.get(column.unit, math.inf):
        raise ValueError(f"{column.name} is {value!r}; expected {MOST[column.unit]:g} {column.unit} at most")
    return number


def _checked_text(column: Column, value: object) -> str | None:
    if not isinstance(value, str):
        raise TypeError(f"{column.name} is {value!r}; expected a str or None")
    text = one_line(value)
    if column.name == "reason":
        text = shortened(text, REASON_LIMIT)
    if text and column.name in NAMED and not NAME.fullmatch(text):
        name = shortened(text, 120)
        raise ValueError(f"{column.name} is {name!r}; expected a name: 100 at most of A-Z a-z 0-9 . _ : -")
    if len(text) > TEXT_LIMIT:
        raise ValueError(f"{column.name} has {len(text)} characters; expected {TEXT_LIMIT} at most")
    if column.name in OF_ROUNDS:
        try:
            from_text(text)
        except ValueError as error:
            raise ValueError(f"{column.name}: {error}") from error
    words = VOCABULARIES.get(column.name)
    if text and words and text not in words:
        raise ValueError(f"unknown {column.name} {text!r}; known: {', '.join(words)}")
    return text or None


def _integer_in(column: Column, value: object) -> int:
    # A bool is an integer to Python, and a count of True would be a mistake that nobody sees.
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{column.name} is {value!r}; expected an integer or None")
    if not -(2**63) <= int(value) < 2**63:
        raise ValueError(f"{column.name} is {value!r}; expected an integer of 64 bits")
    return int(value)


def _number_in(column: Column, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, float | numbers.Real):  # the first is asked the fastest
        raise TypeError(f"{column.name} is {value!r}; expected a finite number or None")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{column.name} is {value!r}; expected a finite number, or None where there is none")
    return number


def _check_together(row: Row) -> None:
    if row["row_format"] != ROW_FORMAT:
        raise ValueError(f"row_format is {row['row_format']}, expected {ROW_FORMAT}: use the samestep that wrote it")
    for name in (*IN_EVERY_ROW, "status"):
        if row[name] is None:
            raise ValueError(f"{name} is missing; every row names its cell and what came of it")
    if row["status"] == "ok":
        _check_ok(row)
    else:
        _check_not_ok(row)


def _check_not_ok(row: Row) -> None:
    status = row["status"]
    if row["reason"] is None:
        raise ValueError(f"status is {status!r} and reason is missing; say why the cell has no number")
    measured = [name for name in MEASURED if row[name] is not None]
    if measured:
        raise ValueError(f"status is {status!r} and {measured} are given; only an ok row has numbers")


def _check_ok(row: Row) -> None:
    if row["verification"] is None:
        raise ValueError(f"status is 'ok' without verification; expected one of: {', '.join(VERIFICATIONS)}")
    median = row["latency_p50_s"]
    if not isinstance(median, float) or median <= 0:
        raise ValueError(f"status is 'ok' and latency_p50_s is {median}; expected more than 0 s")
    if median < LEAST_LATENCY_S:
        raise ValueError(f"latency_p50_s is {median}; expected {LEAST_LATENCY_S:g} s or more")
    shortest, longest = row["latency_min_s"], row["latency_max_s"]
    if (isinstance(shortest, float) and shortest > median) or (isinstance(longest, float) and longest < median):
        raise ValueError(f"latency_p50_s is {median}, outside its own extremes {shortest} and {longest}")
    samples = row["latency_n"]
    for name, needed in SAMPLES_NEEDED.items():
        if row[name] is not None and (not isinstance(samples, int) or samples < needed):
            raise ValueError(f"{name} is given for latency_n = {samples}; it takes {needed}")
