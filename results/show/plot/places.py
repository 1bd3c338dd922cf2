"""Where the numbers of a plot are from: machines, devices, threads and days."""

from __future__ import annotations

from collections.abc import Sequence

from results.show.plot.dots import Line


def places(rows: Sequence[Line]) -> list[str]:
    """Returns each machine with its devices, threads and days."""
    found = []
    verified = [row for row in rows if row["is_verified"]]
    for machine in sorted({row["machine"] or "an unknown machine" for row in verified}):
        own = [row for row in verified if (row["machine"] or "an unknown machine") == machine]
        devices = sorted({row["device"] for row in own} - {None})
        threads = sorted({row["threads"] for row in own} - {None})
        days = sorted({(row["started_utc"] or "")[:10] for row in own} - {""})
        words = [machine, *devices]
        words += [f"threads {' and '.join(map(str, threads))}"] if threads else []
        words += [" to ".join(dict.fromkeys((days[0], days[-1])))] if days else []
        found.append(", ".join(words))
    return found
