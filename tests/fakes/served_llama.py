"""What a server of llama's tiny size generates, by torch in bf16: rightly, or with a mistake planted in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from backends._torch_ops import EagerTorchOps, to_torch
from backends.base import Setting
from tests.fakes.openai_server import Said
from workloads import data
from workloads.catalog import load
from workloads.generate import wider
from workloads.precision import BF16, Precision

LIKELY = 5


def drawn(seed: int = 0):
    """Returns the workload whose weights are drawn so that tokens vary, and the weights."""
    tiny = load("llama", "tiny", batch=1)
    workload = replace(tiny, parameters=wider(tiny.parameters), seed=seed)
    return workload, data.make_parameters(workload)


@dataclass(frozen=True)
class ServedLlama:
    """Generates behind a prompt: `model(prompt, n)`.

    `left_out` tokens of the prompt's beginning are not read, `behind` is by how many positions the logits that are
    used lie behind the right ones, `temperature` makes it draw tokens in place of taking the likeliest.
    """

    parameters: Mapping[str, object]
    precision: Precision = BF16
    left_out: int = 0
    behind: int = 0
    temperature: float = 0.0
    renamed: int | None = None
    """What it calls every token."""

    def __call__(self, prompt: Sequence[int], n: int) -> list[Said]:
        generator = torch.Generator().manual_seed(1)
        read, said = [*prompt][self.left_out :], list[Said]()
        for _ in range(n):
            logprobs = torch.log_softmax(self._logits(read)[-1 - self.behind], -1)
            if self.temperature:
                shares = torch.softmax(logprobs / self.temperature, -1)
                token = int(torch.multinomial(shares, 1, generator=generator))
            else:
                token = int(logprobs.argmax())
            top = torch.topk(logprobs, LIKELY)
            told = dict(zip(top.indices.tolist(), top.values.tolist(), strict=True))
            said.append(Said(token if self.renamed is None else self.renamed, float(logprobs[token]), told))
            read.append(token)
        return said

    def _logits(self, ids: Sequence[int]) -> torch.Tensor:
        cpu = torch.device("cpu")
        workload = load("llama", "tiny", batch=1)
        program = Setting(workload, "infer", self.precision, 1).program
        tensors = program.constants_of({name: to_torch(a, cpu) for name, a in self.parameters.items()})
        with torch.no_grad():
            return program.outputs_of(EagerTorchOps(), tensors, {}, {"input_ids": torch.tensor([ids])})["logits"][0]
