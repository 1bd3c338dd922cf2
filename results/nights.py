"""What a store holds of the last nights: a number per series and night, which machines ran, and what they left out.

A night is the UTC day on which a run began; where a machine has several runs of a night, their median counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.files import ResultsError
from results.read import read_folder, run_folders
from results.row import Row
from results.store import SERIES_COLUMNS, connect, packed_files, series_of
from results.table import to_frame

WINDOW = 90
METRICS = {"latency": "latency_p50_s", "throughput": "throughput_samples_per_s"}
_READ = (
    "series",
    "night",
    "run_id",
    "machine",
    "software_id",
    "status",
    "verification",
    "quality",
    "latency_p50_s",
    "throughput_samples_per_s",
    "throughput_mode",
)
_CATEGORIES = ("series", "run_id", "machine", "software_id", "status", "verification", "quality", "throughput_mode")


@dataclass(frozen=True)
class Nights:
    """The last nights of a store, `nights` of them up to its newest.

    `series` has a line per series (index: its 16 hex digits) with `SERIES_COLUMNS`; `rows` a line per row that a run
    left; `problems` says what was left out.
    """

    nights: tuple[date, ...]
    series: pd.DataFrame
    rows: pd.DataFrame
    problems: tuple[str, ...]

    def matrix(self, metric: str) -> tuple[list[str], NDArray[np.float64]]:
        """Returns the series that have the metric, and ln of their seconds, series x nights.

        `latency` is seconds of a step, `throughput` seconds of a sample where steps overlap (else it is the latency
        again). NaN where a night has no valid number: none, `degraded` (it was disturbed), or not verified.
        """
        column = METRICS[metric]
        rows = self.rows
        good = rows["status"].eq("ok") & rows["verification"].ne("not applicable") & rows["quality"].ne("degraded")
        good &= rows[column].notna() & rows["series"].isin(self.series.index)
        if metric == "throughput":
            good &= rows["throughput_mode"].ne("serial")
        kept = rows[good]
        sign = 1.0 if metric == "latency" else -1.0
        logs = pd.Series(sign * np.log(kept[column].to_numpy(float)), index=kept.index)
        names = sorted(kept["series"].astype(str).unique())
        place = pd.Categorical(kept["series"].astype(str), categories=names).codes
        night = (kept["night"] - pd.Timestamp(self.nights[0])).dt.days.to_numpy()
        x = np.full((len(names), len(self.nights)), np.nan)
        medians = logs.groupby([place, night]).median()
        x[medians.index.get_level_values(0), medians.index.get_level_values(1)] = medians.to_numpy()
        return names, x

    def machines(self) -> pd.DataFrame:
        """Returns a line per machine and night on which it ran: its last run, software, rows, and those that are ok."""
        rows = self.rows.assign(ok=self.rows["status"].eq("ok"))
        grouped = rows.groupby(["machine", "night"], observed=True)
        found = grouped.agg(
            run_id=("run_id", _last), software_id=("software_id", _last), rows=("ok", "size"), ok=("ok", "sum")
        )
        return found.reset_index()


def _last(values: pd.Series) -> str | None:
    known = values.dropna().astype(str)
    return None if known.empty else max(known)


def read_nights(store: Path | str, window: int = WINDOW, until: date | None = None) -> Nights:
    """Returns the last `window` nights of the store, up to `until` or its newest. Raises ResultsError for an empty one.

    What is packed is read by DuckDB; runs that are not packed yet are read as they are.
    """
    problems: tuple[str, ...] = ()
    files = packed_files(store)
    packed = set()
    newest: list[date] = []
    if files:
        connection = connect()
        packed = {
            name for (name,) in connection.execute("SELECT DISTINCT run_id FROM read_parquet(?)", [files]).fetchall()
        }
        newest += [connection.execute("SELECT max(night) FROM read_parquet(?)", [files]).fetchall()[0][0]]
    fresh = [] if "://" in str(store) else [path for path in run_folders(Path(store)) if path.name not in packed]
    frame, problems = _read_fresh(fresh)
    newest += [] if frame.empty else [frame["night"].max().date()]
    if not newest:
        said = "; ".join(problems)
        raise ResultsError(
            f"{store} holds no run that can be read; expected runs of `pytest bench/`{said and ': ' + said}"
        )
    last = until or max(newest)
    nights = tuple(last - timedelta(days=back) for back in reversed(range(window)))
    parts = [frame[frame["night"].between(pd.Timestamp(nights[0]), pd.Timestamp(last))]]
    series = [parts[0].drop_duplicates("series").set_index("series")[list(SERIES_COLUMNS)]]
    if files:
        rows, of_series = _read_packed(files, nights)
        parts.append(rows)
        series.append(of_series)
    together = pd.concat(
        [part[list(_READ)] for part in parts if not part.empty] or [frame[list(_READ)]], ignore_index=True
    )
    for name in _CATEGORIES:
        together[name] = together[name].astype("category")
    listed = pd.concat([part for part in series if not part.empty] or series)
    listed = listed[~listed.index.duplicated()]
    return Nights(nights, listed[listed["variant"].isna()], together, problems)


def _read_fresh(folders: Sequence[Path]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Returns the rows of runs as they lie there, with `series` and `night`, and what was left out."""
    rows: list[Row] = []
    problems: list[str] = []
    for folder in folders:
        try:
            found, forgiven = read_folder(folder)
        except ResultsError as error:
            problems.append(f"left out: {error}")
            continue
        rows += found
        problems += forgiven
    frame = to_frame(rows)
    frame["series"] = pd.Series([series_of(row) for row in rows], dtype="string")
    frame["night"] = pd.to_datetime(frame["run_id"].str.slice(0, 8), format="%Y%m%d").astype("datetime64[us]")
    return frame, tuple(problems)


