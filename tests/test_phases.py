"""Training against inference: of equal and verified work only, in time, energy and money, and who is best."""

import pandas as pd
import pytest

from results.record.rounds import estimate, to_text
from results.show.phases_text import phases_text
from results.tables.phases import best, phases
from results.tables.table import to_frame
from tests.fakes.prices import price
from tests.fakes.rows import idle_row, row_of

STEP = {"device": "CPU", "samples_per_step": 4}


def pair(train=10.0, infer=40.0, **changes):
    """Returns the rows of a training and an inference step of so many samples per second."""
    return [
        row_of(phase=phase, throughput_samples_per_s=rate, **{**STEP, **changes})
        for phase, rate in (("train", train), ("infer", infer))
    ]


def only(rows, prices=()):
    (found,) = phases(to_frame(rows), prices).to_dict("records")
    return found


def test_times_are_those_of_a_sample_with_the_device_kept_full():
    row = only(pair())
    assert (row["train_s_per_sample"], row["infer_s_per_sample"], row["time_ratio"]) == (0.1, 0.025, 4.0)
    assert pd.isna(row["train_s_per_token"])


def test_times_of_a_token_are_there_where_samples_have_them():
    train, infer = pair(sequence=128)
    row = only([train | {"throughput_tokens_per_s": 1280.0}, infer | {"throughput_tokens_per_s": 5120.0}])
    assert (row["train_s_per_token"], row["infer_s_per_token"]) == (1 / 1280, 1 / 5120)


def test_energy_is_that_of_a_step_by_its_samples():
    train, infer = pair()
    row = only([train | {"energy_per_step_j": 60.0}, infer | {"energy_per_step_j": 12.0}])
    assert (row["train_j_per_sample"], row["infer_j_per_sample"], row["energy_ratio"]) == (15.0, 3.0, 5.0)


def test_energy_known_of_one_phase_has_no_ratio():
    train, infer = pair()
    row = only([train | {"energy_per_step_j": 60.0}, infer])
    assert row["train_j_per_sample"] == 15.0
    assert pd.isna(row["infer_j_per_sample"])
    assert pd.isna(row["energy_ratio"])


def test_money_is_the_price_by_the_time():
    # 3.60 USD/h is 0.001 USD/s: a million samples of 0.1 s take 100,000 s, 100 USD
    row = only(pair(), [price()])
    assert row["train_usd_per_million_samples"] == pytest.approx(100.0)
    assert row["infer_usd_per_million_samples"] == pytest.approx(25.0)
    assert row["money_ratio"] == pytest.approx(4.0)
    assert (row["price"], row["price_source"], row["price_retrieved"]) == ("price of machine", "made up", "2026-11-26")
    assert pd.isna(row["no_price"])


def test_an_unknown_device_has_no_money_and_says_why():
    row = only(pair(), [price(machine="other")])
    assert pd.isna(row["train_usd_per_million_samples"])
    assert pd.isna(row["money_ratio"])
    assert row["time_ratio"] == 4.0
    assert row["no_price"].startswith("no price is known of CPU, nor of machine machine")


@pytest.mark.parametrize(
    "other",
    [{"workload_digest": "d2"}, {"batch": 8}, {"threads": 1}, {"size": "base"}, {"machine_id": "ba9876543210"}],
)
def test_only_equal_work_at_one_place_has_a_ratio(other):
    train, infer = pair()
    found = phases(to_frame([train, infer | other]), [])
    assert len(found) == 2
    assert found["time_ratio"].isna().all()


def test_only_verified_steps_of_workloads_enter():
    unverified = row_of("wrong", phase="train", backend="bad", reason_code="output_differs", reason="it differs")
    others = [idle_row(), row_of(workload="control_matmul"), row_of(workload="matmul"), row_of(workload="stream")]
    found = phases(to_frame([*pair(), unverified, *others, row_of(workload="conv")]), [])
    assert list(found["backend"]) == ["torch_cpu"]
    assert phases(to_frame(others), []).empty
    assert phases(to_frame([]), []).empty


