"""The commands that read runs on disk: `samestep COMMAND`; in a checkout `python -m results COMMAND` is the same.

Each command is added by the module of its name.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from results.cli import compare as cli_compare
from results.cli import cost as cli_cost
from results.cli import export as cli_export
from results.cli import history as cli_history
from results.cli import imports as cli_imports
from results.cli import nightly as cli_nightly
from results.cli import plot as cli_plot
from results.cli import report as cli_report
from results.cli import run as cli_run
from results.cli.common import FailOnMet, raise_unwritten
from results.record.files import ResultsError
from results.record.text import DEGRADE

CUT_SHORT = 141
"""128 + SIGPIPE, as of any tool whose reader left: the text was cut, which is neither success nor a regression."""
CURE = "pip install -e '.[reports]'"
COMMANDS = (cli_run, cli_compare, cli_history, cli_cost, cli_plot, cli_report, cli_export, cli_imports, cli_nightly)


def main(arguments: Sequence[str] | None = None, prog: str = "python -m results") -> int:
    """Runs the command; returns 0, or 1 where the results hold what `--fail-on` names, and nowhere else.

    2 after saying what is wrong, with a traceback where that is a bug of ours; 141 where the reader of its output left.
    """
    for stream in (sys.stdout, sys.stderr):  # a reason can hold any character, and a terminal may not
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=DEGRADE)
    options = _parser(prog).parse_args(arguments)
    try:
        text, status = _run(options)
        if text:
            _show(text)
        raise_unwritten(options)
    except BrokenPipeError:
        return CUT_SHORT
    except (ResultsError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Exception:  # noqa: BLE001 - printed in full; Python would end with 1, which means a regression
        traceback.print_exc()
        return 2
    return status


def _show(text: str) -> None:
    """Prints the text. Raises OSError where it cannot be written: its reader left, or the disk is full."""
    try:
        print(text, flush=True)
    except OSError:
        # What is left in the buffer is written at exit, and would fail there again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _run(options: argparse.Namespace) -> tuple[str, int]:
    """Returns what the command says, and the exit status. Raises ResultsError where a library is not installed."""
    try:
        return options.made_by(options), 0
    except FailOnMet as met:
        return str(met), 1
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "results":  # a fault of ours
            raise
        cure = "" if CURE in str(error) else f"; the commands that read runs need it: {CURE}"
        raise ResultsError(f"{error}{cure}") from error


def add_commands(commands: Any) -> None:
    """Adds every command to a parser's subparsers."""
    for module in COMMANDS:
        module.add_commands(commands)


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description="Tables of what was measured.")
    add_commands(parser.add_subparsers(required=True, metavar="COMMAND"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
