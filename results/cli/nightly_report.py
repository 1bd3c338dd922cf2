"""The report of a night: the output of the other commands about it, in one folder."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path

from results.cli.common import FailOnMet
from results.nights.issue import ISSUE, OPEN_ALARMS, REGRESSIONS, regressions
from results.record.files import ResultsError
from results.record.read import run_folders

Call = Callable[..., str]
"""Another command of `samestep`, by its name and its arguments: returns what it prints, or raises."""
MARK = "night.txt"
"""Says that a folder is a report's, and of which night."""
MADE = (
    *("csv", "export", "report.html", "tables.txt", "history.txt", "history.csv", "history.json", "history.md"),
    *("new-alarms.txt", OPEN_ALARMS, REGRESSIONS, ISSUE),
)
"""What a report leaves, by name; anything else in its folder is somebody's own."""
FORMATS = ("github-action-benchmark-smaller", "github-action-benchmark-bigger", "bencher", "pytest-benchmark")


@dataclass(frozen=True)
class Report:
    """What to report of a store, and where: `fail_on` is `new` or `open`, `link` where it is made, for the issue."""

    store: Path
    out: Path
    night: date
    fail_on: str = "new"
    link: str | None = None


def make_report(wanted: Report, call: Call, say: Callable[[str], None]) -> str:
    """Writes the page, CSVs, history and exports of the night, and returns the history's text.

    Raises FailOnMet, with that text, where a regression was confirmed, also when something else failed after it; any
    other error where there is no report: the folder then has its mark alone.
    """
    if not wanted.store.is_dir():
        raise ResultsError(f"{wanted.store} is no folder; expected a store")
    _take(wanted)
    try:
        text, is_bad = _history(wanted, call, say)
    except BaseException:  # Ctrl-C too must not leave half a report; it is raised again
        _clean(wanted.out)
        raise
    made = _page(wanted, call, say)
    _tables(wanted, call, say)
    if is_bad:
        raise FailOnMet(text)
    if not made:
        raise ResultsError(f"the page could not be made; the rest of the report is in {wanted.out}")
    return text


def _take(wanted: Report) -> None:
    """Makes the folder ours from here on, which its mark says, and leaves nothing of an earlier night in it."""
    out, store = wanted.out.resolve(), wanted.store.resolve()
    if out.is_relative_to(store):
        raise ResultsError(f"{wanted.out} is the store {wanted.store}, or in it; expected a folder elsewhere")
    if out.is_dir() and any(out.iterdir()) and not _is_ours(out):
        raise ResultsError(
            f"{wanted.out} holds what no report left (it has no {MARK}); expected a new folder, an empty one, or a"
            " report's"
        )
    out.mkdir(parents=True, exist_ok=True)
    _clean(out)
    (out / MARK).write_text(f"{wanted.night}\n", "utf-8")


def _is_ours(out: Path) -> bool:
    mark = out / MARK
    return mark.is_file() and re.search(r"^\d{4}-\d{2}-\d{2}$", mark.read_text("utf-8"), re.MULTILINE) is not None


def _clean(out: Path) -> None:
    for name in MADE:
        if (out / name).is_dir():
            shutil.rmtree(out / name)
        else:
            (out / name).unlink(missing_ok=True)


