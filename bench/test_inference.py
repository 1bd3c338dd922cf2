"""One inference step of every cell: verified, then timed. Cells come from the options in conftest.py."""

from __future__ import annotations

from collections.abc import Callable

from bench.cell import Cell


def test_inference(cell: Cell, run_cell: Callable[[Cell], None]) -> None:
    run_cell(cell)
