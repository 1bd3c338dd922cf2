"""What a person reads of training against inference: a table per step, and who is best at which phase."""

from collections.abc import Callable, Mapping, Sequence
from math import expm1, hypot, log1p
from typing import Any

import pandas as pd

from results.record.dimensions import DIMENSIONS
from results.record.human import DEGRADED, in_time_unit, prefixed, ratio, time_unit
from results.show.layout import wrapped
from results.show.money import Sources, dollars
from results.show.numbers import plus_minus
from results.show.terminal import columns_text
from results.tables.phases import PHASES, STEP, at_common, best
from results.tables.table import to_rows

AT_BEST = "each at its best batch"
NOTHING = "No verified step of a workload in these rows."
LEGEND = (
    "Time and joules are of one sample, USD of a million. Ratios are training / inference: 3.00x takes three times as "
    "much. ± is the 95 % interval of a time, and of the USD beside it. Times are with the device kept full, energy is "
    "with one step in flight. On one device the ratio in money is that in time; between devices see who is cheapest."
)


def phases_text(
    compared: pd.DataFrame, width: int = 120, behind: Callable[[Sources], Sequence[str]] = lambda sources: ()
) -> str:
    """Returns the frame of `phases` for a terminal: a table per step, who is best at which phase, the sources.

    `behind` returns further blocks, whose prices have the same numbers.
    """
    rows = to_rows(compared)
    if not rows:
        return NOTHING
    sources = Sources()
    tables = [*(_block(group, sources, width) for group in by_step(rows)), _best_block(compared, sources, width)]
    more = behind(sources)
    parts = [
        *tables,
        wrapped([LEGEND], width),
        *more,
        wrapped(sources.lines(), width),
        gaps(rows, "no_price", width),
        marks([*tables, *more], width),
    ]
    return "\n\n".join(filter(None, parts))


