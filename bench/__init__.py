"""When it is timed: cells, child processes, verification and clocks; the pytest door.

`bench.run(bench.select({"--workloads": "mlp", "--preset": "smoke"}.get))` is a run from Python, without pytest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.parent.plans.options import Settings as Settings
    from bench.parent.plans.options import select as select
    from bench.parent.run import run as run

_PLACES = {"Settings": "bench.parent.plans.options", "run": "bench.parent.run", "select": "bench.parent.plans.options"}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'bench' has no attribute {name!r}; it has: {', '.join(_PLACES)}")
    return getattr(import_module(_PLACES[name]), name)
