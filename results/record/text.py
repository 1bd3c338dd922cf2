"""Text that a CSV, a terminal and a spreadsheet can all hold without being changed or run."""

import codecs
import re
import unicodedata

TEXT_LIMIT = 32_767
"""Characters in a cell of a spreadsheet."""
LINE_END = "\r\n"
"""Of CSV (RFC 4180, section 2)."""

FORMULA_SIGNS = "=+-@\t\r" + "＝＋－＠" + "﹦﹢﹣﹫⁼₌⁺₊﬩⩵⩶"
"""What begins a formula in a spreadsheet (ASVS 1.2.10, CWE-1236). The full-width ones do in a Japanese Excel
(OWASP/www-community issue 1088) and in Numbers, which normalises (adaltas/node-csv pull request 387); the last are what
NFKC makes such a sign."""
# The leading apostrophes are there so that `restore` can tell text that `protect` changed from text that began with
# an apostrophe itself.
_FORMULA = re.compile(rf"'*\s*[{re.escape(FORMULA_SIGNS)}]")
_PROTECTED = re.compile(rf"'+\s*[{re.escape(FORMULA_SIGNS)}]")
_DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


GLYPHS = {
    "µ": "u",
    "μ": "u",
    "×": "x",
    "·": "*",
    "…": "...",
    "–": "-",
    "—": "-",
    "−": "-",
    "─": "-",
    "━": "-",
    "→": "->",
    "≤": "<=",
    "≥": ">=",
    "±": "+/-",
    "‖": "||",
    "⟨": "<",
    "⟩": ">",
    "√": "sqrt",
    "Σ": "sum",
    "ρ": "rho",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
}
"""What stands for a sign that a terminal does not have. Letters with an accent lose it; what is left is a `?`."""
DEGRADE = "samestep.degrade"
"""The name of `printable`'s way of writing, as `errors` of a stream."""


def printable(text: str, encoding: str | None) -> str:
    """Returns the text as a terminal or file of this encoding can have it: `3 us` for `3 µs` in ASCII.

    None, of a stream that does not say, stands for UTF-8.
    """
    return text.encode(encoding or "utf-8", errors=DEGRADE).decode(encoding or "utf-8")


def _degrade(error: UnicodeError) -> tuple[str, int]:
    """Returns what to write for what an encoding does not have (`codecs.register_error`)."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    if character in GLYPHS:
        return GLYPHS[character]
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode("ascii") or "?"


codecs.register_error(DEGRADE, _degrade)


def one_line(text: str) -> str:
    """Returns the text as one printable line of valid UTF-8.

    Line ends and tabs become a space, other control characters go (NUL, terminal escapes, what turns the direction of
    text), and what is no character in UTF-8 becomes a question mark.
    """
    spaced = re.sub("[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+", " ", text)
    printable = _DIRECTIONS.sub("", re.sub("[\x00-\x1f\x7f-\x9f]", "", spaced))
    return printable.encode("utf-8", errors="replace").decode("utf-8")


def directions_written_out(text: str) -> str:
    r"""Returns the text with the characters that turn its direction as `\u202e`: they make it read as it is not.

    They are those of Unicode's annex 9 (section 2): embeddings, overrides, isolates and marks. Letters keep theirs.
    """
    return _DIRECTIONS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def shortened(text: str, limit: int) -> str:
    """Returns the text, or its beginning and a mark that says how long it was, in at most `limit` characters."""
    if len(text) <= limit:
        return text
    mark = f" … ({len(text)} characters in all)"
    return text[: limit - len(mark)] + mark


def protect(text: str) -> str:
    """Returns the text with an apostrophe in front where a spreadsheet would take it for a formula."""
    return "'" + text if _FORMULA.match(text) else text


def csv_cell(value: object) -> str:
    """Returns the value as a cell of a CSV: empty for None, and a number as the shortest text that reads back as it."""
    if value is None:
        return ""
    if isinstance(value, str):
        return protect(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def restore(text: str) -> str:
    """Returns the text that `protect` was given."""
    return text[1:] if _PROTECTED.match(text) else text


def slug(name: str) -> str:
    """Returns the name in at most 40 of [a-z0-9-], safe as a part of a folder's name; `machine` if nothing is left."""
    return re.sub("[^a-z0-9]+", "-", name.lower())[:40].strip("-") or "machine"