def by_step(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Returns the rows in groups of one step each, in their order; of several batches two, as `at_common` says."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in at_common(rows):
        groups.setdefault(tuple(row[name] for name in STEP), []).append(row)
    return list(groups.values())


def step_words(row: Mapping[str, Any]) -> str:
    """Returns the step in words: `gpt2 124m fp32, batch 2, sequence 128, threads 2`."""
    shown = [d for d in DIMENSIONS if d.column in STEP and d.is_shown(row.get(d.column))]
    names = " ".join(str(row[d.column]) for d in shown if d.is_name)
    best = [AT_BEST] if row.get("at_best") else []
    return ", ".join([names, *best, *(f"{d.column} {row[d.column]}" for d in shown if not d.is_name)])


def named(row: Mapping[str, Any]) -> str:
    """Returns the row's backend, with the batch of each phase where these are its best: `torch_cpu (16, 64)`."""
    if not row["at_best"]:
        return str(row["backend"])
    batches = ["-" if row[f"{phase}_batch"] is None else str(row[f"{phase}_batch"]) for phase in PHASES]
    return f"{row['backend']} ({', '.join(batches)})"


def gaps(rows: Sequence[Mapping[str, Any]], column: str, width: int) -> str:
    """Returns why numbers are missing, each reason once with the backends that lack them."""
    backends_of: dict[str, list[str]] = {}
    for row in rows:
        if row[column] is not None:
            backends_of.setdefault(row[column], []).append(row["backend"])
    lines = [f"- {', '.join(dict.fromkeys(backends))}: {reason}" for reason, backends in backends_of.items()]
    return wrapped(["Without a number:", *lines] if lines else [], width)


def marks(texts: Sequence[str], width: int) -> str:
    """Returns what the mark of `mark` means, nothing where it is in none of the texts."""
    if not any(DEGRADED in text for text in texts):
        return ""
    meaning = (
        f"{DEGRADED} degraded, or made of a number that is: disturbed while it was measured; "
        "samestep table says by what."
    )
    return wrapped([meaning], width)


def mark(row: Mapping[str, Any], *qualities: str) -> str:
    """Returns the mark of a number that rests on one that was disturbed, by the columns of their qualities."""
    return DEGRADED if any(row[name] == "degraded" for name in qualities) else ""


def shown(row: Mapping[str, Any], column: str, in_words: Callable[[float], str], *phases: str) -> str:
    """Returns the column as `in_words` says it, marked by the phases that it rests on; a dash where there is none."""
    value = row[column]
    return "-" if value is None else in_words(value) + mark(row, *(f"{phase}_quality" for phase in phases))


def timed(row: Mapping[str, Any], column: str, in_words: Callable[[float], str], *phases: str) -> str:
    """Returns `shown` of a column that is a time or goes with it, with its 95 % interval: ` ±4%`."""
    known = "" if row[column] is None else plus_minus(half_width_of(row, *phases))
    return shown(row, column, in_words, *phases) + known


def half_width_of(row: Mapping[str, Any], *phases: str) -> float | None:
    """Returns the half of the interval of what rests on the phases' times, each measured by itself."""
    halves = [row[f"{phase}_half_width"] for phase in phases]
    return None if None in halves else expm1(hypot(*map(log1p, halves)))


def _block(rows: Sequence[dict[str, Any]], sources: Sources, width: int) -> str:
    """Returns the table of one step; the columns of energy only where a row has one."""
    has_energy = any(row[f"{phase}_j_per_sample"] is not None for row in rows for phase in PHASES)
    header = ["backend", "train,\ntime", "infer,\ntime", "ratio,\ntime"]
    header += ["train,\nJ", "infer,\nJ", "ratio,\nJ"] if has_energy else []
    lines = []
    for row in rows:
        line = [named(row)]
        for name, column, in_words in _KINDS if has_energy else [kind for kind in _KINDS if kind[0] != "energy"]:
            say = timed if name == "time" else shown
            line += [say(row, f"{phase}_{column}", in_words, phase) for phase in PHASES]
            line.append(say(row, f"{name}_ratio", ratio, *PHASES))
        lines.append([*line, sources.price(row)])
    table = columns_text([*header, "train,\nUSD", "infer,\nUSD", "ratio,\nUSD", "price"], lines, 1, width)
    return f"{step_words(rows[0])}\n{table}"


def _best_block(compared: pd.DataFrame, sources: Sources, width: int) -> str:
    lines = []
    for row in to_rows(best(compared)):
        cheapest, usd, seconds = "unknown", row["usd_per_million_samples"], row["s_per_sample"]
        if isinstance(usd, float):
            price = dollars(usd) + mark(row, "cheapest_quality")
            cheapest = f"{_at(row, 'cheapest')}, {price} ({sources.day(row)}){_as_good(row, 'cheapest')}"
        assert isinstance(seconds, float)
        fastest = f"{_at(row, 'fastest')}, {_time(seconds)}{mark(row, 'fastest_quality')}{_as_good(row, 'fastest')}"
        lines.append(
            [
                step_words(row),
                PHASES[str(row["phase"])],
                "all machines" if row["machine"] is None else str(row["machine"]),
                fastest,
                cheapest,
            ]
        )
    table = columns_text(["step", "phase", "machine", "fastest", "cheapest, USD of a million"], lines, 5, width)
    return f"Best, of equal work:\n{table}"


def _at(row: Mapping[str, Any], of: str) -> str:
    """Returns the label of the `fastest` or the `cheapest`, with its batch where each has its own."""
    return f"{row[of]} at {row[f'{of}_batch']}" if row["at_best"] else str(row[of])


def _as_good(row: Mapping[str, Any], of: str) -> str:
    """Returns the words after the `fastest` or the `cheapest` that name who is as good as it."""
    others = row[f"{of}_as_good"]
    return f"; as good: {others}" if others else ""


def _time(seconds: float) -> str:
    return in_time_unit(seconds, time_unit([seconds]))


def _joules(joules: float) -> str:
    return prefixed(joules, "J")


_KINDS = (
    ("time", "s_per_sample", _time),
    ("energy", "j_per_sample", _joules),
    ("money", "usd_per_million_samples", dollars),
)
"""The kinds of numbers in a table: the name of their ratio, their column, and how a person reads them."""
