"""samestep import: result files of other tools as rows of services, marked as theirs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from results.cli.common import save, width
from results.record.services.csvfile import services_csv
from results.record.services.imports import READERS, read_foreign


def add_commands(commands: Any) -> None:
    """Adds the command to a parser's subparsers."""
    parser = commands.add_parser("import", help="results of aiperf, guidellm and vllm bench in the table of services")
    parser.set_defaults(made_by=_import)
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path, help=f"{', '.join(READERS)}")
    parser.add_argument(
        "--csv", metavar="FILE", type=Path, help="also write the rows, for `samestep table RUN FILE` and the others"
    )


def _import(options: argparse.Namespace) -> str:
    """Returns the table of the files' rows, after writing them."""
    rows = [row for path in options.files for row in read_foreign(path)]
    if options.csv is not None:
        save(options.csv, services_csv(rows), options)

    from results.show.services.text import services_text

    return services_text(rows, width())
