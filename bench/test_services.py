"""Every service of the run at each load that was asked for. They come from the options in conftest.py."""

from __future__ import annotations

from collections.abc import Callable

from bench.service_cell import ServiceCell


def test_service(service: ServiceCell, run_service: Callable[[ServiceCell], None]) -> None:
    run_service(service)
