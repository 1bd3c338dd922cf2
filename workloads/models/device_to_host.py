"""One copy from the device's memory to the host's: what bounds how fast outputs come back, in byte/s."""

from __future__ import annotations

from workloads.models import _transfer
from workloads.workload import Workload

SIZES, BATCHES = _transfer.SIZES, _transfer.BATCHES
PUBLISHED = "64mib"
SEQUENCES = None
KIND = "limit"
SUITES = {"micro": None}


def build(size: str, batch: int, sequence: int | None = None) -> Workload:
    """Returns the workload at `size` with `batch` samples."""
    return _transfer.transfer("device_to_host", size, batch, to_device=False)
