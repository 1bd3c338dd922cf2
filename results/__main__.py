"""python -m results COMMAND: what comes of runs that are on disk. Each command is added by the module of its name."""

import argparse
import sys
from collections.abc import Sequence

from results import cli_compare, cli_cost, cli_export, cli_history, cli_plot, cli_report, cli_run
from results.cli import Found
from results.files import ResultsError

COMMANDS = (cli_run, cli_compare, cli_history, cli_cost, cli_plot, cli_report, cli_export)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, 1 where `--fail-on` found what it names, or 2 after saying what is wrong."""
    options = _parser().parse_args(arguments)
    # A reason can hold any character, and a terminal may not.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    try:
        print(options.made_by(options))
    except Found as found:
        print(found)
        return 1
    except (ResultsError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m results", description="Tables of what was measured.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in COMMANDS:
        module.add_commands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
