"""How many tokens an answer has and each of its chunks held: counted by what the server tells, in one order of rules.

The order is that of `COUNTED_BY`: token ids, differences of usage between events, entries of logprobs, usage at the
end. A number of events is never a number of tokens (a server holds bytes of unfinished characters back, and puts
several tokens in one), nor is text tokenised again (15 spaces may be one token).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.serving.answer import Chunk

TEXTS = ("content", "reasoning_content", "reasoning", "refusal")
"""Where a chat's delta holds generated text."""
CALLS = ("tool_calls", "function_call")
"""Where it holds a call."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one event tells of the output. `usage` is usage.completion_tokens; None is what it does not tell."""

    at_s: float
    text: str = ""
    has_choices: bool = False
    has_call: bool = False
    token_ids: tuple[int, ...] | None = None
    logprobs: int | None = None
    usage: int | None = None
    prompt_tokens: int | None = None
    finish_reason: str = ""
    told: object = None
    """The log-probabilities as they came."""
    prompt_ids: tuple[int, ...] | None = None
    """The prompt as the server read it, where it says so."""

    @property
    def has_output(self) -> bool:
        """Whether it carries text, reasoning, a call or token ids: a role, or nothing, is none."""
        return bool(self.text or self.has_call or self.token_ids)


@dataclass(frozen=True)
class Counted:
    """The chunks with output, how many tokens they are together, by which rule, and what was odd (`NOTES`)."""

    chunks: tuple[Chunk, ...]
    tokens: int | None
    counted_by: str
    notes: tuple[str, ...] = ()


def piece_of(at_s: float, data: Mapping[str, object]) -> Piece:
    """Returns what an event of `/v1/completions` or `/v1/chat/completions` tells; of several choices, of the first."""
    choices, usage = data.get("choices"), data.get("usage")
    completion_tokens = prompt_tokens = None
    if isinstance(usage, dict):
        completion_tokens, prompt_tokens = _int(usage.get("completion_tokens")), _int(usage.get("prompt_tokens"))
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return Piece(at_s, usage=completion_tokens, prompt_tokens=prompt_tokens, prompt_ids=_prompt_ids(data))
    delta = choice.get("delta")
    texts = [choice.get("text")] if not isinstance(delta, dict) else [delta.get(name) for name in TEXTS]
    ids = choice.get("token_ids")
    return Piece(
        at_s,
        "".join([text for text in texts if isinstance(text, str)]),
        True,
        isinstance(delta, dict) and any(delta.get(name) for name in CALLS),
        tuple(ids) if isinstance(ids, list) else None,
        _entries(choice.get("logprobs")),
        completion_tokens,
        prompt_tokens,
        str(choice.get("finish_reason") or ""),
        choice.get("logprobs"),
        _prompt_ids(data) or _prompt_ids(choice),
    )


def counted(pieces: Sequence[Piece]) -> Counted:
    """Returns the count by the first rule of `COUNTED_BY` that can be applied to the whole of the answer."""
    outputs = [piece for piece in pieces if piece.has_output]
    notes = set()
    by_ids = _of_all(outputs, [None if piece.token_ids is None else len(piece.token_ids) for piece in outputs])
    by_logprobs = _of_all(outputs, [piece.logprobs for piece in outputs])
    if by_ids is None and any(piece.token_ids for piece in outputs):
        notes.add("token_ids_partial")
    at_end, says = _usage_at_end(pieces)
    notes |= says
    for other in (by_ids, by_logprobs):
        if other is not None and at_end is not None and at_end != sum(other):
            notes.add("usage_disagrees")
    if by_ids is not None and by_logprobs is not None and sum(by_ids) != sum(by_logprobs):
        notes.add("logprobs_disagree")

    if by_ids is not None:
        return _told(_chunks(outputs, by_ids), sum(by_ids), "token_ids", notes)
    if (raises := _raises(pieces)) is not None:
        chunks = tuple(
            Chunk(piece.at_s, more)
            for piece, more in zip(pieces, raises, strict=True)
            if piece.has_output or (more and piece.has_choices)
        )
        total = sum(raises)
        if total != sum(chunk.tokens or 0 for chunk in chunks):
            notes.add("tokens_beyond_chunks")
        return _told(chunks, total, "usage_per_event", notes)
    if by_logprobs is not None:
        return _told(_chunks(outputs, by_logprobs), sum(by_logprobs), "logprobs", notes)
    chunks = tuple(Chunk(piece.at_s) for piece in outputs)
    if at_end is None:
        return _told(chunks, None, "unknown", notes)
    return _told(chunks, at_end, "usage", notes | ({"first_chunk_unknown"} if chunks else set()))


def _told(chunks: tuple[Chunk, ...], tokens: int | None, counted_by: str, notes: set[str]) -> Counted:
    return Counted(chunks, tokens, counted_by, tuple(sorted(notes)))


def _chunks(outputs: Sequence[Piece], tokens: Sequence[int]) -> tuple[Chunk, ...]:
    return tuple(Chunk(piece.at_s, held) for piece, held in zip(outputs, tokens, strict=True))


def _of_all(outputs: Sequence[Piece], counts: Sequence[int | None]) -> list[int] | None:
    """Returns the counts where every chunk with output told one, and one told more than none."""
    known = [count for count in counts if count is not None]
    return known if len(known) == len(outputs) and any(known) else None


def _usage_at_end(pieces: Sequence[Piece]) -> tuple[int | None, set[str]]:
    """Returns the last usage that was told, unless output came after it, and what was odd."""
    last_output = max((place for place, piece in enumerate(pieces) if piece.has_output), default=-1)
    told = [(place, piece.usage) for place, piece in enumerate(pieces) if piece.usage is not None]
    notes = {"usage_decreases"} if sorted(usage for _, usage in told) != [usage for _, usage in told] else set()
    if not told or told[-1][0] >= last_output:
        return (told[-1][1] if told else None), notes
    return None, notes | {"usage_early"}


def _raises(pieces: Sequence[Piece]) -> list[int] | None:
    """Returns by how much each event raised usage, where every chunk with output told it and it never went down."""
    if not any(p.has_output for p in pieces) or any(p.has_output and p.usage is None for p in pieces):
        return None
    raises = list(_differences(pieces))
    return raises if min(raises) >= 0 and any(raises) else None


def _differences(pieces: Sequence[Piece]) -> Iterator[int]:
    before = 0
    for piece in pieces:
        now = before if piece.usage is None else piece.usage
        yield now - before
        before = now


def _entries(logprobs: object) -> int | None:
    """Returns how many tokens `logprobs` lists, in the form of completions or of chat."""
    if not isinstance(logprobs, dict):
        return None
    entries = logprobs.get("content") if "content" in logprobs else logprobs.get("tokens")
    return len(entries) if isinstance(entries, list) else None


def _prompt_ids(held: Mapping[str, object]) -> tuple[int, ...] | None:
    """Returns the prompt that vLLM tells where `return_token_ids` is asked for: of a chat beside the choices."""
    ids = held.get("prompt_token_ids")
    return tuple(ids) if isinstance(ids, list) and all(isinstance(one, int) for one in ids) else None


def _int(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
