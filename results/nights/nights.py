"""What a store holds of the last nights: a number per series and night, which machines ran, and what they left out.

A night is the UTC day on which a run began; where a machine has several runs of a night, their median counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.nights.clock import last_real_night
from results.nights.identity import own_series, told_apart
from results.nights.store import SERIES_COLUMNS, ask, open_packed, packed_runs, series_of
from results.record.files import ResultsError
from results.record.read import OnRun, read_folders, run_folders
from results.record.schema import COLUMN
from results.tables.ratio import INTERVALS
from results.tables.table import DTYPES, to_frame

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

WINDOW = 90
WINDOWS = (2, 36_500)
"""Nights that can be looked at: two, since one has no other to compare with, to a hundred years."""
METRICS = {"latency": "latency_p50_s", "throughput": "throughput_samples_per_s"}
_READ = (
    "series",
    "night",
    "run_id",
    "machine",
    "installation_id",
    "software_id",
    "status",
    "verification",
    "quality",
    "latency_p50_s",
    "throughput_samples_per_s",
    "throughput_mode",
)
_CATEGORIES = (
    "series",
    "run_id",
    "machine",
    "installation_id",
    "software_id",
    "status",
    "verification",
    "quality",
    "throughput_mode",
)


@dataclass(frozen=True)
class Nights:
    """The last nights of a store, `nights` of them up to its newest.

    `series` has a line per series (index: its 16 hex digits) with `SERIES_COLUMNS`; `rows` a line per row that a run
    left; `seen` the `first` and `last` night of each machine and machine_id up to the newest, of the whole store;
    `problems` says what was left out.
    """

    nights: tuple[date, ...]
    series: pd.DataFrame
    rows: pd.DataFrame
    seen: pd.DataFrame
    problems: tuple[str, ...]

    def matrix(self, metric: str) -> tuple[list[str], NDArray[np.float64]]:
        """Returns the series that have the metric, and ln of their seconds, series x nights.

        `latency` is seconds of a step, `throughput` seconds of a sample where steps overlap (else it is the latency
        again). NaN where a night has no valid number: none, `degraded` (it was disturbed), or not verified.
        """
        column = METRICS[metric]
        rows = self.rows
        is_valid = rows["status"].eq("ok") & rows["verification"].ne("not applicable") & rows["quality"].ne("degraded")
        is_valid &= rows[column].notna() & rows["series"].isin(self.series.index)
        if metric == "throughput":
            is_valid &= rows["throughput_mode"].ne("serial")
        kept = rows[is_valid]
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
        rows = self.rows.assign(ok=self.rows["status"].eq("ok"), row=True)
        # Run ids sort by time; step by step, since pandas looks at groups of texts one by one.
        order = ["machine", "night", "run_id"]
        counted = rows.groupby(order, observed=True, sort=True).agg(rows=("row", "sum"), ok=("ok", "sum"))
        software = rows.drop_duplicates(order).set_index(order)["software_id"]
        runs = counted.join(software).reset_index()
        nights = runs.groupby(order[:2], observed=True, sort=True)
        sums, last = nights[["rows", "ok"]].sum(), nights[["run_id", "software_id"]].last()
        return last.join(sums).reset_index()


def read_nights(
    store: Path | str, window: int = WINDOW, until: date | None = None, may_be_empty: bool = False
) -> Nights:
    """Returns the last `window` nights of the store, up to `until` or its newest.

    What is packed is read by DuckDB; runs that are not packed yet are read as they are. Raises ValueError for a window
    that is not in `WINDOWS`, and ResultsError for a store without runs, unless it `may_be_empty`: its newest night is
    that of today (UTC) then, and has no row.
    """
    if not WINDOWS[0] <= window <= WINDOWS[1]:
        raise ValueError(f"the window is {window} nights; expected {WINDOWS[0]} to {WINDOWS[1]:,}")
    connection, wrong = open_packed(store)
    frame, problems = _read_fresh(_not_packed(store, connection))
    problems = (*wrong, *problems)
    real, of_clocks = last_real_night(_runs(frame, connection))
    problems = (*problems, *of_clocks)
    seen = _seen(frame, connection, real)
    if seen.empty and not may_be_empty:
        why = "; ".join(problems)
        raise ResultsError(
            f"{store} holds no run that can be read; expected runs of `samestep run`{why and ': ' + why}"
        )
    last = until or max(seen["last"], default=datetime.now(UTC).date())
    if last.toordinal() < window:
        raise ValueError(f"{window} nights up to {last} begin before the calendar does; expected a later night")
    nights = tuple(last - timedelta(days=back) for back in reversed(range(window)))
    until_real = (nights[0], min(last, real))
    parts = [frame[frame["night"].between(pd.Timestamp(until_real[0]), pd.Timestamp(until_real[1]))]]
    series = [parts[0].drop_duplicates("series").set_index("series")[list(SERIES_COLUMNS)]]
    if connection is not None:
        rows, of_series = _read_packed(connection, *until_real)
        parts.append(rows)
        series.append(of_series)
    together = pd.concat(
        [part[list(_READ)] for part in parts if not part.empty] or [parts[0][list(_READ)]], ignore_index=True
    )
    for name in _CATEGORIES:
        together[name] = together[name].astype("category")
    listed = pd.concat([part for part in series if not part.empty] or series)
    listed = listed[~listed.index.duplicated()]
    rows, listed, alike = told_apart(together, listed[listed["variant"].isna()])
    seen = _seen(frame, connection, min(last, real))
    return Nights(nights, listed, rows, seen, (*problems, *alike))


def _runs(frame: pd.DataFrame, connection: DuckDBPyConnection | None) -> pd.DataFrame:
    """Returns run_id, machine and night of every run of the store."""
    columns = ["run_id", "machine", "night"]
    runs = frame[columns].drop_duplicates("run_id")
    if connection is not None:
        packed = ask(connection, "SELECT DISTINCT run_id, machine, night FROM packed")
        runs = pd.concat([runs, packed]) if len(runs) else packed
    return runs


def _seen(frame: pd.DataFrame, connection: DuckDBPyConnection | None, until: date) -> pd.DataFrame:
    """Returns the first and last night of each machine and machine_id, packed or not, that is not after `until`."""
    by = ["machine", "machine_id"]
    parts = [frame.loc[frame["night"] <= pd.Timestamp(until), [*by, "night"]].assign(last=lambda rows: rows["night"])]
    if connection is not None:
        sql = "SELECT machine, machine_id, min(night) AS night, max(night) AS last FROM packed WHERE night <= ?"
        parts.append(ask(connection, f"{sql} GROUP BY machine, machine_id", [until]))
    nights = pd.concat([part for part in parts if not part.empty] or parts[:1]).dropna(subset=["machine"])
    seen = nights.groupby(by, dropna=False).agg(first=("night", "min"), last=("last", "max")).reset_index()
    return seen.assign(first=[one.date() for one in seen["first"]], last=[one.date() for one in seen["last"]])


def all_series(nights: Nights) -> pd.DataFrame:
    """Returns a line per series: its id (index), `SERIES_COLUMNS`, how many nights are valid, and the last of them."""
    names, x = nights.matrix("latency")
    valid = ~np.isnan(x)
    counts = pd.DataFrame({"valid_nights": valid.sum(axis=1)}, index=pd.Index(names, name="series"))
    counts["last_valid"] = [nights.nights[int(np.flatnonzero(row)[-1])] for row in valid]
    counts["latency_p50_s"] = [float(np.exp(row[~np.isnan(row)][-1])) for row in x]
    return nights.series.join(counts).fillna({"valid_nights": 0}).astype({"valid_nights": int})


def _read_fresh(folders: Sequence[Path]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Returns the rows of runs as they lie there, with `series` and `night`, and what was left out."""
    rows, problems = read_folders(folders)
    frame = to_frame(rows)
    frame["series"] = pd.Series([series_of(row) for row in rows], dtype="string")
    frame["night"] = pd.to_datetime(frame["run_id"].str.slice(0, 8), format="%Y%m%d").astype("datetime64[us]")
    return frame, problems


