"""Makes the output in docs/walk-through.md anew: `python -m tests.walk_through`; a test says when it is stale.

A block that begins with `$ samestep …` is run, and what it prints stands below it; of a block of `>>>` lines
each prints what it is worth. Everything is run from the checkout's own folder, 120 characters wide.
"""

from __future__ import annotations

import code
import contextlib
import io
import os
import re
import shlex
from pathlib import Path

from results.__main__ import main as results

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "walk-through.md"
BLOCK = re.compile(r"^```\n(\$ .*?|>>> .*?)^```$", re.MULTILINE | re.DOTALL)


def renewed(text: str) -> str:
    """Returns the page with every block's output made anew. Raises RuntimeError for a command that fails."""
    before, columns = Path.cwd(), os.environ.get("COLUMNS")
    os.chdir(ROOT)
    os.environ["COLUMNS"] = "120"
    names: dict[str, object] = {}
    try:
        return BLOCK.sub(lambda found: f"```\n{_run(found[1], names)}```", text)
    finally:
        os.chdir(before)
        os.environ.pop("COLUMNS")
        if columns is not None:
            os.environ["COLUMNS"] = columns


def _run(block: str, names: dict[str, object]) -> str:
    if block.startswith("$ "):
        line = block.partition("\n")[0]
        return f"{line}\n{_command(shlex.split(line.removeprefix('$ ')))}"
    return "".join(f">>> {line}\n{_expression(line, names)}" for line in re.findall(r"^>>> (.*)$", block, re.MULTILINE))


def _command(words: list[str]) -> str:
    if words[0] != "samestep":
        raise RuntimeError(f"cannot run {words}; expected samestep …")
    with contextlib.redirect_stdout(io.StringIO()) as told, contextlib.redirect_stderr(io.StringIO()) as complaints:
        status = results(words[1:], "samestep")
    if status == 2:
        raise RuntimeError(f"{' '.join(words)}: {complaints.getvalue()}")
    return told.getvalue()


def _expression(line: str, names: dict[str, object]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as told:
        console = code.InteractiveConsole(names)
        if console.push(line):
            raise RuntimeError(f"{line!r} is not a whole statement")
    return told.getvalue()


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
    print(f"{PAGE} was made anew")
