"""Plain NumPy on the CPU: the control in every run. It has no framework that an update could make slower."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from backends._probes import probe_cpu
from backends.base import Adapter, Effective, Probe, Request, Setting, Step
from workloads.precision import FLOAT32, FP32

if TYPE_CHECKING:
    from numpy.typing import NDArray


class NumpyStep(Step):
    """A control step: one call of NumPy, from buffers into a buffer."""

    def __init__(self, request: Request) -> None:
        import numpy as np

        self.inputs = [np.array(batch["x"]) for batch in request.batches]
        self.call: Callable[[NDArray[Any]], object]
        if request.workload.name == "control_matmul":
            weight = np.array(request.parameters["weight"]).T
            self.result = self.inputs[0] @ weight
            self.call = lambda x: np.matmul(x, weight, out=self.result)
        else:
            self.result = np.zeros_like(self.inputs[0])
            self.call = partial(np.copyto, self.result)

    def compile(self) -> None: ...

    def step(self, i: int) -> None:
        self.call(self.inputs[i % len(self.inputs)])

    def sync(self) -> None:
        """NumPy's calls have waited."""

    def touch(self) -> None:
        self.result.reshape(-1)[0].item()

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        return {"y": self.result}

    def state(self) -> Iterator[tuple[str, NDArray[Any]]]:
        return iter(())

    def effective(self) -> Effective:
        dtypes = {str(array.dtype) for array in (*self.inputs, self.result)}
        return Effective("cpu", FP32.name if dtypes == {FLOAT32} else "/".join(sorted(dtypes)))


class NumpyCpu(Adapter):
    """Runs the control workloads and no other."""

    device_kind = "cpu"
    phases = ("infer",)
    overlap = "none"
    distributions = ("numpy",)
    workloads = ("control_matmul", "control_copy")

    def probe(self) -> Probe:
        return probe_cpu("numpy", self.distributions, "cpu")

    def load(self, setting: Setting) -> None:
        # NumPy's BLAS takes its threads from the variables that the parent has set.
        import numpy  # noqa: F401

    def prepare(self, request: Request) -> Step:
        return NumpyStep(request)