def _not_packed(store: Path | str, connection: DuckDBPyConnection | None) -> list[Path]:
    """Returns the folders of the store's runs that are not packed; an address has packed ones alone."""
    if "://" in str(store):
        return []
    packed = packed_runs(connection)
    return [folder for folder in run_folders(Path(store)) if folder.name not in packed]


def _read_packed(connection: DuckDBPyConnection, first: date, last: date) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the packed rows from one night to another, and their series."""
    where, nights = "FROM packed WHERE night BETWEEN ? AND ?", [first, last]
    ask(connection, f"CREATE TABLE of_nights AS SELECT {', '.join(_READ)} {where}", nights)
    for name in _CATEGORIES:
        values = f"SELECT DISTINCT {name} FROM of_nights WHERE {name} IS NOT NULL"
        ask(connection, f"CREATE TYPE of_{name} AS ENUM ({values})")
    fields = ", ".join(f"CAST({name} AS of_{name}) AS {name}" if name in _CATEGORIES else name for name in _READ)
    rows = ask(connection, f"SELECT {fields} FROM of_nights")
    columns = ", ".join(f"any_value({name}) AS {name}" for name in SERIES_COLUMNS)
    series = ask(connection, f"SELECT series, {columns} {where} GROUP BY series", nights)
    return rows, series.set_index("series")


def rows_of_runs(
    store: Path | str, runs: Sequence[str], columns: Sequence[str] = tuple(COLUMN), on_run: OnRun | None = None
) -> pd.DataFrame:
    """Returns all rows of the named runs, packed or not, with these columns of the schema; `on_run` is shown the runs
    whose journals are read, which are those that are not packed.
    """
    connection, _ = open_packed(store)
    parts = [to_frame([])[list(columns)]]
    if connection is not None:
        listed = ", ".join(f'"{name}"' for name in columns)
        packed = ask(connection, f"SELECT {listed} FROM packed WHERE run_id IN (SELECT unnest(?))", [list(runs)])
        parts.append(packed.astype({name: DTYPES[COLUMN[name].kind] for name in columns}))
    fresh = [folder for folder in _not_packed(store, connection) if folder.name in set(runs)]
    parts.append(to_frame(read_folders(fresh, on_run)[0])[list(columns)])
    return pd.concat(parts, ignore_index=True)


def series_rows(store: Path | str, series: str) -> pd.DataFrame:
    """Returns every row of one series, the oldest first: night, run and the numbers. Raises ResultsError for none."""
    columns = ["night", "run_id", "software_id", "status", "quality", "latency_p50_s", *INTERVALS["latency_p50_s"]]
    columns.append("throughput_samples_per_s")
    connection, _ = open_packed(store)
    frame, _ = _read_fresh(_not_packed(store, connection))
    of_two = ["series", "installation_id"]
    ids = [frame[of_two].drop_duplicates()]
    if connection is not None:
        ids.append(ask(connection, f"SELECT DISTINCT {', '.join(of_two)} FROM packed"))
    # Two installations that look alike have series of their own (`told_apart`).
    pairs = pd.concat(ids).dropna().itertuples(index=False, name=None)
    base, installation = next((pair for pair in pairs if own_series(*pair) == series), (series, None))
    mine = (frame["series"] == base) & (True if installation is None else frame["installation_id"] == installation)
    parts = [frame.loc[mine.fillna(False), columns]]
    if connection is not None:
        sql = f"SELECT {', '.join(columns)} FROM packed WHERE series = ?"
        only = "" if installation is None else " AND installation_id = ?"
        parts.append(ask(connection, sql + only, [base] if installation is None else [base, installation]))
    rows: pd.DataFrame = pd.concat([part for part in parts if not part.empty] or parts, ignore_index=True)
    if rows.empty:
        raise ResultsError(f"{store} has no series {series!r}; `samestep history {store} --series all` lists them")
    return rows.sort_values(["night", "run_id"], kind="stable").reset_index(drop=True)
