"""PyTorch: a generation. One set of weights; the prompt's keys and values are copied into the cache on the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from backends._generate import GenerateStep
from backends._torch import TorchStep
from backends._torch_ops import to_torch
from backends.base import Request
from workloads.generate import DECODE, FIRST, LAST, PREFILL

if TYPE_CHECKING:
    from backends._generate import Tokens


class TorchGenerateStep(GenerateStep, TorchStep):
    """Eager prefill and decode steps; the greedy choice is torch's own, and goes back into the next step there."""

    def __init__(self, request: Request, device: torch.device) -> None:
        self.take_prompts(request)
        TorchStep.__init__(self, request, device)
        self.parts_of = {name: request.of_part(name).program for name in (PREFILL, DECODE)}
        self.prompt_ids = [to_torch(prompt, device) for prompt in self.prompts]
        self.start = torch.zeros(len(self.prompts[0]), dtype=torch.int64, device=device)

    def prefill(self, prompt: int) -> Tokens:
        with torch.inference_mode():
            batch = {"input_ids": self.prompt_ids[prompt]}
            outputs, _ = self.parts_of[PREFILL].step(self.ops, self.tensors, {}, batch)
            for name, cache in self.carried.items():
                cache[:, :, : self.generation.prompt_tokens] = outputs[name]
            return self._choose(FIRST, outputs["logits"])

    def decode(self, place: int, forced: Tokens | None) -> Tokens:
        with torch.inference_mode():
            if forced is not None:
                self.own = to_torch(forced, self.device)
            self.start.fill_(place)
            batch = {"input_ids": self.own[:, None], "start": self.start}
            outputs, self.carried = self.parts_of[DECODE].step(self.ops, self.tensors, self.carried, batch)
            return self._choose(LAST, outputs["logits"])

    def _choose(self, name: str, logits: Tensor) -> Tokens:
        self.last[name] = logits[:, -1]
        self.own = logits[:, -1].argmax(-1)
        tokens: Tokens = self.own.cpu().numpy()
        return tokens

    def restart(self, parameters: Mapping[str, NDArray[Any]]) -> None:
        GenerateStep.restart(self, parameters)

    def parts(self) -> Any:
        return "a generation is taken apart by its tokens"
