"""What a cell asks of a runtime, and what it is given, as adapters and makers of artifacts take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from backends.base import Adapter, Request, Setting
from bench.cell import Cell
from workloads.arrays import BATCHES_FILE, load_batches, map_initial
from workloads.precision import precision_of

MANIFEST = "manifest.json"
"""The cache's own file beside those of an artifact."""


def setting_of(cell: Cell, options: Mapping[str, str] | None = None) -> Setting:
    """Returns the setting of `cell`; `options` are all of its adapter's."""
    return Setting(
        workload=cell.load_workload(),
        phase=cell.phase,
        precision=precision_of(cell.precision),
        threads=cell.threads,
        device_index=cell.device_index,
        options=dict(options or {}),
    )


def request_of(setting: Setting, adapter: Adapter, entries: Mapping[str, Path]) -> Request:
    """Returns all that `adapter` needs to prepare a step; `entries` are the cache's folders by artifact."""
    return Request(
        **{field.name: getattr(setting, field.name) for field in fields(Setting)},
        parameters=map_initial(entries),
        batches=load_batches(entries["batches"] / BATCHES_FILE),
        artifacts={artifact.name: entries[artifact.name] for artifact in adapter.artifacts_of(setting.program)},
    )
