"""The control beside every slice: what is usual, what is slow, and what a row says of the readings beside it."""

import inspect
import os
from dataclasses import replace

import pytest

from bench.parent.children import control as controls
from bench.parent.children.child import Child
from bench.parent.children.control import FIRST_READINGS, SLOWER, Control, Reading
from tests.fakes.door import is_stopped, workers_of
from tests.test_rows_of_launches import failed, launch, row_of

USUAL = Reading(1.0, 1.0, 2.0)


def slow(times, worth=2.0):
    return Reading(1.0, times, worth)


class Planned(Control):
    """Gives these readings, one after the other, and starts no process."""

    def __init__(self, *readings, cpus=(0, 1)):
        super().__init__(cpus, None)
        self.planned = iter(readings)

    def read(self):
        self.readings.append(next(self.planned))
        return self.readings[-1]


def begun(*later, cpus=(0, 1)):
    """Returns a control that has begun with usual readings, and goes on with these."""
    control = Planned(*[USUAL] * FIRST_READINGS, *later, cpus=cpus)
    control.begin()
    return control


def test_a_machine_as_fast_as_ever_is_not_slower():
    control = begun()
    assert len(control.readings) == FIRST_READINGS
    control.begin()  # what is known is not asked for again
    assert (control.slower(USUAL), control.usual) == (0.0, USUAL)


@pytest.mark.parametrize(
    ("times", "is_low"), [(0.5, False), (1.0, False), (0.999 + SLOWER, False), (1.01 + SLOWER, True)]
)
def test_a_reading_is_low_where_the_threads_together_took_longer_than_usual(times, is_low):
    assert begun().is_low(slow(times)) is is_low


def test_one_thread_that_was_slow_alone_leaves_nothing_out():
    assert not begun().is_low(Reading(9.0, 1.0, 2.0))


def test_the_rule_sees_readings_and_nothing_of_a_cell():
    assert list(inspect.signature(Control.is_low).parameters) == ["self", "reading"]
    assert [f.split(":")[0] for f in Reading.__annotations__] == ["alone_s", "together_s", "worth"]


def test_what_is_usual_is_the_faster_quartile_of_all_readings():
    control = begun(*[slow(2.0, 1.0)] * 3 * FIRST_READINGS)
    for _ in range(3 * FIRST_READINGS - 4):
        control.read()
    assert control.is_low(slow(2.0))  # a quarter and more were at full speed
    for _ in range(4):
        control.read()
    assert control.usual.together_s == pytest.approx(1.75)
    mixed = Planned(*(Reading(s, s, 3.0 - s) for s in (1.4, 1.0, 1.2, 1.1, 1.3)))
    for _ in range(5):
        mixed.read()
    assert mixed.usual == Reading(pytest.approx(1.1), pytest.approx(1.1), pytest.approx(1.9))


def test_one_reading_is_all_that_is_known():
    control = Planned(USUAL)
    control.read()
    assert control.usual == USUAL


def test_a_low_machine_is_waited_for_and_not_for_ever(monkeypatch):
    monkeypatch.setattr(controls, "PAUSE_S", 0.0)
    control = begun(slow(2.0), slow(3.0), slow(1.05), slow(9.0))
    assert control.settled() == slow(1.05)
    monkeypatch.setattr(controls, "PATIENCE_S", 0.0)
    assert control.settled() == slow(9.0)


def test_readings_while_a_low_machine_was_waited_for_do_not_say_what_is_usual(monkeypatch):
    monkeypatch.setattr(controls, "PAUSE_S", 0.0)
    control = begun(*[slow(2.0)] * 50, USUAL)
    assert control.settled() == USUAL
    assert control.readings == [USUAL] * (FIRST_READINGS + 1)


def test_the_reading_behind_a_slice_is_the_one_before_the_next(monkeypatch):
    control = begun(slow(1.02))
    assert control.settled(USUAL) == USUAL
    assert control.settled(slow(2.0)) == slow(1.02)  # that was low: another one is taken


def test_a_row_says_how_slow_the_machine_was_and_what_the_threads_were_worth():
    readings = [slow(1.0, 1.9), slow(1.1, 1.7), slow(1.04, 1.8)]
    expected = {"threads_worth": 1.8, "machine_slower": pytest.approx(0.04), "control_s": 1.04}
    assert begun().columns(readings) == expected
    assert begun().columns([slow(0.9)])["machine_slower"] == 0.0  # faster than usual is no flag
    assert begun(cpus=(0,)).columns(readings)["threads_worth"] is None
    assert begun().columns([]) == {}


def beside(machine_slower, **changes):
    """Returns the row of one launch that ran while the control was slower by that."""
    one = launch(**changes)
    return row_of(replace(one, columns=one.columns | {"machine_slower": machine_slower}))


def test_a_launch_beside_a_slow_machine_is_degraded():
    row = beside(0.08)
    assert (row["quality"], row["flags"], row["machine_slower"]) == ("degraded", "slow_machine", 0.08)
    assert (beside(0.04)["quality"], beside(0.04)["flags"]) == ("valid", None)
    assert beside(0.08, watched_s=0.5)["flags"] == "short_window slow_machine"
    crashed = failed("crashed")
    assert row_of(replace(crashed, columns=crashed.columns | {"machine_slower": 0.08}))["quality"] is None


@pytest.fixture
def real(tmp_path):
    """A control in a child of its own, on the first CPU alone: nothing here depends on how many there are."""
    control = Control(sorted(os.sched_getaffinity(0))[:1], tmp_path / "control.log")
    yield control
    control.close()
    assert workers_of(os.getpid()) == []


def test_a_real_reading_takes_time_and_its_child_stands_still_afterwards(real):
    reading = real.read()
    assert reading.alone_s > 0
    assert (reading.together_s, reading.worth) == (reading.alone_s, 1.0)
    (pid,) = workers_of(os.getpid())
    assert is_stopped(pid)
    assert real.read().alone_s > 0
    assert workers_of(os.getpid()) == [pid]


def test_a_control_that_ended_is_started_anew(real):
    real.read()
    (pid,) = workers_of(os.getpid())
    os.kill(pid, 9)
    assert real.read().alone_s > 0
    assert workers_of(os.getpid()) not in ([], [pid])


def test_a_control_that_ends_each_time_says_why(real, monkeypatch):
    monkeypatch.setattr(Child, "ask", lambda child, command: child.end())
    with pytest.raises(RuntimeError, match="the control ended, 2 times: child ended by SIGKILL"):
        real.read()


def test_threads_together_are_read_beside_one(tmp_path):
    from bench.child import control as child

    cpus = sorted(os.sched_getaffinity(0)) * 2  # two threads, also where there is one CPU
    reading = child.Control(tuple(cpus[:2])).read()
    assert all(reading[name] > 0 for name in ("alone_s", "together_s"))
    # However busy the machine is: a sum of ratios to each thread's time is at least that to the mean of both.
    assert reading["worth"] >= 2 * reading["alone_s"] / reading["together_s"] * (1 - 1e-12)