def test_a_backend_of_one_phase_has_a_row_without_ratio():
    row = only([pair()[1]])
    assert row["infer_s_per_sample"] == 0.025
    assert pd.isna(row["train_s_per_sample"])
    assert pd.isna(row["time_ratio"])


def test_the_newest_run_counts():
    older = [one | {"run_id": "20260101T000000Z-machine-0000"} for one in pair(train=1.0)]
    assert only([*pair(), *older])["train_s_per_sample"] == 0.1


def test_the_best_of_each_phase_is_named_per_machine_and_over_all():
    there = {"machine": "other", "machine_id": "ba9876543210"}
    rows = [*pair(), *pair(5.0, 80.0, backend="jax_cpu"), *pair(20.0, 20.0, backend="torch_cpu", **there)]
    found = best(phases(to_frame(rows), [price(), price("other", 36.0)]))
    said = [(row["phase"], row["machine"], row["fastest"], row["cheapest"]) for row in found.to_dict("records")]
    here_torch, here_jax, other = "torch_cpu@machine", "jax_cpu@machine", "torch_cpu@other"
    assert said[:2] == [("train", "machine", here_torch, here_torch), ("train", "other", other, other)]
    assert (said[2][0], said[2][2:]) == ("train", (other, here_torch))
    assert said[3] == ("infer", "machine", here_jax, here_jax)
    assert (said[5][0], said[5][2:]) == ("infer", (here_jax, here_jax))
    assert pd.isna(said[2][1])
    assert len(said) == 6


def test_those_within_5_percent_of_the_best_are_as_good():
    rows = [
        *pair(10.0, 40.0, quality="degraded"),
        *pair(10.4, 38.2, backend="jax_cpu", quality="valid"),
        *pair(9.0, 38.0, backend="openvino_cpu"),
        *pair(9.95, 1.0, backend="jax_cpu", threads=1, quality="degraded"),
    ]
    train, infer = best(phases(to_frame(rows), [price()])).to_dict("records")
    for of in ("fastest", "cheapest"):
        assert (train[of], train[f"{of}_quality"]) == ("jax_cpu", "valid")
        assert train[f"{of}_as_good"] == "torch_cpu~, jax_cpu~ (threads 1)"
        # 1 / 38.2 is 4.7 % more than 1 / 40, 1 / 38 is 5.3 % more.
        assert (infer[of], infer[f"{of}_quality"], infer[f"{of}_as_good"]) == (
            "torch_cpu",
            "degraded",
            "jax_cpu",
        )
    text = phases_text(phases(to_frame(rows), [price()]), 200)
    assert "torch_cpu, 25.0 ms~; as good: jax_cpu" in text
    assert "torch_cpu, $25.0~ (2026-11-26 [1]); as good: jax_cpu" in text
    alone = best(phases(to_frame(pair()), [price()]))
    assert alone[["fastest_as_good", "cheapest_as_good"]].isna().all(axis=None)


def in_rounds(step, rates, run="r"):
    """Returns the rows of `pair`, whose rates were measured in rounds of one group: these factors of theirs."""
    rows = []
    for row in step:
        rate = row["throughput_samples_per_s"]
        known = {n: rate * factor for n, factor in enumerate(rates)}
        found = estimate(list(known.values()))
        ends = ("throughput_ci_low_samples_per_s", "throughput_ci_high_samples_per_s")
        rows.append(
            row
            | {"rounds_samples_per_s": to_text(known), "group_id": f"g {row['phase']}"}
            | dict(zip(ends, (found.low, found.high), strict=True))
        )
    return rows


def test_those_that_cannot_be_told_from_the_best_are_as_good():
    alike = [0.8, 0.9, 1.0, 1.1, 1.2, 0.85, 1.15, 1.0, 0.95, 1.05]
    mixed = alike[5:] + alike[:5]
    rows = [*in_rounds(pair(10.0, 40.0), alike), *in_rounds(pair(9.0, 36.0, backend="jax_cpu"), mixed)]
    rows += in_rounds(pair(9.0, 36.0, backend="a_cpu"), alike)  # 10 % behind, in each round
    train, infer = best(phases(to_frame(rows), [price()])).to_dict("records")
    for of in ("fastest", "cheapest"):
        assert (train[of], train[f"{of}_as_good"]) == ("torch_cpu", "jax_cpu")
        assert (infer[of], infer[f"{of}_as_good"]) == ("torch_cpu", "jax_cpu")


