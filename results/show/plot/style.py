"""What the plots share: where matplotlib comes from, one look, and files that are the same each time."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from results.record.files import ResultsError, write_atomic

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart by the colour-blind (Okabe & Ito 2008, https://jfly.uni-koeln.de/color/)."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", ">")
"""One more than there are colours, so that 56 backends differ in one or the other; without colour, eight."""
GRID = "#DDDDDD"
INK = "#333333"
"""The colour of text."""
PAGE_INCH = 7.0
"""The width of a page of text, or of two columns."""
FONT_PT = 7.0
LETTER_INCH = 0.6 * FONT_PT / 72
"""A wide one: names that an SVG's reader draws in another font still fit."""
HOLLOW = "Hollow: degraded, disturbed while it was measured."
SUFFIXES = (".svg", ".png")


@contextmanager
def drawing(path: Path, size_inch: tuple[float, float], *, font_pt: float = 10, dpi: int = 110) -> Iterator[Any]:
    """Gives an empty matplotlib figure, and writes it into `path` where nothing was raised meanwhile.

    The same drawing makes the same bytes, and text in an SVG stays text. `dpi` is of a PNG, in dots per inch. Raises
    ResultsError for a name that ends otherwise than in .svg or .png, and where matplotlib is not installed.
    """
    if path.suffix not in SUFFIXES:
        raise ResultsError(f"cannot draw into {path.name}; expected a name that ends in .svg or .png")
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ResultsError(f"{error}: a plot takes matplotlib: pip install -e '.[reports]'") from error
    with mpl.rc_context({"svg.hashsalt": "samestep", "svg.fonttype": "none", "font.size": font_pt}):
        figure = Figure(figsize=size_inch, layout="constrained")
        yield figure
        drawn = BytesIO()
        date = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(drawn, format=path.suffix.removeprefix("."), dpi=dpi, metadata=date)
        write_atomic(path, drawn.getvalue())
