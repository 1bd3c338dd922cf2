"""What people keep in files of a store: the machines that they expect, and the alarms that they acknowledged."""

from __future__ import annotations

import csv
from pathlib import Path

from results.record.files import ResultsError
from results.record.text import restore, slug

ACKNOWLEDGED = "acknowledged.csv"
ACKNOWLEDGED_COLUMNS = ("alarm_id", "day", "by", "note")
MACHINES = "machines.txt"


def in_store(store: Path | str, name: str) -> Path | None:
    """Returns a file of the store, None where it has none."""
    return Path(store) / name if "://" not in str(store) and (Path(store) / name).is_file() else None


def read_machines(path: Path) -> tuple[str, ...]:
    """Returns the names in the file, one a line, as runs have them; `#` begins a comment.

    Raises ResultsError where it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsError(f"cannot read the expected machines in {path}: {error}") from error
    names = [line.partition("#")[0].strip() for line in lines]
    return tuple(dict.fromkeys(slug(name) for name in names if name))


def read_acknowledged(path: Path) -> dict[str, str]:
    """Returns who acknowledged which alarm, and why, by its id. Raises ResultsError with the line for a wrong one."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if tuple(reader.fieldnames or ()) != ACKNOWLEDGED_COLUMNS:
                raise ResultsError(
                    f"{path}: its columns are {reader.fieldnames}; expected {', '.join(ACKNOWLEDGED_COLUMNS)}"
                )
            acknowledged = {}
            for row in reader:
                if not all(row[name] for name in ACKNOWLEDGED_COLUMNS) or len(row["alarm_id"].split("-")) != 3:
                    raise ResultsError(
                        f"{path}, line {reader.line_num}: expected an alarm's id, a day, a name and a note"
                    )
                acknowledged[row["alarm_id"]] = f"{row['day']} {restore(row['by'])}: {restore(row['note'])}"
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ResultsError(f"cannot read the acknowledgements in {path}: {error}") from error
    return acknowledged
