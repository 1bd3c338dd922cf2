"""Several batches of one step: the one that all have, the best of each backend, and what is made of them."""

import re
from datetime import timedelta

import pytest

from results.nights.history import history
from results.record.cells.ladder import best_batch
from results.record.csvfile import write_csv
from results.show.batches_text import batches_text
from results.show.cost_text import costs_text
from results.show.phases_text import phases_text
from results.show.render import render
from results.show.report.page import page
from results.show.tokens.rates_text import rates_text
from results.tables.batches.best import best_batches
from results.tables.batches.rungs import are_read
from results.tables.compare import compare
from results.tables.cost import Demand, cheapest_mix, costs
from results.tables.means import means_of_comparison, means_of_ratios
from results.tables.phases import best, phases
from results.tables.table import to_frame, to_rows
from results.tables.tokens.rates import rates
from tests.fakes.prices import price
from tests.fakes.rows import CELL, LATER_RUN_ID, RUN_ID, row_of
from tests.fakes.runs import FIRST, rows_of_run, write_run
from tests.fakes.served import served_row

REASON = "batch 32 gained 2.0 % over 16, under 5 %"
RATES = {
    "torch_cpu": {"infer": {4: 100.0, 8: 150.0}, "train": {4: 10.0, 8: 10.2}},
    "jax_cpu": {"infer": {4: 50.0, 8: 100.0, 16: 400.0, 32: 408.0}, "train": {4: 5.0, 8: 9.0, 16: 20.0}},
}


def rows(rates=RATES):
    return [
        row_of(
            backend=backend,
            phase=phase,
            batch=batch,
            samples_per_step=batch,
            throughput_samples_per_s=rate,
            latency_p50_s=batch / rate,
            workload_digest=f"{phase}-{batch}" if phase == "infer" else f"infer-{batch}",
        )
        for backend, of_phase in rates.items()
        for phase, of_batch in of_phase.items()
        for batch, rate in of_batch.items()
    ]


def skipped(**changes):
    return row_of("not_needed", **{"reason_code": "saturated", "reason": REASON, **changes})


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({4: 1.0}, 4),
        ({4: 1.0, 8: 1.05}, 8),
        ({4: 1.0, 8: 1.0499}, 4),
        ({8: 1.0499, 4: 1.0, 16: 1.06}, 16),
        ({4: 2.0, 8: 1.0, 16: 2.05}, 4),
    ],
)
def test_a_larger_batch_is_better_only_where_it_gains_5_per_cent(rates, expected):
    assert best_batch(rates) == expected


def test_the_common_batch_and_the_best():
    found = to_rows(best_batches(to_frame([*rows(), skipped(backend="jax_cpu", batch=64), row_of(workload="cnn")])))
    told = {(row["label"], row["phase"]): row for row in found}
    assert {place: (row["common_batch"], row["best_batch"], row["largest"]) for place, row in told.items()} == {
        ("jax_cpu", "infer"): (4, 16, 32),
        ("jax_cpu", "train"): (4, 16, 16),
        ("torch_cpu", "infer"): (4, 8, 8),
        ("torch_cpu", "train"): (4, 4, 8),
    }
    row = told["jax_cpu", "infer"]
    assert (row["common_throughput_samples_per_s"], row["best_throughput_samples_per_s"]) == (50.0, 400.0)
    assert row["why_no_larger"] == REASON


def test_what_is_wrong_or_was_not_verified_is_not_best():
    bad = [
        row_of("wrong", backend="torch_cpu", batch=16, reason="it differs"),
        row_of(backend="torch_cpu", batch=32, throughput_samples_per_s=1e9, verification="before only"),
    ]
    found = to_rows(best_batches(to_frame([*rows(), *bad])))
    assert {row["best_batch"] for row in found if row["label"] == "torch_cpu" and row["phase"] == "infer"} == {8}


def test_without_a_common_batch_there_is_none():
    of_two = {"torch_cpu": {"infer": {4: 1.0, 8: 2.0}}, "jax_cpu": {"infer": {16: 1.0}}}
    found = to_rows(best_batches(to_frame(rows(of_two))))
    assert [(row["label"], row["common_batch"], row["best_batch"]) for row in found] == [
        ("jax_cpu", None, 16),
        ("torch_cpu", None, 8),
    ]


