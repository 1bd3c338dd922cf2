"""The primary record of a run: one checksummed line per fact, on disk before the next cell begins.

A run is a folder `<results_dir>/<run_id>/` with `journal.jsonl`, `results.csv` (made from the journal) and `logs/`.
A line of the journal is a JSON object `{"crc": …, "seq": …, "kind": …, "body": …}`; `crc` is the CRC-32 of the
bytes between its comma and the end of the line, in eight hex digits, and `seq` counts the lines from 0.

    kind    body
    run     journal_format, run_id, machine, versions, options, started_utc: the first line
    plan    cells: a list of the cells that the run means to measure; services: those, where there are any
    round   what one cell gave in one round of a launch, with the readings of the control beside it
    launch  one launch record, with its raw samples
    row     one row (`results.record.row`)
    service one row of a service (`results.record.services.row`), which a samestep of before it does not read
    end     reason_code, reason: the last line of a run that was not killed
    resume  started_utc: the run goes on, after its end or after it was killed
"""

import binascii
import errno
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from results.record.dimensions import CELL_COLUMNS, DEFAULTS
from results.record.files import NO_ROOM, ResultsError, sync_folder, write_atomic
from results.record.row import Row, cell_of, describe_cell, make_row
from results.record.services.row import make_service_row, not_run_service
from results.record.text import slug
from results.record.vocabulary import REASON_CODES

JOURNAL_FORMAT = 3
READABLE_FORMATS = (1, 2, 3)
"""1: launch records hold a cell, its status and its latency samples, and nothing from which a run could go on."""
JOURNAL_NAME = "journal.jsonl"
HEADER_KEYS = ("machine", "versions", "options", "started_utc")
RUN_ID = re.compile(r"\d{8}T\d{6}Z-[a-z0-9-]{1,40}-[0-9a-f]{4}")


class JournalError(ResultsError):
    """A journal cannot be created, or holds something that it was not written with."""


def new_run_id(machine_name: str, now: datetime) -> str:
    """Returns a fresh id that sorts by time and is safe as a folder's name: `20261123T125900Z-machine-1a2b`."""
    if now.tzinfo is None:
        raise ValueError(f"now is {now.isoformat()}, without a time zone; use datetime.now(UTC)")
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{slug(machine_name)}-{os.urandom(2).hex()}"


def last_night() -> date:
    """Returns the last UTC day on which a run can have begun: tomorrow, since clocks differ by less than a day."""
    return datetime.now(UTC).date() + timedelta(days=1)


def is_ahead(run_id: str) -> bool:
    """Returns whether a run's id says that it began after tomorrow: the clock of its machine was wrong, or ours is."""
    return run_id[:8] > f"{last_night():%Y%m%d}"


