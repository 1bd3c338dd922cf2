"""What latencies and rates of served requests mean, against numbers worked out by hand."""

from dataclasses import replace
from pathlib import Path
from statistics import mean

import pytest

from bench.serving.answer import Answer, Chunk
from bench.serving.definitions import (
    DEFINITIONS,
    OVER_ALL,
    PER_ANSWER,
    POOLED,
    e2e_from_due_s,
    e2e_s,
    first_event_s,
    icl_s,
    is_other_work,
    itl_s,
    lag_s,
    meets,
    percentile,
    summary,
    tpot_first_one_s,
    tpot_s,
    ttft_from_due_s,
    ttft_s,
)
from bench.serving.streamed import StreamedAnswer


def answer(chunks=((1.5, 1), (2.0, 1), (3.0, 1)), tokens=3, **more):
    fields = {"due_s": 0.75, "sent_s": 1.0, "end_s": 3.25, "event_s": 1.25, "prompt_tokens": 10} | more
    return Answer(chunks=tuple(Chunk(*chunk) for chunk in chunks), tokens=tokens, **fields)


def test_times_of_one_answer():
    one = answer()
    assert (ttft_s(one), first_event_s(one), e2e_s(one)) == (0.5, 0.25, 2.25)
    assert (lag_s(one), ttft_from_due_s(one), e2e_from_due_s(one)) == (0.25, 0.75, 2.5)
    assert tpot_s(one) == tpot_first_one_s(one) == 1.5 / 2
    assert itl_s(one) == icl_s(one) == (0.5, 1.0)


def test_connecting_is_in_no_other_time():
    one = answer(connect_s=0.125)
    assert (lag_s(one), ttft_from_due_s(one), e2e_from_due_s(one)) == (0.125, 0.625, 2.375)


def test_chunks_of_several_tokens_have_no_time_between_tokens():
    one = answer(chunks=((1.5, 3), (2.0, 1), (3.0, 4)), tokens=8)
    assert tpot_s(one) == 1.5 / 5
    assert tpot_first_one_s(one) == 1.5 / 7
    assert itl_s(one) is None
    assert icl_s(one) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("chunks", "tokens"),
    [
        (((1.5, None), (3.0, 1)), 4),  # nobody says how many the first chunk held
        (((1.5, 1), (3.0, 1)), None),
        (((1.5, 4),), 4),  # one chunk: no time passed between any
        ((), None),
    ],
)
def test_no_time_per_token_where_it_cannot_be_told(chunks, tokens):
    assert tpot_s(answer(chunks, tokens)) is None


def test_an_answer_without_output_has_no_first_token():
    one = answer(chunks=(), tokens=None)
    assert (ttft_s(one), ttft_from_due_s(one), itl_s(one), icl_s(one)) == (None, None, None, ())


def test_loadgen_says_the_same_of_its_example():
    """Measured with LoadGen 6.0.17: mean latency 12.856, TTFT 2.351, TPOT 0.5528 ms for 20 tokens."""
    first, last = 2.351e-3, 12.856e-3
    one = Answer(0.0, 0.0, last, chunks=(Chunk(first, 1), Chunk(last, 19)), tokens=20)
    values = summary([one], bounds={}).values
    assert values["e2e_from_due_s_mean"] == pytest.approx(12.856e-3, rel=1e-12)
    assert values["ttft_from_due_s_mean"] == pytest.approx(2.351e-3, rel=1e-12)
    assert values["tpot_s_mean"] == pytest.approx((12.856e-3 - 2.351e-3) / 19, rel=1e-12)
    assert int(values["tpot_s_mean"] * 1e7) == 5528


@pytest.mark.parametrize(
    ("n", "quantile", "place"), [(1, 0.99, 0), (10, 0.5, 5), (10, 0.9, 9), (100, 0.99, 99), (1000, 0.9, 900)]
)
def test_percentiles_are_those_of_loadgen(n, quantile, place):
    values = [float(number) for number in range(n)]
    assert percentile(values[::-1], quantile) == values[place]


@pytest.mark.parametrize(("values", "quantile"), [([], 0.5), ([1.0], 1), ([1.0], -0.1)])
def test_no_values_have_no_percentile_and_no_quantile_is_1(values, quantile):
    with pytest.raises(ValueError, match=f"got {len(values)} values and {quantile}"):
        percentile(values, quantile)


def test_a_summary_of_no_answers_has_no_percentiles():
    assert summary([], bounds={}).values["e2e_s_p99"] is None


def many():
    """Four answers over 10 seconds: three whole with 3, 5 and 1 tokens, one refused."""
    return [
        answer(due_s=0.0, sent_s=0.0, end_s=3.0, chunks=((1.0, 1), (2.0, 1), (3.0, 1)), tokens=3),
        answer(due_s=1.0, sent_s=1.0, end_s=9.0, chunks=((5.0, 1), (9.0, 4)), tokens=5),
        answer(due_s=2.0, sent_s=2.0, end_s=3.0, chunks=((3.0, 1),), tokens=1, samples=2),
        answer(due_s=3.0, sent_s=3.0, end_s=10.0, chunks=(), tokens=None, error="server_5xx"),
    ]


