"""The workloads by name. Adding one is a file in `workloads/models/` and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from workloads.models import bert_base, control_copy, control_matmul, conv, gpt2, matmul, mlp, resnet50, stream
from workloads.workload import Workload

CATALOG: Mapping[str, ModuleType] = {
    "mlp": mlp,
    "resnet50": resnet50,
    "gpt2": gpt2,
    "bert_base": bert_base,
    "matmul": matmul,
    "conv": conv,
    "stream": stream,
    "control_matmul": control_matmul,
    "control_copy": control_copy,
}
CONTROLS = ("control_matmul", "control_copy")
"""Run in every run, by the backends that name them: they tell a slow machine from a slow runtime."""
LIMITS = ("matmul", "conv", "stream")
"""What bounds the chip: run before the models, whose numbers are held against them."""
MODELS = tuple(name for name in CATALOG if name not in (*LIMITS, *CONTROLS))


def is_run_by(workload: str, named: tuple[str, ...] | None) -> bool:
    """Returns whether a backend that names these workloads has cells of this one: None is all but the controls."""
    return workload in ((*MODELS, *LIMITS) if named is None else named)


def phases_of(name: str) -> tuple[str, ...]:
    """Returns the phases that the workload has: both, unless its file says otherwise."""
    return getattr(CATALOG[name], "PHASES", ("infer", "train"))


def load(name: str, size: str | None = None, batch: int | None = None, sequence: int | None = None) -> Workload:
    """Returns the workload `name`; what is not given is the published size and its default batch.

    Raises ValueError for an unknown name or size, a batch below 1, and a sequence the model cannot take.
    """
    if name not in CATALOG:
        raise ValueError(f"unknown workload {name!r}; known: {', '.join(CATALOG)}")
    model = CATALOG[name]
    size = size or model.PUBLISHED
    if size not in model.SIZES:
        raise ValueError(f"unknown size {size!r} of {name}; known: {', '.join(model.SIZES)}")
    for what, value in (("batch", batch), ("sequence", sequence)):
        if value is not None and value < 1:
            raise ValueError(f"{what} must be at least 1, got {value}")
    if model.SEQUENCES is None:
        sequence = None
    elif sequence is None:
        sequence = model.SEQUENCES[size]
    workload: Workload = model.build(size, batch or model.BATCHES[size], sequence)
    return workload
