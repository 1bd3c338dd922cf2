"""OpenVINO: a generation by two compiled models."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from backends._openvino_cached import opened
from backends._session_generate import SessionGenerateStep
from backends.base import Request

if TYPE_CHECKING:
    from backends._generate import Tokens


class OpenVinoGenerateStep(SessionGenerateStep):
    """Tensors share their memory with NumPy, so that what is bound is written where it lies."""

    def __init__(self, request: Request, device: str) -> None:
        super().__init__(request, partial(opened, device=device))

    def hand_over(self) -> None:
        for name, cache in self.of_token.given.items():
            cache[:, :, : self.generation.prompt_tokens] = self.of_prompt.results[name]
        self.of_token.set_state(self.of_token.given)

    def feed(self, tokens: Tokens, place: int) -> None:
        (fed,) = self.of_token.batches
        fed["input_ids"][:, 0] = tokens
        fed["start"][:] = place
