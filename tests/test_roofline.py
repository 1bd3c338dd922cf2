"""The roofline: every step under its roofs, the same bytes each time, and a clear word where none can be drawn."""

import sys

import pytest

from results import __main__ as door
from results.record.csvfile import write_csv
from results.record.files import ResultsError
from results.record.limits import with_limits
from results.show.plot.roofline import plot_roofline
from results.tables.table import to_frame
from tests.fakes.rows import idle_row, row_of

PEAKS = {"torch_cpu": 140e9, "jax_cpu": 150e9}


def row(workload, phase, backend, flops_per_s, flops, moved, **changes):
    work = {"flops_per_step": flops, "minimum_bytes_per_step": moved, "flops_per_s": flops_per_s}
    reached = {"throughput_flops_per_s": flops_per_s, "throughput_bytes_per_s": flops_per_s * moved / max(flops, 1)}
    place = {"workload": workload, "phase": phase, "backend": backend, "device": "AMD EPYC"}
    return row_of(**{**place, "started_utc": "2026-11-26T00:00:00+00:00", **work, **reached, **changes})


def a_run():
    stream = {"throughput_bytes_per_s": 20e9}
    made = [row("matmul", "infer", name, peak, 2 * 2048**3, 50 << 20) for name, peak in PEAKS.items()]
    made += [row("stream", "infer", "jax_cpu", 0.0, 0, 192 << 20, **stream)]
    for workload, flops, moved in (("gpt2", 64_000_000_000, 550_000_000), ("resnet50", 33_000_000_000, 105_000_000)):
        for backend in PEAKS:
            made.append(row(workload, "infer", backend, 90e9, flops, moved))
            made.append(row(workload, "train", backend, 70e9, 3 * flops, 6 * moved))
    absent = row_of("unavailable", workload="gpt2", backend="jax_cuda")
    return [*with_limits(made), idle_row(workload="gpt2", device="AMD EPYC"), absent]


def test_it_shows_every_step_and_both_roofs(tmp_path):
    said = plot_roofline(to_frame(a_run()), tmp_path / "roofline.svg")
    assert said == f"10 steps under their roofs (without a number, and left out: 1): {tmp_path / 'roofline.svg'}"
    text = (tmp_path / "roofline.svg").read_text()
    for word in ("gpt2 infer", "gpt2 train", "resnet50 train", "matmul", "150 GFLOP/s (measured, jax_cpu matmul)"):
        assert word in text, word
    assert "20.0 GB/s" in text
    assert "AMD EPYC, fp32, 2 threads, machine 2026-11-26" in text
    assert "null" not in text


def test_the_same_rows_make_the_same_bytes(tmp_path):
    for name in ("a.svg", "b.svg"):
        plot_roofline(to_frame(a_run()), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_published_roof_stands_there_with_its_source(tmp_path):
    chip = [one | {"device": "NVIDIA H100 80GB HBM3 (driver 580.65)"} for one in a_run()]
    plot_roofline(to_frame(with_limits(chip)), tmp_path / "roofline.svg")
    text = (tmp_path / "roofline.svg").read_text()
    assert "67.0 TFLOP/s (published for this chip)" in text
    assert "Published: ml-engineering compute/accelerator/README.md" in text


def test_what_cannot_be_drawn_is_refused(tmp_path):
    with pytest.raises(ResultsError, match="run the workloads matmul, conv and stream"):
        plot_roofline(to_frame([row_of()]), tmp_path / "roofline.svg")
    with pytest.raises(ResultsError, match=r"ends in .svg or .png"):
        plot_roofline(to_frame(a_run()), tmp_path / "roofline.pdf")
    other = [one | {"threads": 1} for one in a_run()]
    with pytest.raises(ResultsError, match="expected one device at one precision"):
        plot_roofline(to_frame([*a_run(), *other]), tmp_path / "roofline.svg")


def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ResultsError, match=r"pip install -e '\.\[reports\]'"):
        plot_roofline(to_frame(a_run()), tmp_path / "roofline.svg")


def test_the_command_draws_beside_the_rows(tmp_path, capsys):
    write_csv(a_run(), tmp_path / "results.csv")
    assert door.main(["roofline", str(tmp_path / "results.csv")]) == 0
    assert str(tmp_path / "roofline.svg") in capsys.readouterr().out
    assert (tmp_path / "roofline.svg").is_file()
