"""What bounds a number: measured and published peaks, the shares of them, and numbers that cannot be true."""

from dataclasses import replace

import numpy as np
import pytest

from bench.child.checks import predicted, verify
from bench.parent.environment import cpu_ceiling_flops_per_s
from bench.parent.groups import Order, groups_of
from bench.parent.record import Launch, to_row
from results.record.csvfile import write_csv
from results.record.files import ResultsError
from results.record.journal import Journal
from results.record.limits import BYTE_LIMITS, FLOP_LIMITS, bounds_of, limits_of, with_limits
from results.record.peaks import FILE, published, read_peaks
from results.record.read import read_rows
from results.record.run import read_run
from results.show.render import render
from results.tables.table import to_frame
from tests.fakes.bench import CELL
from tests.fakes.door import bench
from tests.fakes.rows import HEADER, RUN_ID, cell, idle_row, row_of
from tests.fakes.steps import infer
from workloads import data
from workloads.catalog import LIMITS, SUITES, load
from workloads.count import Counts, count
from workloads.ops import Ops
from workloads.precision import FP32
from workloads.reference import NumpyOps, float64
from workloads.summary import summarize
from workloads.tolerance import tolerances

H100 = "NVIDIA H100 80GB HBM3"


def limit(workload, per_s, **changes):
    """Returns the row of a limit workload on one backend that reached so many FLOP/s or byte/s."""
    own = {"flops_per_step": 17e9, "flops_per_s": per_s, "throughput_flops_per_s": per_s}
    if workload in BYTE_LIMITS:
        own = {"flops_per_step": 0, "throughput_flops_per_s": 0.0, "throughput_bytes_per_s": per_s}
    counted = {name: int(value) for name, value in own.items() if name == "flops_per_step"}
    of = {"workload": workload, "size": "2048", "device": "chip", "minimum_bytes_per_step": 200 << 20}
    return row_of(**{**of, **own, **counted, **changes})


def model(**changes):
    reached = {"throughput_flops_per_s": 30e9, "flops_per_s": 25e9, "throughput_bytes_per_s": 4e9}
    return row_of(**{"workload": "gpt2", "device": "chip", "minimum_bytes_per_step": 500 << 20, **reached, **changes})


BOUNDS = tuple(name for name in LIMITS if name in SUITES["core"])
"""What bounds the chip, in every suite: not the link to it."""
RUN = [
    limit("matmul", 100e9),
    limit("matmul", 150e9, backend="jax_cpu"),
    limit("conv", 120e9),
    limit("stream", 20e9, backend="jax_cpu"),
    limit("stream", 16e9),
]


def test_the_limits_are_those_of_the_catalog():
    assert {*FLOP_LIMITS, *BYTE_LIMITS} == {*BOUNDS}


def test_every_row_stands_beside_the_highest_peak_of_any_backend():
    row = with_limits([*RUN, model()])[-1]
    assert (row["peak_flops_per_s"], row["peak_flops_of"]) == (150e9, "jax_cpu matmul")
    assert (row["peak_bytes_per_s"], row["peak_bytes_of"]) == (20e9, "jax_cpu stream")
    assert (row["mfu"], row["bandwidth_utilisation"]) == (0.2, 0.2)
    assert row["published_flops_per_s"] is None


@pytest.mark.parametrize(
    "other",
    [{"device": "another"}, {"precision": "bf16"}, {"threads": 1}, {"machine_id": "ba9876543210"}, {"device_index": 1}],
)
def test_no_row_is_held_against_another_chip(other):
    row = with_limits([*RUN, model(**other)])[-1]
    assert (row["mfu"], row["peak_flops_per_s"]) == (None, None)


def test_what_has_no_number_or_cannot_be_verified_has_no_limit():
    idle, absent = with_limits([*RUN, idle_row(device="chip"), model()])[-2:]
    assert (idle["mfu"], absent["mfu"]) == (None, 0.2)
    fast = limit("matmul", 1e15, backend="null", verification="not applicable")
    assert limits_of([*RUN, fast]) == limits_of(RUN)


def test_a_step_that_is_too_short_measures_no_limit():
    short = [limit("matmul", 1e9, flops_per_step=8192), limit("stream", 1e9, minimum_bytes_per_step=12_288)]
    assert limits_of(short) == {}


