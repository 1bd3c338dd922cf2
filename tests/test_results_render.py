"""What a person reads: the numbers, their ratios, and a word and a reason where there is none."""

import pytest

from results.record.vocabulary import STATUSES
from results.show.render import render
from results.tables.table import to_frame
from tests.fakes.rows import LATER_RUN_ID, idle_row, row_of

ABSENT = "no NVIDIA device: its driver's file nvidia0 is absent"


def both_phases(make=row_of, *given, latency_s=1e-3, **changes):
    """Returns a row for each phase; training takes three times as long, at batch 4 and sequence length 16."""
    return [
        make(
            *given,
            phase=phase,
            latency_p50_s=latency_s * times,
            throughput_samples_per_s=4 / (latency_s * times),
            throughput_mode="serial" if phase == "train" else "pipelined",
            **changes,
        )
        for phase, times in (("infer", 1), ("train", 3))
    ]


RUN = [
    *both_phases(latency_s=0.339, workload="gpt2", sequence=16, throughput_tokens_per_s=190.0),
    *both_phases(latency_s=0.244, workload="gpt2", sequence=16, throughput_tokens_per_s=260.0, backend="jax_cpu"),
    *both_phases(idle_row, latency_s=57e-9, workload="gpt2", sequence=16),
    *both_phases(latency_s=400e-6),
    row_of(backend="jax_cpu", latency_p50_s=200e-6, error_worst=9e-6, error_worst_of="h.0.weight"),
    row_of(
        "wrong", backend="jax_cpu", phase="train", reason="momentum of h.0.bias differs: error 0.01, tolerated 1e-05"
    ),
    *both_phases(idle_row, latency_s=58e-9),
    *[row_of("unavailable", backend="torch_cuda", phase=phase, reason=ABSENT) for phase in ("infer", "train")],
    *[
        row_of("unavailable", backend="torch_cuda", phase=phase, workload="gpt2", sequence=16, reason=ABSENT)
        for phase in ("infer", "train")
    ],
]

EXPECTED = """\
Run 20261123T125900Z-machine-1a2b on machine: 16 cells, 11 ok, 4 unavailable, 1 wrong

Fastest, with those that cannot be told from it at 99 % confidence (size tiny, batch 4, precision
  fp32, threads 2)
  gpt2  infer  16  latency     jax_cpu; 1.39x torch_cpu, the next, too few rounds to be sure
  gpt2  infer  16  throughput  jax_cpu; 1.39x torch_cpu, the next, too few rounds to be sure
  gpt2  train  16  latency     jax_cpu; 1.39x torch_cpu, the next, too few rounds to be sure
  mlp   infer      latency     jax_cpu; 2.00x torch_cpu, the next, too few rounds to be sure
  mlp   infer      throughput  torch_cpu; 2.50x jax_cpu, the next, too few rounds to be sure

Latency: median time of one step, with one step in flight (size tiny, batch 4, precision fp32,
  threads 2)
workload  phase  sequence  torch_cpu       jax_cpu
gpt2      infer        16     339 ms  244 ms 1.39x
gpt2      train        16   1,020 ms  732 ms 1.39x
mlp       infer               400 µs  200 µs 2.00x
mlp       train              1.20 ms         wrong

Throughput: samples per second with the device kept full; below, tokens per second (size tiny, batch
  4, precision fp32, threads 2)
workload  phase   sequence  torch_cpu      jax_cpu
gpt2      infer         16       11.8   16.4 1.39x
          tokens                  190    260
gpt2      train         16       3.93   5.46 1.39x
          tokens                  190    260
mlp       infer                10,000  4,000 0.40x
mlp       train                 3,330        wrong

Geometric mean of the ratios to torch_cpu, over the cells that both have
phase  metric         jax_cpu
infer  latency     1.67x of 2
infer  throughput  0.75x of 2

Without a number:
  jax_cpu     wrong        mlp train    momentum of h.0.bias differs: error 0.01, tolerated 1e-05
  torch_cuda  unavailable  all 4 cells  no NVIDIA device: its driver's file nvidia0 is absent

Baseline torch_cpu: 1.39x is 1.39 times as fast as torch_cpu at the same step.
Verified against the reference: 7 cells; worst error 9e-06 of 1e-05 tolerated (jax_cpu mlp infer,
  h.0.weight).
null computes nothing: its numbers are the harness's own cost, 57.0 ns to 174 ns a step, and enter
  no ratio.
Serial in train (overlapping is not possible, or no faster): jax_cpu, torch_cpu."""


def test_a_run_reads_like_this():
    assert render(to_frame(RUN), width=100) == EXPECTED


def lines_with(text, *words):
    return [line for line in text.splitlines() if all(word in line for word in words)]


def test_no_line_is_wider_than_asked_for():
    for width in (80, 100, 120):
        assert max(map(len, render(to_frame(RUN), width=width).splitlines())) <= width


