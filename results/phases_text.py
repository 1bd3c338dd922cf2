"""What a person reads of training against inference: a table per step, and who is best at which phase."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from results.human import in_time_unit, prefixed, ratio, time_unit
from results.layout import GAP
from results.money import Sources, dollars
from results.phases import PHASES, STEP, best
from results.render import DEGRADED
from results.table import to_rows
from results.terminal import columns_text

NOTHING = "No verified step of a workload in these rows."
LEGEND = (
    "Time and joules are of one sample, USD of a million. Ratios are training / inference: 3.00x takes three times as "
    "much. Times are with the device kept full, energy is with one step in flight. On one device the ratio in "
    "money is that in time; between devices see who is cheapest."
)


def phases_text(compared: pd.DataFrame, width: int = 120) -> str:
    """Returns what `results.phases.phases` found: a table per step, who is best at which phase, and the sources."""
    rows = to_rows(compared)
    if not rows:
        return NOTHING
    sources = Sources()
    parts = [
        *(_block(group, sources, width) for group in by_step(rows)),
        _best_block(compared, sources, width),
        wrapped([LEGEND], width),
        wrapped(sources.lines(), width),
        gaps(rows, "no_price", width),
        marks(rows, width),
    ]
    return "\n\n".join(filter(None, parts))


def by_step(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Returns the rows in groups of one step each, in their order."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in STEP), []).append(row)
    return list(groups.values())


def step_words(row: Mapping[str, Any]) -> str:
    """Returns the step in words: `gpt2 124m fp32, batch 2, sequence 128, threads 2`."""
    named = " ".join(str(row[name]) for name in ("workload", "size", "precision") if row[name] is not None)
    shown = [f"{name} {row[name]}" for name in ("batch", "sequence", "threads") if row.get(name) is not None]
    return ", ".join([named, *shown])


def gaps(rows: Sequence[Mapping[str, Any]], column: str, width: int) -> str:
    """Returns why numbers are missing, each reason once with the backends that lack them."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row[column] is not None:
            found.setdefault(row[column], []).append(row["backend"])
    lines = [f"- {', '.join(dict.fromkeys(backends))}: {reason}" for reason, backends in found.items()]
    return wrapped(["Without a number:", *lines] if lines else [], width)


def marks(rows: Sequence[Mapping[str, Any]], width: int) -> str:
    """Returns what the mark of `mark` means, nothing where no number has it."""
    if not any(mark(row, phase) for row in rows for phase in PHASES):
        return ""
    return wrapped(
        [f"{DEGRADED} degraded: disturbed while it was measured; python -m results table says by what."], width
    )


def mark(row: Mapping[str, Any], phase: str) -> str:
    """Returns the mark of a phase's numbers that were disturbed."""
    return DEGRADED if row[f"{phase}_quality"] == "degraded" else ""


def or_dash(value: float | None, said: Callable[[float], str]) -> str:
    """Returns the value as `said` says it, a dash where there is none."""
    return "-" if value is None else said(value)


def wrapped(lines: Sequence[str], width: int) -> str:
    """Returns the lines, those that are too long going on under themselves."""
    return "\n".join(part for line in lines for part in textwrap.wrap(line, width, subsequent_indent=GAP))


def _block(rows: Sequence[dict[str, Any]], sources: Sources, width: int) -> str:
    """Returns the table of one step; the columns of energy only where some is known."""
    has_energy = any(row[f"{phase}_j_per_sample"] is not None for row in rows for phase in PHASES)
    header = ["backend", "train,\ntime", "infer,\ntime", "ratio,\ntime"]
    header += ["train,\nJ", "infer,\nJ", "ratio,\nJ"] if has_energy else []
    lines = []
    for row in rows:
        line = [row["backend"]]
        line += [or_dash(row[f"{phase}_s_per_sample"], _time) + mark(row, phase) for phase in PHASES]
        line.append(or_dash(row["time_ratio"], ratio))
        if has_energy:
            line += [or_dash(row[f"{phase}_j_per_sample"], lambda joules: prefixed(joules, "J")) for phase in PHASES]
            line.append(or_dash(row["energy_ratio"], ratio))
        line += [or_dash(row[f"{phase}_usd_per_million_samples"], dollars) for phase in PHASES]
        lines.append([*line, or_dash(row["money_ratio"], ratio), sources.price(row)])
    table = columns_text([*header, "train,\nUSD", "infer,\nUSD", "ratio,\nUSD", "price"], lines, 1, width)
    return f"{step_words(rows[0])}\n{table}"


def _best_block(compared: pd.DataFrame, sources: Sources, width: int) -> str:
    lines = []
    for row in to_rows(best(compared)):
        cheapest, usd = "unknown", row["usd_per_million_samples"]
        if isinstance(usd, float):
            cheapest = f"{row['cheapest']}, {dollars(usd)} ({sources.day(row)})"
        assert isinstance(row["s_per_sample"], float)
        lines.append(
            [
                step_words(row),
                PHASES[str(row["phase"])],
                "all machines" if row["machine"] is None else str(row["machine"]),
                f"{row['fastest']}, {_time(row['s_per_sample'])}",
                cheapest,
            ]
        )
    table = columns_text(["step", "phase", "machine", "fastest", "cheapest, USD of a million"], lines, 5, width)
    return f"Best, of equal work:\n{table}"


def _time(seconds: float) -> str:
    return in_time_unit(seconds, time_unit([seconds]))
