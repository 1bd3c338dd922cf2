"""Published peaks of chips: a dated table with the source of each row, which a user can replace.

`peaks.csv` has a row per chip and precision: dense FLOP/s (without structured sparsity) and the memory's byte/s, of one
chip. `match` is a regular expression for the whole of the device's name, as NVML, torch and JAX give it, so that a
slice of a GPU is not taken for the GPU. A chip that no row matches has no published peak: never another chip's.
"""

import csv
import io
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from results.record.files import ResultsError

FILE = Path(__file__).with_name("peaks.csv")
COLUMNS = ("chip", "match", "precision", "flops_per_s", "bytes_per_s", "source", "retrieved", "confidence")
CONFIDENCES = ("published", "secondary", "computed")
"""The maker's own page; somebody who cites it; a product of published figures."""


@dataclass(frozen=True)
class Peak:
    """What one chip can do at one precision at most, and who says so, with the day on which that was read."""

    chip: str
    match: str
    precision: str
    flops_per_s: float
    bytes_per_s: float
    source: str
    confidence: str


def published(device: str, precision: str) -> Peak | None:
    """Returns the published peak of the device of this name at this precision, None where the table has none.

    Raises ResultsError where `$SAMESTEP_PEAKS`, a table in place of ours, cannot be used.
    """
    path = Path(os.environ.get("SAMESTEP_PEAKS") or FILE)
    name = bare_name(device)
    matches = [
        peak
        for peak in read_peaks(path)
        if peak.precision == precision and re.fullmatch(peak.match, name, re.IGNORECASE)
    ]
    if len(matches) > 1:
        raise ResultsError(f"{path}: {name!r} is {' and '.join(peak.chip for peak in matches)}; expected one match")
    return matches[0] if matches else None


def bare_name(device: str) -> str:
    """Returns the device of a row without its count or driver.

    As in `4 × TPU v5e`, `Inferentia2 ×1` and `NVIDIA H200 (driver 580.65)`.
    """
    return re.sub(r"^\d+ × | ×\d+$| \(.*\)$", "", device)


@cache
def read_peaks(path: Path) -> tuple[Peak, ...]:
    """Returns the rows of a table of peaks. Raises ResultsError with the file and the line for one that is wrong."""
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline=""), strict=True)
        peaks: list[Peak] = []
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ResultsError(f"{path}: its columns are {reader.fieldnames}; expected {', '.join(COLUMNS)}")
        for row in reader:
            try:
                peak = _peak(row)
                if any((p.chip, p.precision) == (peak.chip, peak.precision) for p in peaks):
                    raise ValueError(f"{peak.chip} at {peak.precision} is there twice")
                peaks.append(peak)
            except (ValueError, re.error) as error:
                raise ResultsError(f"{path}, line {reader.line_num}: {error}") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ResultsError(f"cannot read the peaks in {path}: {error}") from error
    return tuple(peaks)


def _peak(row: dict[str, str]) -> Peak:
    for name in COLUMNS:
        if not row[name]:
            raise ValueError(f"{name} is empty; a peak without it is no evidence")
    if row["confidence"] not in CONFIDENCES:
        raise ValueError(f"confidence is {row['confidence']!r}; expected one of: {', '.join(CONFIDENCES)}")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", row["retrieved"]):
        raise ValueError(f"retrieved is {row['retrieved']!r}; expected a day such as 2026-11-23")
    re.compile(row["match"])
    flops, moved = float(row["flops_per_s"]), float(row["bytes_per_s"])
    if not (0 < flops < float("inf") and 0 < moved < float("inf")):
        raise ValueError(f"a peak of {flops:g} FLOP/s and {moved:g} byte/s; expected more than 0")
    source = f"{row['source']}, read {row['retrieved']} ({row['confidence']})"
    return Peak(row["chip"], row["match"], row["precision"], flops, moved, source, row["confidence"])
