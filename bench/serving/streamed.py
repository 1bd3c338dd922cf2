"""An answer that came as a stream over HTTP, with how its tokens were counted and what was odd about it."""

from __future__ import annotations

from dataclasses import dataclass

from bench.serving.answer import Answer

ERRORS = {
    "connect_failed": "no connection: refused, unreachable, not in time, or no trusted certificate",
    "refused_429": "status 429: the server is full",
    "http_3xx": "status 3xx: the server sends elsewhere, and nobody follows with a key",
    "http_4xx": "status 4xx: the server does not take such a request",
    "server_5xx": "status 5xx: the server failed, or says that it is full",
    "error_event": "an error within a stream that began well",
    "broken_stream": "the stream ended without a finish reason and without [DONE], or was no stream of events",
    "timeout": "not whole in time",
    "short": "whole, with fewer tokens than an exact length was asked for, or with none",
    "cancelled": "given up by this side, which was closed",
    "client_failed": "a mistake in this client",
}
"""Why an answer is none, by class."""

NOTES = {
    "first_chunk_unknown": "the number of tokens is known, and how many of them the first chunk held is not",
    "logprobs_disagree": "the entries of logprobs are not as many as the token ids",
    "no_done": "there was a finish reason and no [DONE]",
    "resent": "a refusal named an optional field: that one was dropped, and this is the request without it",
    "token_ids_partial": "some chunks with text told no token ids: they were not counted by them",
    "tokens_beyond_chunks": "the server counts tokens after the last chunk with output",
    "unclean_end": "[DONE] came, and then the connection broke, or did not end in time",
    "usage_decreases": "usage.completion_tokens went down: its differences were not used",
    "usage_disagrees": "usage.completion_tokens is not what the token ids or the logprobs count",
    "usage_early": "usage came before the last chunk with output and not after: it is no count of the whole",
}
"""What is odd about an answer."""

COUNTED_BY = {
    "token_ids": "lengths of token_ids, per chunk",
    "usage_per_event": "differences of usage.completion_tokens between events",
    "logprobs": "entries of logprobs, per chunk",
    "usage": "usage.completion_tokens at the end: the tokens of a chunk are unknown",
    "unknown": "nobody told: no token rates",
}
"""How tokens are counted; the first that can be, in this order. Never events, never text tokenised again."""


@dataclass(frozen=True)
class StreamedAnswer(Answer):
    """An `Answer` from a streaming endpoint; the times are those of `time.perf_counter`."""

    number: int = -1
    """Which request this is the answer to; -1 outside a run."""
    status: int | None = None
    """Of HTTP; None where none came."""
    finish_reason: str = ""
    """As the server says: `length`, `stop` …; empty where it does not."""
    counted_by: str = "unknown"
    """One of `COUNTED_BY`."""
    notes: tuple[str, ...] = ()
    """Of `NOTES`, sorted."""
    dropped_fields: tuple[str, ...] = ()
    """Optional fields that were configured and that this request went without, since the server takes none of them."""
    retry_after_s: float | None = None
    """When to come again, as a server says that is full."""
    token_ids: tuple[int, ...] | None = None
    """The generated ids; None where the server does not give them for all of the output."""
    text: str = ""
    """The generated text: reasoning and calls of tools included, in the order in which it came."""
    told: tuple[object, ...] = ()
    """Its log-probabilities as they came, chunk by chunk; only of a request outside a run."""
    prompt_ids: tuple[int, ...] | None = None
    """The prompt as the server read it, where it says so."""
