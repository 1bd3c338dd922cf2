"""A CSV of rows as common tools write it: compressed, in UTF-16, with another separator, with a column of an index.

What can be meant in one way only is read. `results.record.csvfile` writes one form alone: RFC 4180 in UTF-8.
"""

import bz2
import csv
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any

from results.record.dimensions import IN_EVERY_ROW
from results.record.files import ResultsError
from results.record.schema import Column
from results.record.text import shortened

REQUIRED = ("row_format", *IN_EVERY_ROW, "status")
"""The columns without which a CSV is none of ours."""
SEPARATORS = ",;\t|"
SUFFIXES = (".csv", ".tsv")
INDEX = re.compile(r"|Unnamed: [0-9]+(_level_[0-9]+)?|index|level_[0-9]+")
"""Names of a column that pandas makes of its row numbers; a spreadsheet has columns without any name."""
MISSING = frozenset({"NA", "N/A", "#N/A", "<NA>", "NULL", "null", "None", "\\N", "NaT"})
"""How tools write that there is no value, beside nothing at all."""
BOOLEANS = {"true": True, "t": True, "1": True, "1.0": True, "false": False, "f": False, "0": False, "0.0": False}
EXACT_FLOAT = 2**53
"""Beyond it not every integer is a float: what a tool wrote as 4.6e18 was another number before."""
MOST_BYTES = 2**31
"""Of a decompressed file: more than any run writes, and less than fills a machine's memory."""
HEADER_BYTES = 65_536
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_INTEGER = re.compile(r"[-+]?[0-9]{1,19}")
_THOUSANDS = re.compile(r"[-+]?[0-9]{1,3}(,[0-9]{3})+")
_COMPRESSED: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_ZIP = b"PK\x03\x04"
_UNREADABLE = {
    b"PAR1": "Parquet: write it as CSV (pandas: frame.to_csv(FILE, index=False))",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: decompress it first (zstd -d FILE)",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save it as CSV in UTF-8",
}


def plain_bytes(path: Path) -> bytes:
    """Returns the content of the file, decompressed where it is gzip, bzip2, xz or a zip with one file of results.

    Raises ResultsError where it cannot be read, with what to do.
    """
    try:
        content = path.read_bytes()
        for magic, opened in _COMPRESSED.items():
            if content.startswith(magic):
                with opened(io.BytesIO(content)) as file:
                    return _limited(file, path)
        if content.startswith(_ZIP):
            with zipfile.ZipFile(io.BytesIO(content)) as archive, archive.open(_member(archive, path)) as file:
                return _limited(file, path)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError) as error:
        raise ResultsError(f"cannot read {path}: {error}") from error
    for magic, advice in _UNREADABLE.items():
        if content.startswith(magic):
            raise ResultsError(f"{path} is {advice}")
    return content


def first_bytes(path: Path) -> bytes:
    """Returns the beginning of the file, in which a header is; all of one that is compressed. Raises ResultsError."""
    try:
        with path.open("rb") as file:
            content = file.read(HEADER_BYTES)
    except OSError as error:
        raise ResultsError(f"cannot read {path}: {error}") from error
    return plain_bytes(path) if content.startswith((*_COMPRESSED, *_UNREADABLE, _ZIP)) else content


def _limited(file: IO[bytes], path: Path) -> bytes:
    content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ResultsError(f"{path} is more than {MOST_BYTES} bytes once it is decompressed; that is no file of a run")
    return content


def _member(archive: zipfile.ZipFile, path: Path) -> str:
    """Returns which file of the archive holds the results: its only journal, its only CSV, or its only file."""
    names = [name for name in archive.namelist() if not name.endswith("/")]
    if "xl/workbook.xml" in names:
        raise ResultsError(f"{path} is an Excel workbook; save it as CSV in UTF-8")
    for suffixes in ("journal.jsonl",), SUFFIXES, ("",):
        fitting = [name for name in names if name.lower().endswith(suffixes)]
        if len(fitting) == 1:
            return fitting[0]
    raise ResultsError(f"{path} holds {len(names)} files ({', '.join(names[:5])} …); unpack it, and name one, or all")