def _history(wanted: Report, call: Call, say: Callable[[str], None]) -> tuple[str, bool]:
    """Returns the history's text, and whether it says what to fail on; leaves its files and the ids of its alarms."""
    out = wanted.out
    (out / "csv").mkdir(exist_ok=True)
    if find_spec("duckdb") is not None:
        say(call("pack", str(wanted.store)))
    # --until, here and for the page: a night on which nobody ran is a night too, and all machines were away.
    files = [
        f"--{form}={out / f'history.{end}'}" for form, end in (("csv", "csv"), ("json", "json"), ("markdown", "md"))
    ]
    options = ("--until", str(wanted.night), "--fail-on", wanted.fail_on, *files)
    try:
        text, is_bad = call("history", str(wanted.store), *options), False
    except FailOnMet as met:
        text, is_bad = str(met), True
    (out / "history.txt").write_text(f"{text}\n", "utf-8")
    alarms = [alarm for alarm in json.loads((out / "history.json").read_text("utf-8")) if alarm["is_open"]]
    new = [alarm["alarm_id"] for alarm in alarms if alarm["is_new"]]
    ids = {"new": new, "open": [alarm["alarm_id"] for alarm in alarms]}
    for name, some in ids.items():
        (out / f"{name}-alarms.txt").write_text("".join(f"{one}\n" for one in some), "utf-8")
    if is_bad and not ids[wanted.fail_on]:
        raise ResultsError(f"the history of {wanted.store} says that there is a regression, and names none")
    if ids["open"]:
        (out / REGRESSIONS).write_text(regressions(text, wanted.night, wanted.link), "utf-8")
    return text, is_bad


def _page(wanted: Report, call: Call, say: Callable[[str], None]) -> bool:
    """Makes the page; returns whether it could be made."""
    out = wanted.out
    options = ("--until", str(wanted.night), "--output", str(out / "report.html"), "--csv-dir", str(out / "csv"))
    return bool(_attempt(call, say, "report", str(wanted.store), *options))


def _tables(wanted: Report, call: Call, say: Callable[[str], None]) -> None:
    """Writes the tables of the night, of it beside each machine's night before, of its machines, and the exports."""
    out, (tonight, before) = wanted.out, _runs(wanted)
    for run in tonight.values():
        _export(run, out / "export" / run.name, call)
    blocks = list(_blocks(tonight, before, out / "csv", call, say))
    if blocks:
        (out / "tables.txt").write_text("\n".join([*blocks, ""]), "utf-8")
    say(f"{len(tonight)} machines ran in the night {wanted.night}; the report is in {out}")


def _runs(wanted: Report) -> tuple[dict[str, Path], dict[str, Path]]:
    """Returns each machine's last run of the night, and its last one before: names of runs sort by time."""
    tonight: dict[str, Path] = {}
    before: dict[str, Path] = {}
    for run in run_folders(wanted.store):
        day, machine = run.name[:8], run.name[17:-5]
        if day == f"{wanted.night:%Y%m%d}":
            tonight[machine] = run
        elif day < f"{wanted.night:%Y%m%d}":
            before[machine] = run
    return tonight, before


def _export(run: Path, folder: Path, call: Call) -> None:
    """Writes the run for other tools; what a format cannot say, and which cells have no number for it, is beside it."""
    folder.mkdir(parents=True)
    notes = io.StringIO()

    def note(text: str) -> None:
        notes.write(f"{text}\n")

    with redirect_stderr(notes):
        for form in FORMATS:
            text = _attempt(call, note, "export", str(run), "--format", form, "--output", str(folder / f"{form}.json"))
            notes.write(f"{text or ''}\n")
    (folder / "notes.txt").write_text(notes.getvalue(), "utf-8")


def _blocks(
    tonight: dict[str, Path], before: dict[str, Path], csv: Path, call: Call, say: Callable[[str], None]
) -> Iterator[str]:
    runs = [str(run) for run in tonight.values()]
    wanted = [("table", *runs, "--csv", str(csv / "tonight.csv"))] if runs else []
    for machine, run in tonight.items():
        if machine in before:
            file = csv / f"compare-nights-{machine}.csv"
            wanted.append(("compare", str(before[machine]), str(run), "--csv", str(file)))
    if len(runs) > 1:
        wanted.append(("compare", "--runs", *runs, "--by", "machine", "--csv", str(csv / "compare-machines.csv")))
    for command in wanted:
        if (text := _attempt(call, say, *command)) is not None:
            yield text


def _attempt(call: Call, say: Callable[[str], None], command: str, *arguments: str) -> str | None:
    """Returns what a command prints; None, after saying why, where it fails: the report is made without it."""
    try:
        return call(command, *arguments)
    except Exception as error:  # noqa: BLE001 - a report of which a part fails is still one
        say(f"left out: samestep {command}: {type(error).__name__}: {error}")
        return None
