"""What an hour of a device costs: a dated table with the source of each row, which a user can replace.

`prices.csv` has two kinds of rows. `cloud`: `usd_per_hour` of a whole instance with its host, on demand, in a region.
`owned`: a machine on premises by purchase price, lifetime, power, price of electricity, `utilisation` (the share of its
lifetime in which it works) and `overhead` (what the site draws for each joule of the machine: its PUE).

`devices` share the price of a row: the GPUs, TPU chips or NeuronCores of the instance, or 1. A row is for a `device` (a
regular expression for the whole of the name, as in `peaks.csv`), for a `machine` by its name, or for both. The price of
a CPU is that of its whole machine: name the machine, for a processor's name does not say how much of it was rented.
What no row is for has no price: never another chip's.
"""

import csv
import io
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from results.record.files import ResultsError
from results.record.peaks import bare_name
from results.record.text import one_line

FILE = Path(__file__).with_name("prices.csv")
OWNED = ("purchase_usd", "lifetime_years", "power_w", "usd_per_kwh", "utilisation", "overhead")
NEEDED = {"cloud": ("usd_per_hour", "region"), "owned": OWNED}
"""What each kind of row must have; what only the other kind has must be empty."""
ALWAYS = ("name", "kind", "devices", "source", "retrieved", "confidence")
COLUMNS = (
    *("name", "kind", "device", "machine", "devices", "region", "usd_per_hour"),
    *OWNED,
    *("source", "retrieved", "confidence"),
)
UNCERTAIN = "uncertain"
CONFIDENCES = ("published", "secondary", UNCERTAIN, "own")
"""The seller's own page; somebody who cites it; a figure that is rounded, withdrawn or contradicted, which every output
says beside the price; the user's own figure: a bill, an offer, an assumption."""
HOURS_PER_YEAR = 365.25 * 24


@dataclass(frozen=True)
class Price:
    """What one device costs, and who says so: USD per hour in which it works, and per hour in which it is held.

    Held is whether it works or not. A rented device costs the same in both; an owned one that works for half of its
    lifetime has half as many hours to earn its purchase in.
    """

    name: str
    kind: str
    device: str
    machine: str
    devices: int
    usd_per_hour: float
    held_usd_per_hour: float
    source: str
    retrieved: str
    confidence: str

    @property
    def cited(self) -> str:
        """The source with its day and confidence, in one line."""
        return f"{self.source}, read {self.retrieved} ({self.confidence})"


def known_prices() -> tuple[Price, ...]:
    """Returns the rows of `$SAMESTEP_PRICES`, a table in place of ours, or of ours. Raises ResultsError."""
    path = os.environ.get("SAMESTEP_PRICES")
    return read_prices(Path(path) if path else FILE)


def price_of(device: str, machine: str, prices: Sequence[Price]) -> Price | None:
    """Returns the price of the device of this name in this machine, None where no row is for it.

    A row for the machine goes before one for the device, and one that is uncertain counts only where there is no other;
    of several that are left, the lowest counts.
    """
    offers = [price for price in prices if _is_for(price, device, machine)]
    own = [price for price in offers if price.machine]
    return min(
        own or offers,
        key=lambda price: (price.confidence == UNCERTAIN, price.usd_per_hour, price.name),
        default=None,
    )


def why_unpriced(device: str, machine: str) -> str:
    """Returns why there is no price, and what to do."""
    return (
        f"no price is known of {device or 'a device without a name'}, nor of machine {machine or 'without a name'}: "
        f"give --price {machine or 'MACHINE'}=USD_PER_HOUR, or add a row to a table of your own (SAMESTEP_PRICES)"
    )


def given_price(text: str, day: str | None, source: str | None) -> Price:
    """Returns the price that `MACHINE=USD_PER_HOUR` or `MACHINE=USD_PER_HOUR/DEVICES` gives, by a source, as of a day.

    It is that of the whole machine, and its devices share it. Raises ValueError where one of the three is missing or
    no price.
    """
    machine, _, figures = text.rpartition("=")
    number, slash, devices = figures.partition("/")
    if not machine:
        raise ValueError(f"--price is {text!r}; expected MACHINE=USD_PER_HOUR[/DEVICES], such as lab-pc=0.12")
    if not day or not source:
        raise ValueError("a price needs --price-date and --price-source: no dollar without its date and source")
    usd = _positive(number, f"the price of {machine}")
    count = _count(devices, f"the devices of {machine}") if slash else 1
    day = _day(day, "--price-date")
    return Price(machine, "cloud", "", machine, count, usd / count, usd / count, one_line(source), day, "own")


