"""What a person reads of an A/B: both sides of each cell, the ratio with its interval, and how many pairs it takes."""

from collections.abc import Sequence

from results.record.dimensions import SHARED, label_of, more_in_words
from results.record.human import in_time_unit, time_unit
from results.show.layout import Cell, side_by_side
from results.tables.pairs import LEAST_PAIRS, Comparison


def render_pairs(comparisons: Sequence[Comparison], width: int = 120) -> str:
    """Returns the A/B as a table: both sides, B's time over A's with its interval, the verdict, and the pairs."""
    if not comparisons:
        return "No A/B in this run: `samestep run --ab SIDE SIDE` makes one."
    first = comparisons[0]
    lines, cells = [], []
    for one in comparisons:
        named = dict(zip(SHARED, one.cell, strict=True))
        sequence = "" if named["sequence"] is None else f"x{named['sequence']}"
        shape = f"{named['batch']}{sequence}{more_in_words(named)}"
        phase = f"{named['phase']}{'' if one.metric == 'latency' else ' throughput'}"
        lines.append([str(named["workload"]), phase, shape, label_of(named)])
        cells.append(_cells(one))
    titles = ("A", "B", "B/A", "99 % interval", "verdict", "spread", "pairs", "needed")
    columns = {title: [Cell(word=row[i]) for row in cells] for i, title in enumerate(titles)}
    reasons = [f"{' '.join(line)}: {one.reason}" for line, one in zip(lines, comparisons, strict=True) if one.reason]
    return "\n".join(
        [
            f"Side {first.a}\nSide {first.b}\n",
            side_by_side(("workload", "phase", "batch", "backend"), lines, columns, width),
            "",
            "B/A is B's time over A's (for throughput the time per sample): 0.95 means that B takes 5 % less.",
            f"`same`: the interval lies within 2 %. Under {LEAST_PAIRS} pairs there is none.",
            "`needed`: pairs that find a difference of 2 % in 9 of 10 A/Bs, were this spread the true one.",
            *reasons,
        ]
    )


def _cells(one: Comparison) -> list[str]:
    if one.result is None or one.a_s is None or one.b_s is None:
        return ["-"] * 4 + ["no verdict"] + ["-"] * 3
    unit, result = time_unit([one.a_s, one.b_s]), one.result
    interval = "-" if result.low is None or result.high is None else f"{result.low:.3f}-{result.high:.3f}"
    return [
        in_time_unit(one.a_s, unit),
        in_time_unit(one.b_s, unit),
        f"{result.ratio:.3f}",
        interval,
        result.verdict,
        "-" if result.spread is None else f"{100 * result.spread:.1f} %",
        str(result.n),
        "-" if result.pairs_needed is None else str(result.pairs_needed),
    ]
