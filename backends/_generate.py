"""A generation as a step: the prompt's prefill, then a decode step on each token that was chosen, greedily.

A runtime says how it processes a prompt and how it goes on by one token; the driver is the same for all, and notes when
each token was on the host.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from backends.base import Request, Step
from workloads.generate import TEXT, Generating

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Tokens = NDArray[np.int64]
    """One for each sequence: (B,)."""


class GenerateStep(Step):
    """Step `i` generates behind the prompts of batch `i % n`. The cache stays where the runtime computes.

    The first token is the prefill's; each further one is that of a decode step, fed with the one before it, which the
    runtime chooses itself.
    """

    def take_prompts(self, request: Request) -> None:
        """Takes the prompts and their number of tokens from the request; called before anything else."""
        program = request.program
        assert isinstance(program, Generating)
        self.generation = program
        self.prompts = [batch[TEXT][:, : program.prompt_tokens] for batch in request.batches]
        self.chosen: list[Tokens] = [self._nothing() for _ in self.prompts]
        self._ties: Sequence[Tokens] = ()
        self._times: list[list[float]] = []

    def _nothing(self) -> Tokens:
        import numpy as np

        return np.full((len(self.prompts[0]), self.generation.tokens), -1)

    @abstractmethod
    def prefill(self, prompt: int) -> Tokens:
        """Processes the prompts of a batch, keeps their cache and logits, and returns the first tokens."""

    @abstractmethod
    def decode(self, place: int, forced: Tokens | None) -> Tokens:
        """Goes on by the tokens chosen last, or by `forced` ones, at position `place`; returns the next tokens."""

    def force(self, ties: Sequence[Tokens]) -> None:
        """Takes the tokens (B, tokens) that are fed whatever was chosen, by batch; negative where the choice counts."""
        self._ties = ties if any((batch >= 0).any() for batch in ties) else ()

    def step(self, i: int) -> None:
        prompt, first = i % len(self.prompts), self.generation.prompt_tokens
        times = [perf_counter()]
        found = [self.prefill(prompt)]
        times.append(perf_counter())
        for place in range(first, first + self.generation.tokens - 1):
            found.append(self.decode(place, self._forced(prompt, place - first, found[-1])))
            times.append(perf_counter())
        for n, tokens in enumerate(found):
            self.chosen[prompt][:, n] = tokens
        self._times.append(times)

    def _forced(self, prompt: int, n: int, own: Tokens) -> Tokens | None:
        """Returns what is fed in the place of the tokens chosen last, None where none is forced."""
        if not self._ties or not ((ties := self._ties[prompt][:, n]) >= 0).any():
            return None
        import numpy as np

        return np.where(ties >= 0, ties, own)

    def take_times(self) -> list[list[float]]:
        """Returns of each generation since the last call its begin, and when each of its tokens was there; forgets
        them. In seconds of `time.perf_counter`.
        """
        taken, self._times = self._times, []
        return taken

    def restart(self, parameters: Mapping[str, NDArray[Any]]) -> None:
        """Nothing is left of the generation before: its cache is overwritten, or masked."""

    def state(self) -> Iterator[tuple[str, NDArray[Any]]]:
        yield from ()
