"""Loads as text: services, and steps of this machine that answered queries; apart from the table of steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from results.record.dimensions import name_parts
from results.record.human import ratio
from results.record.row import Row
from results.record.services.columns import BACKEND, STATUSES, VERIFICATION
from results.show.layout import Cell, side_by_side, wrapped
from results.tables.services.compare import Compared, beside_decoding, is_proven, times_as_fast

TITLE = f"Services, verification {VERIFICATION}. What they compute is not proven; they are in no ratio with the above."
VERIFIED_TITLE = (
    "Services. Of those that say so below, log-probabilities are those of our reference; what others compute is not "
    "proven. They are in no ratio with the above."
)
STEPS_TITLE = (
    "Steps under load: queries that waited for one another, each one batch. The step was verified before and after. "
    "{}one measurement each, without an interval."
)
MIXED_TITLE = "Beside them services, which are not verified so: they are in no ratio with these."
P90 = "e2e_s_p90"
"""Latencies of MLPerf's SingleStream are told by it."""
TIMES = {
    "TTFT p50 ms": "ttft_s_p50",
    "p99 ms": "ttft_s_p99",
    "TPOT p50 ms": "tpot_s_p50",
    "ITL p50 ms": "itl_s_p50",
    "E2E p50 ms": "e2e_s_p50",
    "E2E p90 ms": P90,
    "E2E p99 ms": "e2e_s_p99",
}
RATES = {
    "tokens/s": "output_tokens_per_s",
    "requests/s": "requests_per_s",
    "samples/s": "samples_per_s",
    "goodput/s": "goodput_requests_per_s",
    "highest/s": "highest_rate_per_s",
}
COUNTS = {"requests": "n_requests", "failed": "n_failed"}


def services_text(rows: Sequence[Row], width: int, baseline: str | None = None) -> str:
    """Returns the loads as a table, with what failed and what is not known; nothing for none.

    Ratios are of verified steps to that of the `baseline` under the same load.
    """
    if not rows:
        return ""
    left = [[_model(row), str(row["scenario"]), _asked(row), _by(row)] for row in rows]
    named, ratios = times_as_fast(rows, baseline)
    columns = {
        **{title: [_time(row[name] if _is_told(row, name) else None) for row in rows] for title, name in TIMES.items()},
        **{title: [_rate(row[name] if _is_told(row, name) else None) for row in rows] for title, name in RATES.items()},
        f"as fast as {named}": [Cell("" if one is None else ratio(one)) for one in ratios],
        **{
            title: [Cell("" if row[name] is None else str(row[name])) for row in rows] for title, name in COUNTS.items()
        },
    }
    shown = {title: cells for title, cells in columns.items() if any(cell.number for cell in cells)}
    table = side_by_side(("model", "scenario", "asked", "by"), left, shown, width)
    return "\n\n".join(
        block for block in (wrapped(_titles(rows, ratios), width), table, _remarks(rows, width)) if block
    )


def _titles(rows: Sequence[Row], ratios: Sequence[float | None]) -> list[str]:
    """Returns what is said above the table: what is proven of it, and what its ratios are of."""
    of_services = [row for row in rows if row["backend"] == BACKEND]
    if len(of_services) == len(rows):
        return [TITLE if all(row["verification"] == VERIFICATION for row in rows) else VERIFIED_TITLE]
    words = "Ratios are of each scenario's own metric, " if any(ratios) else "It is "
    return [STEPS_TITLE.format(words), *([MIXED_TITLE] if of_services else [])]


def _is_told(row: Row, name: str) -> bool:
    """Returns whether the column is told of the row: some are of steps, or of a scenario."""
    is_step = row["backend"] != BACKEND
    told = {
        P90: row["scenario"] == "single_stream",
        "samples_per_s": is_step,
        "goodput_requests_per_s": not is_step or row["bounds"] is not None,
    }
    return told.get(name, True)


