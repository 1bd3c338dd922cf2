"""What a plot of rows shows: a panel per cell, and in it each backend's number, or the word in its place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from results.record.dimensions import PANEL, PLAIN_PRECISION, SETTINGS
from results.record.human import EMULATED
from results.show.report.rows import in_words
from results.show.report.tables import EXPECTED_ABSENT
from results.show.tokens.curves import SHOWN
from results.tables.phases import PHASES, STEP, phases
from results.tables.precisions import STEP as OF_STEP
from results.tables.precisions import precisions
from results.tables.table import idle_labels, is_control, is_limit, is_verified, placed, to_rows

Line = Mapping[str, Any]
COLUMNS = {"latency": "latency_p50_s", "throughput": "throughput_samples_per_s"}
RATIO = "phases"
LOWER = "precisions"


@dataclass(frozen=True)
class Dot:
    """A backend's number in the unit of its column, with its interval where it has one; or a word and no number."""

    label: str
    backend: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    degraded: bool = False
    word: str = ""


@dataclass(frozen=True)
class Panel:
    """The backends at one cell. `phase` is empty where a number is of both phases."""

    title: str
    phase: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class Shown:
    """The panels, cell by cell; the backends that are in none, with their statuses; and the rows behind the panels."""

    panels: tuple[tuple[Panel, ...], ...]
    absent: tuple[str, ...]
    rows: tuple[Line, ...]


def dots_of(frame: pd.DataFrame, show: str) -> Shown:
    """Returns the verified numbers of each cell, those of its newest run.

    `show` is `latency` (s, with its 95 % interval), `throughput` (samples/s), `phases` (the time of a sample in
    training / in inference) or `precisions` (times as fast as fp32 on the same backend). The control and `null` are
    left out, and what measures limits, unless there is nothing else. Other work, of another workload digest, has its
    own panel. Raises ValueError for an unknown `show`.
    """
    if show not in (*COLUMNS, RATIO, LOWER):
        raise ValueError(f"cannot show {show!r}; known: {', '.join((*COLUMNS, RATIO, LOWER, *SHOWN))}")
    rows = placed(frame)
    rows = rows[~is_control(rows) & ~rows["label"].isin(idle_labels(rows))]
    rows = rows if is_limit(rows).all() and show != RATIO else rows[~is_limit(rows)]
    statuses: dict[str, set[str]] = {}
    lines: list[Line] = [*to_rows(rows.assign(is_verified=is_verified(rows)))]
    for line in lines:
        statuses.setdefault(str(line["label"]), set()).add(str(line["status"]))
    absent = {label: reasons for label, reasons in sorted(statuses.items()) if reasons <= set(EXPECTED_ABSENT)}
    named = _named([line for line in lines if line["label"] not in absent])
    if show == LOWER:
        return Shown(_of_precisions(frame), (), tuple(line for line in lines if line["is_verified"]))
    ratios = _ratios(frame) if show == RATIO else {}
    panels = (
        (_panel_of_both(of_cell, ratios),) if show == RATIO else _panels(of_cell, show) for of_cell in _cells(named)
    )
    words = (f"{label} ({', '.join(sorted(reasons))})" for label, reasons in absent.items())
    return Shown(tuple(panels), tuple(words), tuple(named))


def _named(lines: Sequence[Line]) -> list[Line]:
    """Returns the rows with `name`, which tells them apart in a panel, and `work`, the digest of what they compute.

    A row without a digest, as one that failed before it had one, stands with the first that its cell has.
    """
    settings_of: dict[tuple[str, str], set[int | None]] = {}
    digests: dict[tuple[Any, ...], set[str]] = {}
    for line in lines:
        for name in SETTINGS:
            settings_of.setdefault((line["label"], name), set()).add(line[name])
        if line["is_verified"]:
            digests.setdefault(_cell(line), set()).add(line["workload_digest"] or "")
    named: list[Line] = []
    for line in lines:
        several = [name for name in SETTINGS if len(settings_of[line["label"], name]) > 1]
        settings = "".join(f", {name} {line[name]}" for name in several)
        works = sorted(digests.get(_cell(line), {""}))
        work = line["workload_digest"] if line["workload_digest"] in works else works[0]
        named.append({**line, "name": line["label"] + settings, "work": work, "works": len(works)})
    return named


def _cell(line: Line) -> tuple[Any, ...]:
    return tuple(line[name] for name in PANEL)


