"""Flags: each is raised beyond its limit and not before, and does what it says to the quality."""

import pytest

from bench.parent.verdict import FLAGS, LEAST_KEPT, QUALITIES, fails, of_launch
from results.record.schema import COLUMN
from results.record.vocabulary import QUALITIES as OF_ROWS

CALM = {"status": "ok", "threads": 2, "watched_s": 10.0, "latency_p50_s": 1.0}
DERIVED = {
    "little_excess": "little_ratio",
    "threads_beyond": "threads_running",
    "device_share": "device_time_p50_s",
    "rounds_short": "rounds_n",
    "threads_idle": "cpu_cores_used",
}


def judge(columns):
    verdict = of_launch(columns)
    return verdict.quality, verdict.flags


def limit_of(flag):
    return flag.limit * (CALM[flag.per] if flag.per else 1)


def with_value(flag, value):
    """Returns columns of a calm launch in which what the flag looks at is `value`."""
    if flag.column == "little_excess":
        return CALM | {"little_ratio": 1 - value}
    if flag.column == "threads_beyond":
        return CALM | {"threads_running": 2 + value}
    if flag.column == "threads_idle":
        return CALM | {"threads_worth": 1.8, "cpu_cores_used": CALM["threads"] * (1 - value)}
    if flag.column == "rounds_short":
        return CALM | {"rounds_left_out": 1, "rounds_n": LEAST_KEPT - value}
    if flag.column == "device_share":
        return CALM | {"device_time_p50_s": value}
    return CALM | {flag.column: value}


def test_a_calm_launch_is_valid():
    assert judge(CALM) == ("valid", ())


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_a_flag_is_raised_beyond_its_limit(flag):
    beyond = limit_of(flag) + (-1 if flag.below else 1) * 0.5
    quality, names = judge(with_value(flag, beyond))
    assert flag.name in names
    if flag.effect == "invalid":
        assert quality == "invalid"
    elif flag.effect == "degraded":
        assert quality != "valid"
    else:
        assert quality == "valid"


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_a_flag_is_not_raised_at_its_limit_nor_without_a_value(flag):
    within = limit_of(flag) + (1e-9 if flag.below else -1e-9 if flag.limit else 0)
    assert flag.name not in judge(with_value(flag, within))[1]
    assert flag.name not in judge(CALM)[1]


def test_the_worst_flag_decides():
    assert judge(CALM | {"swapped_pages": 1})[0] == "degraded"
    assert judge(CALM | {"swapped_pages": 1, "device_memory_errors": 1})[0] == "invalid"


MOVED = [flag for flag in FLAGS if flag.moved]


@pytest.mark.parametrize("flag", MOVED, ids=lambda flag: flag.name)
def test_what_the_interval_says_already_is_not_said_twice(flag):
    scale = CALM[flag.per] if flag.per else 1
    wide = {"latency_ci_low_s": 0.9, "latency_ci_high_s": 1.2}
    for moved, is_raised in ((0.19, False), (0.21, True)):
        columns = with_value(flag, moved * scale) | wide
        assert (flag.name in judge(columns)[1]) == is_raised
    assert flag.name in judge(with_value(flag, 0.19 * scale))[1]


def test_what_could_have_moved_the_number_is_held_against_its_interval():
    assert {flag.name for flag in MOVED} == {"other_load", "steal", "slow_machine", "memory_pressure", "throttled"}


def test_idle_threads_are_named_only_where_the_control_was_worth_more_than_one():
    idle = CALM | {"cpu_cores_used": 1.0}
    assert judge(idle | {"threads_worth": 1.8}) == ("valid", ("few_threads",))
    assert judge(idle | {"threads_worth": 1.0}) == judge(idle) == ("valid", ())


def test_few_rounds_are_disturbed_only_where_some_were_left_out():
    assert judge(CALM | {"rounds_n": 2, "rounds_left_out": 0}) == ("valid", ())
    assert judge(CALM | {"rounds_n": 2, "rounds_left_out": 1}) == ("invalid", ("unsettled",))
    assert judge(CALM | {"rounds_n": 0, "rounds_left_out": 9}) == ("invalid", ("unsettled",))
    assert judge(CALM | {"rounds_n": LEAST_KEPT, "rounds_left_out": 9}) == ("valid", ())


@pytest.mark.parametrize(
    ("status", "is_asked_for", "is_strict", "expected"),
    [
        ("ok", True, True, False),
        ("known_failure", True, True, False),
        ("disturbed", True, False, False),
        ("disturbed", False, True, True),
        ("unavailable", False, True, False),
        ("unavailable", True, False, True),
        ("unsupported", True, True, False),
        ("refused", False, False, True),
        ("wrong", False, False, True),
    ],
)
def test_what_fails_a_run(status, is_asked_for, is_strict, expected):
    assert fails(status, is_asked_for, is_strict) is expected


def test_every_flag_looks_at_a_column_and_has_a_name_of_its_own():
    assert len({flag.name for flag in FLAGS}) == len(FLAGS)
    assert {DERIVED.get(flag.column, flag.column) for flag in FLAGS} <= set(COLUMN)
    assert QUALITIES == OF_ROWS
