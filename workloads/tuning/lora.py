"""Fine-tuning with adapters of low rank beside frozen weights (Hu et al. 2021, arXiv:2106.09685).

The product `x W` gets a second path, `x A B` times alpha / rank, and A and B alone are trained. Nothing is merged: that
would be another computation. B is published as zeros, with which A's gradient is exactly zero and proves nothing: here
it is drawn. Names are those of PEFT.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, NamedTuple

from workloads.ops import Array, Ops, Parameters
from workloads.program import training
from workloads.recipes.int8 import products_of
from workloads.specs import ParameterSpec
from workloads.tuning import LORA, TRAIN
from workloads.workload import Workload

RANK, ALPHA = 8, 16.0
DEVIATION = 0.02


class Adapted(NamedTuple):
    """What a step is given in the place of a weight: it, and the adapter (rank, in), (out, rank) beside it."""

    weight: Array
    a: Array
    b: Array
    scale: float


class AdaptedOps:
    """The vocabulary of a binding, in which a product with an `Adapted` weight has its second path."""

    def __init__(self, ops: Ops) -> None:
        self.ops = ops

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ops, name)

    def linear(self, x: Array, weight: Array, bias: Array | None = None, layout: Literal["oi", "io"] = "oi") -> Array:
        if not isinstance(weight, Adapted):
            return self.ops.linear(x, weight, bias, layout)
        beside = self.ops.linear(self.ops.linear(x, weight.a), weight.b)
        return self.ops.linear(x, weight.weight, bias, layout) + beside * weight.scale


def lora(whole: Workload, adapted: tuple[str, ...], rank: int | None) -> Workload:
    """Returns the workload that trains adapters beside the weights whose names end in one of `adapted`.

    Raises ValueError for a rank that is no lower than that of the weights.
    """
    rank = RANK if rank is None else rank
    program = whole.programs[TRAIN]
    update = program.update
    assert update is not None
    products, _ = products_of(whole.programs["infer"])
    chosen = {spec.name: spec for spec in update.trained if spec.name.endswith(adapted)}
    adapters: list[ParameterSpec] = []
    for name, spec in chosen.items():
        n_out, n_in = spec.shape if products[name].axis == 0 else spec.shape[::-1]
        if rank >= min(spec.shape):
            raise ValueError(f"rank {rank} is not low: {name} is {list(spec.shape)}; give one below {min(spec.shape)}")
        adapters.append(ParameterSpec(_part(name, "A"), (rank, n_in), 0.0, n_in**-0.5))
        adapters.append(ParameterSpec(_part(name, "B"), (n_out, rank), 0.0, DEVIATION))
    scale = ALPHA / rank

    def loss(ops: Ops, p: Parameters, batch: Parameters) -> tuple[Array, dict[str, Array]]:
        entered = dict(p)
        for name in chosen:
            entered[name] = Adapted(p[name], p[_part(name, "A")], p[_part(name, "B")], scale)
        with_adapters: Any = AdaptedOps(ops)
        return update.loss(with_adapters, entered, batch)

    step = training(
        loss,
        update.rule,
        inputs=program.inputs,
        parameters=tuple(adapters),
        constants=update.trained + program.constants,
        work=program.work,
    )
    return replace(
        whole,
        parameters=whole.parameters + tuple(adapters),
        hyperparameters={**whole.hyperparameters, "lora_rank": rank, "lora_alpha": ALPHA},
        programs={LORA: step},
    )


def _part(name: str, part: str) -> str:
    return f"{name.removesuffix('.weight')}.lora_{part}.weight"
