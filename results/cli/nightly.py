"""samestep nightly: runs gathered into a store, the report of a night, and its regressions in an issue.

`scripts/nightly` calls it, measures, and keeps the store; its head says what comes from the environment.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

from results.cli.common import raise_unwritten
from results.cli.history import FAIL_ON

WIDE = "200"
"""Columns of a report's tables: an alarm's id is in one piece."""


def add_commands(commands: Any) -> None:
    """Adds the command to a parser's subparsers, whose other commands `report` calls."""
    parser = commands.add_parser("nightly", help="what scripts/nightly does with a store: gather, report, issue")
    parts = parser.add_subparsers(required=True, metavar="PART")
    gathering = parts.add_parser("gather", help="copy new runs from folders into STORE/runs/YYYY-MM/")
    gathering.set_defaults(made_by=_gather)
    gathering.add_argument("store", metavar="STORE", type=Path)
    gathering.add_argument("sources", metavar="FROM", type=Path, nargs="+")
    reporting = parts.add_parser("report", help="the page, CSVs, history and exports of the night, into OUT")
    reporting.set_defaults(made_by=partial(_report, commands.choices))
    reporting.add_argument("store", metavar="STORE", type=Path)
    reporting.add_argument("out", metavar="OUT", type=Path, help="a new folder, an empty one, or an earlier report's")
    saying = parts.add_parser("issue", help="say confirmed regressions in an issue on GitHub, each once")
    saying.set_defaults(made_by=_issue)
    saying.add_argument("out", metavar="OUT", type=Path, help="what `report` left")


def say(text: str) -> None:
    """Prints a line for whoever watches: never a part of what a command returns."""
    print(f"nightly: {text}", file=sys.stderr)


def _gather(options: argparse.Namespace) -> str:
    from results.nights.gather import gather

    done = gather(options.store, options.sources, settled_minutes(os.environ), say)
    say(f"{done.added} runs were added to {options.store}; {done.present} were there already")
    return ""


def _report(commands: Mapping[str, argparse.ArgumentParser], options: argparse.Namespace) -> str:
    from results.cli.nightly_report import Report, make_report

    def call(command: str, *arguments: str) -> str:
        asked = commands[command].parse_args(arguments)
        text: str = asked.made_by(asked)
        raise_unwritten(asked)
        return text

    wanted = Report(options.store, options.out, **report_settings(os.environ))
    with _columns(WIDE):
        return make_report(wanted, call, say)


def _issue(options: argparse.Namespace) -> str:
    from results.nights.issue import issue

    issue(options.out, say)
    return ""


def settled_minutes(environment: Mapping[str, str]) -> float:
    """Returns SAMESTEP_SETTLED_MINUTES, 60 by default. Raises ValueError for what is no number of minutes."""
    text = environment.get("SAMESTEP_SETTLED_MINUTES") or "60"
    if not text.isdecimal():
        raise ValueError(f"SAMESTEP_SETTLED_MINUTES is {text!r}; expected minutes, 0 or more")
    return float(text)


def report_settings(environment: Mapping[str, str]) -> dict[str, Any]:
    """Returns night, fail_on and link of a report, as the environment has them. Raises ValueError for other words."""
    text = environment.get("SAMESTEP_NIGHT") or f"{datetime.now(UTC):%Y-%m-%d}"
    try:
        night = date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"SAMESTEP_NIGHT is {text!r}; expected YYYY-MM-DD") from error
    fail_on = environment.get("SAMESTEP_FAIL_ON") or "new"
    if fail_on not in FAIL_ON:
        raise ValueError(f"SAMESTEP_FAIL_ON is {fail_on!r}; expected {' or '.join(FAIL_ON)}")
    return {"night": night, "fail_on": fail_on, "link": environment.get("SAMESTEP_LINK") or None}


@contextmanager
def _columns(columns: str) -> Iterator[None]:
    """Makes tables so wide, as a terminal's COLUMNS would, for as long as it is open."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = columns
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
