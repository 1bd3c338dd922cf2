"""Plain text in columns that fit a width.

Rich (`results.show.terminal`) makes columns narrower until they fit; these go on in a further table instead, so that a
number stays in one piece and beside its ratio.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

GAP = "  "


@dataclass(frozen=True)
class Cell:
    """A number with its ratio, or one word in place of both."""

    number: str = ""
    ratio: str = ""
    word: str = ""


def side_by_side(
    header: Sequence[str], left: Sequence[Sequence[str]], columns: Mapping[str, Sequence[Cell]], width: int
) -> str:
    """Returns a table: `left` has the cells of each line under `header`, `columns` the numbers by their title.

    Where the columns do not fit the width, they go on in a further table with the same left side.
    """
    labels = _left_side(header, left)
    parts: list[list[list[str]]] = []
    used = width
    for title, cells in columns.items():
        column = _column(title, cells)
        needed = len(GAP) + len(column[0])
        if used + needed > width:
            parts.append([labels])
            used = len(labels[0])
        parts[-1].append(column)
        used += needed
    lines = [[GAP.join(line).rstrip() for line in zip(*part, strict=True)] for part in parts]
    return "\n\n".join("\n".join(part) for part in lines)


def hanging(columns: Sequence[Sequence[str]], texts: Sequence[str], width: int) -> str:
    """Returns lines of aligned columns, each followed by its text, which is wrapped under itself."""
    widths = [max(map(len, cells)) for cells in zip(*columns, strict=True)]
    lines = []
    for cells, text in zip(columns, texts, strict=True):
        start = GAP + "".join(cell.ljust(size) + GAP for cell, size in zip(cells, widths, strict=True))
        wrapped = textwrap.wrap(text, max(40, width - len(start)))
        lines += [(start if number == 0 else " " * len(start)) + part for number, part in enumerate(wrapped)]
    return "\n".join(lines)


def wrapped(lines: Sequence[str], width: int) -> str:
    """Returns the lines, those that are too long going on under themselves."""
    return "\n".join(part for line in lines for part in textwrap.wrap(line, width, subsequent_indent=GAP))


def plural(count: int, noun: str) -> str:
    """Returns `1 cell`, `2 cells`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _left_side(header: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """Returns the left side, header first: words to the left, numbers to the right."""
    sides = []
    for title, cells in zip(header, zip(*lines, strict=True), strict=True):
        size = max(map(len, (title, *cells)))
        is_number = all(cell.isdecimal() for cell in cells if cell)
        sides.append([text.rjust(size) if is_number else text.ljust(size) for text in (title, *cells)])
    return [GAP.join(line) for line in zip(*sides, strict=True)]


def _column(title: str, cells: Sequence[Cell]) -> list[str]:
    number_size = max((len(cell.number) for cell in cells), default=0)
    ratio_size = max((len(cell.ratio) for cell in cells), default=0)
    texts = [title]
    for cell in cells:
        number = cell.number.rjust(number_size)
        beside = " " + cell.ratio.rjust(ratio_size) if ratio_size else ""
        texts.append(cell.word or number + beside)
    size = max(map(len, texts))
    return [text.rjust(size) for text in texts]
