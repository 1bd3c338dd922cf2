"""Tables for a terminal, drawn by rich; plain text in aligned columns where what is printed goes elsewhere."""

import io
import sys
from collections.abc import Sequence


def columns_text(header: Sequence[str], lines: Sequence[Sequence[str]], left: int, width: int) -> str:
    """Returns the lines under their header, the first `left` columns to the left, the others to the right.

    A cell that does not fit is wrapped, and only the first column never is. Colours and rules are there on a terminal
    only (NO_COLOR is obeyed).
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    is_terminal = sys.stdout.isatty()
    table = Table(box=SIMPLE_HEAD if is_terminal else None, pad_edge=False, padding=(0, 1), header_style="bold")
    for number, title in enumerate(header):
        is_name = number < left
        table.add_column(title, justify="left" if is_name else "right", overflow="fold", no_wrap=number == 0)
    for line in lines:
        table.add_row(*line)
    # Markup and emoji are off: a label such as `torch_cpu[A: threads=1]` is text, and no style.
    console = Console(
        file=io.StringIO(), width=width, force_terminal=is_terminal, markup=False, emoji=False, highlight=False
    )
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines() if line.strip())
