"""Two sides: a ratio only between equal work, an interval that knows how many runs it has, a verdict in words."""

import math
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import samestep
from results.__main__ import main
from results.record.csvfile import write_csv
from results.tables.compare import compare, sides_of
from results.tables.spread import (
    ALIKE,
    LEAST,
    SPREAD,
    SPREAD_UNKNOWN,
    Known,
    Value,
    known_spread,
    ratio_of,
    student,
    value_of,
)
from results.tables.table import is_control, to_frame
from tests.fakes.rows import idle_row, row_of
from tests.fakes.runs import FIRST, rows_of_run, write_run

BEFORE = [
    row_of(),
    row_of(backend="jax_cpu"),
    row_of(backend="openvino_cpu"),
    row_of("refused", backend="onnxruntime_cpu"),
    idle_row(),
]


def only(frame):
    (line,) = frame.to_dict("records")
    return line


def compared(before, after, **options):
    return compare(to_frame(before), to_frame(after), **options)


def test_a_ratio_is_how_many_times_as_fast_whatever_the_metric():
    found = compared([row_of()], [row_of(latency_p50_s=0.5e-3, throughput_samples_per_s=8000.0)])
    assert found["metric"].tolist() == ["latency_p50_s", "throughput_samples_per_s"]
    assert found["ratio"].tolist() == pytest.approx([2, 2])
    assert found["verdict"].tolist() == ["faster", "faster"]
    assert found["before"].tolist() == pytest.approx([1e-3, 4000])
    back = compared([row_of(latency_p50_s=0.5e-3)], [row_of()], metrics=["latency_p50_s"])
    assert only(back)["ratio"] == pytest.approx(0.5)
    assert only(back)["verdict"] == "slower"


def test_the_throughput_of_a_serial_step_is_its_latency_again():
    serial = row_of(throughput_mode="serial")
    assert compared([serial], [serial])["metric"].tolist() == ["latency_p50_s"]
    assert len(compared([serial], [row_of(throughput_mode="queued")])) == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"workload_digest": "d2"}, "other work: workload_digest d1 and d2"),
        ({"method_version": "3"}, "measured by another method: method_version 3 and none"),
        ({"verification": "not applicable"}, "not there after"),
    ],
)
def test_what_is_not_the_same_work_has_no_ratio(changes, reason):
    line = only(compared([row_of()], [row_of(**changes)]))
    assert (line["verdict"], line["reason"]) == ("not comparable", reason)
    assert pd.isna(line["ratio"])


def test_a_cell_without_a_number_says_why():
    line = only(compared([row_of()], [row_of("refused", reason="does not wait")]))
    assert (line["verdict"], line["reason"]) == ("not comparable", "after: refused: does not wait")
    line = only(compared([], [row_of()]))
    assert line["reason"] == "not there before"


@pytest.mark.parametrize("name", ["threads", "precision", "backend"])
def test_rows_that_differ_are_compared_only_when_that_is_asked_for(name):
    other = {"threads": 1, "precision": "bf16", "backend": "jax_cpu"}[name]
    sides = [row_of()], [row_of(**{name: other})]
    assert set(compared(*sides)["verdict"]) == {"not comparable"}
    asked = compared(*sides, across=[name])
    assert asked["ratio"].tolist() == pytest.approx([1, 1])
    assert asked[name].tolist() == [f"{row_of()[name]} → {other}"] * 2


def test_batches_compare_sample_by_sample_where_the_model_is_the_same():
    before = [row_of(model_digest="m", workload_digest="a")]
    after = row_of(model_digest="m", workload_digest="b", batch=8, latency_p50_s=2e-3, throughput_samples_per_s=4400.0)
    found = only(compared(before, [after], across=["batch"]))
    assert (found["metric"], found["batch"]) == ("throughput_samples_per_s", "4 → 8")
    assert found["ratio"] == pytest.approx(1.1)
    other = only(compared(before, [{**after, "model_digest": "n"}], across=["batch"]))
    assert other["reason"] == "other work: model_digest m and n"
    unknown = only(compared([row_of()], [row_of(batch=8)], across=["batch"]))
    assert unknown["verdict"] == "not comparable"
    with pytest.raises(ValueError, match="only rates"):
        compared(before, [after], across=["batch"], metrics=["latency_p50_s"])


