"""Flags: each is raised beyond its limit and not before, and does what it says to the quality."""

import pytest

from bench.parent.verdict import FLAGS, QUALITIES, of_launch
from results.record.schema import COLUMN
from results.record.vocabulary import QUALITIES as OF_ROWS

CALM = {"status": "ok", "threads": 2, "watched_s": 10.0, "latency_p50_s": 1.0}
DERIVED = {"little_excess": "little_ratio", "threads_beyond": "threads_running", "device_share": "device_time_p50_s"}


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
    assert judge(CALM | {"swapped_pages": 1, "compilations": 1})[0] == "invalid"


def test_every_flag_looks_at_a_column_and_has_a_name_of_its_own():
    assert len({flag.name for flag in FLAGS}) == len(FLAGS)
    assert {DERIVED.get(flag.column, flag.column) for flag in FLAGS} <= set(COLUMN)
    assert QUALITIES == OF_ROWS
