"""Changes of nightly series: what is planted is found, once; what is not planted is not; nights ahead are not seen."""

import math
import sys

import numpy as np
import pytest

from results.nights import detect
from results.nights.changepoints import LEAST_NIGHTS, despiked, last_changes, median, noise_of, packed, strongest_split
from results.nights.detect import Change, alarms, benjamini_hochberg, changes, replay
from tests.qa.detect import QUIET, STEPS, believed, found_without_the_screen, previous, simulated, z_score


def nights(n=40, sigma=0.005, series=1, seed=1):
    """Returns quiet series of ln(time)."""
    return np.random.default_rng(seed).normal(0, sigma, (series, n))


def stepped(at, percent, n=40, sigma=0.005, seed=1):
    x = nights(n, sigma, seed=seed)
    x[:, at:] += np.log1p(percent / 100)
    return x


def said(found):
    return [(one.series, one.direction, one.kind) for one in found]


def test_a_step_is_said_on_its_second_night():
    (found,) = replay(stepped(30, 10))
    assert (found.series, found.began, found.raised, found.kind, found.direction) == (0, 30, 31, "step", "slower")
    assert found.ratio == pytest.approx(1.10, rel=0.02)
    assert found.p < 1e-4


def test_a_small_shift_is_said_by_its_change_point():
    (found,) = replay(stepped(40, 2.5, n=60, sigma=0.008))
    assert (found.kind, found.direction) == ("shift", "slower")
    assert abs(found.began - 40) < LEAST_NIGHTS
    assert 40 + LEAST_NIGHTS - 1 <= found.raised <= 48
    assert found.ratio == pytest.approx(1.025, rel=0.01)


def test_a_spike_is_not():
    x = nights()
    x[0, 25] += 0.5
    x[0, 33] += 0.1
    assert replay(x) == []


def test_nor_are_two_side_by_side_that_differ():
    x = nights()
    x[0, 25:27] += (0.05, 0.12)
    assert replay(x) == []


def test_a_change_on_the_newest_night_waits_for_another():
    x = stepped(39, 30)
    assert changes(x) == []
    again = np.concatenate([x, x[:, -1:]], axis=1)
    assert said(changes(again)) == [(0, "slower", "step")]


def test_an_improvement_is_a_change_and_no_alarm():
    x = stepped(30, -10)
    assert said(changes(x, 31)) == [(0, "faster", "step")]
    assert alarms(x, 31) == []
    assert said(alarms(stepped(30, 10), 31)) == [(0, "slower", "step")]


def test_a_change_is_said_once():
    x = stepped(30, 6, n=60)
    assert len(replay(x)) == 1
    assert [night for night in range(60) if changes(x, night)] == [31]


def test_there_and_back_is_two_changes():
    x = nights(60)
    x[:, 30:45] += np.log(1.08)
    assert [(one.direction, one.began) for one in replay(x)] == [("slower", 30), ("faster", 45)]


def test_missing_nights_are_passed_over():
    x = stepped(30, 10)
    x[0, [5, 12, 13, 28, 31, 32]] = np.nan
    (found,) = replay(x)
    assert (found.began, found.raised) == (30, 33)
    assert changes(x, 32) == []


def test_a_night_without_any_value_changes_nothing():
    x = stepped(30, 10)
    with_gap = np.insert(x, 20, np.nan, axis=1)
    (one,), (other,) = replay(x), replay(with_gap)
    assert (other.began, other.raised, other.ratio) == (one.began + 1, one.raised + 1, pytest.approx(one.ratio))