@pytest.mark.parametrize(("before", "after", "compares"), [(1.9, 1.1, False), (1.9, 1.6, True), (1.1, 1.1, True)])
def test_a_machine_whose_threads_share_a_core_is_not_held_against_one_whose_do_not(before, after, compares):
    line = only(compared([row_of(threads_worth=before)], [row_of(threads_worth=after)], metrics=["latency_p50_s"]))
    assert (line["verdict"] != "not comparable") == compares
    if not compares:
        assert line["reason"] == "its threads together were worth 1.9 before and 1.1 after, beside one alone"


def test_what_the_control_says_is_no_noise_between_two_machines():
    """A machine half as fast is half as fast: the control says so too, and knows no better."""
    sides = [{"latency_p50_s": 1e-3, "control_s": 1.0}, {"latency_p50_s": 2e-3, "control_s": 2.0}]
    other = {"machine": "other", "machine_id": "ba9876543210"}
    rows = [row_of(**sides[0]), row_of(**sides[1], **other)]
    found = only(compared(rows[:1], rows[1:], metrics=["latency_p50_s"]))
    assert (found["verdict"], found["ratio"]) == ("slower", pytest.approx(0.5))
    same = only(compared(rows[:1], [row_of(**sides[1])], metrics=["latency_p50_s"]))
    assert same["verdict"] == "unclear"


def test_several_rows_on_one_side_of_what_is_asked_across_are_refused():
    found = only(compared([row_of(), row_of(threads=1)], [row_of(threads=4)], across=["threads"]))
    assert found["reason"] == "before: several threads (1, 2); expected one on each side"


def test_what_cannot_be_asked_for():
    for options, message in (
        ({"across": ["workload"]}, "cannot compare across workload"),
        ({"metrics": ["batch"]}, "neither a time nor a rate"),
        ({"spread": 0.0}, "between 0 and 1"),
    ):
        with pytest.raises(ValueError, match=message):
            compared([row_of()], [row_of()], **options)


def test_null_and_the_sides_of_an_ab_enter_no_comparison():
    assert compared([idle_row()], [idle_row()]).empty
    assert compared([row_of(variant="A: base")], [row_of(variant="A: base")]).empty


