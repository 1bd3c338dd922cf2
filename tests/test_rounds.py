"""What rounds say: intervals that are exact, held against counting all cases, and the text that a row has them as."""

from math import exp, log
from random import Random
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.record import rounds
from results.record.rounds import (
    CONFIDENCE,
    DECISIVE,
    LEAST_ROUNDS,
    PROCESS,
    Estimate,
    between_processes,
    dependence,
    estimate,
    from_text,
    launches_of,
    paired,
    spread,
    to_text,
    unpaired,
    walsh,
)

both_levels = pytest.mark.parametrize("confidence", [CONFIDENCE, DECISIVE])
values = st.floats(1e-6, 10)


def missed(make, n, confidence, monkeypatch, series=3000):
    """Returns in which part of the series the interval does not hold 1; neighbours do not count as alike by chance."""
    monkeypatch.setattr(rounds, "dependence", lambda values: 1.0)
    random = Random(n)
    found = [estimate([exp(make(random)) for _ in range(n)], confidence) for _ in range(series)]
    return sum(not one.low <= 1 <= one.high for one in found) / series


@both_levels
@pytest.mark.parametrize("n", [8, 9, 12, 20, 30])
def test_the_interval_of_normal_rounds_holds_the_truth_as_often_as_promised(n, confidence, monkeypatch):
    part = missed(lambda random: random.gauss(0, 0.03), n, confidence, monkeypatch)
    assert part == pytest.approx(1 - confidence, abs=3 * ((1 - confidence) / 3000) ** 0.5)


@both_levels
@pytest.mark.parametrize("n", [8, 12])
def test_hiccups_make_it_no_wider_than_it_must_be_and_it_holds_the_truth(n, confidence, monkeypatch):
    def hiccups(random):
        return random.gauss(0, 0.03) + (random.random() < 0.12) * random.choice((-1, 1)) * random.uniform(0.1, 0.6)

    assert missed(hiccups, n, confidence, monkeypatch) <= 1.2 * (1 - confidence)
    calm = [1.0, 1.01, 0.99, 1.02, 0.98, 1.005, 0.995, 1.0]
    assert estimate([*calm[:-1], 1.5], confidence).half_width < 2 * estimate(calm, confidence).half_width


@both_levels
def test_with_fewer_rounds_nothing_can_be_said(confidence):
    least = LEAST_ROUNDS[confidence]
    assert least == {CONFIDENCE: 6, DECISIVE: 8}[confidence]
    assert (estimate([2.0] * (least - 1), confidence).low, estimate([2.0] * (least - 1), confidence).high) == (
        None,
        None,
    )
    assert estimate([2.0] * (least - 1), confidence).half_width == float("inf")
    assert estimate([2.0] * least, confidence).low == pytest.approx(2.0)


def test_the_estimate_is_the_median_of_all_averages():
    numbers = [1.0, 1.1, 1.3, 1.2, 0.9, 5.0]
    averages = [(log(a) + log(b)) / 2 for i, a in enumerate(numbers) for b in numbers[i:]]
    found = estimate(numbers)
    assert found.value == pytest.approx(exp(median(averages)))
    assert (found.n, found.is_paired) == (6, True)
    assert found.high / found.value == pytest.approx(found.value / found.low)
    assert walsh([3.0, 1.0]) == [1.0, 2.0, 3.0]


def test_one_outlying_round_moves_little():
    assert estimate([1.0 + 0.001 * i for i in range(-6, 6)] + [9.0]).value == pytest.approx(1.0, abs=2e-3)


def test_the_half_width_is_the_longer_side():
    assert Estimate(2.0, 1.0, 3.0, 9).half_width == 1.0
    assert Estimate(2.0, 1.9, 3.0, 9).half_width == 0.5


def test_the_spread_takes_two():
    assert spread([1.0]) is None
    assert spread([1.0, exp(0.1)]) == pytest.approx(0.10483)


def test_a_ratio_is_of_the_rounds_that_both_have():
    a = {n: 1.0 + n for n in range(9)} | {20: 77.0}
    b = {n: 2.0 * (1.0 + n) for n in range(1, 12)}
    found = paired(a, b)
    assert (found.value, found.low, found.high) == (pytest.approx(2.0),) * 3
    assert (found.n, found.is_paired) == (8, True)
    assert paired({0: 1.0}, {1: 1.0}) is None
    assert paired({}, b) is None


def test_what_both_sides_share_in_a_round_is_not_in_their_ratio():
    machine = [1.0, 1.5, 0.8, 2.0, 1.1, 0.9, 1.7, 1.2]
    a, b = (dict(enumerate(times * one for one in machine)) for times in (1.0, 1.01))
    assert paired(a, b).half_width < 1e-9
    assert unpaired(a, b).half_width > 0.2


