"""ONNX Runtime: a generation by two sessions on the CPU."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from backends._onnxruntime import OnnxRuntimeStep
from backends._session_generate import SessionGenerateStep
from backends.base import Request

if TYPE_CHECKING:
    from backends._generate import Tokens


class OnnxRuntimeGenerateStep(SessionGenerateStep):
    """Values on the CPU share their memory with NumPy, so that what is bound is written where it lies."""

    def __init__(self, request: Request, provider: str) -> None:
        super().__init__(request, partial(OnnxRuntimeStep, provider=provider))

    def hand_over(self) -> None:
        for name, value in self.of_token.buffers[self.of_token.count & 1].items():
            value.numpy()[:, :, : self.generation.prompt_tokens] = self.of_prompt.results[name].numpy()

    def feed(self, tokens: Tokens, place: int) -> None:
        (fed,) = self.of_token.batches
        fed["input_ids"].update_inplace(tokens[:, None])
        fed["start"].update_inplace(np.full(len(tokens), place))
