"""What a run left behind: its journal read back, with a row for every cell that it planned."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.record.files import ResultsError
from results.record.journal import (
    HEADER_KEYS,
    JOURNAL_NAME,
    READABLE_FORMATS,
    RUN_ID,
    Journal,
    JournalError,
    decode_line,
    is_ahead,
    not_run_row,
)
from results.record.limits import with_limits
from results.record.row import Row, cell_of, describe_cell, make_row
from results.record.services.row import key_of, make_service_row, not_run_service
from results.record.vocabulary import REASON_CODES


@dataclass(frozen=True)
class Run:
    """One run: `rows` in the order in which they were written, then a `not_run` row per planned cell without one, each
    beside its limits.

    `end_reason` is None where the journal has no end line: the run was killed. `problems` says what was forgiven.
    """

    path: Path
    header: dict[str, Any]
    rows: tuple[Row, ...]
    launches: tuple[dict[str, Any], ...]
    end_reason: str | None
    problems: tuple[str, ...]
    whole_lines: int = 0
    whole_bytes: int = 0
    """How much of the journal is whole: where a run that goes on begins to write."""
    rounds: tuple[dict[str, Any], ...] = ()
    """What each cell gave in each round, also in those that were left out."""
    services: tuple[Row, ...] = ()
    """The rows of services (`results.record.services`), which are in no table of verified numbers."""

    @property
    def finished(self) -> tuple[Row, ...]:
        """The rows of the cells that were run to their end."""
        return tuple(row for row in self.rows if row["status"] != "not_run")

    def go_on(self) -> Journal:
        """Returns the run's journal, to be written behind what is whole of it. Raises JournalError."""
        folder = self.path if self.path.is_dir() else self.path.parent
        planned = (cell_of(row) for row in self.rows)
        return Journal.reopen(folder, self.whole_lines, self.whole_bytes, planned, map(cell_of, self.finished))


def read_run(path: Path) -> Run:
    """Returns the run of a run folder or of a journal file.

    A last line that was torn (it lacks its end) is left out and noted in `problems`; anything else that `Journal`
    would not have written raises JournalError with the file and the line.
    """
    journal = path / JOURNAL_NAME if path.is_dir() else path
    try:
        content = journal.read_bytes()
    except OSError as error:
        raise JournalError(f"cannot read {journal} ({error.strerror}); give a run's folder or journal") from error
    return parse_run(content, path)


def run_so_far(journal: Journal) -> Run:
    """Returns the run of a journal that is being written, with what the disk has no room for. Raises JournalError."""
    return parse_run(journal.content(), journal.folder)


def parse_run(content: bytes, path: Path) -> Run:
    """Returns the run of a journal's content; `path` is what messages name. Raises as `read_run`."""
    journal = path / JOURNAL_NAME if path.is_dir() else path
    *lines, last = content.split(b"\n")
    problems = []
    if last:
        if _is_whole(last):
            lines.append(last)
        else:
            problems.append(f"{journal}, line {len(lines) + 1}: torn, and left out; the run ended while writing it")
    if not lines:
        raise JournalError(f"{journal}, line 1: no whole line; it is no journal, or its run ended before it began")
    contents = _Contents()
    for number, line in enumerate(lines, start=1):
        try:
            seq, kind, body = decode_line(line)
            if seq != number - 1:
                raise ValueError(f"its seq is {seq!r}, expected {number - 1}: a line was lost or is there twice")
            contents.add(kind, body)
        except KeyError as error:
            raise JournalError(f"{journal}, line {number}: it lacks {error}") from error
        except (ValueError, TypeError) as error:
            raise JournalError(f"{journal}, line {number}: {error}") from error
    missing = contents.not_run()
    if missing and contents.end is not None and contents.end["reason_code"] is None:
        problems.append(f"{journal}: the run ended by itself, and {len(missing)} planned cells have no row")
    return Run(
        path=path,
        header=contents.header,
        rows=with_limits((*contents.rows.values(), *missing)),
        launches=tuple(contents.launches),
        end_reason=None if contents.end is None else contents.end["reason"],
        problems=tuple(problems),
        whole_lines=len(lines),
        whole_bytes=sum(len(line) + 1 for line in lines),
        rounds=tuple(contents.rounds),
        services=contents.all_services(),
    )


def find_runs(results_dir: Path) -> tuple[Path, ...]:
    """Returns the folders of the runs in a results folder, the oldest first."""
    if not results_dir.is_dir():
        raise ResultsError(f"{results_dir} is no folder; expected the results folder of some runs")
    runs = (folder for folder in results_dir.iterdir() if RUN_ID.fullmatch(folder.name))
    return tuple(sorted(folder for folder in runs if (folder / JOURNAL_NAME).is_file()))


def latest_run(results_dir: Path) -> Path:
    """Returns the folder of the newest run in a results folder; raises ResultsError where there is none.

    One that is dated after tomorrow was begun under a wrong clock, and is the newest only where all are.
    """
    runs = find_runs(results_dir) if results_dir.exists() else ()
    if not runs:
        raise ResultsError(f"no run in {results_dir}; run `samestep run` first, or name a run")
    return next((run for run in reversed(runs) if not is_ahead(run.name)), runs[-1])


