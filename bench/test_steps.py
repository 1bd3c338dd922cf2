"""One step of every planned cell: verified, then timed. The cells come from the options in conftest.py."""

from __future__ import annotations

from collections.abc import Callable

from bench.cell import Cell


def test_step(cell: Cell, run_cell: Callable[[Cell], None]) -> None:
    run_cell(cell)
