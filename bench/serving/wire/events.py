"""Server-sent events of a body: what each holds, and when its last byte was there.

Source of the form: the HTML standard, section "Server-sent events". Comments (`: ping`) are no events.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
LINE_END = re.compile(r"\r\n|\n|\r")
DONE = "[DONE]"


class NoEvent(ValueError):
    """What stands between two blank lines is no event of such a stream; says what it is."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event: when it was there, and its data; `is_done` is `[DONE]`, which has none."""

    at_s: float
    data: dict[str, object]
    is_done: bool = False


def events_of(pieces: Sequence[tuple[float, bytes]], *, is_whole: bool) -> Iterator[Event]:
    """Yields the events of a body that came in `pieces`, each with the time of the piece that held its end.

    Where the body is whole, what stands after the last blank line is an event, too: some servers leave the last blank
    line out. Where it is not, that is a part of an event, and left out. Raises NoEvent.
    """
    body = b"".join(piece for _, piece in pieces)
    ends = list(accumulate(len(piece) for _, piece in pieces))
    start = 3 if body.startswith(b"\xef\xbb\xbf") else 0
    for blank in BLANK_LINE.finditer(body):
        if (event := _event(pieces[bisect_left(ends, blank.end())][0], body[start : blank.start()])) is not None:
            yield event
        start = blank.end()
    if is_whole and body[start:].strip() and (event := _event(pieces[-1][0], body[start:])) is not None:
        yield event


def _event(at_s: float, raw: bytes) -> Event | None:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise NoEvent("an event is not UTF-8") from None
    name, data = _fields(text)
    if data is None:
        return None
    if data.strip() == DONE:
        return Event(at_s, {}, is_done=True)
    try:
        held = json.loads(data)
    except (ValueError, RecursionError):  # also of more digits, or deeper in itself, than Python reads
        held = {"error": data} if name == "error" else None
    if not isinstance(held, dict):
        raise NoEvent(f"an event is no JSON object: {data[:80]!r}")
    if name == "error" and "error" not in held:
        held = {"error": held}
    return Event(at_s, held)


def _fields(text: str) -> tuple[str, str | None]:
    """Returns an event's name and its data; the lines of the data are one text, None where there are none."""
    if text.startswith("data:") and "\n" not in text and "\r" not in text:
        return "", text[5:]
    name, lines = "", []
    for line in LINE_END.split(text):
        field, _, value = line.partition(":")
        if field == "data":
            lines.append(value.removeprefix(" "))
        elif field == "event":
            name = value.strip()
    return name, "\n".join(lines) if lines else None
