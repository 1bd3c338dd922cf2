"""What a server says of each token that it generated: its log-probability, which token it is, what else was likely.

Forms: OpenAI's completions (`tokens`, `token_logprobs`, `top_logprobs`), OpenAI's chat (`content`), which llama.cpp
uses for both, with an `id` in each entry. vLLM writes tokens as `token_id:17` where it is asked to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite

LEAST = -1000.0
"""Of a likely token: servers write -9999.0 for what is impossible, as JSON has no infinity."""
NONE = -1e6
"""Stands for what is no number, so that it equals no reference."""


@dataclass(frozen=True)
class Told:
    """One generated token: its natural log-probability; None is what is not told.

    `top` are the log-probabilities of the likeliest ones by id, `likely` the same from the largest on, where nobody
    says whose they are, too.
    """

    logprob: float
    token_id: int | None = None
    top: Mapping[int, float] = field(default_factory=dict)
    likely: tuple[float, ...] = ()


def told_of(chunks: Iterable[object], token_ids: Sequence[int] | None) -> tuple[Told, ...]:
    """Returns what the log-probabilities of an answer's chunks say, token by token; nothing where they say nothing.

    `token_ids` are the answer's own, where the server tells those of each chunk.
    """
    told = [one for chunk in chunks if isinstance(chunk, dict) for one in _entries(chunk)]
    if token_ids is None or len(token_ids) != len(told):
        return tuple(told)
    return tuple(replace(one, token_id=token_id) for one, token_id in zip(told, token_ids, strict=True))


def _entries(held: Mapping[str, object]) -> list[Told]:
    content = held.get("content")
    if isinstance(content, list):
        return [told for entry in content if (told := _of_entry(entry)) is not None]
    tokens, logprobs, tops = (held.get(name) for name in ("tokens", "token_logprobs", "top_logprobs"))
    if not (isinstance(tokens, list) and isinstance(logprobs, list) and len(tokens) == len(logprobs)):
        return []
    likely = tops if isinstance(tops, list) and len(tops) == len(tokens) else [None] * len(tokens)
    return [
        _told(token, logprob, [*top.items()] if isinstance(top, dict) else [])
        for token, logprob, top in zip(tokens, logprobs, likely, strict=True)
        if isinstance(logprob, int | float)
    ]


def _of_entry(entry: object) -> Told | None:
    if not isinstance(entry, dict) or not isinstance(logprob := entry.get("logprob"), int | float):
        return None
    tops = entry.get("top_logprobs")
    likely = [one for one in tops if isinstance(one, dict)] if isinstance(tops, list) else []
    return _told(_name(entry), logprob, [(_name(one), one.get("logprob")) for one in likely])


def _name(entry: Mapping[str, object]) -> object:
    return entry["id"] if isinstance(entry.get("id"), int) else entry.get("token")


def _told(token: object, logprob: float, likely: Sequence[tuple[object, object]]) -> Told:
    known = [(_id(name), _finite(value)) for name, value in likely if isinstance(value, int | float)]
    possible = [(token_id, value) for token_id, value in known if value > LEAST or value == NONE]
    top = {token_id: value for token_id, value in possible if token_id is not None}
    return Told(_finite(logprob), _id(token), top, tuple(sorted((value for _, value in possible), reverse=True)))


def _finite(logprob: float) -> float:
    return float(logprob) if isfinite(logprob) else NONE


def _id(token: object) -> int | None:
    if isinstance(token, int):
        return token
    found = re.fullmatch(r"token_id:(\d+)", token) if isinstance(token, str) else None
    return None if found is None else int(found[1])