class Journal:
    """The journal of a run that is being written; `Journal.create` opens it.

    Each method returns when its line is on disk. One that raises, or is interrupted, may leave its line or a part
    of it at the end of the file; the next one removes that first, so a line in the middle is always whole. Where the
    disk is full no method raises: lines are kept in memory, and each further one, and `close`, tries to write them all.
    """

    def __init__(self, folder: Path, descriptor: int) -> None:
        """Goes on with the journal in `folder`, open for appending, that holds the header and nothing else."""
        self.folder = folder
        self.run_id = folder.name
        self.logs = folder / "logs"
        self._descriptor: int | None = descriptor
        self.on_no_room: Callable[[str], None] = lambda text: None
        """Is told once, in a line, that the disk is full, and once that nothing is missing any more."""
        self._next = _Next(1, os.fstat(descriptor).st_size)
        self._planned: set[tuple[object, ...]] | None = None
        self._with_row: set[tuple[object, ...]] = set()
        self._ended = False

    @classmethod
    def create(cls, results_dir: Path, run_id: str, header: Mapping[str, object]) -> Self:
        """Returns the journal of a new run, whose folder and header are on disk.

        `header` holds machine (what `describe_machine` returns), versions, options and started_utc. Raises
        JournalError where the folder cannot be written or the run exists, ValueError for a wrong id or header.
        """
        if not RUN_ID.fullmatch(run_id):
            raise ValueError(f"run_id is {run_id!r}; expected what new_run_id returns")
        if missing := [key for key in HEADER_KEYS if key not in header]:
            raise ValueError(f"the header of a run lacks {missing}; expected {', '.join(HEADER_KEYS)}")
        machine = header["machine"]
        if not isinstance(machine, Mapping) or not {"name", "machine_id"} <= set(machine):
            raise ValueError(f"machine is {machine!r}; expected what describe_machine returns")
        line = encode_line(0, "run", {**header, "journal_format": JOURNAL_FORMAT, "run_id": run_id})
        folder = results_dir / run_id
        try:
            results_dir.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
            (folder / "logs").mkdir()
            # Renamed into place, so that a folder with a journal always has a header.
            write_atomic(folder / JOURNAL_NAME, line)
            sync_folder(results_dir)
            descriptor = os.open(folder / JOURNAL_NAME, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
        except FileExistsError as error:
            raise JournalError(f"{error.filename} exists; choose another results folder or run id") from error
        except OSError as error:
            raise JournalError(
                f"cannot write results into {results_dir} ({error.strerror}); choose a folder that can be written"
            ) from error
        return cls(folder, descriptor)

    @classmethod
    def reopen(
        cls, folder: Path, lines: int, size: int, planned: Iterable[tuple[object, ...]], with_row: Iterable[Any]
    ) -> Self:
        """Returns the journal of a run that goes on behind its first `lines` lines of `size` bytes in all.

        `planned` and `with_row` are the cells (`cell_of`) of its plan and of its rows. Raises JournalError.
        """
        try:
            descriptor = os.open(folder / JOURNAL_NAME, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise JournalError(f"cannot go on with {folder / JOURNAL_NAME}: {error.strerror}") from error
        if os.fstat(descriptor).st_size == size - 1:  # the last line is whole but for its end
            os.write(descriptor, b"\n")
        journal = cls(folder, descriptor)
        journal._next = _Next(lines, size)
        journal._planned, journal._with_row = set(planned), set(with_row)
        journal._append("resume", {"started_utc": datetime.now(UTC).isoformat(timespec="seconds")})
        return journal

    def plan(self, cells: Iterable[Mapping[str, object]], services: Iterable[Mapping[str, object]] = ()) -> None:
        """Writes what the run means to measure; each without a row at the end becomes a `not_run` row.

        A cell has the columns of `CELL_COLUMNS`, and may have more of a row's (not its status); so has a service.
        """
        if self._planned is not None:
            raise ValueError("the run has a plan; a journal holds one")
        bodies = [dict(cell) for cell in cells]
        planned = {cell_of(not_run_row(body, "planned", "killed")) for body in bodies}
        if len(planned) < len(bodies):
            raise ValueError(f"the plan has {len(bodies)} cells, {len(planned)} of them different; plan each once")
        asked = [dict(service) for service in services if not_run_service(service, "planned")]
        self._append("plan", {"cells": bodies} | ({"services": asked} if asked else {}))
        self._planned = planned

    def launch(self, record: Mapping[str, object]) -> None:
        """Writes a launch record: anything that JSON can hold, without NaN and infinities."""
        self._append("launch", dict(record))

    def round(self, record: Mapping[str, object]) -> None:
        """Writes what a cell gave in a round: anything that JSON can hold."""
        self._append("round", dict(record))

    def row(self, row: Mapping[str, object]) -> None:
        """Writes the row of a cell: what `make_row` returned, of this run, the only one of its cell."""
        checked = self._of_this_run(make_row(**row))
        cell = cell_of(checked)
        if self._planned is not None and cell not in self._planned:
            raise ValueError(f"no such cell is in the plan: {describe_cell(checked)}")
        if cell in self._with_row:
            raise ValueError(f"the cell has a row already: {describe_cell(checked)}")
        self._append("row", checked)
        self._with_row.add(cell)

    def service(self, row: Mapping[str, object]) -> None:
        """Writes the row of a service of this run."""
        self._append("service", self._of_this_run(make_service_row(**row)))

    def _of_this_run(self, row: Row) -> Row:
        if row["run_id"] != self.run_id:
            raise ValueError(f"the row is of run {row['run_id']!r}; this journal is of {self.run_id!r}")
        return row

    def end(self, reason: str, reason_code: str | None = None) -> None:
        """Writes why the run ended; `reason_code` (interrupted, first_failure) where it ended before its plan."""
        if reason_code is not None and reason_code not in REASON_CODES:
            raise ValueError(f"unknown reason_code {reason_code!r}; known: {', '.join(REASON_CODES)}")
        self._append("end", {"reason_code": reason_code, "reason": reason})
        self._ended = True

    @property
    def problem(self) -> str | None:
        """What is not on disk and why not, in a line; None where everything is."""
        count, where = len(self._next.waiting), self.folder / JOURNAL_NAME
        return f"{where}: no room for its last {count} lines; they are in memory only" if count else None

    def content(self) -> bytes:
        """Returns all lines, also those that are in memory only. Raises OSError."""
        with (self.folder / JOURNAL_NAME).open("rb") as file:
            return file.read(self._next.size) + b"".join(self._next.waiting)

    def close(self) -> None:
        """Closes the file. A journal that was closed without an end reads as that of a killed run."""
        if self._descriptor is not None:
            self._next = _written(self._descriptor, self._next)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, kind: str, body: Mapping[str, object]) -> None:
        if self._descriptor is None or self._ended:
            state = "ended" if self._ended else "closed"
            raise ValueError(f"the journal of {self.run_id} is {state}; nothing more can be written")
        before = self._next
        line = encode_line(before.seq, kind, body)
        self._next = _written(self._descriptor, _Next(before.seq + 1, before.size, (*before.waiting, line)))
        if self._next.waiting and not before.waiting:
            self.on_no_room(
                f"no room for {self.folder / JOURNAL_NAME}: what comes from here on is in memory only until there is"
            )
        elif before.waiting and not self._next.waiting:
            self.on_no_room(f"{self.folder / JOURNAL_NAME} is whole again: there is room")


@dataclass(frozen=True)
class _Next:
    """Where a journal goes on: the number of its next line, how many bytes are on disk, and which lines are not."""

    seq: int
    size: int
    waiting: tuple[bytes, ...] = ()


def _written(descriptor: int, journal: _Next) -> _Next:
    """Writes the lines that wait as far as there is room, and returns what is left; raises OSError otherwise."""
    size, count = journal.size, 0
    try:
        if os.fstat(descriptor).st_size != size:
            os.ftruncate(descriptor, size)
        for line in journal.waiting:
            if os.write(descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            size, count = size + len(line), count + 1
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        if count == len(journal.waiting):  # there was no room only when it went to the disk
            size, count = journal.size, 0
        with suppress(OSError):
            os.ftruncate(descriptor, size)
    return _Next(journal.seq, size, journal.waiting[count:])


def not_run_row(cell: Mapping[str, object], reason: str, reason_code: str | None) -> Row:
    """Returns the row of a planned cell that the run did not come to; raises where the cell is not one."""
    missing = [name for name in CELL_COLUMNS if name not in cell and name not in DEFAULTS]
    if missing:
        raise ValueError(f"a planned cell lacks {missing}; expected at least {', '.join(CELL_COLUMNS)}")
    # A run of before some dimension was in the list planned all of its cells at that one's default.
    return make_row(
        **{**DEFAULTS, **cell, "status": "not_run", "stage": "plan", "reason": reason, "reason_code": reason_code}
    )


def encode_line(seq: int, kind: str, body: Mapping[str, object]) -> bytes:
    """Returns the line with its checksum and its end. Raises TypeError or ValueError for what JSON cannot hold."""
    try:
        text = json.dumps({"seq": seq, "kind": kind, "body": body}, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"the {kind} line cannot be written as JSON ({error}); give finite numbers, text, lists and dicts"
        ) from error
    checked = text[1:].encode("ascii")
    return b'{"crc":"%08x",%s\n' % (binascii.crc32(checked), checked)


def decode_line(line: bytes) -> tuple[int, str, dict[str, Any]]:
    """Returns seq, kind and body of a line without its end. Raises ValueError for what `encode_line` did not write."""
    parts = re.fullmatch(rb'\{"crc":"([0-9a-f]{8})",(.*)', line, re.DOTALL)
    if parts is None:
        raise ValueError("it does not begin with the checksum of a journal's line")
    if int(parts[1], 16) != binascii.crc32(parts[2]):
        raise ValueError("its checksum does not match")
    try:
        entry = json.loads(line)
        seq, kind, body = entry["seq"], entry["kind"], entry["body"]
    except KeyError as error:
        raise ValueError(f"it lacks {error}") from error
    except RecursionError as error:  # a checksum says nothing of who made it
        raise ValueError("it is nested more deeply than any journal's line") from error
    if not isinstance(body, dict):
        raise ValueError(f"its body is a {type(body).__name__}; expected an object")
    return seq, kind, body