def compared_text(found: Sequence[Compared], width: int) -> str:
    """Returns ratios of services, side by side; nothing for none."""
    if not found:
        return ""
    left = [[_model(one.row), str(one.row["scenario"]), one.metric] for one in found]
    columns = {
        "before": [Cell(f"{one.before:.4g}") for one in found],
        "after": [Cell(f"{one.after:.4g}") for one in found],
        "times as fast": [Cell(ratio(one.ratio)) for one in found],
    }
    proven = [is_proven(one.row) for one in found]
    what = "Steps under load" if all(proven) else "Services, not verified"
    if any(proven) and not all(proven):
        what = "Steps under load, and services, not verified"
    title = f"{what}: one measurement a side, without an interval, so that small ratios say nothing"
    return "\n".join([title, side_by_side(("model", "scenario", "metric"), left, columns, width)])


def beside_text(services: Sequence[Row], rows: Iterable[Mapping[str, object]], width: int) -> str:
    """Returns services beside verified decode steps: what was asked for with --beside-services; nothing for none."""
    found = beside_decoding(services, rows)
    if not found:
        return "No service has a time per token, or no decode step is verified: nothing to set beside each other."
    left = [
        [
            str(one.row["model"]),
            str(one.row["scenario"]),
            " ".join(name_parts(one.step)),
        ]
        for one in found
    ]
    columns = {"step is times as fast": [Cell(ratio(one.ratio)) for one in found]}
    title = (
        "Time per token of a service (its median request, what the network and its queue take included) beside one "
        "verified decode step, because it was asked: the model, its precision and its chip may all differ"
    )
    return "\n".join([wrapped([title], width), side_by_side(("model", "scenario", "step"), left, columns, width)])


def _model(row: Row) -> str:
    """Returns what answered: of a step its phase and precision, too."""
    if row["backend"] == BACKEND:
        return str(row["model"])
    return f"{row['model']} {row['kind']} {row['precision']}"


def _asked(row: Row) -> str:
    """Returns the size of a request: tokens of prompt and answer; of a query of steps its samples."""
    tokens = f"{_known(row['prompt_tokens_asked'])}+{_known(row['output_tokens_asked'])}"
    if row["backend"] == BACKEND:
        return tokens
    if row["output_tokens_asked"] is None:
        tokens = "" if row["sequence"] is None else f" × {row['sequence']}"
        return f"{row['batch']}{tokens}"
    return f"{row['batch']} × {tokens}"


def _by(row: Row) -> str:
    return _short(str(row["source"])) if row["backend"] == BACKEND else str(row["backend"])


def _known(value: object) -> str:
    return "?" if value is None else str(value)


def _short(source: str) -> str:
    return "" if source.startswith("samestep ") else source


def _time(value: object) -> Cell:
    return Cell(f"{1e3 * value:.4g}" if isinstance(value, int | float) else "")


def _rate(value: object) -> Cell:
    return Cell(f"{value:.4g}" if isinstance(value, int | float) else "")


def _remarks(rows: Sequence[Row], width: int) -> str:
    """Returns a line for each row that has no number, has failures, or has something to note."""
    lines = []
    for row in rows:
        name = f"{_model(row)} {'at' if row['backend'] == BACKEND else 'on'} {row['service']}, {row['scenario']}"
        if row["status"] != "ok":
            lines.append(f"{name}: {row['status']} ({STATUSES[str(row['status'])]}): {row['reason']}")
        if row["backend"] == BACKEND and row["verification"] != VERIFICATION and row["status"] == "ok":
            lines.append(f"{name}: is {row['model_is']}: verification {row['verification']}")
        for words, column in (
            ("failed", "failures"),
            ("early stopping", "early_stopping"),
            ("noted", "notes"),
            ("the server does not take", "dropped_fields"),
        ):
            if row[column]:
                lines.append(f"{name}: {words}: {row[column]}")
        if row["highest_rate_low_per_s"] is not None:
            low, high = row["highest_rate_low_per_s"], row["highest_rate_high_per_s"]
            lines.append(f"{name}: 90 % interval of the highest rate: {low:.4g} to {high:.4g}/s")
        if row["n_mismatch"]:
            lines.append(f"{name}: {row['n_mismatch']} answers have another length than asked: not the same work")
    return wrapped(lines, width)