def test_a_published_peak_is_the_chip_s_own():
    row = with_limits([model(device=H100, throughput_flops_per_s=6.7e12, throughput_bytes_per_s=3.35e11)])[0]
    assert (row["published_mfu"], row["published_bandwidth_utilisation"]) == (pytest.approx(0.1), pytest.approx(0.1))
    assert "2026" in row["published_source"]


@pytest.mark.parametrize(
    ("device", "precision", "chip"),
    [
        (H100, "fp32", "NVIDIA H100 SXM5"),
        ("NVIDIA H200", "bf16", "NVIDIA H200 SXM"),
        ("NVIDIA A100-SXM4-80GB", "tf32", "NVIDIA A100 SXM4 80GB"),
        ("TPU v5 lite", "bf16", "Google TPU v5e"),
        ("TPU v5", "bf16", "Google TPU v5p"),
        ("NVIDIA L40S", "fp32", "NVIDIA L40S"),
        (f"{H100} (driver 580.65.06, compute capability 9.0)", "bf16", "NVIDIA H100 SXM5"),
        ("4 × TPU v5e", "int8", "Google TPU v5e"),
        (f"{H100} MIG 1g.10gb", "fp32", None),
        ("NVIDIA L40S-12Q", "fp32", None),
        ("1 × Trainium 2", "fp32", None),
        ("NVIDIA H100 PCIe", "fp32", None),
        ("NVIDIA H200 NVL", "fp32", None),
        ("NVIDIA GH200 480GB", "fp32", None),
        ("NVIDIA GB200", "fp32", None),
        ("NVIDIA A100-SXM4-40GB", "fp32", None),
        ("NVIDIA L40", "fp32", None),
        ("TPU v5 lite", "fp32", None),
        ("AMD EPYC", "fp32", None),
        ("", "fp32", None),
    ],
)
def test_a_device_has_its_own_peak_or_none(device, precision, chip):
    found = published(device, precision)
    assert (found and found.chip) == chip


def test_a_table_of_one_s_own_takes_the_place_of_ours(tmp_path, monkeypatch):
    own_table(tmp_path, monkeypatch, "my chip,AMD EPYC,fp32,1e11,2e10,my own measurement,2026-11-26,computed")
    assert published("AMD EPYC", "fp32").flops_per_s == 1e11
    assert published(H100, "fp32") is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a,b,fp32,1e12,1e12,,2026-11-26,published", "source is empty"),
        ("a,b,fp32,1e12,1e12,somebody,,published", "retrieved is empty"),
        ("a,b,fp32,1e12,1e12,somebody,yesterday,published", "retrieved is 'yesterday'; expected a day"),
        ("a,b,fp32,1e12,1e12,somebody,2026-11-26,sure", "confidence is 'sure'; expected one of"),
        ("a,b,fp32,-1,1e12,somebody,2026-11-26,published", "expected more than 0"),
        ("a,b,fp32,nan,1e12,somebody,2026-11-26,published", "expected more than 0"),
        ("a,b,fp32,fast,1e12,somebody,2026-11-26,published", "could not convert string to float: 'fast'"),
        ("a,(,fp32,1e12,1e12,somebody,2026-11-26,published", "line 2: missing )"),
    ],
)
def test_a_peak_without_evidence_is_refused(tmp_path, line, said):
    path = tmp_path / "peaks.csv"
    path.write_text(f"{FILE.read_text().splitlines()[0]}\n{line}\n")
    with pytest.raises(ResultsError, match=r"peaks.csv, line 2: ") as refusal:
        read_peaks(path)
    assert said in str(refusal.value)


def own_table(tmp_path, monkeypatch, *lines):
    path = tmp_path / "peaks.csv"
    path.write_text("\n".join([FILE.read_text().splitlines()[0], *lines]) + "\n")
    monkeypatch.setenv("SAMESTEP_PEAKS", str(path))
    return path


def test_a_chip_that_is_there_twice_is_refused(tmp_path, monkeypatch):
    line = "a,b,fp32,1e12,1e12,somebody,2026-11-26,published"
    with pytest.raises(ResultsError, match=r"line 3: a at fp32 is there twice"):
        read_peaks(own_table(tmp_path, monkeypatch, line, line))


