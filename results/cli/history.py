"""samestep history and samestep pack: what changed over the nights, and the store in columns."""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.cli.common import (
    RUNS,
    RUNS_NAME,
    FailOnMet,
    add_nights,
    add_outputs,
    nights_of,
    note,
    width,
    write_outputs,
)
from results.record.files import ResultsError

if TYPE_CHECKING:
    import pandas as pd

    from results.nights.history import History
    from results.nights.nights import Nights

FAIL_ON = ("new", "open")
STORE_HELP = f"a folder with runs in it, at any depth, or the address of packed ones (default: {RUNS_NAME})"


def add_commands(commands: Any) -> None:
    """Adds the commands to a parser's subparsers."""
    parser = commands.add_parser("history", help="what changed over the nights, and what is missing")
    parser.set_defaults(made_by=_history)
    parser.add_argument("store", metavar="STORE", nargs="?", default=str(RUNS), help=STORE_HELP)
    add_nights(parser)
    parser.add_argument("--series", metavar="ID", help="in place of it all, every row of one series; all: the series")
    parser.add_argument(
        "--fail-on", choices=FAIL_ON, help="exit status 1 if a regression was confirmed tonight, or is open"
    )
    add_outputs(parser)
    packing = commands.add_parser("pack", help="put new runs of a store into columns (Parquet), for large ones")
    packing.set_defaults(made_by=_pack)
    packing.add_argument("store", metavar="STORE", nargs="?", default=str(RUNS), help=STORE_HELP)


def _pack(options: argparse.Namespace) -> str:
    from results.nights.store import PACKED, pack

    done = pack(Path(options.store))
    note(done.problems)
    return f"{done.rows:,} rows of {done.runs:,} runs were added to {Path(options.store) / PACKED}"


def _history(options: argparse.Namespace) -> str:
    """Returns the text of `history`, after writing its files; raises FailOnMet where --fail-on says so."""
    if options.series is not None:
        return _series(options)
    history = nights_of(options.store, options)
    write_outputs(history.alarms, options)
    text = render_history(history, str(options.store), width())
    bad = history.alarms["is_open"] & (history.alarms["is_new"] if options.fail_on == "new" else True)
    if options.fail_on is not None and history.unjudged:
        raise ResultsError(f"--fail-on {options.fail_on}: regressions cannot be looked for: {history.unjudged}")
    if options.fail_on is not None and bad.any():
        raise FailOnMet(text)
    return text


def _series(options: argparse.Namespace) -> str:
    from results.nights.nights import all_series, read_nights, series_rows
    from results.record.dimensions import CELL_COLUMNS
    from results.record.human import in_time_unit, rate, time_unit
    from results.show.numbers import plus_minus
    from results.show.terminal import columns_text
    from results.tables.ratio import half_width
    from results.tables.table import to_rows

    if options.series == "all":
        listed = all_series(read_nights(options.store, options.window, options.until)).reset_index()
        write_outputs(listed, options)
        names = ["series", "machine", *CELL_COLUMNS, "valid_nights", "last_valid"]
        texts = [["" if row[name] is None else str(row[name]) for name in names] for row in to_rows(listed)]
        return columns_text(names, texts, len(names), width(), f"{len(listed)} series")
    rows = series_rows(options.store, options.series)
    write_outputs(rows, options)
    lines = []
    for row in rows.astype(object).where(rows.notna(), None).to_dict("records"):
        latency, samples = row["latency_p50_s"], row["throughput_samples_per_s"]
        numbers = [
            "-"
            if latency is None
            else in_time_unit(latency, time_unit([latency])) + plus_minus(half_width(row, "latency_p50_s")),
            "-" if samples is None else rate(samples) + "/s",
        ]
        lines.append(
            [
                f"{row['night']:%Y-%m-%d}",
                row["run_id"],
                *numbers,
                row["status"],
                row["quality"] or "",
                row["software_id"] or "",
            ]
        )
    header = ["night", "run", "latency", "throughput", "status", "quality", "software"]
    left = [name not in ("latency", "throughput") for name in header]
    return columns_text(header, lines, left, width(), f"Series {options.series}")


