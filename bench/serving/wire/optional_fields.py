"""Fields of a request that not every server takes: how they are sent, and which of them a refusal names.

Names are those of the request; a dot leads into one: `stream_options.include_usage`. Who takes which differs: vLLM
refuses no field, transformers' server answers 422 to `ignore_eos`, and ignores `stream_options`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

ECHOES = ("input", "ctx", "body", "url")
"""What FastAPI's refusals repeat of the request: a field that is named there is not what is wrong."""
COMPLAINTS = re.compile(
    r"unrecognized|unexpected|unknown|unsupported|not supported|not permitted|not allowed|extra", re.I
)


def nested(fields: Mapping[str, object]) -> dict[str, object]:
    """Returns the fields as the request has them: `{"a.b": 1}` is `{"a": {"b": 1}}`."""
    request: dict[str, object] = {}
    for name, value in fields.items():
        *outer, last = name.split(".")
        inside = request
        for part in outer:
            inner = inside.setdefault(part, {})
            if not isinstance(inner, dict):
                raise ValueError(f"the field {name!r} is within {part!r}, which has a value of its own")
            inside = inner
        inside[last] = value
    return request


def named_in(refusal: bytes, fields: Mapping[str, object]) -> tuple[str, ...]:
    """Returns which of the fields the body of a 400 or 422 names, in their order.

    A name with an underscore counts wherever it stands as a word. One without (`stop`, `seed`, `user`) is a word of
    the language too: it counts in quotes, or where the refusal complains of what it does not know. Where an outer name
    stands alone, all within it are meant.
    """
    text = _without_echoes(refusal)
    inner = [name for name in fields if _names(text, name.rpartition(".")[2])]
    outer_of_named = {name.partition(".")[0] for name in inner}
    return tuple(
        name
        for name in fields
        if name in inner
        or ("." in name and name.partition(".")[0] not in outer_of_named and _names(text, name.partition(".")[0]))
    )


def _names(text: str, name: str) -> bool:
    word = re.escape(name)
    if "_" in name or COMPLAINTS.search(text):
        return re.search(rf"(?<!\w){word}(?!\w)", text) is not None
    return re.search(rf"""(["'`]){word}\\?\1""", text) is not None


def _without_echoes(refusal: bytes) -> str:
    text = refusal.decode(errors="replace")
    try:
        return json.dumps(_cut(json.loads(text)), ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _cut(held: object) -> object:
    if isinstance(held, dict):
        return {key: _cut(value) for key, value in held.items() if key not in ECHOES}
    return [_cut(value) for value in held] if isinstance(held, list) else held