def test_times_and_their_ratio_have_an_interval():
    rates = [0.97, 0.98, 0.99, 1.0, 1.0, 1.01, 1.02, 1.03]
    frame = phases(to_frame(in_rounds(pair(10.0, 40.0), rates)), [price()])
    (row,) = frame.to_dict("records")
    assert row["train_half_width"] == pytest.approx(row["infer_half_width"], rel=1e-3)
    text = phases_text(frame, 200)
    assert f"100 ms ±{100 * row['train_half_width']:.0f}%" in text
    assert f"4.00x ±{100 * ((1 + row['train_half_width']) ** 2**0.5 - 1):.0f}%" in text


def test_the_text_marks_every_number_that_rests_on_a_disturbed_one_and_no_dash():
    (train, infer), (_, dark) = pair(), pair(backend="dark_cpu", quality="degraded")
    train |= {"quality": "degraded", "energy_per_step_j": 60.0}
    text = phases_text(phases(to_frame([train, infer | {"energy_per_step_j": 12.0}, dark]), [price()]), 200)
    line = next(line for line in text.splitlines() if line.startswith("torch_cpu"))
    for words in ("100 ms~", "25.0 ms ", "4.00x~", "15.0 J~", "3.00 J ", "5.00x~", "$100~", "$25.0 "):
        assert words in line, words
    assert line.count("4.00x~") == 2
    assert "-~" not in text
    assert "~ degraded, or made of a number that is" in text
    assert "degraded" not in phases_text(phases(to_frame(pair()), [price()]))


def test_other_work_is_not_better():
    rows = [*pair(), *pair(100.0, 400.0, backend="jax_cpu", workload_digest="d2")]
    assert sorted(best(phases(to_frame(rows), []))["fastest"]) == ["jax_cpu", "jax_cpu", "torch_cpu", "torch_cpu"]


def test_the_text_names_every_price_with_its_day_and_source():
    train, infer = pair(quality="degraded")
    rows = [train | {"energy_per_step_j": 60.0}, infer, *pair(backend="jax_cpu", machine="other")]
    text = phases_text(phases(to_frame(rows), [price()]), 160)
    for words in ("mlp tiny fp32, batch 4, threads 2", "100 ms~", "4.00x", "$100", "$25.0", "15.0 J"):
        assert words in text, words
    assert "$3.60/h 2026-11-26 [1]" in text
    assert "[1] price of machine, $3.60 per hour of one device: made up, read 2026-11-26 (own)" in text
    assert "- jax_cpu@other: no price is known" in text
    assert phases_text(phases(to_frame([]), [])) == "No verified step of a workload in these rows."


def test_the_text_fits_its_width():
    text = phases_text(phases(to_frame(pair(variant="A: threads=1")), [price()]), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "torch_cpu[A: threads=1]" in text.replace("\n", "")


def test_training_in_one_precision_is_set_against_inference_in_another():
    train, infer = (
        pair(infer=rate, precision=name, precision_requested=name) for name, rate in (("bf16", 40.0), ("int8", 400.0))
    )
    rows = [train[0], train[1], infer[1]]
    frame = to_frame(rows)
    (row,) = phases(frame, [], {"train": "bf16", "infer": "int8"}).to_dict("records")
    assert row["precision"] == "bf16 → int8"
    assert (row["train_s_per_sample"], row["infer_s_per_sample"]) == (0.1, 0.0025)
    assert "bf16 → int8" in phases_text(phases(frame, [], {"train": "bf16", "infer": "int8"}))
    with pytest.raises(ValueError, match="no verified training in fp32; in these rows it is in: bf16"):
        phases(frame, [], {"train": "fp32", "infer": "int8"})
