"""An adapter on a device that another process computes on, whose driver lists processes under ids that are not ours."""

from __future__ import annotations

from backends.base import DeviceReading, Request, Step
from tests.fakes.faulty import Faulty

ANOTHER, OURS = 815, 31415


class Shared(Faulty):
    """Its step is on the device from `prepare` on."""

    is_prepared = False

    def prepare(self, request: Request) -> Step:
        self.is_prepared = True
        return super().prepare(request)

    def device_reading(self, index: int) -> DeviceReading:
        listed = {ANOTHER, OURS} if self.is_prepared else {ANOTHER}
        return DeviceReading(other_processes=len(listed), processes=frozenset(listed))
