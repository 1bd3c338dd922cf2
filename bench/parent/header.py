"""What a run says of itself in the first line of its journal."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backends._probes import versions
from bench.effort import METHOD_VERSION
from host.installation import installation_id
from host.machine import describe_machine, describe_software
from results.record.text import slug

ROOT = Path(__file__).resolve().parents[2]


def new_header() -> dict[str, Any]:
    """Returns machine, versions and time of a run that begins now."""
    machine = describe_machine()
    return {
        "machine": machine
        | {"name": slug(str(machine["name"])), "installation_id": installation_id()}
        | describe_software(),
        "versions": versions(("samestep", "pytest")) | {"method": METHOD_VERSION},
        "started_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }
