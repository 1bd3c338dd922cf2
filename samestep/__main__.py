"""`samestep COMMAND …`: measures, says what can run here, and reads what was measured; from any folder."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from types import ModuleType
from typing import TYPE_CHECKING

from samestep import __version__
from samestep._rooms import ROOT, import_ours, put_ours_first

if TYPE_CHECKING:
    import pytest

MAINS = {"service": "bench.serving.command", "check-model": "bench.check_model"}
"""Commands with a file of their own that reads their words."""
CUT_SHORT = 141
"""128 + SIGPIPE, as of any tool whose reader left. pytest's own command ends with 1 then."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status; 2 after saying what is wrong where it is no command."""
    words = [*(sys.argv[1:] if arguments is None else arguments)]
    put_ours_first()
    try:
        status = _command(words)
        sys.stdout.flush()
    except BrokenPipeError:
        # What is left in the buffer is written at exit, and would fail there again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1 if words[:1] == ["run"] else CUT_SHORT
    return status


def _command(words: Sequence[str]) -> int:
    command = words[0] if words else None
    if command == "run":
        return run(words[1:])
    if command == "backends":
        return list_backends(words[1:], "samestep backends")
    if command in MAINS:
        done: int = import_ours(MAINS[command]).main(words[1:], f"samestep {command}")
        return done
    results = import_ours("results.__main__")
    parser, commands = _parser(results)
    if command in ("-h", "--help", "--version"):
        parser.parse_args([command])  # which ends the process with 0
    if command is None:
        parser.print_help(sys.stderr)
        return 2
    if command not in commands:
        near = "".join(f"; did you mean {name}?" for name in get_close_matches(command, commands, 1))
        print(f"samestep: unknown command {command!r}; known: {', '.join(commands)}{near}", file=sys.stderr)
        return 2
    status: int = results.main(words, "samestep")
    return status


def _parser(results: ModuleType) -> tuple[argparse.ArgumentParser, list[str]]:
    """Returns the parser of the whole line, which knows every command, and the commands."""
    parser = argparse.ArgumentParser(
        prog="samestep", description=__doc__, epilog="`samestep COMMAND --help` says more of each."
    )
    parser.add_argument("--version", action="version", version=f"samestep {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND")
    commands.add_parser("run", help="verify and time cells: `pytest bench/`, with its options and pytest's own")
    commands.add_parser("backends", help="which backends exist, which can run here, and why not the others")
    commands.add_parser("check-model", help="on which backends a model of yours will run, and why not on others")
    commands.add_parser("service", help="time to first token and per token of an OpenAI-compatible endpoint")
    results.add_commands(commands)
    return parser, [*commands.choices]


def run(words: Sequence[str]) -> int:
    """Runs `pytest bench/` of this checkout with the words as its options; returns pytest's exit status.

    Paths in the words are of the current folder. The wiring is given to pytest as a plugin, so that our options are
    known before it looks for the conftest.py of what may be a path: in `--workloads mlp` the folder `mlp` is none.
    """
    import pytest

    where = ["--config-file", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), "--noconftest"]
    return int(pytest.main([*where, str(ROOT / "bench"), *words], plugins=[import_ours("conftest"), _Named()]))


class _Named:
    """A plugin by which pytest's usage line says how it was called."""

    def pytest_addoption(self, parser: pytest.Parser) -> None:
        parser.prog = "samestep run"


def list_backends(words: Sequence[str], prog: str) -> int:
    """Prints every adapter, or those named; with `--check` starts each usable one. Returns 1 where one is broken."""
    listing = import_ours("backends._listing")
    status: int = listing.main(words, prog, lambda name: import_ours("bench.check").check(name))
    return status


if __name__ == "__main__":
    sys.exit(main())
