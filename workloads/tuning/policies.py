"""A policy beside a frozen reference: preference tuning, and policy gradients on given samples.

`dpo` is Rafailov et al. 2023 (arXiv:2305.18290): pairs of answers, one of them preferred. `grpo` is the update of Shao
et al. 2024 (arXiv:2402.03300): samples with their advantages, the ratio to the policy that drew them clipped, and the
divergence from the reference by Schulman's third estimator. Sampling is no part of the step: what it gives is input.
"""

from __future__ import annotations

from dataclasses import replace

from workloads.ops import Array, Ops, Parameters, subset
from workloads.program import Loss, Program, training
from workloads.specs import InputSpec, ParameterSpec
from workloads.tuning import DPO, GRPO, TRAIN
from workloads.vocabulary.losses import widened
from workloads.workload import Workload

REFERENCE = "reference."
"""What stands before the names of the frozen model's tensors."""
DPO_BETA = 0.1
GRPO_BETA, CLIP = 0.04, 0.2
OLD = 0.1
"""By so many times a normal number the log-probability of a token was another one when it was drawn."""


def dpo(whole: Workload) -> Workload:
    """Returns the workload that prefers the first answer of each pair; a sample is a pair."""
    ids, labels = (_pairs(spec) for spec in whole.programs[TRAIN].inputs)

    def loss(ops: Ops, p: Parameters, batch: Parameters) -> tuple[Array, dict[str, Array]]:
        pairs, _, n = batch[ids.name].shape
        flat = {name: ops.reshape(batch[name], (-1, n)) for name in (ids.name, labels.name)}
        wide = ops.wide()
        policy, frozen = (
            wide.mean(wide.reshape(log_likelihood(whole, ops, of, flat), (pairs, 2, n)), (2,)) * n
            for of in (p, _frozen(whole, p))
        )
        gained = policy - frozen
        margin = (gained[:, 0] - gained[:, 1]) * DPO_BETA
        preferred = wide.arange(pairs, like=batch[labels.name]) * 0 + 1
        return wide.binary_cross_entropy(margin, preferred), {}

    return _beside_reference(whole, DPO, loss, (ids, labels), {"dpo_beta": DPO_BETA})


def grpo(whole: Workload) -> Workload:
    """Returns the workload that makes samples likelier by their advantages; a sample is an answer."""
    ids, labels = whole.programs[TRAIN].inputs
    batch_size, n = ids.shape
    advantages = InputSpec("advantages", (batch_size, 1), "float32")
    before = InputSpec("drawn_by", (batch_size, n), "float32")

    def loss(ops: Ops, p: Parameters, batch: Parameters) -> tuple[Array, dict[str, Array]]:
        shape = batch[ids.name].shape
        wide = ops.wide()
        policy, frozen = (wide.reshape(log_likelihood(whole, ops, of, batch), shape) for of in (p, _frozen(whole, p)))
        # Floating inputs come rounded to the type of activations, and losses are computed in float32.
        advantage, moved = (widened(ops, batch[name]) for name in (advantages.name, before.name))
        ratio = wide.exp(policy - frozen - moved * OLD)
        clipped = wide.relu(ratio - (1 - CLIP)) - wide.relu(ratio - (1 + CLIP)) + (1 - CLIP)
        gain, bounded = ratio * advantage, clipped * advantage
        smaller = gain - wide.relu(gain - bounded)
        lost = frozen - policy
        divergence = wide.exp(lost) - lost - 1.0
        return wide.mean(divergence * GRPO_BETA - smaller, (0, 1)), {}

    return _beside_reference(
        whole, GRPO, loss, (ids, labels, advantages, before), {"grpo_beta": GRPO_BETA, "clip": CLIP, "drawn_by": OLD}
    )


def logits_of(whole: Workload, ops: Ops, p: Parameters, batch: Parameters) -> Array:
    """Returns the logits (B, T, vocabulary) of the model with the tensors `p`."""
    return whole.programs["infer"].outputs_of(ops, p, {}, {"input_ids": batch["input_ids"]})["logits"]


def log_likelihood(whole: Workload, ops: Ops, p: Parameters, batch: Parameters) -> Array:
    """Returns the log-probability (B T) of each label under the model with the tensors `p`, in float32."""
    logits = logits_of(whole, ops, p, batch)
    return ops.log_likelihood(ops.reshape(logits, (-1, logits.shape[-1])), ops.reshape(batch["labels"], (-1,)))


def _frozen(whole: Workload, p: Parameters) -> Parameters:
    """Returns the tensors of the reference, under the model's own names; tables are those of the policy."""
    return {**{spec.name: p[spec.name] for spec in whole.buffers}, **subset(p, REFERENCE)}


def frozen_specs(specs: tuple[ParameterSpec, ...], prefix: str) -> tuple[ParameterSpec, ...]:
    """Returns the specs of a frozen model's parameters, which are drawn as its own."""
    return tuple(replace(spec, name=f"{prefix}{spec.name}") for spec in specs)


def _pairs(spec: InputSpec) -> InputSpec:
    batch, n = spec.shape
    return replace(spec, shape=(batch, 2, n))


def _beside_reference(
    whole: Workload, phase: str, loss: Loss, inputs: tuple[InputSpec, ...], more: dict[str, float]
) -> Workload:
    program = whole.programs[TRAIN]
    frozen = frozen_specs(whole.parameters, REFERENCE)
    step = _trained(program, loss, inputs, whole, frozen)
    if phase == DPO:
        step = replace(step, work=replace(program.work, tokens_read=2 * (program.work.tokens_read or 0)))
    return replace(
        whole,
        parameters=whole.parameters + frozen,
        hyperparameters={**whole.hyperparameters, **more},
        programs={phase: step},
    )


def _trained(
    program: Program, loss: Loss, inputs: tuple[InputSpec, ...], whole: Workload, frozen: tuple[ParameterSpec, ...]
) -> Program:
    assert program.update is not None
    return training(
        loss,
        program.update.rule,
        inputs=inputs,
        parameters=whole.parameters,
        constants=whole.buffers + frozen,
        work=program.work,
    )
