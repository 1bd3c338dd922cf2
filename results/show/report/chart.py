"""Curves for the report, as SVG of our own: logarithmic axes with their ticks, a line and intervals per backend.

Colours and sizes are by class, as the style sheet has them; numbers alone enter the text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, log

from results.show.plot.ticks import LINES_PER_TICK, log_ends, rate_tick, ticks_of, time_tick
from results.show.tokens.curves import INTERACTIVITY, Chart, Point

WIDTH, HEIGHT = 460, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 8, 22
"""What the axes' numbers take, in units of the drawing."""
UNITS_PER_INCH = 100
"""As `ticks_of` counts what a tick's number needs."""
MOST_PLACES = 8
Place = Callable[[float], float]


def curves(chart: Chart, kinds: Mapping[str, str]) -> str:
    """Returns the chart; `kinds` has the class of each curve's colour, by its label."""
    points = [point for curve in chart.curves for point in curve.points]
    x_ends = log_ends([end for point in points for end in (point.x, *point.x_ends)])
    y_ends = log_ends([*(end for point in points for end in (point.y, *point.y_ends)), *(y for _, y in chart.best)])
    x, y = _placed(*x_ends, LEFT, WIDTH - RIGHT), _placed(*y_ends, HEIGHT - BOTTOM, TOP)
    parts = [_axes(chart, points, (x_ends, y_ends), (x, y))]
    if chart.best:
        parts.append(f'<path class="roof" d="{_line([(x(a), y(b)) for a, b in chart.best])}"/>')
    for curve in chart.curves:
        drawn = "".join(_point(point, x, y) for point in curve.points)
        line = _line([(x(point.x), y(point.y)) for point in curve.points])
        parts.append(f'<g class="{kinds[curve.label]}"><path d="{line}"/>{drawn}</g>')
    return f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true">{"".join(parts)}</svg>'


def _axes(
    chart: Chart, points: Sequence[Point], ends: Sequence[tuple[float, float]], places: tuple[Place, Place]
) -> str:
    """Returns the grid with its numbers: at the places that were measured, or at round ones."""
    (x, y), (x_ends, y_ends) = places, ends
    is_open = chart.show == INTERACTIVITY
    says = rate_tick if is_open else time_tick
    measured = sorted({point.x for point in points})
    x_ticks = measured[:: ceil(len(measured) / MOST_PLACES)]
    if is_open:
        x_ticks = ticks_of(*x_ends, (WIDTH - LEFT - RIGHT) / UNITS_PER_INCH)
    parts = []
    for tick in ticks_of(*y_ends, LINES_PER_TICK * (HEIGHT - TOP - BOTTOM) / UNITS_PER_INCH):
        parts.append(f'<path class="g" d="M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="e" x="{LEFT - 5}" y="{y(tick) + 4:.1f}">{says(tick)}</text>')
    for tick in x_ticks:
        parts.append(f'<path class="g" d="M{x(tick):.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        name = rate_tick(tick) if is_open else f"{tick:g}"
        parts.append(f'<text class="c" x="{x(tick):.1f}" y="{HEIGHT - 6}">{name}</text>')
    return "".join(parts)


def _point(point: Point, x: Place, y: Place) -> str:
    """Returns a point with its intervals, hollow where it was disturbed, and its batch where it has a name."""
    a, b = x(point.x), y(point.y)
    (left, right), (low, high) = point.x_ends, point.y_ends
    whiskers = "" if low is None or high is None else f"M{a:.1f} {y(low):.1f}V{y(high):.1f}"
    whiskers += "" if left is None or right is None else f"M{x(left):.1f} {b:.1f}H{x(right):.1f}"
    drawn = f'<path d="{whiskers}"/>' if whiskers else ""
    kind = ' class="o"' if point.degraded else ""
    drawn += f'<circle{kind} cx="{a:.1f}" cy="{b:.1f}" r="3.5"/>'
    if point.name:
        drawn += f'<text x="{a + 6:.1f}" y="{b - 4:.1f}">{float(point.name):g}</text>'
    return drawn


def _line(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points)


def _placed(least: float, most: float, begin: float, end: float) -> Place:
    """Returns where a value lies from `begin` to `end`, on a logarithmic axis."""
    return lambda value: begin + (end - begin) * log(value / least) / log(most / least)