def render_history(history: History, store: str, columns: int) -> str:
    """Returns the history for a terminal: new regressions, open ones, improvements, and what is missing."""
    nights, alarms = history.nights, history.alarms
    runs, machines = nights.rows["run_id"].nunique(), int((history.missing_machines["nights"] > 0).sum())
    heading = (
        f"{store}: {runs} runs, {machines} machines, {len(nights.series)} series,"
        f" nights {nights.nights[0]} to {nights.nights[-1]}"
    )
    kinds = {
        "New regressions": alarms[alarms["is_open"] & alarms["is_new"]],
        "Open regressions": alarms[alarms["is_open"] & ~alarms["is_new"].astype(bool)],
        "Acknowledged": alarms[alarms["acknowledged"].notna()],
        "Faster than before": alarms[(alarms["direction"] == "faster") & alarms["is_confirmed"].astype(bool)],
        "Not confirmed": alarms[~alarms["is_confirmed"].astype(bool)],
    }
    if history.unjudged:
        return "\n\n".join([heading, f"Regressions: not looked for: {history.unjudged}", *_missing(history, columns)])
    blocks = [heading, _able(nights)]
    for title, kind in kinds.items():
        blocks += [_alarms(title, kind, columns)] if len(kind) else [f"{title}: none"]
    return "\n\n".join([*blocks, *_missing(history, columns)])


def _able(nights: Nights) -> str:
    """Returns how many series can have an alarm: one with too few valid nights cannot."""
    from results.nights.changepoints import KNOWN_NIGHTS
    from results.nights.nights import all_series

    valid = all_series(nights)["valid_nights"]
    least = KNOWN_NIGHTS + 2  # a level, and the two nights of a step
    able, none = int((valid >= least).sum()), int((valid == 0).sum())
    return (
        f"{able} of {len(valid)} series can have an alarm, which takes {least} valid nights;"
        f" {none} have no valid night (no number, or always disturbed)"
    )


def _alarms(title: str, listed: pd.DataFrame, columns: int) -> str:
    """Returns a table of alarms, group after group."""
    from results.show.terminal import columns_text, share

    lines = []
    for group, alarms in listed.groupby("group", sort=True):
        for number, row in enumerate(alarms.sort_values("ratio", ascending=False).to_dict("records")):
            series = f"{row['workload']} {row['phase']} {row['backend']} {row['metric']}"
            first = [group, row["cause"]] if number == 0 else ["", ""]
            lines.append([*first, series, share(row["ratio"]), str(row["began"]), row["alarm_id"]])
    header = ["since", "cause", "what", "time", "began", "alarm"]
    counts = f"{len(listed)} in {listed['group'].nunique()} groups that share a cause"
    return columns_text(header, lines, [name != "time" for name in header], columns, f"{title}: {counts}")


def _missing(history: History, columns: int) -> list[str]:
    """Returns what is missing: machines that were away tonight, nights, cells."""
    from results.show.terminal import columns_text

    machines = history.missing_machines.to_dict("records")
    sentences = [
        f"Missing: {row['machine']} "
        + (
            f"did not run in the newest night; its last was {row['last_night']}"
            if isinstance(row["last_night"], date)
            else "is expected, and did not run in any of these nights"
        )
        for row in machines
        if row["is_away"]
    ]
    sentences += [*history.names, *history.breaks]
    sentences += [
        f"Missing nights: {row['machine']} {row['missed']} since its first, of late {row['missed_nights']}"
        for row in machines
        if row["missed"]
    ]
    cells = history.missing_cells
    names = ["machine", "cell", "last_ok", "status", "reason"]
    lines = [[str(value) for value in row] for row in cells[names].to_numpy().tolist()]
    title = f"Cells that had a number and have none in the newest run: {len(cells)}"
    return ["\n".join(sentences)] * bool(sentences) + [columns_text(names, lines, len(names), columns, title)] * bool(
        lines
    )
