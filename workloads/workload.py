"""What a workload is: a model with its sizes, its data, and the programs that it runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from workloads.program import Program
from workloads.specs import N_BATCHES, Given, InputSpec, ParameterSpec, TableSpec, Weights
from workloads.weights.published import Published


@dataclass(frozen=True)
class Workload:
    """A model with its sizes, batch and programs: everything that decides what is computed.

    `programs` are its kinds of step by name, which is the row's `phase`. `parameters` and `buffers` are the model's
    tensors, whichever of them a program trains, reads or carries on.
    """

    name: str
    size: str
    batch: int
    sequence: int | None
    parameters: tuple[ParameterSpec, ...]
    hyperparameters: Mapping[str, float | int | str]
    programs: Mapping[str, Program]
    buffers: tuple[ParameterSpec, ...] = ()
    seed: int = 0
    weights: Weights | None = None
    published: Published = field(default_factory=Published)
    """How files of the public model name its tensors."""
    source: str = "workloads.workload"
    """The module that it is written in."""
    given: Given | None = None
    """Where its tensors and batches lie, where it is a user's own model."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Why a program is not run by any backend, by its name."""

    @property
    def tensors(self) -> tuple[ParameterSpec, ...]:
        """Parameters and buffers."""
        return self.parameters + self.buffers

    @property
    def stored(self) -> tuple[ParameterSpec, ...]:
        """Those that files of weights hold: all but what is made by a formula."""
        return tuple(spec for spec in self.tensors if not isinstance(spec, TableSpec))

    @property
    def parameter_count(self) -> int:
        """Number of trained scalars, tied tensors counted once."""
        return sum(spec.size for spec in self.parameters)

    @property
    def said(self) -> str:
        """What a reader must know of how it is verified; nothing where it is as all are."""
        return ""

    @property
    def weights_bytes(self) -> int:
        """Bytes of its tensors in float32."""
        return 4 * sum(spec.size for spec in self.tensors)

    @property
    def n_batches(self) -> int:
        """How many batches there are, among which steps rotate."""
        return max((program.n_batches for program in self.programs.values()), default=N_BATCHES)

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """The inputs of all programs, each once: what a batch holds."""
        return tuple(dict.fromkeys(spec for program in self.programs.values() for spec in program.inputs))

    def description(self) -> dict[str, Any]:
        """Returns all that decides what is computed, apart from code, in a form that JSON can hold."""
        rules = [program.update.rule.description() for program in self.programs.values() if program.update]
        details = {name: dict(program.details) for name, program in self.programs.items() if program.details}
        extra: dict[str, Any] = {} if self.weights is None else {"weights_sha256": self.weights.sha256}
        if self.given is not None:
            extra["given_sha256"] = self.given.sha256
        if details:
            extra["details"] = details
        if len(rules) > 1:
            extra["optimizers"] = rules
        return extra | {
            "name": self.name,
            "size": self.size,
            "batch": self.batch,
            "sequence": self.sequence,
            "seed": self.seed,
            "n_batches": self.n_batches,
            "hyperparameters": dict(self.hyperparameters),
            "optimizer": rules[0] if rules else NO_OPTIMIZER,
            "parameters": [asdict(spec) for spec in self.parameters],
            "buffers": [asdict(spec) for spec in self.buffers],
            "inputs": [_described(spec) for spec in self.inputs],
        }

    def canonical(self) -> str:
        """Returns `description()` as one canonical line of JSON, for digests."""
        return json.dumps(self.description(), sort_keys=True, separators=(",", ":"))


def _described(spec: InputSpec) -> dict[str, Any]:
    """Returns an input as digests have it: what was added to it later only where it is used."""
    return {name: value for name, value in asdict(spec).items() if name != "first" or value is not None}


NO_OPTIMIZER = {"rule": "SGD", "learning_rate": 0.0, "momentum": 0.0}
"""Stands in the description of a workload that trains nothing. Digests, and so series, are made of it."""
