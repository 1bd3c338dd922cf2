"""Costs, worked by hand: of training once, of serving, the day on which serving has cost more, and the commands."""

import json
import re
import sys
from pathlib import Path

import pandas as pd
import pytest

from results import __main__ as door
from results.record.csvfile import write_csv
from results.record.files import ResultsError
from results.show.cost_text import costs_text
from results.show.plot.cost import plot_costs
from results.tables.cost import Demand, cheapest_mix, costs
from results.tables.table import load, to_frame
from tests.fakes.prices import price, table
from tests.fakes.rows import row_of

ROOT = Path(__file__).resolve().parent.parent
DEMAND = Demand(36_000, "samples", 1000, 2, "samples")
MEASURED = "docs/measured/2026-11-26-first-command.csv"
"""The rows of the worked example in docs/cost.md."""


def pair(train=10.0, infer=40.0, **changes):
    """Returns the rows of a training and an inference step of so many samples per second."""
    return [
        row_of(phase=phase, throughput_samples_per_s=rate, **{"device": "CPU", **changes})
        for phase, rate in (("train", train), ("infer", infer))
    ]


def gpt2(backend, train, infer):
    of = {"workload": "gpt2", "size": "124m", "batch": 2, "sequence": 128, "backend": backend, "device": "AMD EPYC"}
    return [
        row_of(phase=phase, throughput_tokens_per_s=float(rate), throughput_samples_per_s=rate / 128, **of)
        for phase, rate in (("train", train), ("infer", infer))
    ]


def only(rows, demand=DEMAND, prices=(), **how):
    (found,) = costs(to_frame(rows), demand, prices, **how).to_dict("records")
    return found


def test_costs_by_hand():
    row = only(pair(), prices=[price()])
    # 36,000 samples at 10 per second take an hour, at 3.60 USD.
    assert (row["train_hours"], row["train_usd"]) == (1.0, 3.6)
    # 1000 queries of 2 samples at 40 per second take 50 s of a day, 50 / 86,400 of a device, at 0.001 USD per second.
    assert row["devices_needed"] == pytest.approx(50 / 86_400)
    assert row["devices_paid"] == row["devices_needed"]
    assert row["serving_usd_per_day"] == pytest.approx(0.05)
    assert row["usd_per_million_queries"] == pytest.approx(50.0)
    # 72 days of serving cost as much as the training: 3.60 / 0.05.
    assert row["breakeven_days"] == pytest.approx(72.0)
    assert pd.isna(row["reason"])


def test_the_day_is_the_first_on_which_serving_has_cost_more():
    # 64 samples at 32 per second are 2 s of 1/1024 USD each; a query is a sample of 1/64 s
    train = Demand(64 * 3, "samples", 32, 1, "samples")
    row = only(pair(32.0, 16.0), train, [price(usd=3600 / 1024)])
    assert (row["breakeven_days"], row["breakeven_day"]) == (3.0, 4)
    row = only(pair(32.0, 16.0), Demand(64 * 3 - 1, "samples", 32, 1, "samples"), [price(usd=3600 / 1024)])
    assert row["breakeven_day"] == 3


def test_whole_machines_are_paid_for_around_the_clock():
    shared = price(usd=2.0, held=1.5, devices=4)
    row = only(pair(), prices=[shared], whole_machines=True)
    assert (row["devices_paid"], row["serving_usd_per_day"]) == (4, 4 * 24 * 1.5)
    assert row["usd_per_million_queries"] == pytest.approx(144_000)
    assert row["train_usd"] == 2.0
    # 8.64 million samples a day at 40 per second are 2.5 devices: 3 machines of one, one of 4
    demand = Demand(36_000, "samples", 8_640_000, 1, "samples")
    assert only(pair(), demand, [price()], whole_machines=True)["devices_paid"] == 3
    assert only(pair(), demand, [shared], whole_machines=True)["devices_paid"] == 4
    assert only(pair(), demand, [price()])["devices_paid"] == pytest.approx(2.5)


def test_tokens_count_where_samples_have_them():
    row = only(gpt2("torch_cpu", 100, 400), Demand(360_000, "tokens", 1000, 200, "tokens"), [price()])
    assert (row["train_hours"], row["usd_per_million_queries"]) == (1.0, pytest.approx(500.0))
    row = only(pair(), Demand(360_000, "tokens", 1000, 200, "tokens"), [price()])
    assert pd.isna(row["train_usd"])
    assert "no tokens per second of its training step: samples of mlp have no tokens; ask in samples" in row["reason"]


def test_without_a_price_there_are_hours_and_no_dollars():
    row = only(pair())
    assert (row["train_hours"], row["devices_needed"]) == (1.0, pytest.approx(50 / 86_400))
    assert all(pd.isna(row[name]) for name in ("train_usd", "serving_usd_per_day", "breakeven_day"))
    assert row["reason"].startswith("no price is known of CPU, nor of machine machine: give --price machine=")


def test_a_backend_of_one_phase_has_no_break_even():
    row = only(pair()[1:], prices=[price()])
    assert row["serving_usd_per_day"] == pytest.approx(0.05)
    assert pd.isna(row["breakeven_days"])
    assert row["reason"] == "no verified training step with a throughput"


def test_the_cheapest_mix_trains_here_and_serves_there():
    fast = row_of(phase="infer", backend="fast", throughput_samples_per_s=80.0, device="CPU")
    rows = [*pair(10.0, 20.0), *pair(5.0, 40.0, backend="jax_cpu"), fast]
    (row,) = cheapest_mix(costs(to_frame(rows), DEMAND, [price()])).to_dict("records")
    assert (row["train_on"], row["serve_on"]) == ("torch_cpu", "fast")
    assert (row["train_usd"], row["serving_usd_per_day"]) == (3.6, pytest.approx(0.025))
    assert row["breakeven_days"] == pytest.approx(144.0)
    assert cheapest_mix(costs(to_frame(rows), DEMAND, [])).empty


def test_training_in_one_precision_and_serving_in_another_is_said():
    told = {"precision": "int8", "precision_requested": "int8"}
    served = row_of(phase="infer", throughput_samples_per_s=80.0, device="CPU", **told)
    for rows, is_mixed in ((pair(), False), ([*pair(), served], True)):
        costed = costs(to_frame(rows), DEMAND, [price()])
        text = " ".join(costs_text(costed, cheapest_mix(costed), DEMAND, 160).split())
        said = "It is trained in fp32 and served in int8: `samestep precisions` says how near that lies."
        assert (said in text) == is_mixed


def test_of_machines_that_cost_the_same_the_one_with_the_most_room_serves():
    # A machine of each costs 24 x 3.60 USD a day, and torch_cpu takes least of one.
    rows = [
        *pair(10.0, 40.0),
        *pair(9.0, 20.0, backend="jax_cpu", quality="degraded"),
        *pair(9.8, 30.0, backend="a_cpu"),
    ]
    rows += pair(1.0, 39.0, batch=8)
    costed = costs(to_frame(rows), DEMAND, [price()], whole_machines=True)
    (row,) = cheapest_mix(costed).to_dict("records")
    assert (row["serve_on"], row["serve_batch"], row["devices_needed"]) == ("torch_cpu", 4, pytest.approx(50 / 86_400))
    assert row["serve_equal"] == "a_cpu, jax_cpu~"
    assert pd.isna(row["serve_as_good"])
    assert (row["train_on"], row["train_as_good"]) == ("torch_cpu", "a_cpu")
    assert pd.isna(row["train_equal"])
    text = " ".join(costs_text(costed, cheapest_mix(costed), DEMAND, 160, whole_machines=True).split())
    assert "serve on torch_cpu (fp32, batch 4; $3.60/h 2026-11-26 [1]) for $86.4 a day." in text
    assert (
        "Training costs up to 5 % more, or more by no more than is known, on a_cpu. "
        "Serving costs the same on a_cpu, jax_cpu~, which take no less of a device."
    ) in text


def test_who_serves_of_equals_in_a_run_that_was_measured():
    demand = Demand(1e9, "tokens", 1e4, 500, "tokens")
    frame = load(ROOT / "docs/measured/runs/20261126T174304Z-two-threads-d8c4")
    costed = costs(frame[frame["workload"] == "gpt2"], demand, [price("two-threads", 0.5)], whole_machines=True)
    (row,) = cheapest_mix(costed).to_dict("records")
    assert (row["serve_on"], row["serving_usd_per_day"]) == ("openvino_cpu", 12.0)
    assert row["serve_equal"] == "jax_cpu, onnxruntime_cpu~, torch_cpu"


