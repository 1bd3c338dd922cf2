"""What prompt and generated tokens cost, worked by hand, and what is said where one of them was not measured."""

import pytest

from results import __main__ as door
from results.record.csvfile import write_csv
from results.show.cost_text import costs_text
from results.show.tokens.rates_text import rates_text
from results.tables.cost import Demand, cheapest_mix, costs
from results.tables.table import to_frame, to_rows
from results.tables.tokens.rates import rates
from tests.fakes.prices import price
from tests.fakes.rows import idle_row
from tests.fakes.served import served_row, served_run

DEMAND = Demand(36_000, "tokens", 1000, 120, "tokens", 20)
PRICES = [price()]
"""3.60 USD per hour: 0.001 USD per second."""
ASKED = ("--train-tokens", "36000", "--queries-per-day", "1000", "--prompt-tokens", "100", "--generated-tokens", "20")


def costed(rows, demand=DEMAND, prices=PRICES):
    return to_rows(costs(to_frame(rows), demand, prices))


def test_a_million_prompt_and_a_million_generated_tokens_by_hand():
    rows = to_rows(rates(to_frame([*served_run(), idle_row(phase="decode", workload="gpt2", depth=128)]), PRICES))
    # 1e6 tokens at 500 per second are 2000 s of 0.001 USD; at 20 per second 50,000 s.
    assert [(row["tokens"], row["s_per_token"], row["usd_per_million_tokens"]) for row in rows] == [
        ("prompt", 1 / 500, pytest.approx(2.0)),
        ("generated", 1 / 20, pytest.approx(50.0)),
    ]


def test_a_query_by_hand():
    (row,) = costed(served_run())
    assert (row["train_hours"], row["train_usd"]) == (0.1, pytest.approx(0.36))  # 36,000 tokens at 100 per second
    # 100 prompt tokens at 500 per second are 0.2 s, 20 generated ones at 20 per second 1 s: 1200 s a day of 0.001 USD.
    assert row["devices_needed"] == pytest.approx(1200 / 86_400)
    assert row["serving_usd_per_day"] == pytest.approx(1.2)
    assert row["usd_per_million_queries"] == pytest.approx(1200.0)
    assert (row["breakeven_days"], row["breakeven_day"]) == (pytest.approx(0.3), 1)
    assert (row["batch"], row["depth"], row["reason"]) == (2, 128, None)
    assert (row["prompt_usd_per_million_tokens"], row["generated_usd_per_million_tokens"]) == (
        pytest.approx(2.0),
        pytest.approx(50.0),
    )


def test_counted_as_read_the_same_query_would_cost_a_fraction():
    as_read = costed(served_run(), Demand(36_000, "tokens", 1000, 120, "tokens"))[0]
    assert as_read["serving_usd_per_day"] == pytest.approx(0.3)  # 120 tokens at 400 per second
    assert (as_read["sequence"], as_read["depth"]) == (128, None)


def test_each_batch_and_depth_has_a_row_beside_the_cheapest_prompt_and_training():
    more = [served_row("decode", batch=8, depth=512, times=3), served_row("prefill", batch=8, times=2)]
    more += [served_row("train", batch=1, times=0.5)]
    rows = costed([*served_run(), *more])
    assert [(row["batch"], row["depth"], row["prompt_batch"], row["train_batch"]) for row in rows] == [
        (2, 128, 8, 2),
        (8, 512, 8, 2),
    ]
    # 100 at 1000 per second and 20 at 60
    assert rows[1]["serving_usd_per_day"] == pytest.approx(0.1 + 1 / 3)


@pytest.mark.parametrize(
    ("absent", "said"),
    [
        ("decode", "no verified decode step: samestep run --phases decode measures it"),
        ("prefill", "no verified prefill step: samestep run --phases prefill measures it"),
        ("train", "no verified training step with a throughput"),
    ],
)
def test_what_was_not_measured_is_no_number_and_said(absent, said):
    (row,) = costed(served_run(phases=[phase for phase in ("train", "prefill", "decode") if phase != absent]))
    assert row["reason"] == said
    assert row["breakeven_day"] is None
    assert (row["serving_usd_per_day"] is None) == (absent != "train")


def test_a_query_rests_on_both_steps():
    ends = {"throughput_ci_low_samples_per_s": 1 / 1.1, "throughput_ci_high_samples_per_s": 1.1}
    rows = []
    for phase in ("train", "prefill", "decode"):
        row = served_row(phase, quality="degraded" if phase == "prefill" else "valid", flags=None)
        rows.append(row | {name: end * row["throughput_samples_per_s"] for name, end in ends.items()})
    (row,) = costed(rows)
    assert (row["infer_quality"], row["train_quality"]) == ("degraded", "valid")
    # 0.2 s ± 10 % and 1 s ± 10 %, each measured by itself
    assert row["infer_half_width"] == pytest.approx((0.02**2 + 0.1**2) ** 0.5 / 1.2)


