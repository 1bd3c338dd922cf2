"""Dollars as a person reads them: beside each the day of its price and the number of its source."""

from collections.abc import Mapping
from typing import Any

from results.record.human import significant
from results.tables.prices import UNCERTAIN

SIZES = {" tn": 1e12, " bn": 1e9, " M": 1e6}
"""The words of large sums: trillion, billion, million."""


class Sources:
    """The prices that a text names, numbered in the order of their first use."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def day(self, row: Mapping[str, Any], of: str = "") -> str:
        """Returns the day and the source's number of the row's price, and whether it is uncertain.

        `of` precedes the names of its columns.
        """
        name, day, usd = row[f"{of}price"], row[f"{of}price_retrieved"], row[f"{of}usd_per_hour"]
        confidence = row[f"{of}price_confidence"]
        cited = f"{row[f'{of}price_source']}, read {day} ({confidence})"
        number = self._numbers.setdefault(
            f"{name}, {dollars(usd)} per hour of one device: {cited}", len(self._numbers) + 1
        )
        doubt = ", uncertain" if confidence == UNCERTAIN else ""
        return f"{day}{doubt} [{number}]"

    def price(self, row: Mapping[str, Any], of: str = "") -> str:
        """Returns the row's price per hour with its day and source, `unknown` where it has none."""
        usd = row[f"{of}usd_per_hour"]
        return "unknown" if usd is None else f"{dollars(usd)}/h {self.day(row, of)}"

    def lines(self) -> list[str]:
        """Returns the sources, each a line, under a heading; nothing where no price was named."""
        listed = [f"[{number}] {text}" for text, number in self._numbers.items()]
        return ["Prices:", *listed] if listed else []


def dollars(value: float) -> str:
    """Returns US dollars in three significant digits: `$0.0879`, `$12,300`, `$1.25 M`, `$3.10 bn`, `$9.15e-09`."""
    if value != 0 and not 1e-6 <= value < 999.5e12:
        return f"${value:.2e}"
    for word, size in SIZES.items():
        if value >= 0.9995 * size:
            return f"${significant(value / size)}{word}"
    return f"${significant(value)}"
