"""An OpenAI-compatible endpoint as data, and the requests that are sent there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from urllib.parse import urlsplit

from bench.serving.wire.optional_fields import nested

PATHS = {"completions": "/completions", "chat": "/chat/completions"}
"""Kind → where it is asked for, after the endpoint's own path."""

Prompt = str | Sequence[int]
"""Text, or token ids, which `chat` does not take."""

OWN_FIELDS = ("model", "prompt", "messages", "stream")


@dataclass(frozen=True)
class Endpoint:
    """Where requests go and what they ask for. Raises ValueError for what cannot be asked.

    `url` is what clients call the base: `http://127.0.0.1:8000/v1`. `fields` are those that the server may refuse, by
    the names of `optional_fields`: sent as they stand here, and dropped where a refusal names them.
    """

    url: str
    model: str
    max_tokens: int
    kind: str = "completions"
    timeout_s: float = 600.0
    """From sent to the last byte; to connect, as long again."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the key. It is sent to `url`, wherever that is."""
    fields: Mapping[str, object] = field(default_factory=dict)
    max_tokens_field: str = "max_tokens"
    """Some models of OpenAI's take `max_completion_tokens` only."""
    keep_alive_s: float = 4.0
    """A connection that was idle for longer since its last answer is not used again: uvicorn closes it after 5 s."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if "@" in self.url or parts.query or parts.fragment:
            raise ValueError("an endpoint's url is scheme, host, port and path alone: a key belongs in the environment")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"an endpoint's url is like http://host:port/v1, not {self.url!r}")
        try:
            _ = parts.port
        except ValueError:
            raise ValueError("an endpoint's port is a number up to 65535, as in http://host:8000/v1") from None
        if self.kind not in PATHS:
            raise ValueError(f"unknown kind {self.kind!r}; known: {', '.join(PATHS)}")
        if not (self.url.isascii() and self.url.isprintable()) or " " in self.url:
            raise ValueError(
                "an endpoint's url is of printable ASCII characters without spaces; others as %20, %C3%BC …"
            )
        if self.max_tokens < 1 or not 0 < self.timeout_s < inf:
            raise ValueError(f"max_tokens and timeout_s are above 0, not {self.max_tokens} and {self.timeout_s:g}")
        if own := sorted({*OWN_FIELDS, self.max_tokens_field} & self.fields.keys()):
            raise ValueError(f"{', '.join(own)} are no optional fields: the client sets them")
        nested(self.fields)

    @property
    def has_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return urlsplit(self.url).scheme == "https"

    @property
    def host(self) -> str:
        """The host's name or number."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port, that of the scheme where none is named."""
        return urlsplit(self.url).port or (443 if self.has_tls else 80)

    def head(self) -> bytes:
        """Returns the head of a request, but for the key, the length of the body and the end."""
        parts = urlsplit(self.url)
        return (
            f"POST {parts.path.rstrip('/')}{PATHS[self.kind]} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            "User-Agent: samestep\r\nAccept: text/event-stream\r\nAccept-Encoding: identity\r\n"
            "Content-Type: application/json\r\n"
        ).encode()

    def prompt_part(self, prompt: Prompt) -> bytes:
        """Returns the first part of a request's body, that with the prompt: it can be made before the clock runs."""
        if self.kind == "chat":
            if not isinstance(prompt, str):
                raise ValueError("chat takes text, not token ids: they can be sent to completions")
            return _open_object({"messages": [{"role": "user", "content": prompt}]})
        return _open_object({"prompt": prompt if isinstance(prompt, str) else list(prompt)})

    def rest_part(self, fields: Mapping[str, object], max_tokens: int) -> bytes:
        """Returns the rest of a request's body, with `fields` of the optional ones.

        `min_tokens` is at most `max_tokens`: a request for one token, to count a prompt, is refused otherwise (vLLM),
        and the field would be dropped for the whole run.
        """
        least = fields.get("min_tokens")
        if isinstance(least, int):
            fields = {**fields, "min_tokens": min(least, max_tokens)}
        own = {"model": self.model, self.max_tokens_field: max_tokens, "stream": True}
        return b"," + json.dumps(own | nested(fields), separators=(",", ":")).encode()[1:]


def asks_exact_length(fields: Mapping[str, object], max_tokens: int) -> bool:
    """Returns whether a request with these optional fields is answered by exactly `max_tokens` tokens."""
    least = fields.get("min_tokens")
    return bool(fields.get("ignore_eos")) or (isinstance(least, int) and least >= max_tokens)


def _open_object(held: Mapping[str, object]) -> bytes:
    return json.dumps(held, separators=(",", ":")).encode()[:-1]
