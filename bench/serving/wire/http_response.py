"""An HTTP/1.1 response as it comes: each read kept with its time, parsed no further than to know where it ends."""

from __future__ import annotations

import re
from collections.abc import Callable

MOST_HEAD_BYTES = 65_536
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")
STATUS_LINE = re.compile(rb"HTTP/1\.([01]) (\d{3})(?: .*)?")


class Malformed(Exception):
    """What came is no HTTP/1.1 response; says what was got and what was expected."""


class Response:
    """One response, fed as it comes. Source of the form: RFC 9112.

    `pieces` are the bytes of the body with the time at which each came; framing is taken off. `end_s` is when the last
    byte came, or when waiting for it ended; `error` is empty where the body came whole, else why it did not.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        """By their names in lower case; of one that came twice, the last."""
        self.pieces: list[tuple[float, bytes]] = []
        self.is_whole = False
        self.end_s = 0.0
        self.error = ""
        self.detail = ""
        self._take: Callable[[float, bytes], None] = self._take_head
        self._held = b""
        self._left = 0
        self._part = "size"
        self._minor = b"1"
        self._ends_with_connection = False
        self._has_more = False

    @property
    def body(self) -> bytes:
        """The body, as far as it came."""
        return b"".join(piece for _, piece in self.pieces)

    @property
    def can_be_followed(self) -> bool:
        """Whether another request may be sent on the same connection."""
        choice = self.headers.get("connection", "").lower()
        kept = "close" not in choice and (self._minor == b"1" or "keep-alive" in choice)
        return self.is_whole and kept and not self._ends_with_connection and not self._has_more

    def feed(self, at_s: float, data: bytes) -> None:
        """Takes what was read at `at_s`. Raises Malformed."""
        if data:
            self._take(at_s, data)

    def end_of_connection(self) -> bool:
        """Says that no more comes, and returns whether that is how this body ends."""
        self.is_whole = self.is_whole or self._ends_with_connection
        return self.is_whole

    def _take_head(self, at_s: float, data: bytes) -> None:
        self._held += data
        head, blank, rest = self._held.partition(b"\r\n\r\n")
        if not blank:
            if len(self._held) > MOST_HEAD_BYTES:
                raise Malformed(f"no end of the headers within {MOST_HEAD_BYTES} bytes")
            return
        first, *lines = head.split(b"\r\n")
        matched = STATUS_LINE.fullmatch(first)
        if matched is None:
            raise Malformed("the answer does not begin as HTTP/1.1 does")
        self._held, self._minor, status = b"", matched[1], int(matched[2])
        if status < 200:  # 100 Continue, 103 Early Hints: the response itself follows
            self._again(at_s, rest)
            return
        self.status = status
        for line in lines:
            name, _, value = line.partition(b":")
            self.headers[name.decode("latin-1").strip().lower()] = value.decode("latin-1").strip()
        self._begin_body()
        self._again(at_s, rest)

    def _begin_body(self) -> None:
        length = self.headers.get("content-length", "")
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            self._take = self._take_chunks
        elif self.status in (204, 304) or length == "0":
            self._take, self.is_whole = self._take_excess, True
        elif length:
            if not length.isdecimal():
                raise Malformed("content-length is no number")
            self._take, self._left = self._take_length, int(length)
        else:
            self._take, self._ends_with_connection = self._take_all, True

    def _take_all(self, at_s: float, data: bytes) -> None:
        self.pieces.append((at_s, data))

    def _take_length(self, at_s: float, data: bytes) -> None:
        piece = data[: self._left]
        self.pieces.append((at_s, piece))
        self._left -= len(piece)
        if not self._left:
            self._finish(data[len(piece) :])

    def _take_chunks(self, at_s: float, data: bytes) -> None:
        if self._held:
            data, self._held = self._held + data, b""
        start = 0
        while True:
            if self._left:
                piece = data[start : start + self._left]
                if piece:
                    self.pieces.append((at_s, piece))
                    self._left -= len(piece)
                    start += len(piece)
                if self._left:
                    return
            end = data.find(b"\r\n", start)
            if end < 0:
                self._held = data[start:]
                if len(self._held) > MOST_HEAD_BYTES:
                    raise Malformed("a chunk's size line without an end")
                return
            line, start = data[start:end], end + 2
            if self._part == "size":
                self._begin_chunk(line)
            elif self._part == "close":
                if line:
                    raise Malformed("a chunk is longer than its size says")
                self._part = "size"
            elif not line:  # of the trailer, the last line
                self._finish(data[start:])
                return

    def _begin_chunk(self, line: bytes) -> None:
        matched = CHUNK_SIZE.fullmatch(line)
        if matched is None:
            raise Malformed("a chunk does not begin with its size")
        self._left = int(matched[1], 16)
        self._part = "close" if self._left else "trailer"

    def _take_excess(self, at_s: float, data: bytes) -> None:
        self._has_more = self._has_more or bool(data)

    def _finish(self, rest: bytes) -> None:
        self.is_whole = True
        self._take = self._take_excess
        self._has_more = bool(rest)

    def _again(self, at_s: float, rest: bytes) -> None:
        if rest:
            self._take(at_s, rest)
