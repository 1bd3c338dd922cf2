"""Requests to the fake server, sent by the client under test."""

from __future__ import annotations

from collections.abc import Callable
from queue import Queue
from time import perf_counter
from typing import Any

from bench.serving.openai_http import OpenAITarget
from bench.serving.wire.endpoint import Endpoint, Prompt
from tests.fakes.openai_server import Server


def answers_of(
    server: Server, count: int, prompt_of: Callable[[int], Prompt] = str, connections: int = 0, **more: Any
) -> list[Any]:
    """Returns the answers to requests 0, 1, … sent at once, in the order of their numbers."""
    ended: Queue[Any] = Queue()
    with OpenAITarget(Endpoint(server.url, "fake", **{"max_tokens": 8} | more), prompt_of) as target:
        target.open(connections)
        for number in range(count):
            target.start(number, perf_counter(), ended.put)
        return sorted([ended.get(timeout=60) for _ in range(count)], key=lambda answer: answer.number)
