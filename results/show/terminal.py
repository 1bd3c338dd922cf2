"""Tables for a terminal, drawn by rich: colours where a person looks, plain aligned text in a file or a pipe."""

from __future__ import annotations

import io
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

STYLES = {"faster": "green", "slower": "bold red", "unclear": "yellow"}
"""How a verdict is set off."""
WIDE, NARROW = 2, 1
"""Spaces between columns, and where the words would not fit with so many."""
FEW = (4, 1)
"""A column in which words must be broken keeps so many characters, and where that is too many, so many."""
NO_BREAK = "\N{NO-BREAK SPACE}"


def columns_text(
    header: Sequence[str], lines: Sequence[Sequence[str]], left: int | Sequence[bool], width: int, title: str = ""
) -> str:
    """Returns the lines under their header, and that under the title: the first `left` columns to the left.

    `left` may say so for each column; the others are set to the right. A cell that does not fit is wrapped, between
    words as long as these fit, and between a number and its unit only where else words would break; the first column
    never is. Nothing
    in a cell is taken for markup. Colours and rules are there on a terminal only (NO_COLOR is obeyed).
    """
    is_terminal = sys.stdout.isatty()
    sides = [number < left for number in range(len(header))] if isinstance(left, int) else left
    columns = [[_joined(cell) for cell in column] for column in zip(header, *lines, strict=True)]
    if _total([_longest_word(column) for column in columns], NARROW) > width:
        columns = [[*column] for column in zip(header, *lines, strict=True)]
    gap, widths = _widths(columns, width)
    # Rules take a character more between columns, and two at the ends.
    is_ruled = is_terminal and _total([*map(_longest_line, columns)], WIDE + 1) + WIDE <= width
    padding = (0, 1) if gap == WIDE else (0, 1, 0, 0)
    table = Table(box=SIMPLE_HEAD if is_ruled else None, pad_edge=False, padding=padding, header_style="bold")
    wrapped = [[_wrapped(cell, to) for cell in column] for column, to in zip(columns, widths, strict=True)]
    for (name, *_), is_left, to in zip(wrapped, sides, widths, strict=True):
        table.add_column(Text(name), justify="left" if is_left else "right", overflow="fold", min_width=to)
    for line, cells in zip(lines, zip(*(column[1:] for column in wrapped), strict=True), strict=True):
        styles = [STYLES.get(cell, "") for cell in line]
        table.add_row(*(Text(cell, style=style) for cell, style in zip(cells, styles, strict=True)))
    console = Console(file=io.StringIO(), width=width, force_terminal=is_terminal, highlight=False)
    with console.capture() as captured:
        if title:
            console.print(Text(title, style="bold"))
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines() if line.strip())


def _joined(cell: str) -> str:
    """Returns the cell with numbers and their units in one piece."""
    return re.sub(r"(?<=\d) (?=[^\W\d]|%)", NO_BREAK, cell)


def _longest_line(column: Sequence[str]) -> int:
    return max(len(line) for cell in column for line in cell.split("\n"))


def _longest_word(column: Sequence[str]) -> int:
    return max(len(word) for cell in column for word in re.split(r"[ \n]", cell))


def _total(widths: Sequence[int], gap: int) -> int:
    return sum(widths) + gap * (len(widths) - 1)


def _widths(columns: Sequence[Sequence[str]], width: int) -> tuple[int, list[int]]:
    """Returns the gap between the columns, and the width of each: as wide as it is where all fit, else the widest give.

    They give down to their longest word, in a narrow gap if need be; further only where even that is too wide.
    """
    widths = [_longest_line(column) for column in columns]
    first = widths[0]
    words = [first, *map(_longest_word, columns[1:])]
    gap = WIDE if _total(words, WIDE) <= width else NARROW
    for least in (words, *([first, *(min(word, few) for word in words[1:])] for few in FEW)):
        while _total(widths, gap) > width and widths != least:
            place = max(range(len(widths)), key=lambda number: (widths[number] > least[number], widths[number]))
            widths = [have - (number == place) for number, have in enumerate(widths)]
    return gap, widths


def _wrapped(cell: str, width: int) -> str:
    """Returns the cell in lines of at most so many characters."""
    lines = [part for line in cell.split("\n") for part in textwrap.wrap(line, width, break_on_hyphens=False) or [""]]
    return "\n".join(lines).replace(NO_BREAK, " ")


def share(value: float) -> str:
    """Returns a ratio's distance from 1 as a person says it: `+3.1 %`."""
    return f"{100 * (value - 1):+.1f} %"


def counted(words: Mapping[str, int]) -> str:
    """Returns `3 faster, 1 slower`, without what is none."""
    return ", ".join(f"{count} {word}" for word, count in words.items() if count) or "none"