def test_a_backend_that_is_unavailable_everywhere_has_no_column():
    text = render(to_frame([row_of(), row_of("unavailable", backend="jax_cpu")]))
    assert lines_with(text, "workload", "jax_cpu") == []
    assert lines_with(text, "jax_cpu") == ["  jax_cpu  unavailable  mlp infer  no device here"]


def test_a_backend_that_can_run_no_cell_has_none_for_whatever_reasons():
    rows = [row_of(), row_of(phase="train"), row_of("unavailable", backend="inferentia")]
    rows += [row_of("unsupported", backend="inferentia", phase="train", reason="it is for inference only")]
    text = render(to_frame(rows))
    assert lines_with(text, "workload", "inferentia") == []
    assert lines_with(text, "inferentia") == [
        "  inferentia  unsupported  mlp train  it is for inference only",
        "  inferentia  unavailable  mlp infer  no device here",
    ]


def test_the_harness_s_own_cost_has_a_line_and_a_column_only_where_it_is_asked_for_or_alone():
    frame = to_frame([row_of(), idle_row(latency_p50_s=46e-9), idle_row(phase="train", latency_p50_s=49e-9)])
    cost = (
        "null computes nothing: its numbers are the harness's own cost, 46.0 ns to 49.0 ns a step, and enter no ratio."
    )
    default, asked, alone = render(frame), render(frame, metrics=["latency_p50_s"]), render(frame.iloc[1:])
    assert lines_with(default, "46.0 ns") == [cost]
    for text in (asked, alone):
        assert len(lines_with(text, "mlp", "infer", "46.0 ns")) == 1
        assert cost in text


def test_a_backend_that_is_unavailable_somewhere_has_one():
    rows = [row_of(), row_of(phase="train"), row_of("unavailable", backend="jax_cpu")]
    text = render(to_frame([*rows, row_of(backend="jax_cpu", phase="train")]))
    assert len(lines_with(text, "workload", "jax_cpu")) == 2
    assert len(lines_with(text, "infer", "unavailable")) == 3


def test_a_cell_that_was_not_planned_is_empty_and_one_without_the_metric_a_dash():
    rows = [row_of(), row_of(phase="train"), row_of(backend="jax_cpu", throughput_samples_per_s=None)]
    latency, throughput = render(to_frame(rows)).split("Throughput")
    assert [line.split() for line in latency.partition("Latency:")[2].splitlines()[2:4]] == [
        ["mlp", "infer", "1.00", "ms", "1.00", "ms", "1.00x"],
        ["mlp", "train", "1.00", "ms"],
    ]
    assert lines_with(throughput, "mlp", "infer")[0].split()[-1] == "-"


def test_the_most_urgent_reasons_are_first_and_equal_ones_together():
    rows = [row_of("unavailable", phase=phase, reason="absent") for phase in ("infer", "train")]
    rows += [row_of("unsupported", backend="a", phase=phase, reason="never") for phase in ("infer", "train")]
    rows += [row_of("not_run", backend="b", reason="Ctrl-C"), row_of("crashed", backend="c", reason="SIGSEGV")]
    rows += [row_of("unsupported", backend="b", phase="train", reason="never")]
    text = render(to_frame(rows))
    assert text.split("Without a number:\n")[1].split("\n\n")[0].splitlines() == [
        "  c          crashed      mlp infer    SIGSEGV",
        "  b          not_run      mlp infer    Ctrl-C",
        "  a          unsupported  all 2 cells  never",
        "  b          unsupported  mlp train    never",
        "  torch_cpu  unavailable  all 2 cells  absent",
    ]
    assert "Latency" not in text
    assert text.endswith("No ratios: no cell was verified and timed.")


@pytest.mark.parametrize(
    ("baseline", "why"),
    [
        ("jax_cpu", "jax_cpu has no verified number"),
        ("null", "null has no verified number"),
        ("cuda", "unknown baseline 'cuda'; known: jax_cpu, null, torch_cpu"),
    ],
)
def test_a_baseline_without_a_number_leaves_the_numbers_and_says_so(baseline, why):
    text = render(to_frame([row_of(), row_of("wrong", backend="jax_cpu"), idle_row()]), baseline)
    assert lines_with(text, "1.00 ms") != []
    assert "1.00x" not in text
    assert f"No ratios: {why}." in text


def test_the_baseline_can_be_chosen():
    text = render(to_frame([row_of(), row_of(backend="jax_cpu", latency_p50_s=2e-3)]), "jax_cpu")
    assert lines_with(text, "2.00 ms", "1.00 ms 2.00x") != []
    assert "2.00 ms 1.00x" not in text  # each of its own ratios would be 1
    assert "Baseline jax_cpu: 1.39x is 1.39 times as fast as jax_cpu at the same step." in text


