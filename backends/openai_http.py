"""A service that speaks OpenAI's protocol over HTTP: it answers requests, and has no step. Requires nothing.

What it answers is measured by `samestep run --service URL` and `samestep service` (`bench/serving`), apart from steps.
"""

from __future__ import annotations

from backends.base import Adapter, Probe, Request, Setting, Step

NO_STEP = "a service answers requests and has no step of its own: measure it with samestep run --service URL"


class OpenAIHttp(Adapter):
    """Runs no step: each of its cells is unsupported, and it is in a run only where it is asked for by name."""

    device_kind = "none"
    overlap = "none"
    presets = ()

    def probe(self) -> Probe:
        return Probe("absent", reason=NO_STEP, reason_code="no_device")

    def why_unsupported(self, phase: str, precision: str) -> tuple[str, str]:
        return "phase_not_supported", NO_STEP

    def load(self, setting: Setting) -> None:
        raise NotImplementedError(NO_STEP)

    def prepare(self, request: Request) -> Step:
        raise NotImplementedError(NO_STEP)