def is_csv(path: Path, content: bytes) -> bool:
    """Returns whether the file is to be read as a CSV: by its name, or because it begins with a header of ours."""
    if not {suffix.lower() for suffix in path.suffixes}.isdisjoint(SUFFIXES):
        return True
    try:
        separator_of(decoded(content[:HEADER_BYTES], errors="ignore"))
    except ValueError:
        return False
    return True


def decoded(content: bytes, errors: str = "strict") -> str:
    """Returns the text of a file in UTF-8, or in UTF-16 with a byte order mark. Raises ValueError."""
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return content.decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not text in UTF-8 ({error}); save it as CSV in UTF-8") from error


def reader_of(text: str) -> tuple[Any, list[str]]:
    """Returns what reads the records behind the header, and the header. Raises ValueError where there is none of ours.

    A first line `sep=;` is for Excel.
    """
    separator, spaced = separator_of(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=spaced)
    header = next(reader)
    if _is_hint(header, separator):
        header = next(reader)
    return reader, [name.strip() for name in header]


def separator_of(text: str) -> tuple[str, bool]:
    """Returns the separator, and whether a space follows it. Raises ValueError where no header of ours begins the text.

    Names of columns hold no separator, so only the right one makes the columns that every file of ours has.
    """
    lines = text[:HEADER_BYTES].lstrip("\ufeff").splitlines()[:2]
    for separator in SEPARATORS:
        for line in lines[1:] if lines and lines[0].startswith("sep=") else lines[:1]:
            for names in csv.reader([line], delimiter=separator, skipinitialspace=True):
                if all(name in [one.strip() for one in names] for name in REQUIRED):
                    return separator, f"{separator} " in line
    raise ValueError(f"this is no CSV of samestep; expected a header with {', '.join(REQUIRED)}")


def _is_hint(cells: Sequence[str], separator: str) -> bool:
    return separator.join(cells).startswith("sep=")


class Values:
    """How the cells of one file are to be read: what in it stands for no value, and which sign is the decimal point."""

    def __init__(self, columns: Sequence[Column], records: Iterable[Sequence[str]], separator: str) -> None:
        """Raises ValueError where numbers can be meant in two ways."""
        numbers = {
            cell.strip()
            for cells in records
            for column, cell in zip(columns, cells, strict=True)
            if column.kind != "text" and cell
        }
        self.missing = MISSING & numbers
        commas = {number for number in numbers if "," in number}
        self.has_decimal_comma = bool(commas) and separator != ","
        if self.has_decimal_comma and (dotted := next((number for number in sorted(numbers) if "." in number), None)):
            raise ValueError(f"{min(commas)!r} and {dotted!r}: is the decimal sign a comma or a point? write one alone")
        if self.has_decimal_comma and all(_THOUSANDS.fullmatch(number) for number in commas):
            raise ValueError(f"{min(commas)!r} may have a decimal comma or thousands; write numbers with a point")

    def value(self, column: Column, cell: str) -> object:
        """Returns the value of a cell that is no text, None for no value. Raises ValueError."""
        text = cell.strip(" ")
        if text in self.missing or not text:
            return None
        if self.has_decimal_comma:
            text = text.replace(",", ".")
        if column.kind == "boolean":
            if text.lower() in BOOLEANS:
                return BOOLEANS[text.lower()]
            raise ValueError(f"{column.name} is {shortened(cell, 80)!r}; expected true or false")
        if column.kind == "number":
            if _NUMBER.fullmatch(text):
                return float(text)
            raise ValueError(f"{column.name} is {shortened(cell, 80)!r}; expected a number")
        if _INTEGER.fullmatch(text):
            return int(text)
        if not _NUMBER.fullmatch(text) or not float(text).is_integer():
            raise ValueError(f"{column.name} is {shortened(cell, 80)!r}; expected an integer")
        if abs(float(text)) > EXACT_FLOAT:
            raise ValueError(
                f"{column.name} is {shortened(cell, 80)!r}; expected an integer: one so large has lost digits on its"
                " way through a number with a point, so take it from the file before"
            )
        return int(float(text))