def test_a_device_that_is_two_chips_is_refused(tmp_path, monkeypatch):
    chips = [f"{chip},chip.*,fp32,1e12,1e12,somebody,2026-11-26,published" for chip in ("a", "b")]
    own_table(tmp_path, monkeypatch, *chips)
    with pytest.raises(ResultsError, match="'chip 1' is a and b; expected one match"):
        published("chip 1", "fp32")


@pytest.mark.parametrize("told", ["fp32", None])
def test_a_runtime_that_does_not_tell_its_precision_is_bounded_by_the_one_asked_for(tmp_path, monkeypatch, told):
    own_table(tmp_path, monkeypatch, "a,the chip,fp32,1e12,1e11,somebody,2026-11-26,published")
    row = {**model(), "device": "the chip", "precision": told, "precision_requested": "fp32"}
    assert bounds_of(row, ())[0] == 1e12


def test_a_table_that_cannot_be_used_ends_the_run_before_it_begins(tmp_path):
    (tmp_path / "peaks.csv").write_text("chip\n")
    done = bench("--preset", "smoke", "--backends", "null", cwd=tmp_path, SAMESTEP_PEAKS=str(tmp_path / "peaks.csv"))
    assert done.returncode == 4
    assert "expected chip, match" in done.stderr


def test_a_table_of_something_else_is_refused(tmp_path):
    path = tmp_path / "peaks.csv"
    path.write_text("chip,price\nH100,3\n")
    with pytest.raises(ResultsError, match="expected chip, match"):
        read_peaks(path)


def columns(**changes):
    own = {"latency_p50_s": 0.1, "throughput_samples_per_s": 40.0, "samples_per_step": 4, "in_flight": 1, "flags": None}
    return {**model(), **own, "watched_s": 2.0, **changes}


def judged(columns, most_flops_per_s, most_bytes_per_s):
    """Returns the columns of the row of one launch."""
    return to_row([Launch(columns)], lambda row: (most_flops_per_s, most_bytes_per_s))


def test_numbers_within_their_bounds_stay_as_they_are():
    found = judged(columns(), 100e9, 10e9)
    assert (found["status"], found["flags"], found["times_bound"]) == ("ok", None, 0.4)


def test_numbers_without_bounds_stay_as_they_are():
    counts = {"launches_ok": 1, "launches_failed": 0, "launches_invalid": 0}
    assert judged(columns(), None, None) == columns() | {"quality": "valid"} | counts


def test_over_the_bound_is_suspicious():
    found = judged(columns(steal_cores=0.02, throughput_flops_per_s=120e9), 100e9, None)
    assert (found["status"], found["quality"], found["flags"]) == ("ok", "degraded", "steal suspicious")


@pytest.mark.parametrize(
    "impossible",
    [
        {"throughput_flops_per_s": 251e9},
        {"flops_per_s": 251e9},
        {"throughput_bytes_per_s": 26e9},
        {"throughput_samples_per_s": 101.0},
        {"throughput_samples_per_s": 15.0},
        {"throughput_samples_per_s": 220.0, "in_flight": 2},
    ],
)
def test_impossible_numbers_are_refused(impossible):
    found = judged(columns(**impossible), 100e9, 10e9)
    assert (found["status"], found["stage"], found["reason_code"]) == ("refused", "measure", "implausible")
    assert "latency_p50_s" not in found
    assert "throughput_flops_per_s" not in found


def test_a_moment_of_disturbance_is_no_contradiction():
    for told in ({"watched_s": 0.2}, {"throughput_mode": "serial"}):
        assert judged(columns(throughput_samples_per_s=15.0, **told), None, None)["status"] == "ok"
    assert judged(columns(throughput_samples_per_s=220.0, watched_s=0.2), None, None)["status"] == "ok"
    computing_nothing = judged(columns(throughput_samples_per_s=4100.0, watched_s=0.2), None, None)
    assert computing_nothing["reason_code"] == "implausible"


@pytest.mark.parametrize(("reached", "status"), [(220.0, "disturbed"), (1200.0, "disturbed"), (8200.0, "refused")])
def test_a_contradiction_where_others_compute_proves_nothing(reached, status):
    found = judged(columns(throughput_samples_per_s=reached, cpu_pressure_share=0.6), None, None)
    assert found["status"] == status
    assert "throughput and latency contradict" in found["reason"]
    assert "latency_p50_s" not in found


def test_requests_in_flight_may_be_faster_than_one_after_the_other():
    assert judged(columns(throughput_samples_per_s=160.0, in_flight=4), None, None)["status"] == "ok"


