"""Options of any training step: gradients accumulated over parts of a batch, activations computed again."""

from __future__ import annotations

from dataclasses import replace

from workloads.count import CountOps, on_shapes
from workloads.ops import Array, Ops, Parameters
from workloads.program import Program, training
from workloads.workload import Workload

CHECKPOINTS = ("blocks",)
"""What may be computed again in the backward pass: all of a repeated block but what goes into it."""


def with_options(workload: Workload, accumulate: int, checkpoint: str | None) -> Workload:
    """Returns the workload whose training steps have the options; its other programs are left as they are.

    Raises ValueError for a batch that has no such parts, and for a model without repeated blocks.
    """
    if accumulate == 1 and checkpoint is None:
        return workload
    programs = {name: _with(program, accumulate, checkpoint) for name, program in workload.programs.items()}
    return replace(workload, programs=programs)


def _with(program: Program, accumulate: int, checkpoint: str | None) -> Program:
    update = program.update
    if update is None:
        return program

    def recomputing(ops: Ops, p: Parameters, batch: Parameters) -> tuple[Array, dict[str, Array]]:
        return update.loss(ops.recomputing(), p, batch)

    again = training(
        update.loss if checkpoint is None else recomputing,
        update.rule,
        inputs=program.inputs,
        parameters=update.trained,
        buffers=update.buffers,
        constants=program.constants,
        work=program.work,
        accumulate=accumulate,
    )
    if checkpoint is None:
        return replace(again, details={**program.details, **again.details})
    _must_repeat(again)
    return replace(again, details={**program.details, **again.details, "checkpoint": checkpoint})


class _Repeating(CountOps):
    """The vocabulary on shapes, which remembers whether a block was repeated."""

    repeated = False

    def repeat(self, block: object, x: Array, parameters: Parameters, prefix: str, n: int) -> Array:
        self.repeated = True
        return super().repeat(block, x, parameters, prefix, n)  # type: ignore[arg-type]


def _must_repeat(program: Program) -> None:
    ops = _Repeating()
    on_shapes(program, lambda constants: ops)
    if not ops.repeated:
        raise ValueError("it has no repeated blocks whose activations could be computed again")
