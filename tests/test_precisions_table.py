"""What a lower precision brings: each cell beside the fp32 cell of the same backend, at the same step."""

import pytest

from results.record.rounds import to_text
from results.show.precisions_text import NOTHING, precisions_text
from results.show.render import render
from results.tables.precisions import precisions
from results.tables.table import to_frame
from tests.fakes.rows import row_of

ROUNDS = range(8)


def of(precision, latency_s, **changes):
    """Returns a row of `precision`, with the same latency in each of eight rounds but for a little noise."""
    rounds = {n: latency_s * (1 + 0.001 * (n % 3)) for n in ROUNDS}
    measured = {"group_id": "mlp", "measured_in": "run", "rounds_latency_s": to_text(rounds)}
    asked = {"precision_requested": precision, "precision": precision}
    return row_of(**asked, latency_p50_s=latency_s, **measured, **changes)


ROWS = [
    of("fp32", 4e-3),
    of("bf16", 2e-3, arithmetic="bf16", is_emulated=False, error_worst=4e-3),
    of("fp32", 1e-3, backend="jax_cpu"),
    of("bf16", 1.5e-3, backend="jax_cpu", arithmetic="f32", is_emulated=True, error_worst=5e-3),
    of("bf16", 1e-3, backend="openvino_cpu", arithmetic="bf16/f32 9:2", is_emulated=False),
]


def test_each_is_held_against_fp32_of_the_same_backend():
    found = precisions(to_frame(ROWS)).set_index("backend")
    assert list(found.index) == ["jax_cpu", "openvino_cpu", "torch_cpu"]
    assert found["times_as_fast"]["torch_cpu"] == pytest.approx(2, rel=0.01)
    assert found["times_as_fast"]["jax_cpu"] == pytest.approx(2 / 3, rel=0.01)
    assert found["times_low"]["torch_cpu"] < 2 < found["times_high"]["torch_cpu"]
    assert found["is_paired"]["torch_cpu"]
    assert found["times_as_fast"].isna()["openvino_cpu"]
    assert (found["error"]["torch_cpu"], found["plain_error"]["torch_cpu"]) == (4e-3, 1e-6)


def test_other_work_has_no_ratio():
    rows = [of("fp32", 4e-3), of("bf16", 2e-3, workload_digest="d2")]
    assert precisions(to_frame(rows))["times_as_fast"].isna().all()


def test_a_person_reads_time_ratio_error_and_what_was_computed():
    text = precisions_text(precisions(to_frame(ROWS)), 100)
    lines = {line.split()[0 if "mlp" not in line else 2]: line for line in text.splitlines() if "bf16" in line}
    assert max(map(len, text.splitlines())) <= 100
    emulated = next(line for line in text.splitlines() if "jax_cpu" in line)
    assert "bf16e" in emulated
    assert "0.67x" in emulated
    assert "5.0e-03" in emulated
    mixed = next(line for line in text.splitlines() if "openvino_cpu" in line)
    assert "bf16/f32 9:2" in mixed
    assert lines
    assert precisions_text(precisions(to_frame(ROWS[:1]))) == NOTHING


def test_an_emulated_number_is_marked_in_the_table_and_the_legend_says_what_that_is():
    text = render(to_frame(ROWS), width=120)
    assert "1.50 ms e" in text
    assert "e emulated: products ran in a wider type" in text
    assert "jax_cpu bf16" in text
    assert "emulated" not in render(to_frame(ROWS[:3]), width=120)


AGREES = {"sqnr_db": 31.4, "kl_nats": 2e-3, "top1_agreement": 0.953, "agreement_n": 256}
IN_8_BITS = [
    *ROWS,
    of("int8", 1e-3, arithmetic="i8/f32 9:4", is_emulated=False, **AGREES),
    of("int8", 0.8e-3, backend="jax_cpu", arithmetic="i8", is_emulated=False, **AGREES),
]


def test_in_8_bits_it_is_said_how_near_the_other_model_lies():
    text = precisions_text(precisions(to_frame(IN_8_BITS)), 120)
    line = next(line for line in text.splitlines() if "torch_cpu" in line and "int8" in line)
    assert line.split()[-6:] == ["31", "dB", "95.3", "%", "of", "256"]
    assert "SQNR" not in precisions_text(precisions(to_frame(ROWS)), 120).splitlines()[1]


def test_the_fastest_of_the_same_model_and_the_fastest_in_8_bits_stand_apart():
    text = render(to_frame(IN_8_BITS), width=120)
    title = "Fastest over precisions, by latency: of those that compute the same model, and in 8 bits"
    assert title in text
    exact, approximate = text.split(title)[1].splitlines()[1:3]
    assert "exact" in exact
    assert "jax_cpu fp32" in exact
    assert "int8" not in exact
    assert "approximate" in approximate
    assert "jax_cpu int8" in approximate
    assert "SQNR 31 dB, top-1 as fp32 in 95.3 %" in approximate
    assert title not in render(to_frame(ROWS[:1] + ROWS[2:3]), width=120)