def read_prices(path: Path) -> tuple[Price, ...]:
    """Returns the rows of a table of prices. Raises ResultsError with the file and the line for one that is wrong."""
    try:
        # A spreadsheet begins its CSV with a byte order mark.
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), strict=True)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ResultsError(f"{path}: its columns are {reader.fieldnames}; expected {', '.join(COLUMNS)}")
        prices: list[Price] = []
        places: set[tuple[str, ...]] = set()
        for row in reader:
            try:
                if None in row or None in row.values():
                    raise ValueError(f"it has not the {len(COLUMNS)} cells of the header")
                prices.append(_price(row))
                place = (row["name"], row["region"], row["device"], row["machine"])
                if place in places:
                    raise ValueError(f"{' '.join(filter(None, place))} is there twice")
                places.add(place)
            except (ValueError, re.error) as error:
                raise ResultsError(f"{path}, line {reader.line_num}: {error}") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ResultsError(f"cannot read the prices in {path}: {error}") from error
    return tuple(prices)


def _is_for(price: Price, device: str, machine: str) -> bool:
    if price.machine and price.machine != machine:
        return False
    return not price.device or re.fullmatch(price.device, bare_name(device), re.IGNORECASE) is not None


def _price(row: Mapping[str, str]) -> Price:
    for name in ALWAYS:
        if not row[name]:
            raise ValueError(f"{name} is empty; a price without it is no evidence")
    for name, allowed in (("kind", tuple(NEEDED)), ("confidence", CONFIDENCES)):
        if row[name] not in allowed:
            raise ValueError(f"{name} is {row[name]!r}; expected one of: {', '.join(allowed)}")
    if not row["device"] and not row["machine"]:
        raise ValueError("device and machine are empty; expected what the price is for")
    re.compile(row["device"])
    for kind, names in NEEDED.items():
        for name in names:
            if kind == row["kind"] and not row[name]:
                raise ValueError(f"{name} is empty; a row of kind {kind} needs {', '.join(names)}")
            if kind != row["kind"] and row[name] and name not in NEEDED[row["kind"]]:
                raise ValueError(f"{name} is {row[name]!r}; expected nothing in a row of kind {row['kind']}")
    devices = _count(row["devices"], "devices")
    if row["kind"] == "owned":
        working, held = _owned(row)
    else:
        working = held = _positive(row["usd_per_hour"], "usd_per_hour")
    if not math.isfinite(working):
        raise ValueError("its figures make no finite price per hour")
    name = one_line(f"{row['name']} {row['region']}".strip())
    return Price(
        name,
        row["kind"],
        row["device"],
        row["machine"],
        devices,
        working / devices,
        held / devices,
        one_line(row["source"]),
        _day(row["retrieved"], "retrieved"),
        row["confidence"],
    )


def _owned(row: Mapping[str, str]) -> tuple[float, float]:
    """Returns USD per hour of a whole machine that works, and of one that is held, counted at full power."""
    purchase, years, power, per_kwh, utilisation, overhead = (_positive(row[name], name) for name in OWNED)
    if utilisation > 1:
        raise ValueError(f"utilisation is {utilisation:g}; expected a share of the lifetime, 1 at most")
    if overhead < 1:
        raise ValueError(f"overhead is {overhead:g}; expected 1 or more: the site draws what the machine draws")
    held, electricity = purchase / (years * HOURS_PER_YEAR), power / 1000 * overhead * per_kwh
    return held / utilisation + electricity, held + electricity


def _positive(text: str, name: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"{name} is {text!r}; expected a number over 0")
    return number


def _count(text: str, name: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise ValueError(f"{name} is {text!r}; expected how many share the price, 1 or more")
    return int(text)


def _day(text: str, name: str) -> str:
    try:
        day: date | None = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or day.isoformat() != text:
        raise ValueError(f"{name} is {text!r}; expected a day such as 2026-11-23")
    today = date.today()
    if day > today:
        raise ValueError(f"{name} is {text!r}; expected a day that has come: today is {today}")
    return text
