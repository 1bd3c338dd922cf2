"""The roofline of a run: what each step reached, under what its chip can do (Williams, Waterman & Patterson 2009).

x is the FLOPs that a step needs for each byte that even a perfect cache must move, y the FLOP/s with the device kept
full. A point under the slope is bound by memory at best, one under the flat roof by arithmetic.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from results.record.dimensions import BOUNDS
from results.record.files import ResultsError
from results.record.human import prefixed
from results.record.limits import BYTE_LIMITS, FLOP_LIMITS
from results.show.plot.style import COLOURS, GRID, INK, drawing
from results.tables.table import is_control, is_verified, placed

MARKERS = {"infer": ("o", False, "inference"), "train": ("s", True, "training")}
"""By phase: the marker, whether it is filled, and what it is called."""
OTHER = ("D", False)
"""Of a phase that is not among them, which is called by its name."""
CLOSE = 1.08
"""Columns of points nearer than this, on the scale of FLOP per byte, have one name in common."""


def plot_roofline(frame: pd.DataFrame, path: Path) -> str:
    """Draws the rows of one run into `path`, an .svg or .png, and returns what it shows, in a line.

    Raises ResultsError where the run has no measured peak, where several machines, devices or precisions meet, and
    where matplotlib is not installed.
    """
    rows = placed(frame)
    rows = rows[is_verified(rows) & ~is_control(rows) & rows["peak_flops_per_s"].notna()]
    if rows.empty:
        raise ResultsError("no peak was measured in it: run the workloads matmul, conv and stream beside the models")
    places = ["run_id", "machine", "machine_id", "device", *BOUNDS]
    kinds = rows[places].drop_duplicates()
    if len(kinds) > 1:
        raise ResultsError(
            f"expected one device at one precision of one run, got {kinds.to_dict('records')}; plot one run each"
        )
    steps = rows[~rows["workload"].isin(BYTE_LIMITS) & (rows["flops_per_step"] > 0)]
    steps = steps.assign(
        intensity=steps["flops_per_step"].astype(float) / steps["minimum_bytes_per_step"].astype(float)
    )
    with drawing(path, (10, 6.5)) as figure:
        axes = figure.subplots()
        _roofs(axes, rows.sort_values("peak_bytes_per_s", ascending=False).iloc[0], steps["intensity"])
        _points(axes, steps)
        first = rows.iloc[0]
        day = str(first["started_utc"] or "")[:10]
        axes.set_title(f"{first['device']}, {first['precision']}, {first['threads']} threads, {first['machine']} {day}")
        axes.set_xlabel("FLOP per byte that must be moved")
        axes.set_ylabel("FLOP/s with the device kept full")
        axes.grid(True, which="major", color=GRID)
        axes.set_axisbelow(True)
        axes.legend(loc="lower right", fontsize=9)
        if pd.notna(first["published_source"]):
            figure.text(0.01, 0.005, f"Published: {first['published_source']}", fontsize=7, color=INK, wrap=True)
    left_out = int((~is_control(frame) & (frame["status"] != "ok").fillna(True)).sum())
    without = f" (without a number, and left out: {left_out})" if left_out else ""
    return f"{len(steps)} steps under their roofs{without}: {path}"


def _roofs(axes: Any, row: Any, intensities: Any) -> None:
    """Draws the measured peaks, and dashed those that are published."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    for flops, moved, style, who in (
        (row["peak_flops_per_s"], row["peak_bytes_per_s"], "-", f"measured, {row['peak_flops_of']}"),
        (row["published_flops_per_s"], row["published_bytes_per_s"], "--", "published for this chip"),
    ):
        if pd.isna(flops):
            continue
        ridge = min(intensities) / 3 if pd.isna(moved) else flops / moved
        low, high = min(*intensities, ridge) / 4, max(*intensities, ridge) * 2.5
        axes.plot([ridge, high], [flops, flops], style, color="#555555", lw=1.5)
        _name(axes, f"{prefixed(flops, 'FLOP/s')} ({who})", (high, flops), ha="right", va="bottom")
        if not pd.isna(moved):
            axes.plot([low, ridge], [low * moved, flops], style, color="#555555", lw=1.5)
            _name(axes, prefixed(moved, "B/s"), (low * 1.1, low * moved), ha="left", va="top")


def _points(axes: Any, steps: pd.DataFrame) -> None:
    """Draws a point per step: colour by backend, filled in training; each column of points has its name once."""
    phases = set(steps["phase"])
    markers = {phase: MARKERS[phase] for phase in MARKERS if phase in phases}
    markers |= {phase: (*OTHER, str(phase)) for phase in sorted(phases - {*MARKERS})}
    for number, label in enumerate(sorted(steps["label"].unique())):
        colour = COLOURS[number % len(COLOURS)]
        for phase, (marker, is_filled, _) in markers.items():
            points = steps[(steps["label"] == label) & (steps["phase"] == phase)]
            place = points["intensity"], points["throughput_flops_per_s"]
            axes.plot(*place, marker, mec=colour, mfc=colour if is_filled else "white", ms=7, mew=1.5)
        axes.plot([], [], "o", color=colour, label=label)
    for marker, is_filled, name in markers.values():
        axes.plot([], [], marker, mec="#555555", mfc="#555555" if is_filled else "white", label=name)
    columns: list[tuple[float, float, list[str]]] = []
    for key, group in steps.sort_values("intensity").groupby(["workload", "phase"], sort=False):
        assert isinstance(key, tuple)
        name = str(key[0]) if key[0] in FLOP_LIMITS else f"{key[0]} {key[1]}"
        x, lowest = float(group["intensity"].iloc[0]), float(group["throughput_flops_per_s"].min())
        if columns and x < columns[-1][0] * CLOSE:
            before = columns.pop()
            columns.append((before[0], min(lowest, before[1]), [*before[2], name]))
        else:
            columns.append((x, lowest, [name]))
    for x, lowest, names in columns:
        below = {"xytext": (0, -9), "textcoords": "offset points"}
        _name(axes, ", ".join(names), (x, lowest), rotation=90, ha="center", va="top", **below)
    axes.set_ylim(steps["throughput_flops_per_s"].min() / 30, axes.get_ylim()[1] * 1.6)


def _name(axes: Any, text: str, place: tuple[float, float], **how: Any) -> None:
    axes.annotate(text, place, color=INK, fontsize=9, **how)
