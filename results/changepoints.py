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
"""On either side of a change point. Of three nights two can be spikes, and a level is then no longer told from them."""
PENALTY = 7.0
"""A change point must explain 7 ln(n) of squared noise: a single split of 90 nights then has z > 5.6. Schwarz's
criterion, 2 ln(n), is for normal noise and one look; here one looks every night (`python -m tests.qa detect`)."""
NORMAL = 1.4826
"""Makes the median absolute deviation the standard deviation of normal noise."""
LEAST_NOISE = 0.003
"""Of ln(time). A series quieter than 0.3 % is one whose few nights happened to agree."""
SPIKE_REACH, SPIKE_SIGMAS = 3, 4.0
"""Hampel's filter: a night more than 4 sigma from the median of the 3 before and the 3 after it is a spike."""
CHUNK = 2_000
"""Series filtered at a time: their windows are 7 times as large as they are."""


@dataclass(frozen=True)
class LastChanges:
    """One entry per series. `start` is the column where the current level begins: the first valid one if none changed.

    `step` is the mean of ln(time) since then less that of the level before, 0 if none changed; `gain` by how much the
    change point alone lowers the squared error of those two levels, in units of `noise` squared; `noise` the standard
    deviation of a night.
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
    """Returns the median along the last axis of what is not NaN, NaN where nothing is: a fast np.nanmedian."""
    ordered = np.sort(x, axis=-1)
    n = (~np.isnan(x)).sum(axis=-1, keepdims=True)
    low, high = (np.take_along_axis(ordered, i, axis=-1)[..., 0] for i in (np.maximum(n - 1, 0) // 2, n // 2))
    return np.asarray((low + high) / 2)


def noise_of(x: Floats) -> Floats:
    """Returns the standard deviation of a night of each packed series, from the differences of successive nights.

    A level that changes spoils one difference; the nights' distance from their median it would all spoil.
    """
    apart = np.diff(x, axis=1)
    deviation = np.abs(apart - median(apart)[:, None])
    return np.asarray(np.fmax(NORMAL * median(deviation) / np.sqrt(2), LEAST_NOISE))


def despiked(x: Floats) -> Floats:
    """Returns packed series with every spike replaced by the median around it (Hampel 1974).

    The window ends with the series, so that the newest night, when alone, is a spike, and with a second one no longer.
    """
    edge = ((0, 0), (SPIKE_REACH, SPIKE_REACH))
    around = np.lib.stride_tricks.sliding_window_view(
        np.pad(x, edge, constant_values=np.nan), 2 * SPIKE_REACH + 1, axis=1
    )
    middle = median(around)
    spread = NORMAL * median(np.abs(around - middle[..., None]))
    return np.where(np.abs(x - middle) > SPIKE_SIGMAS * spread, middle, x)


def strongest_split(z: Floats) -> Floats:
    """Returns the most that one change point gains in a stretch of each packed series that ends with the newest night.

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
        difference = total[:, longer] * right
        difference -= total[:, right - 1, None] * whole
        np.square(difference, out=difference)
        difference /= whole * right * (whole - right)
        most = np.fmax(most, np.fmax.reduce(difference, axis=1))
    return most


def last_changes(x: Floats) -> LastChanges:
    """Returns the last change point of each packed series, as of its newest night.

    Kernel change points with the linear kernel (Arlot, Celisse & Harchaoui, JMLR 20, 2019; Celisse et al., CSDA 128,
    2018; Killick, Fearnhead & Eckley, JASA 107, 2012), which is least squares with a penalty for each. Raises
    ModuleNotFoundError without `ruptures`.
    """
    width = x.shape[1]
    n = (~np.isnan(x)).sum(axis=1)
    noise = noise_of(x)
    parts = [x[i : i + CHUNK] for i in range(0, len(x), CHUNK)]
    z = np.concatenate([despiked(part) for part in parts]) / noise[:, None]
    penalty = PENALTY * np.log(np.maximum(n, 1))
    strongest = np.concatenate([strongest_split(z[i : i + CHUNK]) for i in range(0, len(x), CHUNK)])
    start, step, gain = width - n, np.zeros(len(x)), np.zeros(len(x))
    detector = kernel_change_points()
    # The sums are rounded otherwise than the library's.
    for row in np.flatnonzero(strongest >= penalty * (1 - 1e-9)):
        series = z[row, width - n[row] :]
        points = [0, *detector.fit(series[:, None]).predict(pen=float(penalty[row]))]
        if len(points) > 2:
            before, after = series[points[-3] : points[-2]], series[points[-2] :]
            change = after.mean() - before.mean()
            start[row] += points[-2]
            step[row] = change * noise[row]
            gain[row] = change**2 * len(before) * len(after) / (len(before) + len(after))
    return LastChanges(start, step, gain, noise)


def kernel_change_points() -> Any:
    """Returns ruptures' search. Raises ModuleNotFoundError where it is not installed."""
    try:
        from ruptures import KernelCPD
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}: a history takes ruptures: pip install -e '.[history]'") from error
    return KernelCPD(kernel="linear", min_size=LEAST_NIGHTS)