@given(st.dictionaries(st.integers(0, 20), st.tuples(values, values), min_size=1, max_size=12))
def test_the_other_way_round_it_is_the_inverse(rounds):
    a, b = ({n: pair[side] for n, pair in rounds.items()} for side in (0, 1))
    for ratio in (paired, unpaired):
        there, back = ratio(a, b), ratio(b, a)
        assert there.value == pytest.approx(1 / back.value)
        assert (there.low is None) == (back.high is None)
        if there.low is not None:
            assert (there.low, there.high) == (pytest.approx(1 / back.high), pytest.approx(1 / back.low))
            assert there.low <= there.value * (1 + 1e-12)
            assert there.value <= there.high * (1 + 1e-12)


@pytest.mark.parametrize(("n", "m"), [(6, 6), (8, 8), (6, 20)])
def test_of_rounds_apart_no_more_are_missed_than_promised(n, m, monkeypatch):
    monkeypatch.setattr(rounds, "dependence", lambda values: 1.0)
    random = Random(n * m)
    outside = 0
    for _ in range(2000):
        a, b = ({i: exp(random.gauss(0, 0.03)) for i in range(k)} for k in (n, m))
        found = unpaired(a, b)
        outside += not found.low <= 1 <= found.high
    assert outside / 2000 <= 0.05


def test_rounds_apart_say_so_and_few_of_them_have_no_interval():
    found = unpaired({0: 1.0, 1: 2.0}, {0: 3.0, 7: 6.0, 8: 3.0})
    assert (found.value, found.low, found.high, found.n, found.is_paired) == (pytest.approx(3.0), None, None, 2, False)
    assert unpaired({}, {0: 1.0}) is None
    assert unpaired({0: 1.0}, {}) is None


@given(st.dictionaries(st.integers(0, 10**6), st.floats(1e-9, 1e12), max_size=30))
def test_rounds_come_back_from_their_text(rounds):
    text = to_text(rounds)
    again = from_text(text)
    assert again == {number: pytest.approx(value, rel=1e-5) for number, value in rounds.items()}
    assert to_text(again) == text


def test_the_text_is_short_and_in_the_order_of_the_rounds():
    assert to_text({2: 0.0120001, 0: 1 / 3, 1000: 12345678.0}) == "0:0.333333 2:0.0120001 1000:1.23457e+07"
    assert from_text(None) == from_text("") == {}


@pytest.mark.parametrize(
    "part", ["3", "3:", ":1", "x:1", "-1:1", "1.5:1", "3:0", "3:-1", "3:nan", "3:inf", "3:fast", "3:1:2", "3=1"]
)
def test_what_is_no_round_is_refused(part):
    with pytest.raises(ValueError, match=f"'{part}' is no round; expected its number and a positive value"):
        from_text(f"1:0.5 {part}")


def test_a_round_that_is_there_twice_is_refused():
    with pytest.raises(ValueError, match="'1:3' is no round"):
        from_text("1:2 1:3")


def test_rounds_that_follow_each_other_make_the_interval_wider():
    slow_later = [1.0, 1.01, 0.99, 1.0, 1.01, 1.1, 1.11, 1.12, 1.1, 1.11]
    mixed = [slow_later[i] for i in (0, 5, 1, 6, 2, 7, 3, 8, 4, 9)]
    assert dependence(mixed) == 1.0
    assert dependence(slow_later) > 1.5
    assert estimate(slow_later).half_width > 1.4 * estimate(mixed).half_width
    assert estimate(slow_later).value == pytest.approx(estimate(mixed).value)


def test_of_rounds_that_chance_mixes_few_seem_to_follow_each_other():
    random = Random(1)
    factors = [dependence([random.gauss(0, 1) for _ in range(12)]) for _ in range(2000)]
    assert sum(factor > 1 for factor in factors) < 0.06 * len(factors)
    assert max(factors) <= 3


def test_what_differs_from_process_to_process_is_in_the_interval_and_less_with_more_launches():
    known = Estimate(2.0, 2.0 / 1.01, 2.0 * 1.01, 12)
    ratio = between_processes(known, 1, 2)
    assert log(ratio.high / 2.0) == pytest.approx((log(1.01) ** 2 + 2 * (1.96 * PROCESS) ** 2) ** 0.5, rel=1e-3)
    assert known.half_width < between_processes(known, 9, 2).half_width < between_processes(known, 1, 1).half_width
    assert between_processes(known, 1, 2, DECISIVE).half_width > ratio.half_width
    none = Estimate(2.0, None, None, 3)
    assert between_processes(none, 1, 2) == none
    assert [launches_of(dict.fromkeys(of, 1.0)) for of in ((), (0, 999, 1003), (0, 2000, 5001))] == [0, 1, 3]