@pytest.mark.parametrize("n", [0, 1, 2, 7, 9])
def test_too_few_nights_say_nothing(n):
    x = np.zeros((2, n))
    x[:, n // 2 :] = 1.0
    assert replay(x) == []
    assert replay(np.full((2, n), np.nan)) == []


def test_ten_nights_are_enough_for_a_step():
    x = nights(10)
    x[0, 8:] += 0.2
    assert said(changes(x)) == [(0, "slower", "step")]


def test_constant_series_are_quiet():
    assert replay(np.zeros((3, 40))) == []


def test_no_series_have_no_changes():
    assert replay(np.zeros((0, 40))) == changes(np.zeros((0, 40))) == []


@pytest.mark.parametrize("history", [QUIET[2], STEPS[1], STEPS[2]])
def test_a_replay_says_what_each_night_said(history):
    x = simulated(history, seed=3, series=25)[:, 10:]
    x[np.random.default_rng(4).random(x.shape) < 0.05] = np.nan
    in_turn = [one for night in range(x.shape[1]) for one in changes(x[:, : night + 1])]
    assert in_turn
    assert sorted(map(comparable, replay(x))) == sorted(map(comparable, in_turn))


def test_nights_ahead_are_not_looked_at():
    x = stepped(30, 10)
    ahead = x.copy()
    ahead[:, 32:] = 5.0
    assert changes(x, 31) == changes(ahead, 31) == changes(x[:, :32])


def test_series_do_not_know_of_each_other():
    x = simulated(STEPS[2], seed=5, series=12)
    alone = [comparable(one)[1:] for row in x for one in replay(row[None])]
    assert sorted(alone) == sorted(comparable(one)[1:] for one in replay(x))


def comparable(one: Change):
    return (one.series, one.began, one.raised, one.kind, f"{one.ratio:.9f}", f"{one.p:.6e}")


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_screen_loses_no_change_point(missing):
    x = np.concatenate([simulated(history, seed=6, series=60) for history in (*QUIET, *STEPS)])
    x[:60, 40:50] += 0.03  # up and down again, which no single split of the whole sees
    x[np.random.default_rng(7).random(x.shape) < missing] = np.nan
    found, screened = found_without_the_screen(x)
    assert 100 < found.sum() < len(x) - 100
    assert not (found & ~screened).any()
    assert found[last_changes(packed(x)[0]).step != 0].all()


def test_the_strongest_split_is_that_of_every_stretch_up_to_the_newest_night():
    z = nights(20, 1.0, series=3)
    z[1, :5] = np.nan

    def gain(row, first, split):
        whole, parts = row[first:], (row[first:split], row[split:])
        return ((whole - whole.mean()) ** 2).sum() - sum(((part - part.mean()) ** 2).sum() for part in parts)

    expected = [
        max(gain(row, a, split) for a in range(first, 13) for split in range(a + 4, 17))
        for row, first in zip(z, (0, 5, 0), strict=True)
    ]
    np.testing.assert_allclose(strongest_split(z), expected)


def test_of_a_last_change_the_start_the_step_and_the_gain():
    x = np.tile([0.0, 0.01, 0.01, 0.0], 10)[None]
    x[:, 24:] += 0.1
    last = last_changes(x)
    noise = noise_of(x)[0]
    assert (last.start[0], last.noise[0]) == (24, noise)
    assert last.step[0] == pytest.approx(0.1)
    assert last.gain[0] == pytest.approx((0.1 / noise) ** 2 * 24 * 16 / 40)


def test_a_change_point_that_needs_the_old_level_for_its_four_nights_is_none_yet():
    x = stepped(30, 10)
    started = [int(last_changes(x[:, : night + 1]).start[0]) for night in range(29, 36)]
    assert started == [0, 0, 0, 0, 30, 30, 30]


def test_a_level_of_few_nights_is_not_held_against():
    x = nights(40)
    x[:, 20:] += 0.2
    x[:, 26:] += 0.2
    last = last_changes(x)
    assert (last.start[0], last.step[0], last.gain[0]) == (26, 0, 0)
    assert last_changes(np.delete(x, slice(10, 17), axis=1)).start[0] == 19


def test_noise_is_that_of_a_night_whatever_the_level_does():
    x = nights(400, 0.02)
    x[:, 200:] += 1.0
    assert noise_of(x)[0] == pytest.approx(0.02, rel=0.15)
    assert noise_of(np.zeros((1, 20)))[0] == 0.003


def test_spikes_go_and_edges_stay():
    x = np.tile([0.0, 0.01], 10)[None]
    x[0, 10:] += 0.1
    edge = x.copy()
    x[0, 4] = 0.5
    cleaned = despiked(x, np.array([0.01]))
    assert cleaned[0, 4] == 0.01
    cleaned[0, 4] = edge[0, 4]
    np.testing.assert_array_equal(cleaned, edge)
    x[0, -1] = 0.2
    assert despiked(x, np.array([0.01]))[0, -1] == pytest.approx(0.11)


def test_packed_moves_what_is_valid_to_the_right():
    x = np.array([[1.0, np.nan, 2.0, np.nan], [np.nan, 3.0, 4.0, 5.0]])
    values, columns = packed(x)
    np.testing.assert_array_equal(values, [[np.nan, np.nan, 1.0, 2.0], [np.nan, 3.0, 4.0, 5.0]])
    assert columns[0, 2:].tolist() == [0, 2]


def test_the_median_is_that_of_what_is_there():
    x = np.array([[3.0, np.nan, 1.0, 2.0], [4.0, 1.0, 2.0, 3.0], [np.nan, np.nan, 7.0, np.nan], [np.nan] * 4])
    np.testing.assert_array_equal(median(x), [2.0, 2.5, 7.0, np.nan])


def test_benjamini_and_hochbergs_own_example():
    """The 15 p-values of their paper's section 3.2: four are believed at 5 %, three by Bonferroni's rule."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
    p += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.000]
    assert benjamini_hochberg(p, 15, 0.05) == [True] * 4 + [False] * 11
    assert benjamini_hochberg(p[:5][::-1], 15, 0.05) == [False] + [True] * 4


def test_a_p_value_over_its_own_bound_is_believed_with_those_after_it():
    assert benjamini_hochberg([0.02, 0.03, 0.035, 0.04], 4, 0.05) == [True] * 4
    assert benjamini_hochberg([0.02, 0.03, 0.035, 0.04], 5, 0.05) == [True] * 4
    assert benjamini_hochberg([0.02, 0.03, 0.035, 0.04], 6, 0.05) == [False] * 4
    assert benjamini_hochberg([], 0) == []


def test_fewer_tests_than_p_values_is_an_error():
    with pytest.raises(ValueError, match="2 p-values of 1 tests"):
        benjamini_hochberg([0.1, 0.2], 1)


def test_p_values_are_those_of_student():
    from scipy.stats import t

    for freedom in (4, 10, 30):
        for value in (1.0, 3.0, 6.0):
            p = detect._two_sided(value, freedom)
            assert p == pytest.approx(2 * t.sf(value, freedom))
            # What stood here before: Wallace's normal deviate (Ann. Math. Statist. 30, 1959).
            z = (8 * freedom + 1) / (8 * freedom + 3) * math.sqrt(freedom * math.log1p(value**2 / freedom))
            assert p == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.2)


def test_the_believed_are_those_of_the_procedure_by_hand():
    generator = np.random.default_rng(8)
    for tests in (5, 40, 400):
        p = (generator.random(5) ** 6).tolist()
        bound = max((one for rank, one in enumerate(sorted(p), 1) if one <= rank / tests * 0.1), default=-1.0)
        assert benjamini_hochberg(p, tests) == [one <= bound for one in p]


def test_without_scipy_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install -e '.\[reports\]'"):
        benjamini_hochberg([0.1], 1)


@pytest.mark.parametrize("x", [np.zeros(5), np.array([[0.0, np.inf]])])
def test_what_is_no_history_is_refused(x):
    for ask in (changes, replay):
        with pytest.raises(ValueError, match="expected series x nights"):
            ask(x)


@pytest.mark.parametrize("until", [-1, 40])
def test_a_night_that_is_not_there_is_refused(until):
    with pytest.raises(IndexError, match="expected 0 to 39"):
        changes(nights(), until)


def test_without_ruptures_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ruptures", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install -e '.\[reports\]'"):
        changes(nights())


def test_the_detectors_beside_it_see_what_they_should():
    x = np.zeros((1, 20))
    x[0, ::2] = 0.001
    x[0, 15] = np.log(1.07)
    assert np.flatnonzero(previous(1.05)(x)).tolist() == [15]
    assert np.flatnonzero(previous(1.10)(x)).tolist() == []
    assert np.flatnonzero(z_score(5)(x)).tolist() == [15]


def test_the_rule_for_many_series_is_asked_per_night_and_machine():
    one = Change(3, 10, 11, 1.1, "step", 1e-2)
    sure = Change(4, 10, 11, 1.1, "step", 1e-9)
    elsewhere = Change(204, 10, 11, 1.1, "step", 1e-9)
    assert believed([one, sure, elsewhere]) == [sure, elsewhere]
