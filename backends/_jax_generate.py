"""JAX: a generation. Two executables that choose greedily inside; cache and tokens stay on the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from backends._generate import GenerateStep
from backends._jax import JaxStep, narrowed
from backends.base import Request
from workloads.generate import DECODE, FIRST, LAST, PREFILL

if TYPE_CHECKING:
    from backends._generate import Tokens


class JaxGenerateStep(GenerateStep, JaxStep):
    """Prefill writes the prompt's keys and values into a new cache, which each decode step is given and gives on."""

    def __init__(self, request: Request, device: jax.Device) -> None:
        self.take_prompts(request)
        JaxStep.__init__(self, request, device)
        self.parts_of = {name: request.of_part(name).program for name in (PREFILL, DECODE)}
        self.prompt_ids = [jax.device_put(narrowed(np.array(prompt)), device) for prompt in self.prompts]

    def _prefill(self, constants: Any, held: Any, ids: Any) -> tuple[Any, ...]:
        outputs, _ = self.parts_of[PREFILL].step(self.ops, constants, {}, {"input_ids": ids})
        filled = {name: cache.at[:, :, : ids.shape[1]].set(outputs[name]) for name, cache in held.items()}
        logits = outputs["logits"][:, -1]
        start = jnp.full(ids.shape[0], ids.shape[1], jnp.int32)
        return logits, jnp.argmax(logits, -1).astype(jnp.int32), start, filled

    def _decode(self, constants: Any, held: Any, tokens: Any, start: Any) -> tuple[Any, ...]:
        batch = {"input_ids": tokens[:, None], "start": start}
        outputs, held = self.parts_of[DECODE].step(self.ops, constants, held, batch)
        logits = outputs["logits"][:, -1]
        return logits, jnp.argmax(logits, -1).astype(jnp.int32), start + 1, held

    def compile(self) -> None:
        of_prompt = (self.constants, self.held, self.prompt_ids[0])
        self.executable = jax.jit(self._prefill, donate_argnums=1).lower(*of_prompt).compile()
        _, tokens, start, held = jax.eval_shape(self._prefill, *of_prompt)
        of_token = (self.constants, held, tokens, start)
        self.decoding = jax.jit(self._decode, donate_argnums=1).lower(*of_token).compile()

    def prefill(self, prompt: int) -> Tokens:
        made = self.executable(self.constants, self.held, self.prompt_ids[prompt])
        return self._choose(FIRST, *made)

    def decode(self, place: int, forced: Tokens | None) -> Tokens:
        if forced is not None:
            self.own = jax.device_put(narrowed(forced), self.device)
        return self._choose(LAST, *self.decoding(self.constants, self.held, self.own, self.start))

    def _choose(self, name: str, logits: Any, tokens: Any, start: Any, held: Any) -> Tokens:
        self.last[name], self.own, self.start, self.held = logits, tokens, start, held
        return np.asarray(tokens)

    def touch(self) -> None:
        for array in (*self.last.values(), *self.held.values()):
            np.asarray(array[(0,) * array.ndim])

    def restart(self, parameters: Mapping[str, NDArray[Any]]) -> None:
        GenerateStep.restart(self, parameters)

    def parts(self) -> Any:
        return "a generation is taken apart by its tokens"