def test_rates_of_many():
    found = summary(many(), bounds={"ttft_s": 1.0, "tpot_s": 1.0}, asked_tokens=3)
    expected = {
        "n_requests": 4,
        "n_failed": 1,
        "n_mismatch": 2,
        "n_unjudged": 0,
        "duration_s": 10.0,
        "requests_per_s": 0.3,
        "samples_per_s": 0.4,
        "output_tokens_per_s": 0.9,
        "total_tokens_per_s": 3.9,
        "tokens_per_chunk": 1.5,
        "goodput_requests_per_s": 0.2,
        "ttft_s_n": 3,
        "ttft_s_mean": 2.0,
        "ttft_s_p50": 1.0,
        "ttft_s_p99": 4.0,
        "tpot_s_n": 2,
        "tpot_s_p50": 1.0,
        "interactivity_tokens_per_s_p50": 1.0,
        "itl_s_n": 0,
        "itl_s_p50": None,
        "icl_s_n": 3,
        "icl_s_p99": 4.0,
        "connect_s_n": 0,
    }
    assert {name: found.values[name] for name in expected} == expected
    assert found.errors == {"server_5xx": 1}


def test_every_column_has_its_words_and_every_word_a_column():
    assert summary(many(), bounds={}).values.keys() == DEFINITIONS.keys()


def test_no_answers_have_no_numbers():
    found = summary([], bounds={"ttft_s": 1.0})
    assert {name for name, value in found.values.items() if value} == set()
    assert found.values["requests_per_s"] is None


def test_gaps_are_those_between_tokens_only_where_all_answers_say_so():
    one = answer()
    assert summary([one, one], bounds={}).values["itl_s_n"] == 4
    assert summary([one, answer(chunks=((1.5, 2), (2.0, 1)))], bounds={}).values["itl_s_n"] == 0


def test_failures_meet_no_bound_and_are_in_no_latency():
    failed = answer(error="timeout", end_s=1000.0)
    found = summary([failed, answer()], bounds={"e2e_s": 5.0})
    assert found.values["e2e_s_n"] == 1
    assert found.values["goodput_requests_per_s"] == 1 / 999


def test_what_cannot_be_judged_does_not_meet_a_bound_and_is_counted():
    unknown = answer(chunks=((1.5, None), (3.0, None)), tokens=3)
    found = summary([unknown, answer()], bounds={"tpot_s": 5.0})
    assert (found.values["n_unjudged"], found.values["goodput_requests_per_s"]) == (1, 1 / 2.25)
    assert summary([unknown], bounds={"tpot_s": 5.0}).values["goodput_requests_per_s"] is None
    assert meets(unknown, {"tpot_s": 5.0, "e2e_s": 0.1}) is False


def test_one_token_is_not_over_a_bound_of_time_per_token():
    one = answer(chunks=((1.5, 1),), tokens=1)
    assert meets(one, {"tpot_s": 0.1, "tpot_first_one_s": 0.1, "connect_s": 0.1}) is True


def test_a_bound_on_what_is_no_column_is_refused():
    with pytest.raises(ValueError, match="no bound can be set on ttft; known: ttft_s, "):
        summary([], bounds={"ttft": 1.0})


def test_unknown_lengths_leave_no_token_rate():
    found = summary([answer(), answer(tokens=None)], bounds={})
    assert found.values["output_tokens_per_s"] is None
    assert found.values["total_tokens_per_s"] is None
    assert found.values["tokens_per_chunk"] is None
    assert summary([answer(prompt_tokens=None)], bounds={}).values["output_tokens_per_s"] is not None


def test_other_work_is_another_length_or_another_end():
    whole = StreamedAnswer(0.0, 0.0, 1.0, tokens=3, finish_reason="length")
    assert not is_other_work(whole, 3)
    assert is_other_work(whole, 4)
    assert is_other_work(replace(whole, finish_reason="stop"), 3)
    assert not is_other_work(replace(whole, tokens=None, finish_reason=""), 3)
    assert summary([whole], bounds={}).values["n_mismatch"] is None


def test_means_are_of_whole_answers():
    whole = [one for one in many() if not one.error]
    found = summary(many(), bounds={}).values
    for name, (function, _) in PER_ANSWER.items():
        values = [value for one in whole if (value := function(one)) is not None]
        assert found[f"{name}_n"] == len(values)
        assert found[f"{name}_mean"] == (pytest.approx(mean(values)) if values else None)


def test_the_page_of_definitions_is_not_stale():
    page = (Path(__file__).resolve().parents[1] / "docs" / "services.md").read_text()
    formulas = {name: formula for name, (_, formula) in PER_ANSWER.items()} | POOLED
    assert [line for name, formula in formulas.items() if (line := f"| `{name}` | {formula} |") not in page] == []
    assert [
        line for name, (unit, of) in OVER_ALL.items() if (line := f"| `{name}` | {unit} | {of} |") not in page
    ] == []
