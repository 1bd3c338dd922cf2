"""The two sides of an A/B: what may be compared, by whom, and the cells that it makes of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import backends
from bench.cell import Cell, Side
from bench.parent.plans.parse import PlanError
from bench.parent.plans.presets import ALWAYS
from bench.parent.plans.variant import SIDES, side_of

PAIRS = 12
"""Of an A/B: with a spread of 1.3 % they show a difference of 2 % nearly always (`python -m tests.qa ab`)."""


def sides(texts: Sequence[str] | None, chosen: Sequence[str], cores: int) -> tuple[Side, ...]:
    """Returns the sides of an A/B of these backends, each checked; none where none was asked for."""
    parsed: list[Side] = []
    if texts and not chosen:
        raise PlanError(f"--ab compares what computes: {' and '.join(ALWAYS)} alone are the harness and its control")
    for letter, text in zip(SIDES, texts or (), strict=False):
        try:
            side = side_of(letter, text)
        except ValueError as error:
            raise PlanError(f"--ab, side {letter}: {error}") from error
        variant = side.variant
        if (variant.threads or 1) > cores:
            raise PlanError(f"--ab, side {letter}: threads={variant.threads} is more than the {cores} cores here")
        if not any(_takes(name, variant.options) for name in chosen):
            options = "; ".join(f"{name}: {_in_words(backends.get(name).options)}" for name in chosen)
            raise PlanError(f"--ab, side {letter}: no backend of the run takes {side.text!r}; their options: {options}")
        parsed.append(side)
    if parsed and not any(takes_both(name, parsed) for name in chosen):
        raise PlanError(
            f"--ab: no backend of the run takes both sides, {' and '.join(map(str, parsed))}; compare each with `base`"
        )
    return tuple(parsed)


def takes_both(backend: str, sides: Sequence[Side]) -> bool:
    """Returns whether the backend has the options of both sides of an A/B."""
    return all(_takes(backend, side.variant.options) for side in sides)


def _in_words(options: Mapping[str, tuple[str, ...]]) -> str:
    return ", ".join(f"{name}={'|'.join(values)}" for name, values in options.items()) or "none"


def _takes(backend: str, options: Mapping[str, str]) -> bool:
    try:
        backends.get(backend).chosen_options(options)
    except ValueError:
        return False
    return True


def sides_of(cell: Cell, sides: Sequence[Side]) -> Sequence[Cell]:
    """Returns the cell, or its two sides where the run is an A/B: none where its backend cannot take them."""
    if not sides:
        return [cell]
    if cell.backend in ALWAYS or not takes_both(cell.backend, sides):
        return []
    return [replace(cell, variant=side, threads=side.variant.threads or cell.threads) for side in sides]
