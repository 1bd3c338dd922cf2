"""The key of a service: from the environment alone, into the request alone."""

from __future__ import annotations

import json
import os

SEEN_PART = 8
"""As many characters of a key in a row give it away; services themselves show fewer of it in what they say."""


class Key:
    """What an environment variable holds, empty where it is not set; no text of this object shows it.

    Raises ValueError where it holds what no header may.
    """

    __slots__ = ("_value", "_variable")

    def __init__(self, variable: str) -> None:
        self._variable = variable
        self._value = os.environ.get(variable, "").strip()
        if not (self._value.isascii() and self._value.isprintable()):
            raise ValueError(f"the environment variable {variable} holds characters that no header may hold")

    def __repr__(self) -> str:
        return f"Key({self._variable!r}, {'set' if self._value else 'not set'})"

    def __reduce__(self) -> str:
        raise TypeError("a key is not written down")

    def header(self) -> bytes:
        """Returns the line of the request's head that carries the key, nothing where there is none."""
        return f"Authorization: Bearer {self._value}\r\n".encode() if self._value else b""

    def hidden(self, text: str) -> str:
        """Returns `text` with `***` for the key and for parts of it, which servers repeat in what they say."""
        for form in {self._value, json.dumps(self._value)[1:-1]} - {""}:
            text = text.replace(form, "***")
        for start in range(len(self._value) - SEEN_PART + 1):
            text = text.replace(self._value[start : start + SEEN_PART], "***")
        return text
