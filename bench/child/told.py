"""What only the child knows of what ran: versions, options, and what products were computed in."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from typing import Any

from backends._arithmetic import NO_PRODUCTS, short
from backends._probes import versions
from backends.base import Adapter, Request
from workloads.precision import Precision


def arithmetic(effective: Mapping[str, Any], precision: Precision) -> dict[str, Any]:
    """Returns what the products ran in, and whether most of them did not run in the precision's own type.

    A step without products, as `stream` is, emulates nothing.
    """
    told = effective.get("arithmetic")
    if told is None or not precision.is_lower:
        return {}
    most = str(told).partition(" ")[0].partition("/")[0]
    return {"arithmetic": told, "is_emulated": most not in (NO_PRODUCTS, short(precision.multiplied))}


def origin(adapter: Adapter, request: Request) -> dict[str, Any]:
    """Returns what ran, as only the child knows it: another side of an A/B may have another Python."""
    return {
        "library_versions": json.dumps(versions((*adapter.distributions, "numpy")), sort_keys=True),
        "python_version": platform.python_version(),
        "options": json.dumps(dict(request.options), sort_keys=True) if request.options else None,
    }