def test_the_cheapest_mix_names_the_batch_of_each():
    frame = to_frame([*served_run(), served_row("decode", batch=8, times=3), served_row("train", batch=1, times=2)])
    found = costs(frame, DEMAND, PRICES)
    (mix,) = to_rows(cheapest_mix(found))
    assert (mix["train_batch"], mix["serve_batch"], mix["depth"]) == (1, 8, 128)
    text = costs_text(found, cheapest_mix(found), DEMAND, 100)
    assert "1,000 queries a day of 100 prompt and 20 generated tokens each" in " ".join(text.split())
    assert "Cheapest for gpt2 124m, depth 128: train on torch_cpu (fp32, batch 1;" in text
    assert "generated tokens cost more" not in text


def test_a_ladder_is_told_at_its_common_batch_and_its_best():
    faster = {2: 1, 4: 2, 8: 4, 16: 4.1}
    rungs = [
        served_row("decode", batch=batch, times=times * of, workload_digest=f"deep {batch}", backend=backend)
        for backend, of in (("torch_cpu", 1), ("jax_cpu", 2))
        for batch, times in faster.items()
    ]
    steps = [served_row(phase, backend=name) for name in ("torch_cpu", "jax_cpu") for phase in ("train", "prefill")]
    found = costs(to_frame([*steps, *rungs]), DEMAND, PRICES)
    text = costs_text(found, cheapest_mix(found), DEMAND, 120)
    told = [line for line in text.splitlines() if line.startswith("gpt2 124m fp32, batch")]
    assert [line.split(", ")[1] for line in told] == ["batch 2", "batch 8"]
    assert {*found["batch"]} == {2, 4, 8, 16}


@pytest.mark.parametrize("generated", [0, -1, 120, 1e9, float("nan")])
def test_a_query_without_a_prompt_or_without_an_answer_is_refused(generated):
    with pytest.raises(ValueError, match="over 0 and fewer than all"):
        Demand(1, "tokens", 1, 120, "tokens", generated)


def test_samples_are_not_generated():
    with pytest.raises(ValueError, match="expected tokens"):
        Demand(1, "samples", 1, 120, "samples", 20)


def test_the_text_of_rates_has_a_line_per_step_and_backend():
    text = rates_text(rates(to_frame([*served_run(), *served_run(times=2, backend="jax_cpu")]), PRICES), 100)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "prompt 2 × 128 jax_cpu 1,000 256 ms - $1.00 $3.60/h 2026-11-26 [1]" in lines
    assert "generated 2, depth 128 torch_cpu 20.0 100 ms - $50.0 $3.60/h 2026-11-26 [1]" in lines
    assert rates_text(rates(to_frame([served_row("infer")]), PRICES)) == ""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    rows = [*served_run(), served_row("decode", batch=8, depth=512, times=3)]
    write_csv(rows, tmp_path / "results.csv")
    return tmp_path / "results.csv"


def said_by(capsys, *words):
    status = door.main(
        [*map(str, words), "--price", "machine=3.6", "--price-date", "2026-11-26", "--price-source", "own"]
    )
    return status, *capsys.readouterr()


def test_the_commands_speak_of_both_kinds_of_tokens(run, capsys):
    status, output, _ = said_by(capsys, "cost", run, *ASKED)
    assert status == 0
    assert ["torch_cpu", "0.100", "$0.360", "$2.00", "$50.0", "0.0139", "$1.20"] in [
        line.split()[:7] for line in output.splitlines()
    ]
    status, output, _ = said_by(capsys, "phases", run)
    assert "gpt2 124m fp32, threads 2: tokens" in output
    assert output.count("Prices:") == 1


def test_batch_and_depth_choose_what_is_generated_and_leave_training(run, capsys):
    for choice in (("--batch", "8"), ("--depth", "512")):
        _, output, _ = said_by(capsys, "cost", run, *ASKED, *choice)
        assert "batch 8, threads 2, depth 512" in output
        assert "batch 2, threads 2, depth 128" not in output
        assert "$0.360" in output
    assert said_by(capsys, "cost", run, *ASKED, "--depth", "5")[2].startswith(
        "error: no row has depth 5; known: 128, 512"
    )


def test_one_of_the_two_alone_is_refused(run, capsys):
    status, output, complaint = said_by(capsys, "cost", run, *ASKED[:-2])
    assert (status, output) == (2, "")
    assert "--prompt-tokens and --generated-tokens go together" in complaint


def test_all_tokens_counted_as_read_says_so(run, capsys):
    asked = (*ASKED[:4], "--tokens-per-query", "120")
    _, output, _ = said_by(capsys, "cost", run, *asked)
    assert "Every token is counted as one that is read." in output
    assert "--prompt-tokens P --generated-tokens G" in " ".join(output.split())
