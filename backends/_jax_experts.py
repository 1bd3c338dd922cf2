"""JAX: how rows come to the experts of a mixture, in static shapes and without a copy of any weight.

`jax.lax.ragged_dot` wants the experts' weights stacked in one array: published ones lie apart, and a step that stacked
them would copy all of them each time.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import jax
import jax.numpy as jnp

from workloads.ops import Array, Expert, Parameters

FEW = 16
"""Rows up to which an expert that is chosen at all sees all of them: reading its weights is what takes the time."""
SPARE = 1.5
"""An expert has room for so many times its fair share of the rows; where more come to it, it sees all of them."""


def experts(expert: Expert, x: Array, weights: Array, ids: Array, of: list[Parameters]) -> Array:
    """Returns `Ops.experts`; `of` are the experts' parameters. An expert that nobody chose is not read.

    Each expert is a conditional of up to three branches: no rows, the room of `SPARE`, all rows.
    """
    y = jnp.zeros_like(x)
    for i, p in enumerate(of):
        shares = jnp.where(ids == i, weights, 0).sum(-1)  # (N,)
        is_sent = (ids == i).any(-1)
        y = y + _sent(expert, x, shares, is_sent, p, ids.shape[1] / len(of))
    return y


def _sent(expert: Expert, x: Array, shares: Array, is_sent: Array, p: Parameters, fair: float) -> Array:
    """Returns what one expert adds to all rows; `fair` is the part of them that comes to it on average."""
    n = x.shape[0]
    room = n if n <= FEW else min(n, ceil(SPARE * fair * n))
    count = is_sent.sum()

    def nothing() -> Array:
        return jnp.zeros_like(x)

    def some() -> Array:
        rows = jnp.nonzero(is_sent, size=room, fill_value=n)[0]  # those beyond the last are dropped again
        taken = jnp.take(x, rows, axis=0, mode="clip")
        made = expert(taken, p) * jnp.take(shares, rows, mode="fill", fill_value=0)[:, None]
        return jnp.zeros_like(x).at[rows].add(made, mode="drop")

    def everything() -> Array:
        return expert(x, p) * shares[:, None]

    branches: list[Callable[[], Array]] = [nothing, everything] if room == n else [nothing, some, everything]
    which = (count > 0).astype(jnp.int32) + (0 if room == n else (count > room).astype(jnp.int32))
    return jax.lax.switch(which, branches)
