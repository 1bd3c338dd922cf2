"""Rows as pandas DataFrames: tidy, in SI units, and set beside each other."""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from results.record.dimensions import CELL_COLUMNS, DIMENSIONS, POSITION
from results.record.limits import BYTE_LIMITS, FLOP_LIMITS
from results.record.read import read_rows
from results.record.rounds import Estimate
from results.record.schema import COLUMN, COLUMNS
from results.record.vocabulary import PREFERRED_BASELINE
from results.tables.ratio import Row, is_rate, times_as_fast

CONTROL_PREFIX = "control_"
"""Workloads called so are the control's: plain NumPy, to tell a slow machine from a slow runtime."""

DTYPES = {"text": "string", "integer": "Int64", "number": "Float64", "boolean": "boolean"}


def load(*paths: Path | str) -> pd.DataFrame:
    """Returns the rows of run folders, journals, CSV files or results folders: one row per cell and run.

    Columns, units and dtypes are those of `COLUMNS` (string, Int64, Float64, boolean; missing is NA).
    Warns of what was forgiven, such as a torn last line; raises ResultsError for what holds no results.
    """
    rows, problems = read_rows(*map(Path, paths))
    for problem in problems:
        warnings.warn(problem, stacklevel=2)
    return to_frame(rows)


def to_frame(rows: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """Returns the rows, as `make_row` returns them, as a frame with the schema's columns and dtypes."""
    listed = list(rows)
    return pd.DataFrame(
        {column.name: pd.Series([row[column.name] for row in listed], dtype=DTYPES[column.kind]) for column in COLUMNS}
    )


def to_rows(frame: pd.DataFrame) -> list[dict[str, object]]:
    """Returns the rows of a frame with plain Python values, None where NA: what `write_csv` takes."""
    plain = frame.astype(object).where(frame.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]


def newest(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns one row per cell and machine: that of the newest run."""
    ordered = frame.sort_values("run_id", kind="stable", na_position="first")
    return ordered.drop_duplicates(["machine_id", "machine", *CELL_COLUMNS], keep="last").sort_index()


def placed(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns the newest rows with a column `label`, which names their column in a comparison.

    A label is the backend's name, with `:1` for the second device of its kind, the side of an A/B in brackets, and
    `@machine` where the frame holds several machines. `precision` becomes the requested one where none was read back.
    """
    rows = newest(frame)
    side = ("[" + rows["variant"] + "]").fillna("")
    requested, effective = rows["precision_requested"], rows["precision"]
    differs = (requested != effective).fillna(False)
    precision = effective.fillna(requested).mask(differs, requested + " as " + effective)
    return rows.assign(label=_of_backend(rows) + side + _at_machine(rows), precision=precision)


def _of_backend(rows: pd.DataFrame) -> "pd.Series[str]":
    """Returns each row's backend, with its device where that is not the first, and what else tells columns apart."""
    label = rows["backend"]
    for dimension in DIMENSIONS:
        if dimension.in_label and not (dimension.required or dimension.is_setting):
            is_shown = (rows[dimension.name] != dimension.default).fillna(False) & rows[dimension.name].notna()
            label = label + (dimension.mark + rows[dimension.name].astype("string")).where(is_shown, "")
    return label


def _at_machine(rows: pd.DataFrame) -> "pd.Series[str]":
    """Returns `@` and each row's machine, with its id where another has its name; nothing if all have the same."""
    names, ids = rows["machine"].fillna("unknown"), rows["machine_id"].fillna("unknown")
    ids_of_name = ids.groupby(names).transform("nunique")
    places = ("@" + names).mask(ids_of_name > 1, "@" + names + "-" + ids)
    return places if places.nunique() > 1 else places.mask(places.notna(), "")


def comparison(frame: pd.DataFrame, metric: str = "latency_p50_s", baseline: str | None = None) -> pd.DataFrame:
    """Returns the metric of the `ok` rows, in its SI unit: a row per position, a column per backend.

    Rows have the levels of `POSITION`. Columns are the labels of `placed`, the baseline first, then by name, those
    that compute nothing last; NA where a cell has no number. Raises ValueError for an unknown metric or baseline.
    """
    _check_metric(metric)
    rows = placed(frame)
    chosen = default_baseline(frame) if baseline is None else label_of(rows, baseline)
    return _beside(rows, metric, chosen).astype("Float64")


def ratios(frame: pd.DataFrame, metric: str = "latency_p50_s", baseline: str | None = None) -> pd.DataFrame:
    """Returns how many times as fast as the baseline each number of `comparison` is: 2 is twice as fast.

    That is the ratio of the rounds that both were measured in, side by side; else of their numbers. NA where one of the
    two has no number, was not verified, or is of another workload digest: a ratio is between equal work. Raises
    ValueError for a metric that is neither, and for a baseline that is unknown or has no verified number.
    """
    estimates = estimates_of_ratios(frame, metric, baseline)
    return estimates.map(lambda one: pd.NA if one is None else one.value).astype("Float64")


def estimates_of_ratios(
    frame: pd.DataFrame, metric: str = "latency_p50_s", baseline: str | None = None
) -> pd.DataFrame:
    """Returns `ratios` with their 95 % intervals: an `Estimate` in each place, None where there is no ratio."""
    _check_metric(metric)
    if not is_speed(metric):
        raise ValueError(f"{metric} is neither a time nor a rate, so nothing is so many times as fast")
    rows = placed(frame)
    chosen = default_baseline(frame) if baseline is None else label_of(rows, baseline)
    verified = rows[is_verified(rows) & rows[metric].notna()]
    if chosen is not None and not (is_verified(rows) & (rows["label"] == chosen)).any():
        raise ValueError(f"{chosen} cannot be the baseline: it has no verified number")
    by_place: dict[tuple[object, ...], dict[str, Row]] = {}
    plain = verified[list(POSITION)].astype(object).where(verified[list(POSITION)].notna(), None)
    for place, row in zip(plain.itertuples(index=False, name=None), verified.to_dict("records"), strict=True):
        by_place.setdefault(place, {})[row["label"]] = row
    values = _beside(rows, metric, chosen)
    places = [tuple(None if pd.isna(value) else value for value in place) for place in values.index]
    estimates = [
        [_of_equal_work(by_place.get(place, {}), label, chosen, metric) for label in values.columns] for place in places
    ]
    return pd.DataFrame(estimates, index=values.index, columns=values.columns, dtype=object)


def _of_equal_work(rows: Mapping[str, Row], label: str, baseline: str | None, metric: str) -> Estimate | None:
    row, base = rows.get(label), rows.get(baseline or "")
    if row is None or base is None:
        return None
    digest = row["workload_digest"]
    return times_as_fast(row, base, metric) if isinstance(digest, str) and digest == base["workload_digest"] else None


def default_baseline(frame: pd.DataFrame) -> str | None:
    """Returns the label of `torch_cpu` if it has a verified number, else the first by name that has; else None."""
    rows = placed(frame)
    verified = rows[is_verified(rows)]
    labels = sorted(verified["label"].unique())
    preferred = sorted(verified.loc[verified["backend"] == PREFERRED_BASELINE, "label"].unique())
    return next(iter(preferred + labels), None)


def is_verified(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Returns, for each row, whether it has a number that was proven to be of the same computation."""
    return ((rows["status"] == "ok") & (rows["verification"] == "passed")).fillna(False).astype(bool)


def is_control(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Returns, for each row, whether it is one of the control's."""
    return rows["workload"].str.startswith(CONTROL_PREFIX).fillna(False).astype(bool)


def is_limit(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Returns, for each row, whether it measures what bounds the chip."""
    return rows["workload"].isin((*FLOP_LIMITS, *BYTE_LIMITS))


def idle_labels(rows: pd.DataFrame) -> set[str]:
    """Returns the labels, in `placed` rows, of the backends that compute nothing."""
    return set(rows.loc[rows["verification"] == "not applicable", "label"])


def is_speed(metric: str) -> bool:
    """Returns whether the metric is a time or a rate, so that one is so many times as fast as another."""
    return COLUMN[metric].unit == "s" or is_rate(metric)


def _check_metric(metric: str) -> None:
    numeric = [column.name for column in COLUMNS if column.kind in ("number", "integer")]
    if metric not in numeric:
        raise ValueError(f"unknown metric {metric!r}; known: {', '.join(numeric)}")


def label_of(rows: pd.DataFrame, baseline: str) -> str:
    """Returns the label in `placed` rows that a label or a backend's name means; ValueError if none or several."""
    labels = sorted(rows["label"].unique())
    if baseline in labels:
        return baseline
    of_backend = sorted(rows.loc[rows["backend"] == baseline, "label"].unique())
    if len(of_backend) == 1:
        return str(of_backend[0])
    raise ValueError(f"unknown baseline {baseline!r}; known: {', '.join(of_backend or labels)}")


def _beside(rows: pd.DataFrame, column: str, first: str | None) -> pd.DataFrame:
    """Returns the column of the `ok` rows as positions x labels, NA for the others."""
    idle = idle_labels(rows)
    labels = sorted(rows["label"].unique(), key=lambda label: (label != first, label in idle, label))
    table = rows.assign(**{column: rows[column].where(rows["status"] == "ok")}).pivot(
        index=list(POSITION), columns="label", values=column
    )
    return table.reindex(columns=pd.Index(labels, name="backend"))
