"""An adapter whose step is some work and a busy-wait of `planted` parts in a thousand of what that takes.

`work` is `product`, one of NumPy's, as unsteady as the machine is; or `clock`, itself a busy-wait, of 3 ms.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar

from backends.base import Adapter, Effective, Options, Probe, Request, Setting, Step
from backends.null import NullStep

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 640
CLOCK_S = 3e-3


class BusyStep(NullStep):
    """Says that its result is all ones: it is about time."""

    def __init__(self, request: Request) -> None:
        import numpy as np

        super().__init__(request.precision)
        self.square = np.full((SIDE, SIDE), 0.5, np.float32)
        self.product = np.empty_like(self.square)
        self.part = int(request.options["planted"]) / 1000
        self.work = self._product if request.options["work"] == "product" else self._clock
        self.ones = np.ones((4, 5), np.float32)

    def _product(self) -> None:
        import numpy as np

        np.matmul(self.square, self.square, out=self.product)

    def _clock(self) -> None:
        end = perf_counter() + CLOCK_S
        while perf_counter() < end:
            pass

    def step(self, i: int) -> None:
        start = perf_counter()
        self.work()
        now = perf_counter()
        end = now + self.part * (now - start)
        while now < end:
            now = perf_counter()

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        return {"logits": self.ones}

    def effective(self) -> Effective:
        return Effective("cpu", self.precision.name)


class Busy(Adapter):
    """Takes `planted=20` for a step that is 2 % slower."""

    device_kind = "cpu"
    phases = ("infer",)
    overlap = "none"
    options: ClassVar[Options] = {"planted": ("0", "10", "20", "500"), "work": ("product", "clock")}

    def probe(self) -> Probe:
        return Probe("usable", "cpu")

    def load(self, setting: Setting) -> None: ...

    def prepare(self, request: Request) -> Step:
        return BusyStep(request)