def test_every_number_and_choice_carries_the_quality_of_what_it_rests_on():
    train, infer = pair()
    rows = [train | {"quality": "degraded"}, infer | {"quality": "valid"}, *pair(5.0, 20.0, backend="jax_cpu")[:1]]
    costed = costs(to_frame(rows), DEMAND, [price()])
    mix = cheapest_mix(costed)
    assert list(mix[["train_quality", "serve_quality"]].iloc[0]) == ["degraded", "valid"]
    text = costs_text(costed, mix, DEMAND, 200)
    line = next(line for line in text.splitlines() if line.startswith("torch_cpu"))
    assert line.split()[1:7] == ["1.00~", "$3.60~", "0.000579", "$0.0500", "$50.0", "73~"]
    said = " ".join(text.split())
    assert " for $3.60~; serve on " in said
    assert " for $0.0500 a day. Serving has cost more than training on day 73~." in said
    served = costs(to_frame([train, infer | {"quality": "degraded"}]), DEMAND, [price()], whole_machines=True)
    text = costs_text(served, cheapest_mix(served), DEMAND, 200, whole_machines=True)
    line = next(line for line in text.splitlines() if line.startswith("torch_cpu"))
    assert line.split()[1:8] == ["1.00", "$3.60", "0.000579~", "1.00~", "$86.4~", "$86,400~", "1~"]
    tokens = Demand(36_000, "tokens", 1000, 2, "tokens")
    dark = costs(to_frame(pair(quality="degraded")), tokens, [price()])
    assert "~" not in costs_text(dark, cheapest_mix(dark), tokens, 200)


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), 1e300, 1e29, 1e-20])
@pytest.mark.parametrize("place", [0, 2, 3])
def test_what_nobody_can_mean_is_refused(wrong, place):
    given = [1.0, "samples", 1.0, 1.0, "samples"]
    given[place] = wrong
    with pytest.raises(ValueError, match=r"is .*; expected a number from (1|0\.001) to 1e\+18"):
        Demand(*given)


def test_a_day_of_more_than_can_be_meant_is_refused():
    assert Demand(1e18, "samples", 1e9, 1e9, "samples").queries_per_day == 1e9
    with pytest.raises(ValueError, match=r"queries_per_day times per_query is 1e\+19; expected 1e\+18 at most"):
        Demand(1.0, "samples", 1e10, 1e9, "samples")


def test_a_unit_is_a_sample_or_a_token():
    with pytest.raises(ValueError, match="train_unit is 'images'; expected one of: samples, tokens"):
        Demand(1, "images", 1, 1, "samples")


def test_a_day_that_nobody_sees_is_never():
    # 36,525 days are 100 years: so many samples to train on, each as dear as a day of serving.
    for samples, day in ((36_525 - 0.5, 36_525), (36_526, None)):
        row = only(pair(1.0, 1.0), Demand(samples, "samples", 1, 1, "samples"), [price()])
        assert row["breakeven_days"] == pytest.approx(samples)
        assert (None if pd.isna(row["breakeven_day"]) else row["breakeven_day"]) == day


def test_the_most_and_the_least_that_can_be_asked_for_are_said_in_few_digits():
    demand = Demand(1e18, "samples", 0.001, 0.001, "samples")
    costed = costs(to_frame(pair()), demand, [price()])
    text = costs_text(costed, cheapest_mix(costed), demand, 200)
    line = next(line for line in text.splitlines() if line.startswith("torch_cpu"))
    words = ["27.8", "T", "$100", "tn", "2.89e-13", "$2.50e-11", "$0.0250", "never", "within", "100", "years"]
    assert line.split()[1:12] == words
    assert "Serving never costs more than training within 100 years." in " ".join(text.split())


def test_every_dollar_stands_beside_its_day_and_source():
    costed = costs(to_frame([*pair(), *pair(backend="jax_cpu", machine="other")]), DEMAND, [price()])
    text = costs_text(costed, cheapest_mix(costed), DEMAND, 160)
    lines = text.splitlines()
    sources = [line for line in lines if line.startswith("[")]
    assert sources == ["[1] price of machine, $3.60 per hour of one device: made up, read 2026-11-26 (own)"]
    assert all("2026-11-26" in line for line in lines if "$" in line), text
    assert "- jax_cpu@other: no price is known" in text
    assert "Train 36,000 samples; serve 1,000 queries a day of 2 samples each." in text
    assert "no loss in scaling" in text
    assert "around the clock" not in text
    whole = costs_text(costed, cheapest_mix(costed), DEMAND, 160, whole_machines=True)
    assert "around the clock" in whole
    assert "degraded" not in text
    assert "uncertain" not in text
    doubted = costs(to_frame(pair()), DEMAND, [price(confidence="uncertain")])
    assert "$3.60/h 2026-11-26, uncertain [1]" in costs_text(doubted, cheapest_mix(doubted), DEMAND, 160)
    rough = costs(to_frame(pair(quality="degraded")), DEMAND, [price()])
    assert "~ degraded" in costs_text(rough, cheapest_mix(rough), DEMAND, 160)