def _read_packed(files: str, nights: Sequence[date]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the packed rows of the nights, and their series."""
    connection = connect()
    where = "FROM read_parquet(?) WHERE night BETWEEN ? AND ?"
    given = [files, nights[0], nights[-1]]
    connection.execute(f"CREATE TABLE found AS SELECT {', '.join(_READ)} {where}", given)
    for name in _CATEGORIES:
        connection.execute(
            f"CREATE TYPE of_{name} AS ENUM (SELECT DISTINCT {name} FROM found WHERE {name} IS NOT NULL)"
        )
    fields = ", ".join(f"CAST({name} AS of_{name}) AS {name}" if name in _CATEGORIES else name for name in _READ)
    rows = connection.execute(f"SELECT {fields} FROM found").fetchdf()
    columns = ", ".join(f"any_value({name}) AS {name}" for name in SERIES_COLUMNS)
    series = connection.execute(f"SELECT series, {columns} {where} GROUP BY series", given).fetchdf()
    return rows, series.set_index("series")


def rows_of_runs(store: Path | str, runs: Sequence[str]) -> pd.DataFrame:
    """Returns all rows of the named runs, with the columns of the schema: packed or not."""
    found = []
    files = packed_files(store)
    left = set(runs)
    if files and left:
        connection = connect()
        marks = ", ".join("?" for _ in left)
        packed = connection.execute(
            f"SELECT * EXCLUDE (series, night) FROM read_parquet(?) WHERE run_id IN ({marks})", [files, *left]
        ).fetchdf()
        plain = packed.astype(object).where(packed.notna(), None)
        found += [{str(k): v for k, v in row.items()} for row in plain.to_dict("records")]
        left -= {str(row["run_id"]) for row in found}
    if left and "://" not in str(store):
        for folder in run_folders(Path(store)):
            if folder.name in left:
                found += read_folder(folder)[0]
    return to_frame(found)


def series_rows(store: Path | str, series: str) -> pd.DataFrame:
    """Returns every row of one series, the oldest first: night, run and the numbers. Raises ResultsError for none."""
    files = packed_files(store)
    columns = ["night", "run_id", "software_id", "status", "quality", "latency_p50_s", "throughput_samples_per_s"]
    parts: list[pd.DataFrame] = []
    if files:
        found = connect().execute(f"SELECT {', '.join(columns)} FROM read_parquet(?) WHERE series = ?", [files, series])
        parts.append(found.fetchdf())
    if "://" not in str(store):
        known = (
            set()
            if not files
            else {n for (n,) in connect().execute("SELECT DISTINCT run_id FROM read_parquet(?)", [files]).fetchall()}
        )
        frame, _ = _read_fresh([path for path in run_folders(Path(store)) if path.name not in known])
        parts.append(frame[frame["series"] == series][columns])
    whole = pd.concat([part for part in parts if not part.empty] or parts, ignore_index=True)
    if whole.empty:
        raise ResultsError(
            f"{store} has no series {series!r}; `python -m results history {store} --csv FILE` lists them"
        )
    return whole.sort_values(["night", "run_id"], kind="stable").reset_index(drop=True)
