"""Generation: a prompt, then greedy tokens one after the other, by the prefill and the decode step of the same model.

The reference does not generate. It is given the whole text, prompt and tokens that float64 has chosen, and says in one
pass which logits the first and the last token are chosen by: what a runtime makes of its own cache is held against
that. Weights are drawn wider than a model is published with, because greedy tokens of such weights prove nothing: a
SmolLM-135M repeats the last token of its prompt whatever is wrong with its cache, and its logits are wrong by 1.5 to
44 %. With three times the deviation 17 of 17 tokens differ; the tiny sizes need more, as wide as lets no product shrink
what it reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import Any

from workloads.ops import Array, Ops, Parameters
from workloads.program import Checks, Outputs, Program, Step, Work
from workloads.specs import N_BATCHES, InputSpec, ParameterSpec
from workloads.workload import Workload

GENERATE = "generate"
"""The phase."""
PREFILL, DECODE = "prefill", "decode"
"""The programs that it drives."""
TEXT = "text_ids"
"""The input: prompts, with the reference's tokens behind them, but for the last one."""
CHOSEN, MARGINS, LARGEST = "chosen_ids", "margins", "largest"
"""What the reference adds to a batch, each (B, tokens): the tokens it chooses, by how much more their logits are than
the next largest, and the largest magnitude among the logits of each."""
FIRST, LAST = "logits.first", "logits.last"
"""The outputs: the logits (B, vocabulary) that the first and the last token are chosen by."""
GAIN = 3.0
"""Weights are drawn with this many times their published deviation, and at least as widely as `LEAST` / sqrt(n)."""
LEAST = 1.0
"""`n` is the shorter side of a matrix."""


def tokens_at(size: str) -> int:
    """Returns how many tokens are generated at a size where nobody asks for another number."""
    return 8 if size == "tiny" else 32


@dataclass(frozen=True)
class Generating(Program):
    """The program of a generation of `tokens` tokens behind prompts of `prompt_tokens`.

    `parts` are the workloads whose only programs are the prefill of the prompt and a decode step; their constants are
    this program's. The state is the cache, which starts anew with each prompt.
    """

    prompt_tokens: int = 0
    tokens: int = 0
    parts: Mapping[str, Workload] = field(default_factory=dict)


def generating(whole: Workload, deep: Workload, prompt_tokens: int, tokens: int) -> Workload:
    """Returns the workload that generates.

    `whole` is the model on prompts, `deep` the same one that decodes with a cache of `prompt_tokens + tokens` places or
    more. Raises ValueError where there is no prompt or no token.
    """
    if min(prompt_tokens, tokens) < 2:
        raise ValueError(
            f"a generation has at least 2 tokens of prompt and 2 behind it; got {prompt_tokens} and {tokens}"
        )
    batch = whole.batch
    common: dict[str, Any] = {"parameters": wider(whole.parameters), "buffers": whole.buffers}
    prefill, decode = whole.programs[PREFILL], deep.programs[DECODE]
    parts = {
        PREFILL: replace(whole, **common, programs={PREFILL: prefill}),
        DECODE: replace(deep, **common, programs={DECODE: _fed(decode, prompt_tokens, tokens)}),
    }
    (vocabulary,) = {spec.high for spec in prefill.inputs}
    program = Generating(
        inputs=(InputSpec(TEXT, (batch, prompt_tokens + tokens - 1), "int64", high=vocabulary),),
        step=_given_the_text(whole.programs["infer"], prompt_tokens),
        checks=Checks(N_BATCHES, "output"),
        work=Work(batch, tokens_read=batch * prompt_tokens, tokens_written=batch * tokens),
        constants=prefill.constants,
        state=tuple(replace(spec, source=None, compared=None) for spec in decode.state),
        details={"gain": GAIN, "least": LEAST},
        prompt_tokens=prompt_tokens,
        tokens=tokens,
        parts=parts,
    )
    hyperparameters = {**whole.hyperparameters, "generated_tokens": tokens}
    return replace(whole, **common, hyperparameters=hyperparameters, programs={GENERATE: program})


def wider(specs: tuple[ParameterSpec, ...]) -> tuple[ParameterSpec, ...]:
    """Returns the parameters with matrices and tables drawn wider; norms and biases as they were."""

    def deviation(spec: ParameterSpec) -> float:
        return max(GAIN * spec.standard_deviation, LEAST / sqrt(min(spec.shape)))

    return tuple(replace(spec, standard_deviation=deviation(spec)) if len(spec.shape) > 1 else spec for spec in specs)


def _fed(decode: Program, prompt_tokens: int, tokens: int) -> Program:
    """Returns a decode step that is fed by whoever drives it, from a cache that starts with zeros."""
    state = tuple(replace(spec, source=None) for spec in decode.state)
    return replace(decode, state=state, prompt=None, n_batches=1, keys_seen=prompt_tokens + tokens / 2)


def _given_the_text(infer: Program, prompt_tokens: int) -> Step:
    def step(ops: Ops, constants: Parameters, state: Parameters, batch: Parameters) -> tuple[Outputs, dict[str, Array]]:
        logits = infer.outputs_of(ops, constants, {}, {"input_ids": batch[TEXT]})["logits"]
        return {FIRST: logits[:, prompt_tokens - 1, :], LAST: logits[:, -1, :]}, dict(state)

    return step
