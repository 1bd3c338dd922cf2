"""Runtimes that open graphs: a generation by two of them, the cache handed over and the choice made on the host."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backends._generate import GenerateStep
from backends.base import Effective, Request, Step
from workloads.generate import DECODE, FIRST, LAST, PREFILL

if TYPE_CHECKING:
    from backends._generate import Tokens


class SessionGenerateStep(GenerateStep):
    """Opens a graph for the prompt and one for a token, each with its own copy of the weights.

    Only the prompt's keys and values are copied from the one to the other.
    """

    def __init__(self, request: Request, opened: Callable[[Request], Step]) -> None:
        self.take_prompts(request)
        rows = len(self.prompts[0])
        fed = {"input_ids": np.zeros((rows, 1), np.int64), "start": np.zeros(rows, np.int64)}
        prompts = tuple({"input_ids": prompt} for prompt in self.prompts)
        self.of_prompt: Any = opened(replace(request.of_part(PREFILL), batches=prompts))
        self.of_token: Any = opened(replace(request.of_part(DECODE), batches=(fed,)))
        self.first: NDArray[Any] = np.zeros(0)

    def compile(self) -> None:
        self.of_prompt.compile()
        self.of_token.compile()

    @abstractmethod
    def hand_over(self) -> None:
        """Puts the keys and values of the prompt where the next decode step reads its cache."""

    @abstractmethod
    def feed(self, tokens: Tokens, place: int) -> None:
        """Puts the tokens, and their position, where the next decode step reads them."""

    def prefill(self, prompt: int) -> Tokens:
        self.of_prompt.step(prompt)
        self.first = self.of_prompt.outputs()["logits"][:, -1]
        self.is_new = True
        return self._choose(self.first)

    def decode(self, place: int, forced: Tokens | None) -> Tokens:
        if self.is_new:
            self.hand_over()
            self.is_new = False
        self.feed(self.own if forced is None else forced, place)
        self.of_token.step(0)
        return self._choose(self.of_token.outputs()["logits"][:, -1])

    def _choose(self, logits: NDArray[Any]) -> Tokens:
        own: Tokens = logits.argmax(-1)
        self.own = own
        return own

    def sync(self) -> None:
        self.of_token.sync()

    def touch(self) -> None:
        self.of_prompt.touch()
        self.of_token.touch()

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        return {FIRST: self.first, LAST: self.of_token.outputs()["logits"][:, -1]}

    def effective(self) -> Effective:
        """Returns what the decode step's graph says; nodes of either that run elsewhere count."""
        of_prompt: Effective = self.of_prompt.effective()
        effective: Effective = self.of_token.effective()
        shares = [float(one.more.get("nodes_share", 1)) for one in (of_prompt, effective)]
        more = {**effective.more, "nodes_share": min(shares)} if min(shares) < 1 else effective.more
        is_same = (of_prompt.device, of_prompt.precision) == (effective.device, effective.precision)
        return replace(effective if is_same else of_prompt, more=more)

    def parts(self) -> Any:
        return "a generation is taken apart by its tokens"
