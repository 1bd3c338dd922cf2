"""The options of training steps: rank of adapters, gradient accumulation, activation checkpointing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from bench.parent.plans.parse import PlanError, numbers, words
from workloads.catalog import CONTROLS, phases_of, rank_of, trains
from workloads.tuning import TUNED
from workloads.tuning.options import CHECKPOINTS

OFF = "off"
OPTIONS: Mapping[str, Mapping[str, str]] = {
    "--rank": {"metavar": "LIST", "help": "ranks of the adapters of phase lora"},
    "--accumulate": {
        "metavar": "LIST",
        "help": "parts of a training step's batch whose gradients are added up before its update; --batch is the whole",
    },
    "--checkpoint": {
        "metavar": "LIST",
        "help": f"what training steps compute again instead of keeping it, of: {', '.join((OFF, *CHECKPOINTS))}",
    },
}


NAMES = tuple(name.removeprefix("--") for name in OPTIONS)


@dataclass(frozen=True)
class Training:
    """What was asked for of training steps; empty where nothing was."""

    ranks: tuple[int, ...] = ()
    accumulate: tuple[int, ...] = ()
    checkpoints: tuple[str, ...] = ()

    def of(self, workload: str, phase: str) -> Iterator[dict[str, Any]]:
        """Yields the fields of a cell that a training step of the phase has; one without any for other steps."""
        if workload in CONTROLS or not trains(workload, phase):
            yield {}
            return
        default = rank_of(phase)
        ranks = (None,) if default is None else self.ranks or (default,)
        checkpoints = [None if one == OFF else one for one in self.checkpoints or (OFF,)]
        for rank, parts, checkpoint in product(ranks, self.accumulate or (1,), checkpoints):
            yield {"rank": rank, "accumulate": parts if parts > 1 else None, "checkpoint": checkpoint}


def asked_for(option: Callable[[str], Any]) -> Training:
    """Returns what the command line asks for. Raises PlanError."""
    return Training(
        numbers(option("--rank"), "--rank") or (),
        numbers(option("--accumulate"), "--accumulate") or (),
        words(option("--checkpoint"), "--checkpoint", (OFF, *CHECKPOINTS)) or (),
    )


def check(training: Training, workloads: tuple[str, ...], phases: tuple[str, ...] | None) -> None:
    """Raises PlanError where options of training steps were given to a run that has none of such steps."""
    chosen = [(name, phase) for name in workloads for phase in phases or ("train", *TUNED)]
    having = [phase for name, phase in chosen if phase in phases_of(name) and trains(name, phase)]
    if training.ranks and not any(rank_of(phase) is not None for phase in having):
        raise PlanError("--rank is for adapters: add --phases lora")
    if (training.accumulate or training.checkpoints) and not having:
        names = ", ".join(f"--{name}" for name in ("accumulate", "checkpoint"))
        raise PlanError(f"{names} are for training steps, and this run has none: see --phases and --workloads")
