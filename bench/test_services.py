"""Every service of the run, and every step under a load. They come from the options in conftest.py."""

from __future__ import annotations

from collections.abc import Callable

from bench.scenario_cell import Loaded


def test_service(service: Loaded, run_service: Callable[[Loaded], None]) -> None:
    run_service(service)
