"""One matrix product in plain NumPy: what a night's other numbers are held against, when the machine was slow."""

from __future__ import annotations

from workloads.models.matmul import product
from workloads.workload import Workload

SIZES = {"tiny": 16, "1024": 1024}
"""Rows and columns of the weight."""
PUBLISHED = "1024"
BATCHES = {"tiny": 4, "1024": 512}
SEQUENCES = None
KIND = "control"


def build(size: str, batch: int, sequence: int | None = None) -> Workload:
    """Returns the workload at `size` with `batch` rows in the other factor."""
    return product("control_matmul", size, SIZES[size], batch)