def test_bounds_are_the_highest_peaks_known():
    assert bounds_of(model(), RUN) == (150e9, 20e9)
    assert bounds_of(model(minimum_bytes_per_step=1 << 20), RUN) == (150e9, None)
    assert bounds_of(model(), []) == (None, None)
    assert bounds_of(model(device=H100), [limit("matmul", 1e12, device=H100)]) == (6.7e13, 3.35e12)


def test_what_measures_a_limit_is_held_against_what_is_published_or_a_ceiling():
    assert bounds_of(RUN[0], RUN) == (None, None)
    assert bounds_of(RUN[0], RUN, ceiling_flops_per_s=8e11) == (8e11, None)
    assert bounds_of(model(), RUN, ceiling_flops_per_s=8e11) == (150e9, 20e9)
    assert bounds_of(limit("matmul", 1e15, device=H100), RUN) == (6.7e13, 3.35e12)


AVX2 = "flags\t\t: fpu sse2 avx avx2 fma\n"


@pytest.mark.parametrize(
    ("cpuinfo", "hz", "ceiling"),
    [
        (AVX2, None, 2 * 6.5e9 * 2 * 2 * 8),
        (AVX2, 3_000_000, 2 * 3e9 * 2 * 2 * 8),
        ("flags\t\t: fpu sse2 avx2 fma avx512f\n", None, 2 * 6.5e9 * 2 * 2 * 16),
        ("flags\t\t: fpu sse2\n", None, None),
        ("Features\t: fp asimd\n", None, None),
    ],
)
def test_no_core_does_more_than_its_ceiling(tmp_path, cpuinfo, hz, ceiling):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(cpuinfo)
    if hz is not None:
        frequency = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"
        frequency.parent.mkdir(parents=True)
        frequency.write_text(f"{hz}\n")
    assert cpu_ceiling_flops_per_s(2, tmp_path) == ceiling


