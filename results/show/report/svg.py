"""Small drawings for the report, as SVG of our own: two thousand of them must fit a page of 5 MB.

Each returns one `<svg>` without a size: the page's style sheet gives it one, and its colours by class. Numbers alone
enter the text, so that nothing needs to be escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

WIDTH, HEIGHT = 360, 44
"""Of a history, in its own units: whole numbers are as fine as a screen."""
EDGE = 4
BINS, BIN_WIDTH, BIN_HEIGHT = 30, 4, 28
"""Of a histogram."""


@dataclass(frozen=True)
class Series:
    """A series night by night: `values` in any unit, None where there is none; the others are indices of nights.

    `hollow` nights were disturbed and count in no statistic; at `marks` the software changed; `levels` are
    (first night, last night, value); `alarm` is the night on which a change began.
    """

    values: Sequence[float | None]
    hollow: Sequence[int] = ()
    marks: Sequence[int] = ()
    levels: Sequence[tuple[int, int, float]] = ()
    alarm: int | None = None

    def since(self, first: int) -> Series:
        """Returns the series from a night on; nothing of it may lie before."""
        return Series(
            self.values[first:],
            [night - first for night in self.hollow],
            [night - first for night in self.marks],
            [(begin - first, end - first, value) for begin, end, value in self.levels],
            None if self.alarm is None else self.alarm - first,
        )


def bar(share: float, low: float | None = None, high: float | None = None, kind: str = "") -> str:
    """Returns a bar of this share of the width (0 to 1), with a whisker from `low` to `high` where there are any."""
    whisker = ""
    if low is not None and high is not None:
        a, b = (f"{100 * min(max(x, 0.0), 1.0):.1f}" for x in (low, high))
        whisker = f'<path class="w" d="M{a} 2V10M{a} 6H{b}M{b} 2V10"/>'
    return (
        f'<svg class="bar {kind}" viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="t" width="100" height="12"/><rect class="b" width="{100 * share:.1f}" height="12"/>'
        f"{whisker}</svg>"
    )


def dot(value: float, low: float | None, high: float | None, least: float, most: float, kind: str = "") -> str:
    """Returns a ratio as a dot on a logarithmic axis from `least` to `most`, with its interval and a line at 1."""
    whisker = ""
    if low is not None and high is not None:
        whisker = f'<path class="w" d="M{_log(low, least, most):.1f} 6H{_log(high, least, most):.1f}"/>'
    one = f"{_log(1.0, least, most):.1f}"
    return (
        f'<svg class="dot {kind}" viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="one" d="M{one} 0V12"/>{whisker}<path class="d" d="M{_log(value, least, most):.1f} 6h0"/></svg>'
    )


def strip(ends: Sequence[float], scale: tuple[float, float]) -> str:
    """Returns a distribution of its least, low, middle, high and most: a line, a box, and a tick at the middle."""
    a, b, c, d, e = (_log(x, *scale) for x in ends)
    return (
        '<svg class="strip" viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="w" d="M{a:.1f} 6H{e:.1f}"/>'
        f'<rect class="b" x="{b:.1f}" y="3" width="{max(d - b, 0.6):.1f}" height="6"/>'
        f'<path class="m" d="M{c:.1f} 0V12"/></svg>'
    )


def histogram(samples: Sequence[float], least: float, most: float, middle: float) -> str:
    """Returns how often the times occur from `least` to `most`, on a logarithmic axis, and a tick at `middle`.

    Times beyond the ends are not drawn. What occurs at all is as high as can be seen.
    """
    counts = [0] * BINS
    for sample in samples:
        if least <= sample <= most:
            counts[min(int(_log(sample, least, most) * BINS / 100), BINS - 1)] += 1
    tallest = max(*counts, 1)
    heights = [0 if count == 0 else max(2, round(count / tallest * BIN_HEIGHT)) for count in counts]
    steps, last = [], 0
    for number, height in enumerate([*heights, 0]):
        if height != last:
            steps.append(f"H{number * BIN_WIDTH}V{BIN_HEIGHT - height}")
        last = height
    tick = f"{_log(middle, least, most) / 100 * BINS * BIN_WIDTH:.0f}"
    return (
        f'<svg class="dist" viewBox="0 0 {BINS * BIN_WIDTH} {BIN_HEIGHT}" preserveAspectRatio="none" '
        f'aria-hidden="true"><path class="f" d="M0 {BIN_HEIGHT}{"".join(steps)}z"/>'
        f'<path class="m" d="M{tick} 0V{BIN_HEIGHT}"/></svg>'
    )


def history(series: Series) -> str:
    """Returns the series as a line, with its levels, its disturbed nights and marks where the software changed."""
    values = [value for value in series.values if value is not None]
    if not values:
        return ""
    low, high = min(values), max(values)
    # A series that hardly moves is shown as one: 4 % from top to bottom at least.
    middle = (low + high) / 2
    low, high = min(low, middle * 0.98), max(high, middle * 1.02)
    step = (WIDTH - 2 * EDGE) / max(1, len(series.values) - 1)

    def x(night: float) -> int:
        return round(EDGE + night * step)

    def y(value: float) -> int:
        return round(HEIGHT - EDGE - (value - low) / (high - low) * (HEIGHT - 2 * EDGE))

    hollow = set(series.hollow)
    points = [(x(i), y(v)) for i, v in enumerate(series.values) if v is not None and i not in hollow]
    parts = [f'<path class="s" d="M{x(mark)} 0V{HEIGHT}"/>' for mark in series.marks]
    parts += [f'<path class="l" d="M{x(a)} {y(v)}H{x(b)}"/>' for a, b, v in series.levels]
    if series.alarm is not None:
        parts.append(f'<path class="a" d="M{x(series.alarm)} 0V{HEIGHT}"/>')
    parts.append(f'<path class="p" d="{_path(points)}"/>')
    rings = "".join(f"M{x(i)} {y(v)}h0" for i in series.hollow if (v := series.values[i]) is not None)
    if rings:
        parts += [f'<path class="h" d="{rings}"/>', f'<path class="i" d="{rings}"/>']
    if points:
        parts.append(f'<path class="d" d="M{points[-1][0]} {points[-1][1]}h0"/>')
    opening = f'<svg class="hist" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" aria-hidden="true">'
    return opening + "".join(parts) + "</svg>"


def _path(points: Sequence[tuple[int, int]]) -> str:
    """Returns a line through the points, in relative steps, which are short; a single point is a dot."""
    if not points:
        return ""
    (first_x, first_y), *rest = points
    steps, x, y = [], first_x, first_y
    for to_x, to_y in rest:
        steps.append(f"l{to_x - x} {to_y - y}")
        x, y = to_x, to_y
    return f"M{first_x} {first_y}{''.join(steps) or 'h0'}".replace(" -", "-")


def _log(value: float, least: float, most: float) -> float:
    """Returns where the value lies from least (0) to most (100), on a logarithmic axis, kept within it."""
    value = min(max(value, least), most)
    return 100 * (log(value) - log(least)) / (log(most) - log(least))


def axis(values: Sequence[float], least_span: float = 1.1) -> tuple[float, float]:
    """Returns the ends of a logarithmic axis that holds the values and 1, a little wider, of the span at least."""
    logs = [log(value) for value in values if value > 0] + [0.0]
    low, high = min(logs), max(logs)
    edge = max((high - low) * 0.05, (log(least_span) - (high - low)) / 2)
    return exp(low - edge), exp(high + edge)
