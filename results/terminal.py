"""Tables for a terminal, by rich: colours where a person looks, plain text in a file or a pipe."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

STYLES = {"faster": "green", "slower": "bold red", "unclear": "yellow", "not comparable": "dim", "same": ""}
"""How a word is set off, by how it begins."""


def table(
    title: str, header: Sequence[str], lines: Sequence[Sequence[str]], width: int, right: Sequence[str] = ()
) -> str:
    """Returns a table with its title; the columns named in `right` are set to the right, long ones are wrapped.

    Cells are text: nothing in them is taken for markup.
    """
    made = Table(
        box=SIMPLE_HEAD, title=Text(title, style="bold"), title_justify="left", pad_edge=False, show_edge=False
    )
    for name in header:
        is_number = name in right
        made.add_column(
            Text(name), justify="right" if is_number else "left", no_wrap=is_number, overflow="fold", ratio=None
        )
    for line in lines:
        made.add_row(*(Text(cell, style=_style(cell)) for cell in line))
    return rendered(made, width)


def rendered(what: Table | Text, width: int) -> str:
    """Returns what rich makes of it, in colour where stdout is a terminal that has any."""
    told = io.StringIO()
    terminal = sys.stdout.isatty()
    console = Console(file=told, width=width, force_terminal=terminal, highlight=False, legacy_windows=False)
    console.print(what)
    return "\n".join(line.rstrip() for line in told.getvalue().splitlines())


def _style(cell: str) -> str:
    return next((style for word, style in STYLES.items() if cell == word or cell.startswith(f"{word}:")), "")


def share(value: float) -> str:
    """Returns a ratio's distance from 1 as a person says it: `+3.1 %`."""
    return f"{100 * (value - 1):+.1f} %"


def counted(words: Mapping[str, int]) -> str:
    """Returns `3 faster, 1 slower`, without what is none."""
    return ", ".join(f"{count} {word}" for word, count in words.items() if count) or "none"
