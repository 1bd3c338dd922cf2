"""Why an adapter copies nothing between host and device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workloads.precision import DEFAULT

if TYPE_CHECKING:
    from backends.base import Adapter


def why_no_transfer(adapter: Adapter, precision: str) -> tuple[str, str] | None:
    """Returns (reason code, reason) where the adapter has no transfer in this precision, else None."""
    if not adapter.transfers:
        why = "its device is the host" if adapter.device_kind == "cpu" else "its adapter has no step that only copies"
        return "phase_not_supported", f"{adapter.name} copies nothing between host and device: {why}"
    if precision != DEFAULT.name:
        return "precision_not_supported", f"bytes are copied, whatever they stand for: in {DEFAULT.name} alone"
    return None
