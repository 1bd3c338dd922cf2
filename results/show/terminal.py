"""Tables for a terminal, drawn by rich: colours where a person looks, plain aligned text in a file or a pipe."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

STYLES = {"faster": "green", "slower": "bold red", "unclear": "yellow"}
"""How a verdict is set off."""


def columns_text(
    header: Sequence[str], lines: Sequence[Sequence[str]], left: int | Sequence[bool], width: int, title: str = ""
) -> str:
    """Returns the lines under their header, and that under the title: the first `left` columns to the left.

    `left` may say so for each column; the others are set to the right. A cell that does not fit is wrapped, and only
    the first column never is. Nothing in a cell is taken for markup. Colours and rules are there on a terminal only
    (NO_COLOR is obeyed).
    """
    is_terminal = sys.stdout.isatty()
    sides = [number < left for number in range(len(header))] if isinstance(left, int) else left
    table = Table(box=SIMPLE_HEAD if is_terminal else None, pad_edge=False, padding=(0, 1), header_style="bold")
    for number, (name, is_left) in enumerate(zip(header, sides, strict=True)):
        justify = "left" if is_left else "right"
        table.add_column(Text(name), justify=justify, overflow="fold", no_wrap=number == 0)  # type: ignore[arg-type]
    for line in lines:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in line))
    console = Console(file=io.StringIO(), width=width, force_terminal=is_terminal, highlight=False)
    with console.capture() as captured:
        if title:
            console.print(Text(title, style="bold"))
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines() if line.strip())


def share(value: float) -> str:
    """Returns a ratio's distance from 1 as a person says it: `+3.1 %`."""
    return f"{100 * (value - 1):+.1f} %"


def counted(words: Mapping[str, int]) -> str:
    """Returns `3 faster, 1 slower`, without what is none."""
    return ", ".join(f"{count} {word}" for word, count in words.items() if count) or "none"