class _Contents:
    """What the lines read so far say, each checked against those before it."""

    def __init__(self) -> None:
        self.header: dict[str, Any] = {}
        self.planned: dict[tuple[object, ...], Mapping[str, object]] | None = None
        self.rows: dict[tuple[object, ...], Row] = {}
        self.launches: list[dict[str, Any]] = []
        self.rounds: list[dict[str, Any]] = []
        self.services_planned: list[dict[str, Any]] = []
        self.services: dict[tuple[object, ...], Row] = {}
        self.end: dict[str, Any] | None = None

    def add(self, kind: str, body: dict[str, Any]) -> None:
        if (kind == "run") == bool(self.header):
            raise ValueError(f"its kind is {kind!r}; expected `run` in the first line and only there")
        if self.end is not None and kind != "resume":
            raise ValueError(f"its kind is {kind!r}; expected nothing but `resume` after `end`")
        if kind == "run":
            self._add_header(body)
        elif kind == "plan":
            self._add_plan(body)
        elif kind in ("launch", "round"):
            self._add_launch(body, self.launches if kind == "launch" else self.rounds)
        elif kind == "row":
            self._add_row(body)
        elif kind == "service":
            self._add_service(body)
        elif kind == "end":
            self._add_end(body)
        elif kind == "resume":
            self.end = None
        else:
            raise ValueError(f"unknown kind {kind!r}; expected run, plan, round, launch, row, service, end or resume")

    def _add_header(self, body: dict[str, Any]) -> None:
        written = body["journal_format"]
        if written not in READABLE_FORMATS:
            raise ValueError(
                f"it is of journal format {written!r}, and this samestep reads {', '.join(map(str, READABLE_FORMATS))};"
                " update samestep, or read the results.csv beside it"
            )
        missing = [key for key in (*HEADER_KEYS, "run_id") if key not in body]
        if missing:
            raise ValueError(f"the header lacks {missing}")
        for key in ("machine", "versions", "options"):
            if not isinstance(body[key], dict):
                raise ValueError(f"{key} is {body[key]!r}; expected an object")
        # A row of the run is made once here: what no row could hold is the fault of the header and not of the plan.
        make_row(**_of_run(body), workload="any", phase="infer", backend="any", status="not_run", reason="any")
        self.header = body

    def _add_plan(self, body: dict[str, Any]) -> None:
        if self.planned is not None:
            raise ValueError("it is a second plan; expected one")
        self.planned = {}
        for cell in body["cells"]:
            row = not_run_row({**_of_run(self.header), **cell}, "planned", "killed")
            self._check_run(row)
            self.planned[cell_of(row)] = cell
        self.services_planned = body.get("services", [])
        for service in self.services_planned:
            self._check_run(not_run_service(service, "planned"))

    def _add_launch(self, body: dict[str, Any], records: list[dict[str, Any]]) -> None:
        if any(isinstance(part, list | dict) for part in cell_of(body)):
            raise ValueError(f"a launch of {describe_cell(body)}; expected text and numbers")
        records.append(body)

    def _add_row(self, body: dict[str, Any]) -> None:
        row = make_row(**body)
        self._check_run(row)
        if self.planned is not None and cell_of(row) not in self.planned:
            raise ValueError(f"the row's cell was not planned: {describe_cell(row)}")
        if cell_of(row) in self.rows:
            raise ValueError(f"the cell has a row already: {describe_cell(row)}")
        self.rows[cell_of(row)] = row

    def _add_service(self, body: dict[str, Any]) -> None:
        row = make_service_row(**body)
        self._check_run(row)
        if key_of(row) in self.services:
            raise ValueError(f"the service has a row already: {row['service']}, {row['model']}, {row['scenario']}")
        self.services[key_of(row)] = row

    def all_services(self) -> tuple[Row, ...]:
        """Returns the rows of services, those that were planned and not measured last."""
        reason = "the run was killed before it came to this service"
        if self.end is not None:
            reason = f"the run ended first: {self.end['reason']}"
        left = [one for one in self.services_planned if key_of(one) not in self.services]
        return (*self.services.values(), *(not_run_service(one, reason) for one in left))

    def _check_run(self, row: Row) -> None:
        if row["run_id"] != self.header["run_id"]:
            raise ValueError(f"the row is of run {row['run_id']!r}; expected {self.header['run_id']!r}")

    def _add_end(self, body: dict[str, Any]) -> None:
        reason, reason_code = body["reason"], body["reason_code"]
        if not isinstance(reason, str) or not isinstance(reason_code, str | None):
            raise ValueError(f"reason is {reason!r} and reason_code {reason_code!r}; expected text")
        if reason_code is not None and reason_code not in REASON_CODES:
            raise ValueError(f"unknown reason_code {reason_code!r}; known: {', '.join(REASON_CODES)}")
        self.end = {"reason_code": reason_code, "reason": reason}

    def not_run(self) -> tuple[Row, ...]:
        """Returns the rows of the planned cells that have none."""
        reason, reason_code = "the run was killed before it came to this cell", "killed"
        if self.end is not None:
            reason, reason_code = f"the run ended first: {self.end['reason']}", self.end["reason_code"]
        return tuple(
            not_run_row({**_of_run(self.header), **cell}, reason, reason_code)
            for key, cell in (self.planned or {}).items()
            if key not in self.rows
        )


def is_counted(launch: Mapping[str, Any]) -> bool:
    """Returns whether a launch's numbers enter its row: it was verified and timed, and not disturbed beyond belief."""
    columns = launch.get("columns")  # journals of format 1 have none
    quality = columns.get("quality") if isinstance(columns, dict) else None
    return launch.get("status") == "ok" and quality != "invalid"


def _of_run(header: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the columns that all rows of the run share."""
    machine = header["machine"]
    return {
        "run_id": header["run_id"],
        "machine": machine.get("name"),
        "machine_id": machine.get("machine_id"),
        "installation_id": machine.get("installation_id"),
        "started_utc": header["started_utc"],
    }


def _is_whole(line: bytes) -> bool:
    try:
        decode_line(line)
    except ValueError:
        return False
    return True
