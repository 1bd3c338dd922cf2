"""What one dimension of a cell is: its column, its default, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Value = str | int | None


@dataclass(frozen=True)
class Dimension:
    """One thing that tells cells apart: a column of a row, and a field of a cell."""

    name: str
    """The column's."""
    kind: Literal["text", "integer"]
    """No floats: Python and DuckDB write them differently, and the id of a series has their text."""
    description: str
    default: Value = None
    """What rows and journals of before it mean; a cell that has it does not show it."""
    required: bool = False
    """Whether a cell must be given it: then the default is none."""
    field: str = ""
    """Its name in a `Cell`, where that is not the column's."""
    read_back: tuple[str, str] | None = None
    """Name and description of the column, beside its own, that says what the runtime made of it."""
    matched_as_read_back: bool = False
    """Whether rows are placed and compared by what was read back, not by what was asked for."""
    place: int = 1_000
    """Where tables, names and the arguments of `Cell` have it: by this, then by the order of the list."""
    mark: str = ""
    """What stands before its value in test ids and names: the `b` of `b4`."""
    in_id: bool = True
    """Whether a test id shows it where it is not the default. Ids that people have saved do not change: size, phase
    and threads are in none."""
    in_label: bool = False
    """Whether it names a column of a table (the backend, its device, the side of an A/B); else it is a level of the
    rows. What is behind the backend brings its separator in its `mark`."""
    is_work: bool = False
    """Whether it changes what is computed. Where such a one is crossed, samples are compared and not steps."""
    is_setting: bool = False
    """Whether it is how a step runs, so that the sides of an A/B may differ in it."""
    may_cross: bool = False
    """Whether a comparison may set rows beside each other that differ in it."""
    is_compared: bool = False
    """Whether a printed ratio compares cells that differ in it: they are one group, and measured side by side."""
    bounds: bool = False
    """Whether what a device can reach at most depends on it."""
    is_name: bool = False
    """Whether it is text that becomes part of paths, labels, test ids and other tools' names."""
    in_every_row: bool = False
    """Whether a row without it is refused."""
    by_place_in_series: bool = False
    """Whether the id of a series has it at a fixed place, as the first ten have; later ones are there by name, and
    only where they are not the default."""

    @property
    def cell_field(self) -> str:
        """Its name in a `Cell`."""
        return self.field or self.name

    @property
    def column(self) -> str:
        """The column by which rows are placed and compared."""
        return self.read_back[0] if self.read_back and self.matched_as_read_back else self.name

    def __post_init__(self) -> None:
        if self.required and not self.by_place_in_series:
            raise ValueError(f"{self.name} has no default; expected one: what was written before it has no such value")

    def is_shown(self, value: object) -> bool:
        """Returns whether a name must have the value: there is one, and it is not what every cell has."""
        return value is not None and (self.required or value != self.default)
