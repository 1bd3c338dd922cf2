"""Confirmed regressions in an issue on GitHub, each reported once: its text, and the calls of `gh` that write it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path

from results.nights.alarms import is_named
from results.record.files import ResultsError

LABEL = "samestep-nightly"
HISTORY_BYTES, IDS_BYTES = 20_000, 40_000
"""GitHub takes 65,536 characters: this much of the history and of the ids leaves some for the words."""
OPEN_ALARMS, REGRESSIONS, ISSUE = "open-alarms.txt", "regressions.md", "issue.md"


def issue(report: Path, say: Callable[[str], None]) -> None:
    """Writes the open alarms of a report that no issue names yet into the open issue with our label, or a new one.

    Raises ResultsError where the folder holds no report, or `gh` fails.
    """
    try:
        alarms = (report / OPEN_ALARMS).read_text("utf-8").split()
    except FileNotFoundError as error:
        raise ResultsError(f"{report} holds no report; expected what 'scripts/nightly report' left") from error
    if not alarms:
        return say("no open regression: no issue")
    texts = gh("issue", "list", "--state", "all", "--label", LABEL, "--limit", "100", "--json", "body,comments",
               "--jq", ".[] | .body, .comments[].body")  # fmt: skip
    new = [alarm for alarm in alarms if not is_named(alarm, texts)]
    if not new:
        return say("every open regression is in an issue already")
    # New ones come first, so that what does not fit today is new tomorrow, and fits then.
    body = (report / REGRESSIONS).read_text("utf-8") + hidden([*new, *alarms])
    (report / ISSUE).write_text(body, "utf-8")
    gh("label", "create", LABEL, "--force", "--description", "Confirmed by scripts/nightly")
    number = gh("issue", "list", "--state", "open", "--label", LABEL, "--limit", "1", "--json", "number",
                "--jq", ".[].number").strip()  # fmt: skip
    if number:
        return say(gh("issue", "comment", number, "--body-file", str(report / ISSUE)).strip())
    created = gh("issue", "create", "--title", "Confirmed regressions", "--label", LABEL,
                 "--body-file", str(report / ISSUE))  # fmt: skip
    return say(created.strip())


def gh(*arguments: str) -> str:
    """Returns what GitHub's command line prints. Raises ResultsError where it fails, or is not installed."""
    try:
        done = subprocess.run(["gh", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ResultsError("`gh`, which writes issues, is not installed: https://cli.github.com") from error
    if done.returncode:
        raise ResultsError(f"gh {' '.join(arguments[:2])} ended with status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def regressions(history: str, night: date, link: str | None) -> str:
    """Returns the issue's text as Markdown: the history of the night, in a block that nothing in it can end."""
    source = f", from {link}" if link else ""
    return (
        f"Regressions that are confirmed and open in the night {night}{source}.\n\n"
        f"{quoted(history)}\n\n"
        "To accept one, add a line `alarm_id,day,by,note` to `acknowledged.csv` of the store (docs/nightly.md).\n"
    )


def quoted(text: str) -> str:
    """Returns the first lines of the text as an indented block of Markdown, and how many more there are."""
    lines = text.rstrip("\n").replace("\r", " ").split("\n")
    fitting = _fitting((f"    {line}" if line else "" for line in lines), HISTORY_BYTES)
    left = len(lines) - len(fitting)
    more = f"\n\n{left} lines more are in `history.txt` of the report." if left else ""
    return "\n".join(fitting) + more


def hidden(alarms: Sequence[str]) -> str:
    """Returns each alarm's id once, as a comment of Markdown that `issue` finds again, as many as fit."""
    ids = list(dict.fromkeys(alarms))
    fitting = _fitting(ids, IDS_BYTES)
    left = len(ids) - len(fitting)
    more = f"\n{left} alarms more are in `{OPEN_ALARMS}` of the report.\n" if left else ""
    return f"\n<!-- alarms: {' '.join(fitting)} -->\n{more}"


def _fitting(lines: Iterable[str], most_bytes: int) -> list[str]:
    """Returns the first lines that fit into so many bytes with their ends."""
    fitting, size = [], 0
    for line in lines:
        size += len(line.encode()) + 1
        if size > most_bytes:
            break
        fitting.append(line)
    return fitting
