"""Asks a service for greedy tokens behind prompts that nobody has seen, and for their log-probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import strftime

from bench.service_cell import ServiceCell
from bench.serving.openai_http import OpenAITarget
from bench.serving.prompts import IdPrompts
from bench.serving.streamed import StreamedAnswer
from bench.serving.verified.told import Told, told_of
from bench.serving.wire.endpoint import Prompt

PROMPTS = 2
"""So many before the load, and as many behind it."""
TOKENS = 16
"""At most: what a server makes of its cache shows in the first ones."""
LIKELY = 5
"""Of each token so many likely ones are asked for: the most that OpenAI's completions tell."""
COMMON: Mapping[str, object] = {
    "temperature": 0,
    "return_token_ids": True,
    "ignore_eos": True,
}
OF_KIND: Mapping[str, Mapping[str, object]] = {
    "completions": {"logprobs": LIKELY, "return_tokens_as_token_ids": True},
    "chat": {"logprobs": True, "top_logprobs": LIKELY, "return_tokens_as_token_ids": True},
}


class NotVerifiable(Exception):
    """Nothing can be said of what the service computes; says why."""


@dataclass(frozen=True)
class Text:
    """A prompt's token ids, and what the server says of each token that it generated behind it."""

    prompt: tuple[int, ...]
    told: tuple[Told, ...]


def texts_of(cell: ServiceCell, vocabulary: int, when: str) -> list[Text]:
    """Returns what the service generates behind `PROMPTS` prompts, as long as those of the load, in order.

    Prompts are token ids; of a chat they are what the server says that it read. `when` is part of what they are drawn
    from. Raises NotVerifiable where it does not tell what is needed, OSError where nobody listens.
    """
    salt = f"{cell.salt or strftime('%Y%m%dT%H%M%S')}, verification {when}"
    prompts = IdPrompts(vocabulary, cell.prompt_tokens, cell.seed, salt)
    n_tokens = min(TOKENS, cell.output_tokens)
    endpoint = cell.endpoint()
    fields = {**endpoint.fields, **COMMON, **OF_KIND[cell.kind]}
    asked = replace(endpoint, fields=fields, max_tokens=n_tokens)
    with OpenAITarget(asked, prompts) as target:
        target.open(1)
        return [_text(target, _in_kind(cell, prompts(number)), prompts(number), n_tokens) for number in range(PROMPTS)]


def _in_kind(cell: ServiceCell, prompt: tuple[int, ...]) -> Prompt:
    """Returns the prompt as it is sent: a chat takes words alone."""
    return " ".join(map(str, prompt))[: 2 * cell.prompt_tokens] if cell.is_chat else prompt


def _text(target: OpenAITarget, sent: Prompt, prompt: tuple[int, ...], n_tokens: int) -> Text:
    answer = target.ask(sent, n_tokens)
    if answer.error not in ("", "short"):
        raise NotVerifiable(f"a request with token ids and log-probabilities fails: {answer.error}: {answer.detail}")
    told = told_of(answer.told, answer.token_ids)
    if not told:
        dropped = ", ".join(name for name in target.dropped_fields if "logprobs" in name)
        raise NotVerifiable(f"the server tells no log-probabilities{f', and refuses {dropped}' if dropped else ''}")
    return Text(_as_read(answer, sent, prompt), told[:n_tokens])


def _as_read(answer: StreamedAnswer, sent: Prompt, prompt: tuple[int, ...]) -> tuple[int, ...]:
    if not isinstance(sent, str):
        return prompt
    if answer.prompt_ids is None:
        raise NotVerifiable("the server does not tell the token ids of a chat's prompt: ask for completions")
    return answer.prompt_ids
