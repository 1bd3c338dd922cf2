"""Which reduced precisions are believed: where the same adapter's float32 cell of the workload passes.

At 16 bits a wrong operation may hide under the rounding; in float32 it does not. Both run the same binding and the same
model, so that what passes there and keeps to the precision's error here is the same computation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from backends._arithmetic import cpu_flags
from backends._probes import versions
from bench.cell import Cell
from bench.effort import ONE_STEP
from bench.parent.record import Launch
from bench.parent.sources import digest_of
from bench.parent.suite import Suite
from results.record.schema import MEASURED
from workloads.precision import DEFAULT, precision_of

CODE = "fp32_not_verified"


class NotBelieved(Exception):
    """The float32 cell does not pass; the text says what came of it."""


def twin_of(cell: Cell) -> Cell | None:
    """Returns the cell whose verification `cell` rests on, None where that is its own."""
    return replace(cell, precision=DEFAULT.name) if precision_of(cell.precision).is_lower else None


def refused(suite: Suite, cells: Iterable[Cell]) -> dict[Cell, Launch]:
    """Returns the launches of cells that are not believed, without being run.

    Where the float32 cell is among `cells` it is verified with them (`held_together`). Else what is known of it for
    this code, these versions and this chip counts; what is not known yet is verified now, and not timed.
    """
    there = set(cells)
    launches = {}
    for cell in there:
        twin = twin_of(cell)
        if twin is None or twin in there or not suite.can_start(cell):
            continue
        try:
            suite.cache.ensure(_name(suite, twin), partial(_verified, suite, twin))
        except NotBelieved as error:
            launches[cell] = Launch(cell.columns() | _columns("plan", str(error)))
    return launches


def held_together(launches: Mapping[Cell, Launch]) -> dict[Cell, Launch]:
    """Returns the launches, those of a reduced precision refused where the float32 cell beside them failed."""
    held = dict(launches)
    for cell, launch in launches.items():
        twin = launches.get(twin_of(cell) or cell, launch).columns
        if launch.status == "ok" and twin.get("verification") != "passed" and twin is not launch.columns:
            held[cell] = replace(launch, columns=_unmeasured(launch.columns) | _columns("verify", _why(twin)))
    return held


def _unmeasured(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in columns.items() if name not in MEASURED}


def _columns(stage: str, reason: str) -> dict[str, Any]:
    return {"status": "refused", "stage": stage, "reason_code": CODE, "reason": reason}


def _why(columns: Mapping[str, Any]) -> str:
    return f"its {DEFAULT.name} cell is {columns['status']}: {columns.get('reason') or 'not verified'}"


def _name(suite: Suite, twin: Cell) -> str:
    """Returns what the passing of a cell is kept under: all that it depends on."""
    adapter = suite.find_adapter(twin.backend)
    known = (
        twin.load_workload().description(),
        twin.phase,
        twin.threads,
        adapter.chosen_options(twin.overrides.options),
        digest_of(type(adapter).__module__, twin.load_workload().source),
        versions(adapter.distributions),
        sorted(cpu_flags()),
    )
    key = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]
    return f"verified-{twin.workload}-{twin.size}-{twin.phase}-{twin.backend}-{key}"


def _verified(suite: Suite, twin: Cell, folder: Path) -> dict[str, Any]:
    """Verifies a cell and does not time it. Raises NotBelieved where it does not pass; nothing is in the `folder`."""
    columns = replace(suite, effort=ONE_STEP).outcome(twin)
    if columns["status"] != "ok" or columns.get("verification") != "passed":
        raise NotBelieved(_why(columns))
    return {"seconds": columns.get("launch_s") or 0.0}
