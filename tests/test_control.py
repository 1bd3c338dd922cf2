"""The control between launches: a machine that was slow beside a launch degrades it, whatever the launch itself saw."""

from dataclasses import replace

import pytest

from bench.parent.control import Control, Reading, numpy_reading
from tests.test_rows_of_launches import failed, launch, row_of


def control(*readings):
    """Returns a control that has taken five readings of 1 s each, and goes on with these."""
    taken = iter([Reading(1.0, 1.0)] * 5 + [Reading(*pair) for pair in readings])
    return Control(lambda: next(taken))


def test_a_machine_as_fast_as_ever_is_not_slower():
    assert control((1.0, 1.0)).read() == 0


@pytest.mark.parametrize(("slow", "weight"), [((1.2, 1.0), 1.0), ((1.0, 1.2), 0.2)])
def test_product_and_copy_count_before_and_after(slow, weight):
    ours = control(slow, slow, (1.0, 1.0), (1.0, 1.0))
    assert [ours.read() for _ in range(4)] == pytest.approx([0.1 * weight, 0.2 * weight, 0.1 * weight, 0.0])


def test_the_slower_of_both_counts():
    assert control((1.2, 3.0)).read() == pytest.approx(0.2)
    assert control((1.6, 1.2)).read() == pytest.approx(0.3)


def test_what_is_usual_is_what_the_run_shows_most_of_the_time():
    ours = control(*[(2.0, 1.0)] * 20)
    assert [round(ours.read(), 3) for _ in range(20)][-5:] == [0.0] * 5
    assert control((0.5, 1.0)).read() == 0.0  # faster than usual is no flag


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


def test_a_real_reading_takes_time():
    reading = numpy_reading()()
    assert reading.product_s > 0
    assert reading.copy_s > 0