def test_the_ceiling_is_that_of_the_fastest_core(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text("flags\t\t: fpu avx2 fma\n")
    for cpu, khz in enumerate((2_000_000, 5_000_000)):
        frequency = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq"
        frequency.parent.mkdir(parents=True)
        frequency.write_text(f"{khz}\n")
    assert cpu_ceiling_flops_per_s(1, tmp_path) == 5e9 * 2 * 2 * 8


def test_what_bounds_the_chip_is_measured_first():
    names = ("mlp", "matmul", "gpt2", "stream", "conv", "stream_read")
    groups = groups_of(replace(CELL, workload=name, backend="torch_cpu") for name in names)
    for number in range(5):
        assert {group[0].workload for group in Order(1, "seed").shuffled(groups, number)[:4]} == {*BOUNDS}


def test_a_table_of_peaks_that_has_grown_makes_no_other_row(tmp_path, monkeypatch):
    journal = Journal.create(tmp_path, RUN_ID, HEADER)
    journal.plan([cell(workload="gpt2")])
    journal.row(model(device=H100, samestep_version="0.1.0"))
    journal.end("the plan is done")
    journal.close()
    write_csv(read_run(journal.folder).rows, tmp_path / "results.csv")
    own = tmp_path / "peaks.csv"
    own.write_text(FILE.read_text().replace("6.7e+13", "6.8e+13"))
    monkeypatch.setenv("SAMESTEP_PEAKS", str(own))
    rows, _ = read_rows(journal.folder, tmp_path / "results.csv")
    assert [row["published_flops_per_s"] for row in rows] == [6.8e13]


def test_the_table_says_what_bounds_the_chip_and_how_much_of_it_is_used():
    text = render(to_frame(with_limits([*RUN, model(), idle_row(workload="gpt2", device="chip")])))
    assert "20 %" in text
    utilisation = text[text.index("MFU") : text.index("What bounds")]
    assert "null" not in utilisation
    lines = [line.split() for line in text[text.index("What bounds") :].splitlines()]
    assert ["matmul", "150", "GFLOP/s", "100", "GFLOP/s"] in lines
    assert ["stream", "20.0", "GB/s", "16.0", "GB/s"] in lines


@pytest.mark.parametrize(
    ("name", "flops", "moved"),
    [
        ("matmul", 2 * 2048**3, 3 * 4 * 2048**2),
        ("conv", 2 * 8 * 28 * 28 * 256 * 256 * 9, 4 * (2 * 8 * 256 * 28 * 28 + 256 * 256 * 9)),
        ("stream", 0, 12 << 24),
    ],
)
def test_work_is_counted_as_published(name, flops, moved):
    assert count(load(name).programs["infer"]) == Counts(flops, moved)


def rounded(array, bits):
    """Returns float32 numbers with all but `bits` of their 23 bits of fraction cut off: 7 is bf16, 10 is TF32."""
    mask = np.uint32(0xFFFFFFFF << (23 - bits) & 0xFFFFFFFF)
    return (np.ascontiguousarray(array, np.float32).view(np.uint32) & mask).view(np.float32)


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("bits", [23, 10, 7])
def test_a_lower_precision_is_wrong(name, bits):
    workload = load(name, "tiny")
    parameters, batch = data.make_parameters(workload), data.make_batches(workload)[0]
    ops: Ops = NumpyOps()
    expected = infer(workload, ops, float64(parameters), float64(batch))["y"]
    low = {k: rounded(v, bits) for k, v in parameters.items()}, {k: rounded(v, bits) for k, v in batch.items()}
    found = np.asarray(infer(workload, ops, *low)["y"], np.float32)
    kept = {"output.0.y": summarize(found)}, {"output.0.y": summarize(expected)}
    stored, _ = predicted.find(workload, "infer", FP32)
    assert bool(verify.compare(*kept, tolerances(stored, FP32)).failures) == (bits < 23)


def test_what_is_emulated_is_held_against_the_peak_of_what_was_multiplied():
    native = limit("matmul", 400e9, precision="bf16", precision_requested="bf16", arithmetic="bf16")
    plain = limit("matmul", 100e9)
    rows = [native, plain, *(one for one in RUN if one["workload"] == "stream")]
    told = {"precision": "bf16", "precision_requested": "bf16"}
    emulated, real, mostly = (model(**told, arithmetic=text) for text in ("f32", "bf16", "bf16/f32 47:6"))
    found = [row["peak_flops_per_s"] for row in with_limits([*rows, emulated, real, mostly])[-3:]]
    assert found == [100e9, 400e9, 400e9]


def test_the_memory_has_one_limit_in_every_precision():
    told = {"precision": "int8", "precision_requested": "int8", "arithmetic": "i8/f32 12:4"}
    (row,) = with_limits([*RUN, model(**told)])[len(RUN) :]
    assert row["peak_bytes_per_s"] == 20e9
    assert row.get("peak_flops_per_s") is None


READ = [limit("stream_read", 25e9), limit("stream_read", 30e9, backend="openvino_cpu")]


def decoding(**changes):
    return model(**{"phase": "decode", "depth": 128, "latency_p50_s": 0.05, **changes})


def test_the_roof_of_a_step_with_a_cache_is_that_of_the_best_read_only_pass():
    row = with_limits([*RUN, *READ, decoding()])[-1]
    assert (row["peak_bytes_per_s"], row["peak_bytes_of"]) == (30e9, "openvino_cpu stream_read")
    assert row["bandwidth_utilisation"] == pytest.approx(4 / 30)
    assert row["memory_roof_s"] == pytest.approx((500 << 20) / 30e9)
    assert row["times_memory_roof"] == pytest.approx(0.05 * 30e9 / (500 << 20))


def test_without_a_read_only_pass_the_other_stands_there_and_says_so():
    row = with_limits([*RUN, decoding()])[-1]
    assert row["peak_bytes_of"] == "jax_cpu stream; stream_read was not measured"
    assert row["memory_roof_s"] == pytest.approx((500 << 20) / 20e9)


def test_reading_alone_is_no_slower_than_it_was_though_stream_came_out_faster():
    fast = limit("stream", 40e9)
    assert with_limits([fast, *READ, decoding()])[-1]["peak_bytes_per_s"] == 30e9
    assert with_limits([fast, *READ, model()])[-1]["peak_bytes_per_s"] == 40e9
    assert bounds_of(decoding(), [fast, *READ])[1] == 40e9


def test_what_a_cache_may_hold_has_no_roof_in_memory():
    row = with_limits([*READ, decoding(minimum_bytes_per_step=1 << 20)])[-1]
    assert (row["memory_roof_s"], row["times_memory_roof"]) == (None, None)