def test_numbers_of_other_work_are_counted():
    rows = [row_of(), row_of(backend="jax_cpu", workload_digest="d2"), row_of(backend="openvino_cpu"), idle_row()]
    text = render(to_frame(rows))
    assert text.count("1 number without a ratio: not of torch_cpu's workload digest.") == 2
    assert "without a ratio" not in render(to_frame([rows[0], rows[2], rows[3]]))


def test_the_error_nearest_to_its_tolerance_is_named():
    rows = [
        row_of(error_worst=1e-3, error_tolerance=1e-1),
        row_of(backend="jax_cpu", error_worst=9e-6, error_tolerance=1e-5, error_worst_of="h.0.weight"),
        row_of("wrong", backend="openvino_cpu", error_worst=5.0, error_tolerance=1e-5),
    ]
    assert "2 cells; worst error 9e-06 of 1e-05 tolerated (jax_cpu mlp infer, h.0.weight)." in render(to_frame(rows))
    without = [row_of(error_worst=error, error_tolerance=None, batch=batch) for batch, error in ((1, 2e-3), (2, 1e-3))]
    assert "2 cells; worst error 0.002 (torch_cpu mlp infer)." in render(to_frame(without))
    unknown = [row_of(error_worst=None, error_tolerance=None)]
    assert "Verified against the reference: 1 cell.\n" in render(to_frame(unknown)) + "\n"


def test_failed_launches_behind_a_number_are_said():
    text = render(to_frame([row_of(launches_ok=4, launches_failed=0), row_of(backend="jax_cpu", launches_failed=1)]))
    assert "Some launches failed, the numbers are of the others: jax_cpu." in text


def test_older_rows_of_a_cell_are_counted_not_shown():
    rows = [row_of(), row_of(run_id=LATER_RUN_ID, latency_p50_s=7e-3)]
    text = render(to_frame(rows))
    assert text.splitlines()[:2] == [
        f"Run {LATER_RUN_ID} on machine: 1 cell, 1 ok",
        "Not shown: 1 row of the same cells in older runs",
    ]
    assert lines_with(text, "7.00 ms") != []
    assert lines_with(text, "1.00 ms") == []


def test_several_machines_are_named():
    there = {"machine": "gpu-box", "machine_id": "ba9876543210", "run_id": LATER_RUN_ID}
    text = render(to_frame([row_of(), row_of(**there, backend="torch_cuda", latency_p50_s=1e-4)]))
    assert text.splitlines()[0] == "2 runs on machine, gpu-box: 2 cells, 2 ok"
    assert lines_with(text, "workload", "torch_cpu@machine", "torch_cuda@gpu-box") != []


@pytest.mark.parametrize(
    ("metric", "number"),
    [
        ("peak_memory_bytes", "1.35 GB"),
        ("compile_s", "2.50 s"),
        ("flops_per_s", "312 TFLOP/s"),
        ("parameters", "124,439,808"),
        ("error_worst", "3.1e-06"),
    ],
)
def test_any_number_can_be_shown(metric, number):
    row = row_of(
        peak_memory_bytes=1_350_000_000,
        compile_s=2.5,
        flops_per_s=3.12e14,
        parameters=124_439_808,
        error_worst=3.1e-6,
    )
    text = render(to_frame([row]), metrics=[metric])
    assert lines_with(text, "mlp", "infer", number) != []
    assert "Latency" not in text
    assert text.splitlines()[2].startswith(f"{metric}: ")


def test_no_rows_are_said():
    assert render(to_frame([])) == "No cells: nothing was planned."


def test_threads_that_are_worth_little_are_said():
    rows = [row_of(threads_worth=1.1), row_of(backend="jax_cpu", threads_worth=1.05), row_of(backend="a", threads=1)]
    assert "2 threads are worth 1.1 here, beside one alone" in render(to_frame(rows))
    assert "are worth" not in render(to_frame([row_of(threads_worth=1.9), row_of(backend="jax_cpu")]))


@pytest.mark.parametrize("status", [status for status in STATUSES if status != "ok"])
def test_a_cell_of_any_status_has_a_line(status):
    text = render(to_frame([row_of(), row_of(status, backend="jax_cpu", reason="for a reason")]))
    assert f"jax_cpu  {status}" in text
    assert "for a reason" in text


def test_what_is_not_equal_work_is_not_set_against_each_other():
    rows = [row_of(), row_of(backend="jax_cpu", latency_p50_s=0.5e-3, workload_digest="other")]
    assert "Fastest" not in render(to_frame(rows))
    assert "Fastest" in render(to_frame([row_of(), row_of(backend="jax_cpu", latency_p50_s=0.5e-3)]))


def test_a_number_that_is_not_there_is_not_the_fastest():
    rows = [row_of(throughput_mode="queued"), row_of(backend="jax_cpu", throughput_mode="queued")]
    rows.append(row_of(backend="a", throughput_mode="queued", throughput_samples_per_s=None))
    assert "throughput" in render(to_frame(rows))