ASKED = ("--train-samples", "36000", "--queries-per-day", "1000", "--samples-per-query", "2")
PRICED = ("--price", "machine=3.6", "--price-date", "2026-11-26", "--price-source", "our bill")


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    write_csv([*pair(), *pair(8.0, 50.0, backend="jax_cpu")], tmp_path / "results.csv")
    return tmp_path


def output_of(capsys, *arguments):
    status = door.main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


def test_the_command_prints_draws_and_writes_the_same_bytes_each_time(run, capsys):
    for name in ("a", "b"):
        files = [f"--{form}={run / name}.{form}" for form in ("csv", "json", "markdown")]
        plot = ("--plot", run / f"{name}.svg")
        status, output, complaints = output_of(capsys, "cost", run / "results.csv", *ASKED, *PRICED, *files, *plot)
        assert (status, complaints) == (0, "")
    for form in ("csv", "json", "markdown", "svg"):
        assert (run / f"a.{form}").read_bytes() == (run / f"b.{form}").read_bytes()
    assert "Cheapest for mlp tiny: train on torch_cpu" in output
    assert "serve on jax_cpu" in output
    assert "our bill, read 2026-11-26 (own)" in output
    assert "\x1b" not in output
    record = json.loads((run / "a.json").read_text())[1]
    assert (record["backend"], record["train_usd"], record["price_source"]) == ("torch_cpu", 3.6, "our bill")
    drawn = (run / "a.svg").read_text()
    # jax_cpu: 36,000 / 8 samples are 4500 s, 4.50 USD; 2000 / 50 are 40 s a day, 0.04 USD: 112.5 days
    for words in ("torch_cpu", "jax_cpu", "day 113", "our bill, read 2026-11-26", "training, once"):
        assert words in drawn, words


def test_the_other_command_sets_the_phases_against_each_other(run, capsys):
    status, output, _ = output_of(capsys, "phases", run / "results.csv", *PRICED, "--csv", run / "phases.csv")
    assert status == 0
    assert "4.00x" in output
    assert "$3.60/h 2026-11-26 [1]" in output
    assert "time_ratio" in (run / "phases.csv").read_text()


def test_a_table_of_the_user_s_own_prices_the_machine(run, capsys, monkeypatch):
    mine = {"name": "desk", "kind": "owned", "machine": "machine", "devices": "1", "source": "our invoice 17"}
    mine |= {"purchase_usd": "8766", "lifetime_years": "4", "power_w": "500", "usd_per_kwh": "0.25"}
    mine |= {"utilisation": "0.5", "overhead": "1.2", "retrieved": "2026-11-25", "confidence": "own"}
    monkeypatch.setenv("SAMESTEP_PRICES", str(table(run / "mine.csv", mine)))
    _, output, _ = output_of(capsys, "cost", run / "results.csv", *ASKED)
    assert "[1] desk, $0.650 per hour of one device: our invoice 17, read 2026-11-25 (own)" in output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((*ASKED, "--price", "machine=3.6"), "no dollar without its date and source"),
        ((*ASKED, "--price-date", "2026-11-26"), "are of --price, which was not given"),
        ((*ASKED, *PRICED, "--price", "elsewhere=1"), "--price is of machine 'elsewhere'; known here: machine"),
        ((*ASKED, *PRICED, "--price", "machine=1"), "--price gives 'machine' twice"),
        ((*ASKED, "--workload", "gpt9"), "no row has workload 'gpt9'; known: mlp"),
        ((*ASKED, "--batch", "5"), "no row has batch 5; known: 4"),
        ((*ASKED[:-1], "0"), "per_query is 0.0; expected a number from 0.001 to 1e+18"),
        (
            (*ASKED, *PRICED[:3], "2936-11-01", *PRICED[4:]),
            "--price-date is '2936-11-01'; expected a day that has come",
        ),
    ],
)
def test_what_is_wrong_is_said(run, capsys, monkeypatch, arguments, complaint):
    monkeypatch.chdir(run)
    status, output, complaints = output_of(capsys, "cost", run / "results.csv", *arguments)
    assert (status, output) == (2, "")
    assert complaint in complaints


