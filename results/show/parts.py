"""What a step consists of beside what it takes as a whole, what its start takes, and what it holds in memory."""

import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd

from results.record.human import in_time_unit, prefixed, ratio, time_unit
from results.record.schema import COLUMN
from results.show.layout import GAP, Cell, hanging, side_by_side
from results.tables.parts import measured_steps, missing_parts

LINES = {
    "input_copy_s": "input copy",
    "forward_s": "forward",
    "backward_s": "backward",
    "optimizer_s": "optimiser update",
    "parts_sum_s": "sum of parts",
    "parts_whole_s": "whole step",
    "parts_ratio": "sum / whole",
    "import_s": "import",
    "build_s": "build",
    "compile_s": "compile",
    "first_step_s": "first step",
    "peak_memory_bytes": "peak memory, device",
    "host_peak_memory_bytes": "peak memory, host",
    "step_peak_memory_bytes": "peak memory, host, steps",
    "graph_bytes": "graph file",
    "weights_bytes": "weights",
    "state_bytes": "optimiser state",
}
TRAINING_ONLY = ("backward_s", "optimizer_s", "state_bytes")
LEGEND = (
    "Each part is measured by itself and waited for: parts add up to more than a step, in which nobody waits between "
    "them and a compiler fuses across them. The sum is without the input copy, which no step does. Whole step: "
    "measured in turn with its parts."
)


def render_parts(frame: pd.DataFrame, width: int = 120) -> str:
    """Returns a table per workload and phase, with the reasons for what is missing in it, and how to read it."""
    blocks = [_block(rows, width) for rows in measured_steps(frame)]
    if not blocks:
        return "No cell was measured."
    return "\n\n".join([*blocks, textwrap.fill(LEGEND, width, subsequent_indent=GAP)])


def _block(rows: pd.DataFrame, width: int) -> str:
    """Returns the table of one step and why numbers are missing."""
    first = rows.iloc[0]
    trains = bool(rows[list(TRAINING_ONLY)].notna().to_numpy().any())
    shown = [name for name in LINES if trains or name not in TRAINING_ONLY]
    lines = [_cells(name, rows[name].tolist()) for name in shown]
    columns = {label: list(cells) for label, cells in zip(rows["label"], zip(*lines, strict=True), strict=True)}
    sequence = "" if pd.isna(first["sequence"]) else f", sequence {first['sequence']}"
    title = f"{first['workload']} {first['size']} {first['phase']}, batch {first['batch']}{sequence}"
    table = side_by_side([""], [[LINES[name]] for name in shown], columns, width)
    return "\n".join(part for part in (f"{title}, {first['threads']} threads", table, _reasons(rows, width)) if part)


def _cells(name: str, values: Sequence[Any]) -> list[Cell]:
    """Returns one line of numbers, a dash where there is none."""
    unit = time_unit([float(value) for value in values if pd.notna(value)])

    def in_words(value: float) -> str:
        if COLUMN[name].unit == "s":
            return in_time_unit(value, unit)
        return prefixed(value, "B") if COLUMN[name].unit == "byte" else ratio(value)

    return [Cell("-" if pd.isna(value) else in_words(float(value))) for value in values]


def _reasons(rows: pd.DataFrame, width: int) -> str:
    """Returns each reason once, with what it is missing from and where."""
    missing = missing_parts(rows)
    return hanging(
        [[f"no {LINES.get(name, name)}"] for name, _ in missing],
        [f"{reason} ({', '.join(labels)})" for (_, reason), labels in missing.items()],
        width,
    )
