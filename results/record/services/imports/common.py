"""What reading another tool's report takes: values at a path, of the kind that they must have, in our units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any
from urllib.parse import urlsplit

NOT_TOLD = "not told"
"""What a row must name and a report does not."""
QUANTILES = ("p50", "p90", "p99")


class Unknown(ValueError):
    """A report is not as its tool documents it; says where."""


class Report:
    """A JSON object of a report; `at` is where it is in it."""

    def __init__(self, held: Mapping[str, Any], at: str = "") -> None:
        self.held = held
        self._at = at

    def part(self, *names: str) -> Report:
        """Returns the object at a path of names, an empty one where there is none. Raises Unknown for another kind."""
        held: Any = self.held
        for place, name in enumerate(names):
            held = held.get(name)
            if held is None:
                held = {}
            if not isinstance(held, dict):
                raise Unknown(f"{'.'.join((*self._names(), *names[: place + 1]))} is {held!r:.60}; expected an object")
        return Report(held, ".".join((*self._names(), *names)))

    def parts(self, name: str) -> list[Report]:
        """Returns the objects of a list. Raises Unknown."""
        held = self.held.get(name)
        if not isinstance(held, list) or not all(isinstance(one, dict) for one in held):
            raise Unknown(f"{'.'.join((*self._names(), name))} is {held!r:.60}; expected a list of objects")
        return [Report(one, f"{name}[{place}]") for place, one in enumerate(held)]

    def number(self, *names: str) -> float | None:
        """Returns the first number by one of these names, None where there is none. Raises Unknown for another kind."""
        for name in names:
            value = self.held.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
                raise Unknown(f"{'.'.join((*self._names(), name))} is {value!r:.60}; expected a finite number")
            return float(value)
        return None

    def count(self, *names: str) -> int | None:
        """Returns such a number as a count. Raises Unknown where it is none."""
        value = self.number(*names)
        if value is not None and value != int(value):
            raise Unknown(f"{'.'.join((*self._names(), *names))} is {value}; expected a whole number")
        return None if value is None else int(value)

    def text(self, *names: str) -> str | None:
        """Returns the first text by one of these names; None where there is none."""
        return next((value for name in names if isinstance(value := self.held.get(name), str) and value), None)

    def _names(self) -> Sequence[str]:
        return (self._at,) if self._at else ()


def without_secrets(url: str | None) -> str:
    """Returns a URL as scheme, host, port and path: a key may stand in what is left out."""
    if url is None:
        return NOT_TOLD
    parts = urlsplit(url if "://" in url else f"//{url}")
    if not parts.hostname:
        return NOT_TOLD
    host = parts.hostname if parts.port is None else f"{parts.hostname}:{parts.port}"
    return f"{parts.scheme + '://' if parts.scheme else ''}{host}{parts.path}"


def scaled(values: Mapping[str, float | None], column: str, factor: float) -> dict[str, float | None]:
    """Returns statistics (`p50`, `mean` …) under their columns, times `factor` to seconds."""
    return {f"{column}_{name}": None if value is None else factor * value for name, value in values.items()}


def noted(sentences: Iterable[str], foreign: Iterable[tuple[str, float | None, str]] = ()) -> str:
    """Returns the notes of a row: sentences, and the medians in seconds that have no column of ours, with formulas."""
    others = [f"its {name} {1e3 * value:.4g} ms at p50 = {formula}" for name, value, formula in foreign if value]
    return "; ".join([*sentences, *([f"no column of ours: {', '.join(others)}"] if others else [])])


def throughput(rate: float | None, n: int | None, duration_s: float | None) -> float | None:
    """Returns the rate, from the number and the duration where the report has none."""
    return n / duration_s if rate is None and n is not None and duration_s else rate
