"""What stands below the tables: which cells have no number and why, and how the numbers are to be read."""

import pandas as pd

from results.record.cells.ladder import NOT_NEEDED
from results.record.dimensions import DIMENSIONS, POSITION
from results.record.human import DEGRADED, EMULATED, in_time_unit, time_unit
from results.record.vocabulary import STATUSES
from results.show.layout import hanging, plural, wrapped
from results.tables.table import idle_labels, is_verified

NAMELESS = tuple(d.column for d in DIMENSIONS if d.is_name)
"""Levels whose values say by themselves what they are."""
NO_FAULT = ("disturbed", "known_failure", NOT_NEEDED, "unsupported", "unavailable", "ok")
BY_URGENCY = (*STATUSES[STATUSES.index("wrong") :], *NO_FAULT)
"""All statuses, what needs somebody first."""


def without_number(rows: pd.DataFrame, width: int) -> str:
    """Returns a line for each backend and reason for which cells have no number, the most urgent first."""
    missing = rows[rows["status"] != "ok"].fillna({"reason": ""})
    if missing.empty:
        return ""
    varying = [name for name in POSITION if name in ("workload", "phase") or rows[name].nunique(dropna=False) > 1]
    groups: dict[tuple[str, str, str], list[str]] = {}
    for row in missing.to_dict("records"):
        words = [row[name] if name in NAMELESS else f"{name} {row[name]}" for name in varying if pd.notna(row[name])]
        groups.setdefault((row["label"], row["status"], row["reason"]), []).append(" ".join(words))
    cells_of = rows["label"].value_counts()
    columns, reasons = [], []
    for (label, status, reason), cells in sorted(groups.items(), key=lambda group: BY_URGENCY.index(group[0][1])):
        count = f"{'all ' if len(cells) == cells_of[label] else ''}{len(cells)} cells"
        columns.append([label, status, cells[0] if len(cells) == 1 else count])
        reasons.append(reason)
    return "Without a number:\n" + hanging(columns, reasons, width)


def legend(rows: pd.DataFrame, baseline: str | None, no_ratios: str, width: int) -> str:
    """Returns what the tables' ratios mean, and what the numbers that need it are to be read with."""
    verified = rows[is_verified(rows)]
    lines = [f"No ratios: {no_ratios}."]
    if baseline is not None:
        lines = [f"Baseline {baseline}: 1.39x is 1.39 times as fast as {baseline} at the same step."]
    if not verified.empty:
        lines.append(_worst_error(verified))
    lines += _references(rows)
    lines += [_own_cost(label, rows) for label in sorted(idle_labels(rows))]
    serial = verified[verified["throughput_mode"] == "serial"]
    for phase, labels in sorted(_labels_by(serial, "phase").items()):
        lines.append(f"Serial in {phase} (overlapping is not possible, or no faster): {', '.join(labels)}.")
    lines += _flags(rows)
    emulated = rows[(rows["status"] == "ok") & rows["is_emulated"].fillna(False)]
    if not emulated.empty:
        names = ", ".join(sorted((emulated["label"] + " " + emulated["precision_requested"]).unique()))
        lines.append(f"{EMULATED} emulated: products ran in a wider type, since chip or runtime has no other: {names}.")
    partly = rows[(rows["status"] == "ok") & (rows["launches_failed"].fillna(0) > 0)]
    if not partly.empty:
        lines.append(f"Some launches failed, the numbers are of the others: {', '.join(partly['label'].unique())}.")
    return wrapped(lines, width)


def _own_cost(label: str, rows: pd.DataFrame) -> str:
    """Returns what the steps of a backend that computes nothing took: the harness's own cost."""
    times = rows.loc[(rows["label"] == label) & (rows["status"] == "ok"), "latency_p50_s"].dropna()
    unit = time_unit(times)
    ends = " to ".join(dict.fromkeys(in_time_unit(end, unit) for end in (times.min(), times.max())))
    return f"{label} computes nothing: its numbers are the harness's own cost, {ends} a step, and enter no ratio."


def _references(rows: pd.DataFrame) -> list[str]:
    """Returns what is to be known of how numbers were verified, where that is not as all are."""
    numbers = rows[(rows["status"] == "ok") & rows["reference"].notna() & ~rows["label"].isin(idle_labels(rows))]
    lines = [
        f"{workload}: {said}."
        for workload, said in dict(zip(numbers["workload"], numbers["reference"], strict=True)).items()
    ]
    unproven = rows[((rows["status"] == "ok") & (rows["verification"] == "unverified")).fillna(False)]
    if not unproven.empty:
        names = ", ".join(sorted((unproven["label"] + " " + unproven["workload"]).unique()))
        lines.append(f"Not verified, so in no ratio (--unverified): {names}.")
    return lines


def _flags(rows: pd.DataFrame) -> list[str]:
    """Returns a line that says what the mark of degraded numbers stands for here."""
    degraded = rows[(rows["status"] == "ok") & (rows["quality"] == "degraded").fillna(False)]
    if degraded.empty:
        return []
    counts = degraded["flags"].fillna("").str.split().explode().value_counts()
    listed = ", ".join(f"{name} ({count})" for name, count in counts.items())
    return [
        f"{DEGRADED} degraded, in {plural(len(degraded), 'cell')}: {listed}; docs/measuring.md says what each means."
    ]


def _labels_by(rows: pd.DataFrame, column: str) -> dict[str, list[str]]:
    groups: dict[str, set[str]] = {}
    for value, label in zip(rows[column], rows["label"], strict=True):
        groups.setdefault(value, set()).add(label)
    return {value: sorted(labels) for value, labels in groups.items()}


def _worst_error(verified: pd.DataFrame) -> str:
    """Returns the verification error that came nearest to its tolerance."""
    count = f"Verified against the reference: {plural(len(verified), 'cell')}"
    with_error = [row for row in verified.to_dict("records") if pd.notna(row["error_worst"])]
    if not with_error:
        return count + "."
    with_tolerance = [row for row in with_error if pd.notna(row["error_tolerance"]) and row["error_tolerance"] > 0]
    if with_tolerance:
        worst = max(with_tolerance, key=lambda row: row["error_worst"] / row["error_tolerance"])
        error = f"{worst['error_worst']:.2g} of {worst['error_tolerance']:.2g} tolerated"
    else:
        worst = max(with_error, key=lambda row: row["error_worst"])
        error = f"{worst['error_worst']:.2g}"
    tensor = "" if pd.isna(worst["error_worst_of"]) else f", {worst['error_worst_of']}"
    return f"{count}; worst error {error} ({worst['label']} {worst['workload']} {worst['phase']}{tensor})."
