"""Made-up rows of a table of prices."""

import csv

from results.tables.prices import COLUMNS, Price

CLOUD = {
    "name": "Cloud c2",
    "kind": "cloud",
    "device": "Chip 9000",
    "devices": "4",
    "region": "here",
    "usd_per_hour": "8",
    "source": "made up",
    "retrieved": "2026-11-26",
    "confidence": "published",
}
OWNED = {
    "name": "desk",
    "kind": "owned",
    "machine": "machine",
    "devices": "1",
    "purchase_usd": "8766",
    "lifetime_years": "4",
    "power_w": "500",
    "usd_per_kwh": "0.25",
    "utilisation": "0.5",
    "overhead": "1.2",
    "source": "made up",
    "retrieved": "2026-11-25",
    "confidence": "own",
}


def table(path, *rows, header=COLUMNS):
    """Writes a table of prices with these rows and returns its path."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, header, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def price(machine="machine", usd=3.6, held=None, devices=1, **changes):
    """Returns the price of one device of a machine; $3.60 an hour is a tenth of a cent per second."""
    of = {"kind": "cloud", "device": "", "source": "made up", "retrieved": "2026-11-26", "confidence": "own"}
    known = {"name": f"price of {machine}", "machine": machine, "devices": devices, "usd_per_hour": usd}
    return Price(**{**of, **known, "held_usd_per_hour": usd if held is None else held, **changes})
