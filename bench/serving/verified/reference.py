"""The reference of a served model: its log-probabilities in float64, and what the claimed precision makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.base import Setting
from bench.service_cell import KnownModel
from bench.serving.verified.ask import NotVerifiable
from host.memory import available_bytes
from host.topology import usable_cpus
from workloads.catalog import load
from workloads.precision import precision_of
from workloads.specs import Weights
from workloads.weights import files

WHOLE = "infer"
"""The program: logits of every position of whole sequences."""
BYTES_EACH = 16
"""Of a parameter: in float64, the file's own, and what loading one takes meanwhile."""

LogProbs = NDArray[np.float64]


class Reference:
    """The model that is said to be served, in float64 by the binding of torch. Raises NotVerifiable."""

    def __init__(self, known: KnownModel, positions: int) -> None:
        """Loads it, for texts of at most `positions` tokens."""
        try:
            import torch
        except ModuleNotFoundError as error:
            raise NotVerifiable("no torch here to compute the reference with: install samestep[torch]") from error
        from backends._torch_ops import to_torch

        try:
            workload = load(known.workload, known.size, batch=1, sequence=positions)
        except ValueError as error:
            raise NotVerifiable(str(error)) from error
        needed, room = BYTES_EACH * workload.parameter_count, available_bytes()
        if room is not None and needed > room:
            raise NotVerifiable(
                f"the reference takes {needed / 1e9:.3g} GB in float64; {room / 1e9:.3g} GB are free here"
            )
        torch.set_num_threads(len(usable_cpus()))  # nothing is timed any more
        workload = replace(workload, weights=Weights(known.weights, known.weights_sha256))
        self.precision = precision_of(known.precision)
        program = Setting(workload, WHOLE, self.precision, torch.get_num_threads()).program
        (ids,) = program.inputs
        assert ids.high is not None
        self.vocabulary, self._name, self._program = ids.high, ids.name, program
        cpu = torch.device("cpu")
        tensors = {name: to_torch(array, cpu, torch.float64) for name, array in files.read(workload).items()}
        self._constants = program.constants_of(tensors)
        self._noises: dict[int, Any] = {}

    def logprobs(self, prompt: Sequence[int], tokens: Sequence[int]) -> LogProbs:
        """Returns the log-probabilities (len(tokens) + 1, vocabulary) of what follows the prompt and each token."""
        from backends._torch_noise import ReferenceOps

        return self._computed(ReferenceOps(), prompt, tokens)

    def erring(self, prompt: Sequence[int], tokens: Sequence[int], seed: int) -> LogProbs:
        """Returns the same with the noise of the claimed precision in every operation."""
        from torch.nn.attention import SDPBackend, sdpa_kernel

        from backends._torch_noise import Noise, NoisyOps

        noise = self._noises.setdefault(seed, None) or Noise(self.precision, seed)
        self._noises[seed] = noise
        with sdpa_kernel(SDPBackend.MATH):
            return self._computed(NoisyOps(noise), prompt, tokens, noise)

    def greedy(self, prompt: Sequence[int], n: int) -> tuple[int, ...]:
        """Returns the `n` tokens that it chooses itself behind the prompt."""
        tokens: tuple[int, ...] = ()
        while len(tokens) < n:
            tokens += (int(self.logprobs(prompt, tokens)[-1].argmax()),)
        return tokens

    def _computed(
        self,
        ops: Any,
        prompt: Sequence[int],
        tokens: Sequence[int],
        within: AbstractContextManager[Any] | None = None,
    ) -> LogProbs:
        import torch

        ids = torch.tensor([[*prompt, *tokens]])
        with torch.no_grad(), within or nullcontext():
            logits = self._program.outputs_of(ops, self._constants, {}, {self._name: ids})["logits"]
            found: LogProbs = torch.log_softmax(logits[0, len(prompt) - 1 :], -1).numpy()
        return found
