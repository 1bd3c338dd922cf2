"""What is copied between host and device, as a step of its own: what a chip's link to its host bears, in byte/s."""

from __future__ import annotations

from dataclasses import dataclass

from workloads.ops import Array, Ops, Parameters
from workloads.program import Checks, Outputs, Program, Work
from workloads.specs import N_BATCHES, InputSpec
from workloads.workload import Workload

TRANSFER = "transfer"
"""The phase."""
SIZES = {"tiny": 256, "64mib": 1 << 20}
"""Elements of a sample; the published size is that of all."""
BATCHES = {"tiny": 4, "64mib": 16}


@dataclass(frozen=True)
class Transfer(Program):
    """Copies `x`, which lies on the host, to the device as `y`; or back, where it is not `to_device`."""

    to_device: bool = True


def transfer(name: str, size: str, batch: int, to_device: bool) -> Workload:
    """Returns the workload that copies `batch` samples of float32 in one direction."""

    def step(ops: Ops, constants: Parameters, state: Parameters, batch: Parameters) -> tuple[Outputs, dict[str, Array]]:
        return {"y": batch["x"]}, {}

    program = Transfer(
        inputs=(InputSpec("x", (batch, SIZES[size]), "float32"),),
        step=step,
        checks=Checks(N_BATCHES, "output"),
        work=Work(batch),
        to_device=to_device,
    )
    return Workload(
        name=name,
        size=size,
        batch=batch,
        sequence=None,
        parameters=(),
        hyperparameters={"n": SIZES[size]},
        programs={TRANSFER: program},
    )
