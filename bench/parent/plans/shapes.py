"""Which workloads a run has, in which phases, and of what shapes: batch, sequence, depth, tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING

from bench.parent.plans.parse import PlanError
from bench.parent.plans.presets import PRESETS
from results.record.limits import READING
from workloads.catalog import (
    CATALOG,
    CONTROLS,
    DECODING,
    FIRST_SUITE,
    LIMITS,
    SUITES,
    deep_phases,
    depth_of,
    generated_of,
    load,
    phases_of,
)
from workloads.generate import GENERATE
from workloads.tuning import TUNED

if TYPE_CHECKING:
    from bench.parent.plans.plan import Selection

Shape = tuple[int, int | None, int | None, int | None]
"""Batch, sequence, depth, and how many tokens are generated."""


def workloads_of(selection: Selection) -> tuple[str, ...]:
    """Returns the workloads that were named, else those of its suites; beside models of the user's the limits."""
    if selection.models and not selection.suites:
        return selection.workloads or tuple(name for name in LIMITS if name in SUITES[FIRST_SUITE])
    return selection.workloads or tuple(dict.fromkeys(name for suite in selection.suites for name in SUITES[suite]))


def check(selection: Selection, workloads: Sequence[str]) -> None:
    """Raises PlanError where a shape was asked for that no step of the run has."""
    steps = [(name, phase) for name in workloads for phase in phases_of(name) if _is_asked(selection, name, phase)]
    deep = {name: deep_phases(name) for name in workloads}
    phases = f" in {', '.join(selection.phases)}" if selection.phases else ""
    asked = f"{', '.join(workloads)}{phases} has none"
    if selection.sequences and not any(CATALOG[name].SEQUENCES and phase not in deep[name] for name, phase in steps):
        raise PlanError(f"--sequence is for steps of language models that read one; {asked}")
    if selection.depths and not any(phase in deep[name] for name, phase in steps):
        raise PlanError(f"--depth is for --phases decode of {', '.join(DECODING)}; {asked}")
    if selection.generated and not any(phase == GENERATE for _, phase in steps):
        raise PlanError(f"--generated-tokens is for --phases {GENERATE} of {', '.join(DECODING)}; {asked}")


def _is_asked(selection: Selection, workload: str, phase: str) -> bool:
    return phase in (selection.phases or (phase,)) and has_phase(selection, workload, phase)


def bounding(selection: Selection, workloads: Sequence[str], phase: str) -> tuple[str, ...]:
    """Returns what runs in the phase beside the workloads, whatever was named: how fast memory is read, of a cache."""
    deep = {of for name in workloads for of in deep_phases(name)}
    is_deep = deep.intersection(deep if selection.phases is None else selection.phases)
    return (READING,) if is_deep and phase in phases_of(READING) else ()


def has_phase(selection: Selection, workload: str, phase: str) -> bool:
    """Returns whether the workload runs in the phase: one that is named in all that it has, else as its suites say.

    It generates, and is tuned, only where that is asked for or named by a suite: that takes longer prompts than the
    others' shapes leave room for, and graphs and weights of its own.
    """
    if phase not in phases_of(workload):
        return False
    of_suites = [SUITES[suite][workload] for suite in selection.suites if workload in SUITES[suite]]
    if phase == GENERATE or phase in TUNED:
        return phase in (selection.phases or ()) or any(phase in (phases or ()) for phases in of_suites)
    is_named = bool(selection.workloads or selection.phases or not selection.suites) or workload in CONTROLS
    return is_named or any(phases is None or phase in phases for phases in of_suites)


def _deep(selection: Selection, workload: str, size: str, default: int) -> Iterator[tuple[int, int]]:
    """Yields batch and depth of what decodes."""
    shapes: Sequence[tuple[int, int]] = ((load(workload, size).batch, default),)
    if PRESETS[selection.preset].has_all_shapes:
        shapes = getattr(CATALOG[workload], "DEPTHS", shapes)
    if not (selection.batches or selection.depths):
        yield from shapes
        return
    batches, depths = (tuple(dict.fromkeys(values)) for values in zip(*shapes, strict=True))
    yield from product(selection.batches or batches, selection.depths or depths)


def shapes_of(selection: Selection, workload: str, size: str, phase: str) -> Iterator[Shape]:
    """Yields the shapes in which a workload runs in a phase."""
    if (depth := depth_of(workload, size, phase)) is not None:
        yield from ((batch, None, deep, None) for batch, deep in _deep(selection, workload, size, depth))
        return
    default = generated_of(workload, size, phase)
    tokens = (None,) if default is None else selection.generated or (default,)
    yield from ((*shape, None, n) for shape, n in product(_whole(selection, workload, size), tokens))


def _whole(selection: Selection, workload: str, size: str) -> Iterator[tuple[int, int | None]]:
    """Yields batch and sequence of what has no depth."""
    default = load(workload, size)
    is_left_to_us = workload in LIMITS and workload not in (selection.workloads or ())
    if workload in CONTROLS or is_left_to_us:  # the same in every run
        yield default.batch, default.sequence
        return
    shapes = ((default.batch, default.sequence),)
    if PRESETS[selection.preset].has_all_shapes:
        shapes = getattr(CATALOG[workload], "SHAPES", shapes)
    batches = selection.batches or tuple(dict.fromkeys(batch for batch, _ in shapes))
    if default.sequence is None:
        yield from ((batch, None) for batch in batches)
    elif selection.batches or selection.sequences:
        default_sequences = tuple(dict.fromkeys(sequence for _, sequence in shapes))
        yield from product(batches, selection.sequences or default_sequences)
    else:
        yield from shapes
