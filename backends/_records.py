"""What adapters and the harness hand each other: plain records, which import no runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from workloads.generate import Generating
from workloads.recipes.int8 import quantized
from workloads.recipes.mixed import low_constants, low_inputs, lowered

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from workloads.precision import Precision
    from workloads.program import Program
    from workloads.workload import Workload


@dataclass(frozen=True)
class Probe:
    """What can be seen of a backend without starting it.

    `usable`: device and library are there. `absent`: no such device, or library not installed. `broken`: there,
    and known not to work. `reason` says why not, and what to install or mend.
    """

    status: Literal["usable", "absent", "broken"]
    device: str = ""
    version: str = ""
    reason: str = ""
    reason_code: str = ""


@dataclass(frozen=True)
class Artifact:
    """Something that is made once from a workload's program, and cached: a graph in some format, say.

    `maker` is `module:function` in the checkout or in an adapter's own package. It is called in a child of its own as
    `function(setting, folder, inputs)`, writes files into the empty `folder`, and returns what the cache shall
    remember; `inputs` are the folders of the artifacts that it `needs`, by name. The cache's key holds the workload,
    the sources that the maker's module imports from its package, and the versions of `libraries`.
    """

    name: str
    maker: str
    needs: tuple[str, ...] = ("parameters", "batches")
    libraries: tuple[str, ...] = ()
    is_shared: bool = False
    """Whether it is the same for all programs of a workload."""
    of_model_alone: bool = False
    """Whether it depends on the model's tensors alone: neither on the batch nor on what a program computes."""


@dataclass(frozen=True)
class Setting:
    """What one cell asks of a runtime, known before anything is loaded."""

    workload: Workload
    phase: str
    precision: Precision
    threads: int
    device_index: int = 0
    options: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    """Every option that the adapter declares, with the value chosen."""
    part: str = field(default="", kw_only=True)
    """Which part of a generation this is; empty where it is a whole step."""

    def of_part(self, name: str) -> Self:
        """Returns the same for the part `name` of a generation: a workload of its own, with that one program."""
        generation = self.workload.programs[self.phase]
        assert isinstance(generation, Generating)
        return replace(self, workload=generation.parts[name], phase=name, part=name)

    @cached_property
    def program(self) -> Program:
        """The program of the workload that is asked for, in the precision that is asked for."""
        program = self.workload.programs[self.phase]
        if self.precision.is_quantized:
            return quantized(program, self.precision)
        return lowered(program, self.precision, self.kept)

    @property
    def kept(self) -> frozenset[str]:
        """The model's tensors that are float32 in every precision: running statistics, and tables that are exact."""
        return frozenset(spec.name for spec in self.workload.buffers if getattr(spec, "is_exact", True))

    @property
    def low(self) -> frozenset[str]:
        """The constants and inputs that a step reads in the type of activations, and may keep in it."""
        if not self.precision.is_reduced:
            return frozenset()
        return low_constants(self.program, self.kept) | low_inputs(self.program)


@dataclass(frozen=True)
class Request(Setting):
    """All that an adapter needs to prepare one step."""

    parameters: Mapping[str, NDArray[np.generic]] = field(kw_only=True)
    """Initial parameters and buffers, read-only and memory-mapped: copy what the step changes. float32; of a quantised
    precision the constants of its program, int8 codes among them."""
    batches: tuple[Mapping[str, NDArray[np.generic]], ...] = field(kw_only=True)
    """Several batches of inputs, of all programs; step `i` takes batch `i % len(batches)`."""
    artifacts: Mapping[str, Path] = field(default_factory=dict, kw_only=True)
    """The folders of the artifacts that the adapter declares, by name."""


@dataclass(frozen=True)
class Effective:
    """What a runtime says it does, read back. None where it does not tell: the numbers have to decide then."""

    device: str | None
    """Its kind, as `Adapter.device_kind` has it."""
    precision: str | None
    threads: int | None = None
    more: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    """What else is worth a look, by name. The harness itself reads `device_name`, `device_peak_memory_bytes`,
    `nodes_share` and `provider`."""

    def told(self) -> dict[str, str | int | float | bool]:
        """Returns all that was told, by name."""
        parts = {"device": self.device, "precision": self.precision, "threads": self.threads}
        return {name: value for name, value in parts.items() if value is not None} | dict(self.more)


@dataclass(frozen=True)
class DeviceReading:
    """What a device's driver says at one moment; times in seconds since whenever, None or 0 where it does not say."""

    clock_hz: float | None = None
    temperature_c: float | None = None
    throttle_reasons: tuple[str, ...] = ()
    throttled_s: float = 0.0
    """For how long heat or the hardware itself has slowed it."""
    power_capped_s: float = 0.0
    other_processes: int = 0
    """How many processes but this one compute on it, where the driver knows this one by its id."""
    processes: frozenset[int] | None = field(default=None, compare=False)
    """The ids of all that compute on it, as the driver names them: in a container it may give those of the host, and
    this process stands under an id that is not its own. None where the driver lists none, or `other_processes` is to
    be taken as it is. Ids differ from run to run, so that two readings are not told apart by them."""
    memory_errors: int = 0


@dataclass(frozen=True)
class Operator:
    """Time in one kind of call of a runtime, by its own name for it.

    `seconds` are of one step, without the time in other operators that it calls, so that they add up; `calls` are
    those of one step.
    """

    name: str
    seconds: float
    calls: float


class NoOperators(Exception):
    """The runtime has no times by operator to offer; the message says why."""


@dataclass(frozen=True)
class EnergyCounter:
    """A counter of the joules that a device has used since whenever."""

    origin: str
    """Which counter this is, and of what: `NVML board`."""
    read_j: Callable[[], float]
    """Takes a millisecond or two at most. Raises EnergyUnavailable where it cannot be read any longer."""
    range_j: float = 0.0
    """Where it begins anew; 0 where it never does."""


class EnergyUnavailable(Exception):
    """The energy of a device cannot be read; the text says why."""


@dataclass(frozen=True)
class KnownFailure:
    """A declared failure: where it happens, why, and the link that says so."""

    workload: str
    phase: str
    reason: str
    link: str

    def covers(self, workload: str, phase: str) -> bool:
        """Whether this is where it fails."""
        return (self.workload, self.phase) == (workload, phase)