def test_students_quantile_is_that_of_scipy():
    for freedom in (8, 16, 20, 40, 200):
        assert student(0.99, freedom) == pytest.approx(stats.t.ppf(0.995, freedom))
        # What stood here before: Abramowitz & Stegun, 26.7.5.
        z = stats.norm.ppf(0.995)
        terms = [z, (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96]
        terms.append((3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384)
        before = sum(term / freedom**power for power, term in enumerate(terms))
        assert student(0.99, freedom) == pytest.approx(before, rel=1e-3)


def runs_of(logs, quality="valid"):
    rows = [
        row_of(run_id=f"20261123T1259{number:02d}Z-machine-1a2b", quality=quality, **sure(math.exp(x)))
        for number, x in enumerate(logs)
    ]
    return to_frame(rows)


def sure(seconds):
    """Returns a latency that its run knows without doubt."""
    return {"latency_p50_s": seconds, "latency_ci_low_s": seconds, "latency_ci_high_s": seconds}


def test_one_run_is_as_uncertain_as_is_assumed_and_many_as_they_vary():
    one = value_of(runs_of([0.0]), "latency_p50_s")
    assert (one.x, one.n, one.error) == (0.0, 1, pytest.approx(0.03 / math.sqrt(2)))  # its rounds are sure of it
    assert value_of(runs_of([0.0], "degraded"), "latency_p50_s").error == pytest.approx(0.08 / math.sqrt(2))
    assert value_of(runs_of([0.0]), "latency_p50_s", 0.02).error == pytest.approx(0.02 / math.sqrt(2))
    known = value_of(runs_of([0.0]), "latency_p50_s", Known(0.02, 30))
    assert (known.error, known.freedom) == (pytest.approx(0.02 / math.sqrt(2)), 30)
    noisy = value_of(runs_of([-0.2, 0.0, 0.2]), "latency_p50_s")
    assert noisy.error == pytest.approx(math.sqrt((8 * 4.5e-4 + 0.08) / 10 * 1.571 / 3), rel=1e-3)


def test_the_interval_of_a_launch_widens_that_of_its_run():
    wide = row_of(latency_ci_low_s=0.9e-3, latency_ci_high_s=1.1e-3)
    known = value_of(to_frame([row_of(**sure(1e-3))]), "latency_p50_s").error
    assert known < value_of(to_frame([wide]), "latency_p50_s").error
    of_rounds = math.log(1 / 0.9) / 1.96
    expected = math.sqrt((0.03**2 + of_rounds**2) / 2)
    assert value_of(to_frame([wide]), "latency_p50_s").error == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("metric", ["latency_p50_s", "throughput_samples_per_s"])
def test_a_number_without_an_interval_is_less_certain_than_one_with(metric):
    serial = {"throughput_mode": "serial", "throughput_samples_per_s": 4e3}
    unknown = value_of(to_frame([row_of(**serial)]), metric).error
    interval = sure(1e-3) | {"throughput_ci_low_samples_per_s": 4e3, "throughput_ci_high_samples_per_s": 4e3}
    known = value_of(to_frame([row_of(**serial, **interval)]), metric).error
    assert (unknown, known) == (pytest.approx(0.08), pytest.approx(0.03 / math.sqrt(2)))


def test_how_runs_vary_is_known_from_many_runs_of_a_machine():
    generator = np.random.default_rng(2)
    rows = [
        row
        for day in range(6)
        for row in rows_of_run(
            "m",
            FIRST + timedelta(day),
            dict(zip("abcdefgh", np.exp(generator.normal(0, 0.02, 8)), strict=True)),
        )
    ]
    known = known_spread(to_frame(rows))
    assert known == (pytest.approx(0.02, rel=0.3), 40)
    carried = [row | {"measured_in": row["run_id"], "run_id": "20270101T000000Z-m-0000"} for row in rows]
    assert known_spread(to_frame(rows + carried)) == known
    controls = [row | {"workload": "control_matmul", "latency_p50_s": 1.0 + i % 3} for i, row in enumerate(rows)]
    assert known_spread(to_frame(rows + controls)) == known
    assert known_spread(to_frame(rows[:16])) is None
    wild = [row | {"latency_p50_s": row["latency_p50_s"] * (1 + i % 3)} for i, row in enumerate(rows)]
    assert known_spread(to_frame(wild)) == (SPREAD_UNKNOWN, 40)


def test_the_command_takes_the_spread_of_the_runs_beside(tmp_path, capsys):
    names = "abcdefgh"
    for day in range(6):
        write_run(tmp_path, "m", FIRST + timedelta(day), dict.fromkeys(names, 1e-3), journal=True)
    first, *_, last = sorted(tmp_path.iterdir())
    assert main(["compare", str(first), str(last)]) == 0
    assert "same within 2 %" in capsys.readouterr().out


def on(machine, seconds, day):
    rows = rows_of_run(machine, FIRST + timedelta(day), {"torch_cpu": seconds})
    return [{**row, "machine_id": f"id-{machine}"} for row in rows]


def test_each_of_several_machines_is_compared_with_itself():
    fast, slow = ([row for day in days for row in on(*machine, day)] for machine, days in MACHINES[:2])
    more_fast, more_slow = ([row for day in days for row in on(*machine, day)] for machine, days in MACHINES[2:])
    found = compared([*fast, *more_slow], [*more_fast, *slow], metrics=["latency_p50_s"])
    assert found["machine"].tolist() == ["fast", "slow"]
    assert found["ratio"].tolist() == pytest.approx([1, 1])
    assert set(found["verdict"]) <= {"same", "unclear"}
    without = compared([*fast, *more_slow], more_fast, metrics=["latency_p50_s"])
    assert without.loc[without["ratio"].isna(), "reason"].tolist() == ["not there after"]
    with pytest.raises(ValueError, match=r"several machines and share none \(fast, slow before, third after\)"):
        compared([*fast, *slow], on("third", 1e-3, 0))


def test_two_boards_of_one_kind_are_two_machines():
    """Their hardware is the same, so that its id is."""

    def both(first, second):
        rows = [*on("alpha", first, 0), *on("beta", second, 0)]
        return [{**row, "machine_id": "one kind"} for row in rows]

    lines = compared(both(1e-3, 2e-3), both(1e-3, 1e-3), metrics=["latency_p50_s"])
    assert lines[["machine", "n_before", "n_after"]].to_numpy().tolist() == [["alpha", 1, 1], ["beta", 1, 1]]
    assert lines["ratio"].tolist() == pytest.approx([1, 2])


MACHINES = (
    (("fast", 1e-3), range(6)),
    (("slow", 1.1e-3), range(6)),
    (("fast", 1e-3), range(7, 12)),
    (("slow", 1.1e-3), range(7, 12)),
)


def test_a_cell_that_is_there_with_other_threads_is_not_said_to_be_absent():
    found = compared([row_of()], [row_of(threads=64)])
    assert found["reason"].tolist() == [
        "after: there with threads 64; `--across threads` compares them",
        "before: there with threads 2; `--across threads` compares them",
    ]


@pytest.mark.parametrize(
    ("difference", "error", "verdict"),
    [
        (0.0, 0.005, "same"),
        (0.015, 0.001, "same"),
        (0.0, 0.05, "unclear"),
        (0.04, 0.03, "same"),
        (0.1, 0.01, "faster"),
        (-0.1, 0.01, "slower"),
    ],
)
def test_verdicts(difference, error, verdict):
    found = ratio_of(Value(0.0, error, 1), Value(-difference, error, 1), rate=False)
    assert found["verdict"] == verdict
    assert found["ratio_low"] < found["ratio"] < found["ratio_high"]
    assert (LEAST, ALIKE) == (0.02, 0.2)


def test_of_runs_that_do_not_differ_hardly_any_is_called_different():
    generator = np.random.default_rng(1)
    for n, most in ((1, 0.02), (5, 0.02)):
        called = 0
        for _ in range(1000):
            a, b = (_side(generator.normal(0, SPREAD, n)) for _ in range(2))
            called += ratio_of(a, b, rate=False)["verdict"] in ("faster", "slower")
        assert called / 1000 <= most


def test_of_two_runs_of_one_machine_that_was_not_changed_nothing_is_called_different():
    runs = Path(__file__).parents[1] / "docs" / "measured" / "runs"
    sides = [samestep.load(next(runs.glob(f"*Z-{name}-????"))) for name in ("two-threads", "two-threads-again")]
    found = compare(*sides)
    found = found[~is_control(found)]
    assert found["ratio"].notna().sum() >= 8
    assert set(found["verdict"]) <= {"same", "unclear", "not comparable"}


def _side(logs):
    x = float(np.median(logs))
    variance = (8 * SPREAD**2 + float(((logs - x) ** 2).sum())) / (8 + len(logs) - 1)
    return Value(x, math.sqrt(variance * (1 if len(logs) < 3 else 1.571) / len(logs)), len(logs))


def test_sides_by_a_column():
    frame = to_frame([row_of(), row_of(machine="other", machine_id="x")])
    baseline, sides = sides_of(frame, "machine", "other")
    assert (baseline, list(sides)) == ("other", ["other", "machine"])
    for by, name, message in (
        ("machine", "third", "no row has machine 'third'"),
        ("threads", None, "nothing to compare"),
        ("latency_p50_s", None, "cannot compare by 'latency_p50_s'; expected one of: machine"),
    ):
        with pytest.raises(ValueError, match=message):
            sides_of(frame, by, name)


def test_one_measurement_in_two_runs_is_no_evidence():
    first = row_of(run_id="20261123T120000Z-m-1a2b", measured_in=None)
    later = first | {"run_id": "20261123T130000Z-m-1a2b", "measured_in": first["run_id"]}
    (line,) = compare(to_frame([first]), to_frame([later]), metrics=("latency_p50_s",)).to_dict("records")
    assert (line["verdict"], line["ratio"], line["reason"]) == ("same", 1.0, "one measurement, in both")
    again = later | {"measured_in": later["run_id"]}
    (line,) = compare(to_frame([first]), to_frame([again]), metrics=("latency_p50_s",)).to_dict("records")
    assert line["ratio_low"] < 1 < line["ratio_high"]


@pytest.fixture
def two_runs(tmp_path):
    write_run(tmp_path, "alpha", FIRST, {"torch_cpu": 1e-3, "jax_cpu": 1e-3, "openvino_cpu": 2e-3})
    write_run(tmp_path, "alpha", FIRST + timedelta(1), {"torch_cpu": 2e-3, "jax_cpu": 0.5e-3, "openvino_cpu": None})
    return sorted(map(str, tmp_path.iterdir()))


def test_the_command_says_it_in_words_and_in_files(two_runs, tmp_path, capsys):
    out = tmp_path / "out.csv"
    assert main(["compare", *two_runs, "--csv", str(out)]) == 0
    text = capsys.readouterr().out
    assert "1 faster, 1 slower, 1 not comparable" in text
    assert "after: refused: disturbed" in text
    assert "Geometric mean" in text
    frame = pd.read_csv(out)
    assert frame["verdict"].tolist() == ["faster", "not comparable", "slower"]
    assert main(["compare", *two_runs, "--fail-on", "slower"]) == 1
    assert main(["compare", *two_runs, "--fail-on", "unclear"]) == 0
    assert main(["compare", *two_runs, "--fail-on", "worse"]) == 2
    assert main(["compare", two_runs[0]]) == 2
    assert main(["compare", two_runs[0], two_runs[0]]) == 2
    assert "are both" in capsys.readouterr().err


def test_a_comparison_of_nothing_answers_no_fail_on(two_runs, tmp_path, capsys):
    write_run(tmp_path / "other", "alpha", FIRST, {"onnxruntime_cpu": 1e-3})
    assert main(["compare", two_runs[0], str(tmp_path / "other"), "--fail-on", "slower"]) == 2
    assert "no cell could be compared" in capsys.readouterr().err


def test_the_control_is_no_cell(tmp_path, capsys):
    for name, seconds in (("before", 1e-3), ("after", 3e-3)):
        rows = [row_of(), row_of(workload="gpt2"), row_of(workload="control_copy", latency_p50_s=seconds)]
        write_csv(rows, tmp_path / f"{name}.csv")
    sides = [str(tmp_path / f"{name}.csv") for name in ("before", "after")]
    assert main(["compare", *sides, "--fail-on", "slower", "--metric", "latency_p50_s"]) == 0
    text = capsys.readouterr().out
    assert "2 same" in text
    assert "1.000x over 2 cells" in text
    assert "copy latency 0.33x. A quarter is the machine; less may be its own." in text


def test_machines_of_one_folder_by_name(tmp_path, capsys):
    write_run(tmp_path, "alpha", FIRST, {"torch_cpu": 1e-3})
    write_run(tmp_path, "beta", FIRST, {"torch_cpu": 0.5e-3}, number=1)
    assert main(["compare", "--runs", str(tmp_path), "--by", "machine", "--baseline", "beta"]) == 0
    assert "alpha against beta: 1 slower" in capsys.readouterr().out


def test_rows_of_many_runs_count_as_many():
    sides = [
        [row for day in range(4) for row in rows_of_run("alpha", FIRST + timedelta(day), {"torch_cpu": seconds})]
        for seconds in (1e-3, 1.2e-3)
    ]
    line = only(compared(*sides))
    assert (line["n_before"], line["n_after"], line["verdict"]) == (4, 4, "slower")
    assert only(compared(sides[0][:1], sides[1][:1]))["verdict"] == "unclear"
