"""Result files of other tools as rows of services, marked as theirs, by their own definitions.

A number goes into a column of ours only where it is the same quantity; what differs in how it ends is said in `notes`,
and what has no equal stands there with its formula, in no column.
"""

from __future__ import annotations

import json
from pathlib import Path

from results.record.dialect import plain_bytes
from results.record.files import ResultsError
from results.record.row import Row
from results.record.services.imports import aiperf, guidellm, vllm_bench
from results.record.services.imports.common import Report, Unknown
from results.record.services.row import make_service_row

READERS = {
    "aiperf's profile_export_aiperf.json": aiperf,
    "guidellm's JSON report": guidellm,
    "the JSON of `vllm bench serve --save-result`": vllm_bench,
}


def read_foreign(path: Path) -> tuple[Row, ...]:
    """Returns the rows of a result file of another tool. Raises ResultsError, in a line, for any other file."""
    content = plain_bytes(path)
    try:
        report = json.loads(content)
    except (ValueError, RecursionError) as error:
        cut = ", since the file ends too early: copy it whole" if _is_cut(error) else ""
        raise ResultsError(f"{path} is no JSON: {error}{cut}; expected {_known()}") from error
    if not isinstance(report, dict):
        raise ResultsError(f"{path} is no JSON object; expected {_known()}")
    for name, reader in READERS.items():
        if not reader.is_its(report):
            continue
        try:
            return tuple(make_service_row(**row) for row in reader.rows_of(Report(report)))
        except (Unknown, ValueError, TypeError, OverflowError) as error:
            raise ResultsError(f"{path} looks like {name}, and cannot be read: {error}") from error
    raise ResultsError(f"{path} is of no known tool; expected {_known()}")


def _is_cut(error: Exception) -> bool:
    """Returns whether the end of a text is what is wrong with it."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated string") or error.pos >= len(error.doc.rstrip()) > 0


def _known() -> str:
    return ", ".join(READERS)
