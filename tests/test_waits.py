"""Whether an adapter waits, and runs what was asked for: each refusal, and what must not be refused."""

from itertools import chain, cycle

import pytest

from backends.base import Effective
from backends.null import NullStep
from bench.child.checks import waits
from bench.child.checks.verify import Disturbed, Refused, check_effective
from bench.child.checks.waits import check_waits


class Device(NullStep):
    """A device on a clock of its own: steps take `step_s`, and reading waits until they are done."""

    def __init__(self, step_s=0.01, sync_waits=1.0, read_s=1e-5):
        super().__init__("fp32")
        self.now = self.free = 0.0
        self.step_s, self.sync_waits, self.read_s = step_s, sync_waits, read_s
        self.steps = []

    def step(self, i):
        self.now += 1e-6
        self.free = max(self.free, self.now) + self.step_s
        self.steps.append(i)

    def sync(self):
        """Waits for all but a part of the last step."""
        self.now = max(self.now, self.free - (1 - self.sync_waits) * self.step_s)

    def touch(self):
        self.now = max(self.now, self.free) + self.read_s


class Silent(Device):
    """Neither waits nor has anything to be waited for: its results are always there."""

    def sync(self): ...

    def touch(self):
        self.now += self.read_s


@pytest.fixture
def checked(monkeypatch):
    def check(device, step_s=None):
        monkeypatch.setattr(waits, "perf_counter", lambda: device.now)
        monkeypatch.setattr(waits, "sleep", lambda seconds: setattr(device, "now", device.now + seconds))
        return check_waits(device, 5, device.step_s if step_s is None else step_s)

    return check


@pytest.mark.parametrize("step_s", [2.0, 0.01, 1e-4])
def test_a_device_that_waits_passes(checked, step_s):
    device = Device(step_s)
    i, last_s = checked(device)
    assert i == 5 + len(device.steps)
    assert last_s == pytest.approx(step_s, rel=0.05)
    assert device.steps == list(range(5, i))


@pytest.mark.parametrize("waits", [0.0, 0.5, 0.9])
def test_a_sync_that_leaves_something_out_is_refused(checked, waits):
    with pytest.raises(Refused, match=r"reading the result took 0\.\d+ s more") as refusal:
        checked(Device(0.05, waits))
    assert refusal.value.code == "does_not_wait"


def test_a_sync_that_does_nothing_is_refused_however_short_its_steps_look(checked):
    with pytest.raises(Refused):
        checked(Device(0.01, sync_waits=-1e9), step_s=1e-6)


def test_a_first_reading_that_is_always_slow_is_no_proof(checked):
    device = Device(0.001)
    plain, run, seen = device.touch, device.step, []

    def touch():
        plain()
        device.now += 0.0 if seen == device.steps else 0.001
        seen[:] = device.steps

    device.step, device.touch = run, touch
    checked(device)


def test_a_slow_first_reading_once_is_no_proof(checked):
    device = Device(0.05)
    plain, readings = device.touch, []

    def touch():
        readings.append(1)
        plain()
        device.now += 0.04 if len(readings) == 2 else 0.0

    device.touch = touch
    checked(device)


@pytest.mark.parametrize(("calm", "error"), [((0.0, 0.01, 0.0), Disturbed), ((0.001, 0.0, 0.001), Refused)])
def test_readings_that_differ_among_themselves_tell_nothing(calm, error, checked):
    device = Device(0.05)
    plain = device.touch
    # The first reading of all; then one behind a sync, one more, and one after each of three pauses.
    slow = chain([0.0], cycle([0.04, 0.0, *calm]))

    def touch():
        plain()
        device.now += next(slow)

    device.touch = touch
    with pytest.raises(error):
        checked(device)


def test_steps_that_take_no_longer_however_many_are_refused(checked):
    device = Silent(0.05)
    device.step = lambda i: None
    device.sync = lambda: setattr(device, "now", device.now + 0.05)
    with pytest.raises(
        Refused, match=r"twice as many steps took 1.00, 1.00, 1.00, 1.00 times as long: sync\(\) does not wait for all"
    ):
        checked(device)


@pytest.mark.parametrize(("slowed", "status"), [({6}, "disturbed"), (set(), "refused")])
def test_tries_that_contradict_each_other_prove_nothing(checked, slowed, status):
    """Whatever the work, a wait takes as long: but for one that the machine held up."""
    device, waits = Silent(0.05), []
    device.step = lambda i: None

    def sync():
        waits.append(1)
        device.now += 0.5 if len(waits) in slowed else 0.05

    device.sync = sync
    with pytest.raises(Refused) as refusal:
        checked(device)
    assert refusal.value.status == status


def test_steps_of_a_busy_machine_are_not_refused_for_its_hiccups(checked):
    """Every third and fourth wait takes much longer than it should: no first try comes out as twice as long."""
    device = Device(0.001)
    plain, waits = device.sync, []

    def sync():
        waits.append(1)
        plain()
        device.now += 0.2 if len(waits) in range(4, 14) and len(waits) % 3 != 1 else 0.0

    device.sync = sync
    checked(device)


def test_twice_as_many_that_always_take_too_long_prove_nothing(checked):
    """What does not wait takes too little time: here long runs are slowed down more than short ones."""
    device = Device(0.001)
    plain, ran = device.sync, []

    def sync():
        n, ran[:] = len(device.steps) - len(ran), list(device.steps)
        plain()
        device.now += 1e-4 * n**2

    device.sync = sync
    with pytest.raises(Disturbed, match="too much else happened"):
        checked(device)


ASKED = {"device": "cuda", "precision": "fp32", "threads": 2}


def test_what_was_asked_for_passes():
    check_effective(Effective(**ASKED, more={"nodes_share": 1.0}), ASKED)
    check_effective(Effective("cuda", "fp32"), ASKED)  # not every runtime tells its threads
    check_effective(Effective(None, None), ASKED)  # nor what it computes in: the numbers decide


@pytest.mark.parametrize(
    ("told", "code", "words"),
    [
        ({"device": "cpu"}, "effective_device", "asked for cuda, the runtime runs on cpu"),
        ({"precision": "tf32"}, "effective_precision", "asked for fp32, the runtime runs tf32"),
        ({"threads": 8}, "effective_threads", "asked for 2, the runtime runs 8"),
        (
            {"more": {"nodes_share": 0.75, "provider": "CUDA"}},
            "effective_device",
            "25% of the graph's nodes run elsewhere than on CUDA",
        ),
    ],
)
def test_anything_else_is_refused(told, code, words):
    with pytest.raises(Refused, match=words) as refusal:
        check_effective(Effective(**ASKED | told), ASKED)
    assert refusal.value.code == code