def test_the_table_says_both_with_the_batch_and_why_no_larger_was_tried():
    everything = [*rows(), *(skipped(backend="jax_cpu", batch=batch) for batch in (64, 128))]
    text = render(to_frame(everything), width=100)
    block = next(part for part in text.split("\n\n") if part.startswith("Batches"))
    assert [line.split() for line in block.splitlines()[-5:-1]] == [
        ["mlp", "infer", "4", "100", "50.0"],
        ["mlp", "infer", "best", "150", "at", "8", "1.50x", "400", "at", "16", "8.00x"],
        ["mlp", "train", "4", "10.0", "5.00"],
        ["mlp", "train", "best", "10.0", "at", "4", "1.00x", "20.0", "at", "16", "4.00x"],
    ]
    assert max(map(len, text.splitlines())) <= 100
    assert f"jax_cpu  not_needed  2 cells  {REASON}" in text
    assert "2 not_needed" in text
    tables = text.partition("Without a number")[0]
    assert "128" not in tables  # no line of a batch that nobody measured
    assert batches_text(to_frame([row_of()]), None, 100) == ""


def test_a_depth_in_the_table_of_batches_is_a_whole_number():
    both = [served_row("decode", batch=2), served_row("decode", batch=4), served_row("infer", batch=2)]
    text = batches_text(to_frame([*both, served_row("infer", batch=4)]), None, 100)
    assert "128.0" not in text
    assert ["gpt2", "decode", "128", "2", "20.0"] in [line.split() for line in text.splitlines()]


LADDER = {2: 1.0, 4: 2.0, 8: 4.0, 16: 8.0, 32: 8.1}
"""How fast each batch of a ladder is: 16 is the best."""


def ladder(phase="decode", **changes):
    return [
        served_row(phase, batch=batch, times=times, workload_digest=f"{phase} {batch}", **changes)
        for batch, times in LADDER.items()
    ]


def test_token_tables_have_the_common_batch_and_the_best_and_no_other():
    rows = [*ladder(), *ladder(backend="jax_cpu"), *ladder("prefill"), *ladder("prefill", backend="jax_cpu")]
    roofed = [{**row, "memory_roof_s": 0.01, "times_memory_roof": 2.0, "peak_bytes_per_s": 1e9} for row in rows]
    frame = to_frame(roofed)
    blocks = [part for part in render(frame, width=120).split("\n\n") if part.startswith(("As lang", "Time per token"))]
    assert [set(re.findall(r"(?:batch|124m|decode) +(\d+)(?=[× ])", block)) for block in blocks] == [{"2", "16"}] * 2
    assert set(re.findall(r"(\d+) × 128|(\d+), depth 128", rates_text(rates(frame, []), 120))) == {
        ("2", ""),
        ("16", ""),
        ("", "2"),
        ("", "16"),
    }
    section = page(frame).partition('<section id="tokens">')[2].partition("</section>")[0].partition("<svg")[0]
    assert set(re.findall("batch\N{NO-BREAK SPACE}(\\d+)", section)) == {"2", "16"}


def test_who_is_fastest_is_told_at_the_common_batch_and_the_best():
    rows = [*ladder("train"), *ladder("train", backend="jax_cpu")]
    block = next(part for part in render(to_frame(rows), width=120).split("\n\n") if part.startswith("Fastest"))
    assert re.findall(r"train +(\d+)", block) == ["2", "16"]
    section = page(to_frame(rows)).partition('<section id="summary">')[2].partition("</section>")[0]
    assert set(re.findall("(\\d+)\N{NO-BREAK SPACE}×", section)) == {"2", "16"}


def test_batches_without_a_common_one_are_all_told():
    rows = to_rows(to_frame([served_row("decode", batch=2), served_row("decode", backend="jax_cpu", batch=4)]))
    labelled = [{**row, "label": row["backend"]} for row in rows]
    assert are_read(labelled) == [True, True]
    assert are_read([]) == []


def test_a_ladder_enters_a_mean_once():
    slower = {"backend": "jax_cpu", "latency_p50_s": 2e-3, "throughput_samples_per_s": 2000.0}
    single = [row_of(), row_of(**slower)]
    theirs = [{**row, "latency_p50_s": row["latency_p50_s"] / 8} for row in ladder("infer", backend="jax_cpu")]
    for rungs in (theirs, theirs[:2]):
        frame = to_frame([*single, *ladder("infer"), *rungs])
        (line,) = means_of_ratios(frame, "latency_p50_s", "torch_cpu").to_dict("records")
        assert (line["cells"], line["missing"], line["ratio"]) == (2, 0, pytest.approx(2))
        (line,) = means_of_comparison(compare(frame, frame, metrics=["latency_p50_s"])).to_dict("records")
        assert (line["cells"], line["missing"]) == (4, 0)
    first_failed = [row_of("crashed", **{**CELL, **of_first(theirs[0])}), *theirs[1:]]
    (line,) = means_of_ratios(to_frame([*ladder("infer"), *first_failed]), "latency_p50_s", "torch_cpu").to_dict(
        "records"
    )
    assert (line["cells"], line["missing_cells"]) == (1, None)


