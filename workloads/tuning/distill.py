"""Distillation: a student learns its labels, and the distribution that a frozen teacher gives at each position.

Half of the loss is cross-entropy, half the divergence of the student from the teacher at a temperature, times its
square (Hinton et al. 2015, arXiv:1503.02531).
"""

from __future__ import annotations

from dataclasses import replace

from workloads.ops import Array, Ops, Parameters, subset
from workloads.program import training
from workloads.tuning import DISTILL, TRAIN
from workloads.tuning.policies import frozen_specs, logits_of
from workloads.vocabulary.losses import widened
from workloads.workload import Workload

TEACHER = "teacher."
"""What stands before the names of the frozen model's tensors, its tables among them."""
TEMPERATURE, SHARE = 2.0, 0.5


def distill(student: Workload, teacher: Workload) -> Workload:
    """Returns the workload that trains `student` on what `teacher`, a model of the same vocabulary, says."""
    program = student.programs[TRAIN]
    update = program.update
    assert update is not None
    tables = {f"{TEACHER}{spec.name}": spec.name for spec in teacher.buffers}
    frozen = frozen_specs(teacher.parameters, TEACHER)

    def loss(ops: Ops, p: Parameters, batch: Parameters) -> tuple[Array, dict[str, Array]]:
        taught = {**{name: p[name] for name in tables.values()}, **subset(p, TEACHER)}
        said, wanted = logits_of(student, ops, p, batch), logits_of(teacher, ops, taught, batch)
        flat = ops.reshape(said, (-1, said.shape[-1]))
        of_labels = ops.cross_entropy(flat, ops.reshape(batch["labels"], (-1,)))
        wide = ops.wide()
        cooled = (widened(ops, x) * (1 / TEMPERATURE) for x in (said, wanted))
        log_student, log_teacher = (wide.log_softmax(x) for x in cooled)
        # Of each position the sum over the vocabulary, and the mean over positions.
        terms = wide.exp(log_teacher) * (log_teacher - log_student)
        divergence = wide.mean(wide.mean(terms, (2,)) * said.shape[-1], (0, 1))
        return of_labels * (1 - SHARE) + divergence * (SHARE * TEMPERATURE**2), {}

    step = training(
        loss,
        update.rule,
        inputs=program.inputs,
        parameters=student.parameters,
        constants=student.buffers + frozen,
        work=program.work,
    )
    more: dict[str, str | float] = {"teacher": teacher.size, "temperature": TEMPERATURE, "share_of_teacher": SHARE}
    return replace(
        student,
        parameters=student.parameters + frozen,
        hyperparameters={**student.hyperparameters, **more},
        programs={DISTILL: step},
    )