def _cells(lines: Sequence[Line]) -> list[list[Line]]:
    """Returns the rows of each cell, both phases together, in the order of a table."""
    groups: dict[tuple[Any, ...], list[Line]] = {}
    for line in lines:
        groups.setdefault((*_cell(line), line["work"]), []).append(line)
    return [groups[cell] for cell in sorted(groups, key=lambda cell: [(part is not None, part) for part in cell])]


def _panels(lines: Sequence[Line], show: str) -> tuple[Panel, ...]:
    """Returns a panel for each phase of a cell; all have the same backends."""
    backends = {line["name"]: line["backend"] for line in lines}
    panels = []
    for phase in sorted({line["phase"] for line in lines}):
        of_name = {line["name"]: line for line in lines if line["phase"] == phase}
        dots = [_dot(name, backend, of_name.get(name), show) for name, backend in sorted(backends.items())]
        panels.append(Panel(_title(lines[0], f" {phase}"), phase, tuple(dots)))
    return tuple(panels)


def _dot(name: str, backend: str, line: Line | None, show: str) -> Dot:
    if line is None or (word := _why_none(line, COLUMNS[show])):
        return Dot(name, backend, word="no row" if line is None else word)
    low, high = (line["latency_ci_low_s"], line["latency_ci_high_s"]) if show == "latency" else (None, None)
    return Dot(name, backend, line[COLUMNS[show]], low, high, line["quality"] == "degraded")


def _panel_of_both(lines: Sequence[Line], ratios: Mapping[tuple[Any, ...], Any]) -> Panel:
    """Returns the panel of training / inference at a cell."""
    of_name: dict[str, dict[str, Line]] = {}
    for line in lines:
        of_name.setdefault(line["name"], {})[line["phase"]] = line
    dots = []
    for name, of_phase in sorted(of_name.items()):
        words = {
            phase: _why_none(of_phase[phase], COLUMNS["throughput"]) if phase in of_phase else "no row"
            for phase in PHASES
        }
        word = ", ".join(f"{phase}: {word}" for phase, word in words.items() if word)
        first = next(iter(of_phase.values()))
        degraded = any(line["quality"] == "degraded" for line in of_phase.values())
        dots.append(Dot(name, first["backend"], None if word else ratios[_key(first)], degraded=degraded, word=word))
    return Panel(_title(lines[0], ""), "", tuple(dots))


def _of_precisions(frame: pd.DataFrame) -> tuple[tuple[Panel, ...], ...]:
    """Returns a panel for each step, and in it every other precision of each backend beside its fp32."""
    found = precisions(frame)
    by_step: dict[tuple[Any, ...], list[Line]] = {}
    for row in to_rows(found):
        if row["times_as_fast"] is not None:
            by_step.setdefault(tuple(row[name] for name in OF_STEP), []).append(row)
    panels: dict[tuple[Any, ...], list[Panel]] = {}
    for step, rows in by_step.items():
        first = {**rows[0], "precision": PLAIN_PRECISION}
        dots = tuple(_dot_of_precision(row) for row in rows)
        cell = tuple(value for name, value in zip(OF_STEP, step, strict=True) if name != "phase")
        panels.setdefault(cell, []).append(Panel(in_words(dict(first)), str(first["phase"]), dots))
    return tuple(tuple(of_cell) for of_cell in panels.values())


def _dot_of_precision(row: Line) -> Dot:
    emulated = f" {EMULATED}" if row["is_emulated"] else ""
    apart = "" if row["sqnr_db"] is None else f" ({row['sqnr_db']:.0f} dB)"
    label = f"{row['backend']} {row['precision']}{emulated}{apart}"
    ends = (row["times_low"], row["times_high"])
    return Dot(label, str(row["precision"]), row["times_as_fast"], *ends, degraded=row["quality"] == "degraded")


def _why_none(line: Line, column: str) -> str:
    """Returns why a row has no number in the column, in a word; nothing where it has one."""
    if line["status"] != "ok":
        return str(line["status"])
    return "" if line[column] else "no number"


def _title(line: Line, phase: str) -> str:
    cell = in_words(dict(line)).replace(f" {line['phase']}", phase, 1)
    return cell + (f", work {line['work'][:8]}" if line["works"] > 1 else "")


def _ratios(frame: pd.DataFrame) -> dict[tuple[Any, ...], Any]:
    """Returns the ratios of `results.tables.phases.phases` by what `_key` says of a row."""
    return {_key({**row, "label": row["backend"]}): row["time_ratio"] for row in to_rows(phases(frame, prices=[]))}


def _key(line: Line) -> tuple[Any, ...]:
    return tuple(line[name] for name in (*STEP, "machine", "machine_id", "label"))