@pytest.mark.parametrize(
    ("arguments", "plot", "complaint"),
    [
        (ASKED, "costs.svg", "no backend has the cost of both training and serving: nothing to draw; the table says"),
        ((*ASKED, *PRICED), "costs.pdf", "expected a name that ends in .svg or .png"),
        ((*ASKED, *PRICED), "absent/costs.svg", "No such file or directory"),
    ],
)
def test_a_plot_that_cannot_be_made_is_missing_and_the_table_is_printed(run, capsys, arguments, plot, complaint):
    without = output_of(capsys, "cost", run / "results.csv", *arguments)
    assert without[0] == 0
    status, output, complaints = output_of(capsys, "cost", run / "results.csv", *arguments, "--plot", run / plot)
    assert (status, output) == (2, without[1])
    assert complaints.startswith(f"error: no plot in {run / plot}: ")
    assert complaint in complaints
    assert not (run / plot).exists()


def test_several_steps_are_not_drawn_into_one(tmp_path):
    costed = costs(to_frame([*pair(), *pair(batch=8)]), DEMAND, [price()])
    with pytest.raises(ResultsError, match="expected one step, got mlp tiny fp32, batch 4, threads 2; mlp tiny"):
        plot_costs(costed, DEMAND, tmp_path / "costs.svg")


def test_machines_of_other_numbers_of_threads_are_drawn_beside_each_other(tmp_path):
    there = {"machine": "other", "machine_id": "ba9876543210", "threads": 16}
    costed = costs(to_frame([*pair(), *pair(20.0, 90.0, **there)]), DEMAND, [price(), price("other")])
    plot_costs(costed, DEMAND, tmp_path / "costs.svg")
    drawn = (tmp_path / "costs.svg").read_text()
    assert "torch_cpu@machine, threads 2" in drawn
    assert "torch_cpu@other, threads 16" in drawn


def test_a_break_even_that_never_comes_and_a_disturbed_number_are_drawn_as_such(tmp_path):
    demand = Demand(1e12, "samples", 1, 1, "samples")
    rows = [*pair(), *pair(1e11, 1.0, backend="jax_cpu", quality="degraded")]
    plot_costs(costs(to_frame(rows), demand, [price()]), demand, tmp_path / "costs.svg")
    drawn = (tmp_path / "costs.svg").read_text()
    for words in (
        "torch_cpu, never within 100 years",
        "jax_cpu~",
        "day 11~",
        "~ degraded, or made of a number that is",
    ):
        assert words in drawn, words


def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ResultsError, match=r"pip install -e '\.\[reports\]'"):
        plot_costs(costs(to_frame(pair()), DEMAND, [price()]), DEMAND, tmp_path / "costs.svg")


def test_the_worked_example_is_what_the_commands_print(tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs" / "cost.md").read_text()
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    Path("prices.csv").write_text(next(text for kind, text in blocks if kind == "csv"))
    monkeypatch.setenv("SAMESTEP_PRICES", "prices.csv")
    commands = [line for kind, text in blocks if kind == "" and "docs/measured" in text for line in text.splitlines()]
    printed = [text for kind, text in blocks if kind == "text"]
    assert (len(commands), len(printed)) == (3, 3)
    for command, expected in zip(commands, printed, strict=True):
        words = [str(ROOT / word) if word.startswith("docs/") else word for word in command.split()]
        assert words[0] == "samestep"
        status, output, _ = output_of(capsys, *words[1:])
        assert (status, output) == (0, expected)


def test_the_rates_of_the_worked_example_are_those_of_its_rows():
    page = (ROOT / "docs" / "cost.md").read_text()
    by_hand = page[page.index("By hand, for openvino_cpu and torch_cpu") :]
    frame = load(ROOT / MEASURED)
    for backend in ("openvino_cpu", "torch_cpu"):
        for phase in ("train", "infer"):
            chosen = frame[(frame.workload == "gpt2") & (frame.backend == backend) & (frame.phase == phase)]
            (rate,) = chosen.throughput_tokens_per_s
            assert by_hand.count(f"{rate:.2f}") == 3, (backend, phase, rate)
    served = load(ROOT / "docs/measured/2026-11-30-served-tiny.csv")
    served = served[(served.backend == "onnxruntime_cpu") & (served.batch == 4) & (served.depth.fillna(24) == 24)]
    for phase in ("train", "prefill", "decode"):
        (rate,) = served[served.phase == phase].throughput_tokens_per_s
        assert page.count(f"{rate:.2f}") >= 2, (phase, rate)