def of_first(row):
    return {name: row[name] for name in ("workload", "size", "batch", "sequence", "backend")}


def test_phases_show_the_common_batch_and_each_at_its_best():
    compared = phases(to_frame(rows()), [])
    of_best = [row for row in to_rows(compared) if row["at_best"]]
    assert [(row["backend"], row["train_batch"], row["infer_batch"], row["time_ratio"]) for row in of_best] == [
        ("jax_cpu", 16, 16, 20.0),
        ("torch_cpu", 4, 8, 15.0),
    ]
    assert {row["batch"] for row in to_rows(compared)} == {4, 8, 16, 32, None}
    text = phases_text(compared, 120)
    assert "mlp tiny fp32, each at its best batch, threads 2" in text
    assert "torch_cpu (4, 8)" in text
    assert "batch 8" not in text
    found = [(row["at_best"], row["phase"], row["fastest"], row["fastest_batch"]) for row in to_rows(best(compared))]
    assert sorted(found) == [
        (False, "infer", "torch_cpu", 4),
        (False, "train", "torch_cpu", 4),
        (True, "infer", "jax_cpu", 16),
        (True, "train", "jax_cpu", 16),
    ]


def test_costs_are_those_of_the_best_batch():
    demand = Demand(3600.0, "samples", 86_400.0, 1.0, "samples")
    costed = costs(to_frame(rows()), demand, [price()])
    of_best = {row["backend"]: row for row in to_rows(costed) if row["at_best"]}
    assert of_best["jax_cpu"]["train_hours"] == pytest.approx(1 / 20)
    assert of_best["torch_cpu"]["devices_needed"] == pytest.approx(1 / 150)
    (row,) = to_rows(cheapest_mix(costed))
    assert (row["train_on"], row["train_batch"], row["serve_on"], row["serve_batch"]) == ("jax_cpu", 16, "jax_cpu", 16)
    text = costs_text(costed, cheapest_mix(costed), demand, 120)
    assert "each at its best batch" in text
    assert "torch_cpu (4, 8)" in text


def test_the_report_shows_them():
    text = page(to_frame([*rows(), skipped(backend="jax_cpu", batch=64)]))
    assert "each at its best batch" in text
    assert "torch_cpu (4, 8)" in text
    assert REASON in text.partition("Not here, and not expected")[2]
    section = text.partition('<section id="batches">')[2].partition("</section>")[0]
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", section)
    assert cells[:6] == [
        "mlp tiny infer",
        "jax_cpu",
        "50.0 at 4",
        "400 at 16",
        "8.00x",
        REASON,
    ]
    assert 'id="batches"' not in page(to_frame([row_of()]))


def test_a_batch_that_one_side_did_not_need_is_not_compared():
    def side(run_id, *more):
        return to_frame([{**row, "run_id": run_id} for row in (row_of(batch=4), *more)])

    measured, needless = row_of(batch=8), skipped(batch=8)
    for before, after, batches in (
        ((measured,), (measured,), {4, 8}),
        ((measured,), (needless,), {4}),
        ((needless,), (measured,), {4}),
        ((measured,), (row_of("wrong", batch=8, reason="it differs"),), {4, 8}),
    ):
        found = compare(side(RUN_ID, *before), side(LATER_RUN_ID, *after))
        assert set(found["batch"]) == batches


@pytest.mark.parametrize(("status", "missing"), [("not_needed", []), ("refused", ["refused"])])
def test_a_batch_that_is_not_needed_one_night_is_not_missing(tmp_path, status, missing):
    write_run(tmp_path, "alpha", FIRST, dict.fromkeys(("torch_cpu", "jax_cpu"), 1e-3))
    today = FIRST + timedelta(1)
    folder = write_run(tmp_path, "alpha", today, {"torch_cpu": 1e-3, "jax_cpu": None})
    kept, lost = rows_of_run("alpha", today, {"torch_cpu": 1e-3, "jax_cpu": None})
    write_csv([kept, {**lost, "status": status}], folder / "results.csv")
    assert history(tmp_path).missing_cells["status"].tolist() == missing
