"""Where the level of nightly series last changed: change points by penalised least squares, many series at once.

Series are rows of ln(time), a column per night, NaN where a night has no valid value. Only the last change point is
looked for: earlier ones were the last of an earlier night.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

LEAST_NIGHTS = 4
"""On either side of a change point. Of three nights two can be spikes, which then look like a level."""
KNOWN_NIGHTS = 8
"""Nights that a level needs before later ones are compared with it. The median of 8 nights is off by 0.4 standard
deviations, of 4 by 0.6."""
PENALTY = 6.0
"""A change point must explain 6 ln(n) of squared noise: a single split of 90 nights then has z > 5.2. Schwarz's
criterion, 2 ln(n), is for normal noise and one look; here one looks every night (`python -m tests.qa detect`)."""
NORMAL = 1.4826
"""Makes the median absolute deviation the standard deviation of normal noise."""
LEAST_NOISE = 0.003
"""Of ln(time). A series quieter than 0.3 % is one whose few nights happened to agree."""
NOISE_LAG = 2
"""Noise is measured on nights two apart: where neighbours correlate by 0.3, they show 16 % too little, these 5 %."""
SPIKE_REACH, SPIKE_SIGMAS = 3, 3.5
"""A night further than this from the median of the 3 before and the 3 after it is a spike."""
CHUNK = 2_000
"""Series looked at at a time, which bounds memory: the windows around nights are 7 times as large as they are."""


@dataclass(frozen=True)
class LastChanges:
    """One entry per series. `start` is the column where the current level begins: the first valid one if none changed.

    `step` is the mean of ln(time) since then less that of the level before, 0 if none changed, or if that level
    has fewer than `KNOWN_NIGHTS` nights; `gain` by how much the change point alone lowers the squared error of the two
    levels, in units of `noise` squared; `noise` the standard deviation of a night.
    """

    start: Integers
    step: Floats
    gain: Floats
    noise: Floats


def packed(x: Floats) -> tuple[Floats, Integers]:
    """Returns the valid nights of each series, in order, moved to the right with NaN before them, and their columns."""
    columns = np.argsort(~np.isnan(x), axis=1, kind="stable")
    return np.take_along_axis(x, columns, axis=1), columns


def median(x: Floats) -> Floats:
    """Returns the median along the last axis of what is not NaN, NaN where nothing is: np.nanmedian is slow on rows."""
    low, high = _middle(x)
    return (low + high) / 2


def _middle(x: Floats) -> tuple[Floats, Floats]:
    """Returns the two middle ones, which are one where their number is odd, along the last axis."""
    ordered = np.sort(x, axis=-1)
    n = (~np.isnan(x)).sum(axis=-1, keepdims=True)
    low = np.take_along_axis(ordered, np.maximum(n - 1, 0) // 2, axis=-1)
    return low[..., 0], np.take_along_axis(ordered, n // 2, axis=-1)[..., 0]


def noise_of(x: Floats) -> Floats:
    """Returns the standard deviation of a night of each packed series, from the differences of nights two apart.

    A level that changes spoils two differences; the nights' distance from their median it would all spoil.
    """
    apart = x[:, NOISE_LAG:] - x[:, :-NOISE_LAG]
    deviation = np.abs(apart - median(apart)[:, None])
    return np.asarray(np.fmax(NORMAL * median(deviation) / np.sqrt(2), LEAST_NOISE))


def despiked(x: Floats, noise: Floats) -> Floats:
    """Returns packed series with every spike replaced by the median around it: Hampel's filter, with the series' noise.

    The window ends with the series, so that the newest night, when alone, is a spike, and with a second one no longer:
    of two nights of the old level and two of a new one, either may be the middle, and what is between them is no night.
    """
    edge = ((0, 0), (SPIKE_REACH, SPIKE_REACH))
    wide = np.pad(x, edge, constant_values=np.nan)
    low, high = _middle(np.lib.stride_tricks.sliding_window_view(wide, 2 * SPIKE_REACH + 1, axis=1))
    middle = np.where(np.abs(x - low) < np.abs(x - high), low, high)
    return np.where(np.abs(x - middle) > SPIKE_SIGMAS * noise[:, None], middle, x)


def strongest_split(z: Floats) -> Floats:
    """Returns the most that one change point gains in any stretch of a packed series that ends with the newest night.

    In units of z squared; NaN for series too short. Where this is below the penalty, penalised least squares finds no
    change point at all: its last one, between the one before and the end, is such a split, and pays for itself.
    """
    width = z.shape[1]
    total = np.cumsum((z - median(z)[:, None])[:, ::-1], axis=1)
    lengths = np.arange(1, width + 1)
    most = np.full(len(z), np.nan)
    for right in range(LEAST_NIGHTS, width - LEAST_NIGHTS + 1):
        longer = slice(right + LEAST_NIGHTS - 1, None)
        whole = lengths[longer]
        gain = total[:, longer] * right
        gain -= total[:, right - 1, None] * whole
        np.square(gain, out=gain)
        gain /= whole * right * (whole - right)
        most = np.fmax(most, np.fmax.reduce(gain, axis=1))
    return most


def last_changes(x: Floats) -> LastChanges:
    """Returns the last change point of each packed series, as of its newest night.

    Kernel change points with the linear kernel (Arlot, Celisse & Harchaoui, JMLR 20, 2019; Celisse et al., CSDA 128,
    2018; Killick, Fearnhead & Eckley, JASA 107, 2012), which is least squares with a penalty for each. Raises
    ModuleNotFoundError without `ruptures`, where any series is long enough for two levels.
    """
    n = (~np.isnan(x)).sum(axis=1)
    detector = kernel_change_points() if (n >= 2 * LEAST_NIGHTS).any() else None
    noise, strongest, z = np.empty(len(x)), np.empty(len(x)), np.empty(x.shape)
    for first in range(0, len(x), CHUNK):
        part = slice(first, first + CHUNK)
        noise[part] = noise_of(x[part])
        z[part] = despiked(x[part], noise[part]) / noise[part, None]
        strongest[part] = strongest_split(z[part])
    penalty = PENALTY * np.log(np.maximum(n, 1))
    start, step, gain = x.shape[1] - n, np.zeros(len(x)), np.zeros(len(x))
    # The library rounds its sums otherwise.
    for row in np.flatnonzero(strongest >= penalty * (1 - 1e-9)):
        series = z[row, x.shape[1] - n[row] :]
        points = _levels(detector, series, float(penalty[row]))
        start[row] += points[-2]
        if len(points) > 2 and points[-2] - points[-3] >= KNOWN_NIGHTS:
            before, after = series[points[-3] : points[-2]], series[points[-2] : points[-1]]
            change = after.mean() - before.mean()
            step[row] = change * noise[row]
            gain[row] = change**2 * len(before) * len(after) / (len(before) + len(after))
    return LastChanges(start, step, gain, noise)


def _levels(detector: Any, series: Floats, penalty: float) -> list[int]:
    """Returns where the levels begin, and the end of the last; without the newest nights that are no level yet.

    Two spikes at the end, or a large step, pay for two nights of the old level among the four that a level must have:
    the first of the four is then nearer to the old one. Their place is known a night or two later, and `detect` tells
    a step before that.
    """
    while len(series) >= 2 * LEAST_NIGHTS:
        points = [0, *detector.fit(series[:, None]).predict(pen=penalty)]
        if len(points) == 2 or len(series) - points[-2] > LEAST_NIGHTS:
            return points
        before, after = series[points[-3] : points[-2]].mean(), series[points[-2] :]
        if (after[0] - before) / (after.mean() - before) >= 0.5:
            return points
        series = series[:-1]
    return [0, len(series)]


def kernel_change_points() -> Any:
    """Returns ruptures' search. Raises ModuleNotFoundError where it is not installed."""
    try:
        from ruptures import KernelCPD
    except ModuleNotFoundError as error:
        cure = "change points take ruptures: pip install -e '.[reports]'"
        raise ModuleNotFoundError(f"{error}: {cure}", name="ruptures") from error
    return KernelCPD(kernel="linear", min_size=LEAST_NIGHTS)
