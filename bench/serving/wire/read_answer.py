"""What a response says once it has ended: its tokens, or the class of what went wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bench.serving.streamed import StreamedAnswer
from bench.serving.tokens import Piece, counted, piece_of
from bench.serving.wire.events import NoEvent, events_of
from bench.serving.wire.http_response import Response

EVENTS_AT_ONCE = 64
"""So many are parsed before the loop looks at other streams: less than a millisecond."""
MOST_DETAIL = 300
FAILED = ("error", "abort")
"""Finish reasons of vLLM and SGLang that are no finish."""


@dataclass
class Stream:
    """What the events of a stream said, as they are read."""

    pieces: list[Piece] = field(default_factory=list)
    event_s: float | None = None
    is_done: bool = False
    finish_reason: str = ""
    error: str = ""
    detail: str = ""


async def read_answer(
    asked: StreamedAnswer, response: Response, exact_tokens: int | None, hidden: Callable[[str], str]
) -> StreamedAnswer:
    """Returns `asked`, which holds what is known of the request, with what the response to it says.

    `exact_tokens` is the length that the request insisted on, if on any; `hidden` takes secrets out of a text.
    """
    known = replace(asked, end_s=response.end_s, status=response.status)
    if response.status is None:
        return replace(known, error=response.error, detail=hidden(response.detail))
    if response.status != 200:
        return _refused(known, response, hidden)
    form = response.headers.get("content-type", "")
    encoding = response.headers.get("content-encoding", "identity")
    if "json" in form or encoding != "identity":
        detail = f"asked for a stream of events, got {form!r} in encoding {encoding!r}: {_message(response.body)}"
        return replace(known, error="broken_stream", detail=_short(hidden(detail)))
    stream = await _read(response)
    count = counted(stream.pieces)
    error, detail, notes = _verdict(stream, response)
    ids = [piece.token_ids or () for piece in stream.pieces]
    answer = replace(
        known,
        event_s=stream.event_s,
        chunks=count.chunks,
        tokens=count.tokens,
        counted_by=count.counted_by,
        prompt_tokens=next((p.prompt_tokens for p in reversed(stream.pieces) if p.prompt_tokens is not None), None),
        finish_reason=stream.finish_reason,
        notes=tuple(sorted({*known.notes, *count.notes, *notes})),
        token_ids=tuple(one for some in ids for one in some) if count.counted_by == "token_ids" else None,
        text=hidden("".join([piece.text for piece in stream.pieces])),
        told=tuple(p.told for p in stream.pieces if p.told is not None) if known.number < 0 else (),
        prompt_ids=next((piece.prompt_ids for piece in stream.pieces if piece.prompt_ids is not None), None),
        error=error,
        detail=_short(hidden(detail)),
        end_s=response.pieces[-1][0] if "unclean_end" in notes else response.end_s,
    )
    return answer if answer.error else _of_full_length(answer, exact_tokens)


async def _read(response: Response) -> Stream:
    stream = Stream()
    events = events_of(response.pieces, is_whole=response.is_whole)
    try:
        for place, event in enumerate(events):
            if place % EVENTS_AT_ONCE == EVENTS_AT_ONCE - 1:
                await asyncio.sleep(0)
            if stream.event_s is None:
                stream.event_s = event.at_s
            if event.is_done:
                stream.is_done = True
                continue
            data = event.data
            if data.get("error") or data.get("object") == "error":
                stream.error, stream.detail = "error_event", _words(data)
                break
            piece = piece_of(event.at_s, data)
            stream.pieces.append(piece)
            stream.finish_reason = piece.finish_reason or stream.finish_reason
    except NoEvent as fault:
        stream.error, stream.detail = "broken_stream", str(fault)
    return stream


def _verdict(stream: Stream, response: Response) -> tuple[str, str, set[str]]:
    """Returns the class of what went wrong, that in words, and what was odd: the stream's end alone proves nothing."""
    if stream.error:
        return stream.error, stream.detail, set()
    if stream.finish_reason in FAILED:
        return "error_event", f"finish_reason is {stream.finish_reason!r}", set()
    if stream.is_done:
        return "", "", {"unclean_end"} if response.error else set()
    if response.error:
        return response.error, response.detail, set()
    if stream.finish_reason:
        return "", "", {"no_done"}
    form = response.headers.get("content-type", "")
    empty = f"no event came, in a body of type {form!r}: {_message(response.body)}"
    detail = "the stream ended without a finish_reason and without [DONE]" if stream.event_s is not None else empty
    return "broken_stream", detail, set()


def _of_full_length(answer: StreamedAnswer, exact_tokens: int | None) -> StreamedAnswer:
    if not answer.chunks and not answer.tokens:
        return replace(answer, error="short", detail="the stream is whole, and nothing was in it")
    if exact_tokens is not None and answer.tokens is not None and answer.tokens < exact_tokens:
        detail = (
            f"{answer.tokens} tokens came, exactly {exact_tokens} were asked for ({answer.finish_reason or 'done'})"
        )
        return replace(answer, error="short", detail=detail)
    return answer


def _refused(known: StreamedAnswer, response: Response, hidden: Callable[[str], str]) -> StreamedAnswer:
    status = response.status or 0
    kind = "refused_429" if status == 429 else "server_5xx" if status >= 500 else "http_4xx" if status >= 400 else ""
    if not kind:
        kind = "http_3xx" if status >= 300 else "broken_stream"
    after = response.headers.get("retry-after", "")
    detail = _short(hidden(f"status {status}: {_message(response.body)}"))
    return replace(known, error=kind, detail=detail, retry_after_s=float(after) if after.isdecimal() else None)


def _message(body: bytes) -> str:
    text = body.decode(errors="replace")
    try:
        held = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return _words(held) if isinstance(held, dict) else text


def _words(held: dict[str, object]) -> str:
    """Returns what an error says: OpenAI's form, vLLM's, FastAPI's, or whatever it is."""
    for name in ("error", "message", "detail"):
        said = held.get(name)
        if isinstance(said, dict):
            return _words(said)
        if said:
            return said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
    return json.dumps(held, ensure_ascii=False)


def _short(text: str) -> str:
    shown = "".join([one if one.isprintable() else " " for one in text])  # no escapes for a terminal, no half letters
    words = " ".join(shown.split())
    return words if len(words) <= MOST_DETAIL else f"{words[: MOST_DETAIL - 1]}…"
