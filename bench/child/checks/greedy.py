"""What is chosen greedily: by the float64 reference, once, and by a runtime, which must choose the same.

Two logits that lie nearer to each other than two that may both be wrong are a tie: either choice is right there. So
that all runtimes compute over the same tokens, the reference's is forced on all of them behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from workloads import data
from workloads.arrays import BATCHES_FILE, PARAMETERS_FILE, map_arrays
from workloads.generate import CHOSEN, DECODE, FIRST, LARGEST, LAST, MARGINS, PREFILL, TEXT, Generating

if TYPE_CHECKING:
    from backends.base import Setting
    from workloads.tolerance import Tolerance

FREE = -1
"""Stands where a runtime's own choice counts."""


def make_batches(setting: Setting, folder: Path, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Writes the prompts with what the float64 reference generates behind them; returns the workload's digests.

    By the model's own prefill and decode steps: what is expected of a runtime's logits is made apart, of whole texts.
    """
    workload, program = setting.workload, setting.program
    assert isinstance(program, Generating)
    parameters = map_arrays(inputs["parameters"] / PARAMETERS_FILE)
    drawn = data.make_batches(workload)
    flat: dict[str, NDArray[Any]] = {}
    for i, batch in enumerate(drawn):
        prompt = np.asarray(batch[TEXT])[:, : program.prompt_tokens]
        logits = np.stack(_logits(setting, program, parameters, prompt), axis=1)
        chosen = logits.argmax(-1)
        two = np.partition(logits, -2, axis=-1)[..., -2:]
        flat[f"{i}.{TEXT}"] = np.concatenate([prompt, chosen[:, :-1]], axis=1)
        flat[f"{i}.{CHOSEN}"] = chosen
        flat[f"{i}.{MARGINS}"] = two[..., 1] - two[..., 0]
        flat[f"{i}.{LARGEST}"] = np.abs(logits).max(-1)
    save_file(flat, folder / BATCHES_FILE)
    digests = data.digest(workload, parameters, drawn), data.model_digest(workload, parameters)
    return dict(zip(("workload_digest", "model_digest"), digests, strict=True))


def _logits(
    setting: Setting, program: Generating, parameters: Mapping[str, NDArray[Any]], prompt: NDArray[Any]
) -> list[NDArray[Any]]:
    """Returns the logits (B, vocabulary) that each token is chosen by, in float64."""
    import torch

    from backends._torch_noise import ReferenceOps
    from backends._torch_ops import to_torch

    cpu, ops = torch.device("cpu"), ReferenceOps()
    prefill, decode = (setting.of_part(name).program for name in (PREFILL, DECODE))
    p = {name: to_torch(a, cpu, torch.float64) for name, a in program.constants_of(parameters).items()}
    state = decode.initial_state({}, lambda shape: torch.zeros(shape, dtype=torch.float64))
    with torch.no_grad():
        outputs, _ = prefill.step(ops, p, {}, {"input_ids": torch.from_numpy(prompt)})
        for name, cache in state.items():
            cache[:, :, : prompt.shape[1]] = outputs[name]
        found = [outputs["logits"][:, -1].numpy()]
        for place in range(prompt.shape[1], prompt.shape[1] + program.tokens - 1):
            ids = torch.from_numpy(found[-1].argmax(-1)[:, None])
            start = torch.full((len(prompt),), place)
            outputs, state = decode.step(ops, p, state, {"input_ids": ids, "start": start})
            found.append(outputs["logits"][:, -1].numpy())
    return found


@dataclass(frozen=True)
class Agreement:
    """What the tokens of all batches come to. `why_not` says at the first one that is wrong what was chosen there."""

    tokens: int
    equal: int
    tied: int
    distinct: int
    why_not: str = ""

    def columns(self) -> dict[str, Any]:
        """Returns it as columns of a row."""
        return {
            "tokens_compared": self.tokens,
            "tokens_equal": self.equal,
            "tokens_tied": self.tied,
            "tokens_distinct": self.distinct,
        }


def slack_of(batch: Mapping[str, NDArray[Any]], i: int, allowed: Mapping[str, Tolerance]) -> NDArray[Any]:
    """Returns by how much the margin (B, tokens) of each token of batch `i` may be wrong: twice what a logit may be.

    What is allowed is relative to the norm of all logits; of the largest one as much is taken.
    """
    relative = max(allowed[f"output.{i}.{name}"].error for name in (FIRST, LAST))
    slack: NDArray[Any] = 2 * relative * batch[LARGEST]
    return slack


def forced(batches: Sequence[Mapping[str, NDArray[Any]]], allowed: Mapping[str, Tolerance]) -> list[NDArray[np.int64]]:
    """Returns for each batch, as (B, tokens), the reference's token where it is a tie, and `FREE` elsewhere."""
    return [
        np.where(batch[MARGINS] < slack_of(batch, i, allowed), batch[CHOSEN], FREE) for i, batch in enumerate(batches)
    ]


def agreement(
    batches: Sequence[Mapping[str, NDArray[Any]]],
    chosen: Sequence[NDArray[np.int64]],
    ties: Sequence[NDArray[np.int64]],
) -> Agreement:
    """Returns how the tokens `chosen` for each batch agree with the reference's; a tie is right either way."""
    tokens = equal = tied = 0
    why_not, distinct = "", []
    for i, (batch, ours, free) in enumerate(zip(batches, chosen, ties, strict=True)):
        wanted, is_tie = batch[CHOSEN], free != FREE
        tokens, equal, tied = tokens + wanted.size, equal + int((ours == wanted).sum()), tied + int(is_tie.sum())
        distinct += [len(np.unique(row)) for row in wanted]
        wrong = np.argwhere((ours != wanted) & ~is_tie)
        if len(wrong) and not why_not:
            row, place = min(wrong.tolist(), key=lambda at: at[1])
            margin = float(batch[MARGINS][row, place])
            why_not = (
                f"token {place + 1} of {wanted.shape[1]} behind prompt {row} of batch {i} is {ours[row, place]}, "
                f"expected {wanted[row, place]}, whose logit is larger by {margin:.2g} than the next: no tie"
            )
    return Agreement(tokens, equal, tied, min(distinct), why_not)
