"""Nothing: its step computes nothing, so that its row is the harness's own cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from backends.base import Adapter, Effective, NoOperators, Operator, Probe, Request, Setting, Step
from workloads.catalog import MODELS
from workloads.precision import Precision

if TYPE_CHECKING:
    from numpy.typing import NDArray


class NullStep(Step):
    """A step that returns at once."""

    def __init__(self, precision: Precision) -> None:
        self.precision = precision

    def compile(self) -> None: ...

    def step(self, i: int) -> None: ...

    def sync(self) -> None: ...

    def touch(self) -> None: ...

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        return {}

    def state(self) -> Iterator[tuple[str, NDArray[Any]]]:
        return iter(())

    def operators(self, steps: int) -> list[Operator]:
        raise NoOperators("it computes nothing")

    def effective(self) -> Effective:
        return Effective("none", self.precision.name)


class Null(Adapter):
    """Cannot be verified, and enters no ratio."""

    device_kind = "none"
    phases = None
    generates = True
    overlap = "none"
    verifiable = False
    workloads = MODELS

    def probe(self) -> Probe:
        return Probe("usable", "none")

    def load(self, setting: Setting) -> None: ...

    def prepare(self, request: Request) -> Step:
        return NullStep(request.precision)
