"""The plot: every verified number a dot at its place, every other cell a word, and the same bytes each time."""

import math
import re
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from results import __main__ as door
from results.record.csvfile import write_csv
from results.record.files import ResultsError
from results.show.plot.dots import dots_of
from results.show.plot.figure import plot
from results.show.plot.style import COLOURS
from results.show.plot.ticks import rate_tick, ratio_tick, ticks_of, time_tick
from results.tables.table import load, to_frame
from tests.fakes.rows import idle_row, row_of

SVG = "{http://www.w3.org/2000/svg}"
MEASURED = Path(__file__).resolve().parent.parent / "docs" / "measured" / "runs"
GPT2 = {"workload": "gpt2", "size": "124m", "batch": 2, "sequence": 128, "workload_digest": "d2", "device": "AMD EPYC"}


def timed(backend, seconds, **changes):
    """Returns a verified row of so many seconds, its interval 2 % wide, with a throughput of 2 / seconds."""
    numbers = {"latency_p50_s": seconds, "latency_ci_low_s": seconds * 0.99, "latency_ci_high_s": seconds * 1.01}
    rate = {"throughput_samples_per_s": 2 / seconds, "started_utc": "2026-11-26T00:00:00+00:00"}
    return row_of(**{**GPT2, "backend": backend, **numbers, **rate, "quality": "valid", **changes})


def without(status, backend, **changes):
    return row_of(status, **{**GPT2, "workload_digest": None, "backend": backend, **changes})


def a_run():
    return [
        timed("torch_cpu", 0.2),
        timed("torch_cpu", 0.8, phase="train"),
        timed("jax_cpu", 0.1, quality="degraded"),
        timed("jax_cpu", 0.3, phase="train"),
        timed("openvino_cpu", 0.15),
        without("wrong", "openvino_cpu", phase="train", reason_code="output_differs"),
        timed("onnxruntime_cpu", 0.25),
        without("unavailable", "torch_cuda"),
        without("unavailable", "torch_cuda", phase="train"),
        idle_row(**GPT2),
        timed("numpy_cpu", 0.5, workload="control_matmul"),
        timed("torch_cpu", 0.6, workload="matmul", size="2048"),
    ]


def drawn(path):
    """Returns the texts of an SVG, and its markers as (colour of the edge, colour of the face, x)."""
    root = ElementTree.parse(path).getroot()
    texts = [text.text for text in root.iter(f"{SVG}text")]
    markers = []
    for use in root.iter(f"{SVG}use"):
        style = dict(part.split(": ") for part in use.get("style").split("; "))
        markers.append((style["stroke"], style.get("fill", "#000000"), float(use.get("x"))))
    return texts, markers


def draw(rows, path, *how):
    said = plot(to_frame(rows), path, *how)
    return said, *drawn(path)


def test_latency_has_a_dot_for_each_number_and_a_word_for_each_other_cell(tmp_path):
    path = tmp_path / "latency.svg"
    said, texts, markers = draw(a_run(), path)
    assert said == f"6 numbers; cells without one: 2; backends that could not run here: 1: {path}"
    assert len(markers) == 6
    for text in ("gpt2 124m infer, batch 2 × 128", "gpt2 124m train, batch 2 × 128", "torch_cpu", "wrong", "no row"):
        assert texts.count(text) == 1, text
    assert {"200 ms", "500 ms"} <= set(texts)
    whole = " ".join(texts)
    assert "Could not run here: torch_cuda (unavailable)." in whole
    assert "Measured on machine, AMD EPYC, threads 2, 2026-11-26; fp32 where no other precision is named." in whole
    for word in ("null", "numpy_cpu", "control", "matmul"):
        assert word not in whole


def test_a_degraded_number_is_hollow_and_no_other(tmp_path):
    _, texts, markers = draw(a_run(), tmp_path / "latency.svg")
    jax = COLOURS[0].lower()
    assert [marker[:2] for marker in markers if marker[1] == "#ffffff"] == [(jax, "#ffffff")]
    assert Counter(edge == face for edge, face, _ in markers) == {True: 5, False: 1}
    assert any("Hollow: degraded" in text for text in texts)
    valid = [row | {"quality": "valid"} for row in a_run() if row["status"] == "ok"]
    _, texts, markers = draw(valid, tmp_path / "valid.svg")
    assert all(edge == face for edge, face, _ in markers)
    assert not any("Hollow" in text for text in texts)


def test_dots_lie_where_their_numbers_are_on_axes_of_one_scale(tmp_path):
    """0.1 s to 0.2 s is a factor of 2, 0.3 s to 0.8 s one of 2.67; in points those are as their logarithms."""
    _, _, markers = draw([row for row in a_run() if row["backend"] in ("jax_cpu", "torch_cpu")], tmp_path / "a.svg")
    jax_infer, torch_infer, jax_train, torch_train = (x for _, _, x in markers)
    infer, train = torch_infer - jax_infer, torch_train - jax_train
    assert infer > 0
    assert train / infer == pytest.approx(math.log(0.8 / 0.3) / math.log(2), rel=1e-3)


def test_the_interval_is_a_line_and_an_absent_one_is_none(tmp_path):
    def lines(rows, show="latency"):
        """Returns the ends of the intervals, and the places of the markers, along the axis."""
        plot(to_frame(rows), tmp_path / "a.svg", show)
        paths = re.findall(r'd="([^"]*)"[^>]*stroke-width: 1\.4\b', (tmp_path / "a.svg").read_text())
        ends = [tuple(float(x) for x in re.findall(r"[ML] (\S+)", path)) for path in paths]
        return ends, [x for _, _, x in drawn(tmp_path / "a.svg")[1]]

    unlike = [timed("torch_cpu", 0.2, latency_ci_low_s=0.1, latency_ci_high_s=0.8), timed("jax_cpu", 0.2)]
    (narrow, wide), (jax, torch) = lines(unlike)
    assert jax == pytest.approx(torch)
    assert 2 * (torch - wide[0]) == pytest.approx(wide[1] - torch, rel=1e-3)
    assert (wide[1] - torch) / (narrow[1] - jax) == pytest.approx(math.log(4) / math.log(1.01), rel=1e-2)
    assert lines([row | {"latency_ci_low_s": None, "latency_ci_high_s": None} for row in unlike])[0] == []
    assert lines(unlike, "throughput")[0] == []


def test_throughput_is_in_samples_per_second(tmp_path):
    _, texts, markers = draw(a_run(), tmp_path / "throughput.svg", "throughput")
    assert "Throughput: samples per second with the device kept full" in texts
    assert {"10", "20"} <= set(texts)
    assert len(markers) == 6


def test_phases_are_one_panel_and_say_which_phase_lacks_a_number(tmp_path):
    said, texts, markers = draw(a_run(), tmp_path / "phases.svg", "phases")
    assert said.startswith("2 numbers; cells without one: 2;")
    assert len(markers) == 2
    for text in ("gpt2 124m, batch 2 × 128", "train: wrong", "train: no row", "3x", "4x"):
        assert texts.count(text) == 1, text
    (panel,) = dots_of(to_frame(a_run()), "phases").panels[0]
    ratios = {dot.label: dot.value and round(dot.value, 9) for dot in panel.dots}
    assert ratios == {"jax_cpu": 3.0, "onnxruntime_cpu": None, "openvino_cpu": None, "torch_cpu": 4.0}
    assert [dot.label for dot in panel.dots if dot.degraded] == ["jax_cpu"]


def test_backends_differ_in_colour_and_in_marker(tmp_path):
    names = [f"backend_{number}" for number in range(8)]
    plot(to_frame([timed(name, 0.1) for name in names]), tmp_path / "a.svg")
    uses = re.findall(r'xlink:href="#(\w+)"[^>]*stroke: (#\w+)', (tmp_path / "a.svg").read_text())
    assert len({shape for shape, _ in uses}) == 8
    assert len({colour for _, colour in uses}) == 7


def test_machines_stand_beside_each_other_and_say_their_threads(tmp_path):
    there = {"machine": "other", "machine_id": "ba9876543210", "threads": 16}
    _, texts, _ = draw([timed("torch_cpu", 0.2), timed("torch_cpu", 0.1, **there)], tmp_path / "a.svg")
    assert {"torch_cpu@machine", "torch_cpu@other"} <= set(texts)
    assert any("machine, AMD EPYC, threads 2, 2026-11-26; other, AMD EPYC, threads 16" in text for text in texts)


def test_one_machine_at_two_numbers_of_threads_has_a_row_for_each(tmp_path):
    rows = [timed("torch_cpu", 0.2), timed("torch_cpu", 0.3, threads=1)]
    _, texts, markers = draw(rows, tmp_path / "a.svg")
    assert {"torch_cpu, threads 1", "torch_cpu, threads 2"} <= set(texts)
    assert len(markers) == 2


def test_other_work_is_in_a_panel_of_its_own():
    rows = [timed("torch_cpu", 0.2), timed("jax_cpu", 0.1, workload_digest="e7"), without("refused", "openvino_cpu")]
    panels = [panel for cell in dots_of(to_frame(rows), "latency").panels for panel in cell]
    assert [panel.title.partition(", work ")[2] for panel in panels] == ["d2", "e7"]
    assert [[dot.label for dot in panel.dots] for panel in panels] == [["openvino_cpu", "torch_cpu"], ["jax_cpu"]]


def test_what_measures_limits_is_drawn_where_there_is_nothing_else():
    only = [row for row in a_run() if row["workload"] in ("matmul", "control_matmul")]
    ((panel,),) = dots_of(to_frame(only), "latency").panels
    assert [dot.label for dot in panel.dots] == ["torch_cpu"]
    assert dots_of(to_frame(only), "phases").panels == ()


@pytest.mark.parametrize("rate", [None, 0.0])
def test_a_verified_step_without_throughput_is_a_word(rate):
    rows = [timed("torch_cpu", 0.2), timed("jax_cpu", 0.1, throughput_samples_per_s=rate)]
    ((panel,),) = dots_of(to_frame(rows), "throughput").panels
    found = [(dot.label, dot.value, dot.word) for dot in panel.dots]
    assert found == [("jax_cpu", None, "no number"), ("torch_cpu", 10.0, "")]


@pytest.mark.parametrize("show", ["latency", "throughput", "phases"])
def test_the_same_rows_make_the_same_bytes(tmp_path, show):
    for name in ("a.svg", "b.svg", "a.png", "b.png"):
        plot(to_frame(a_run()), tmp_path / name, show)
    for suffix in ("svg", "png"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_the_width_is_that_on_paper_and_a_narrow_one_sets_phases_under_each_other(tmp_path):
    of_width = {}
    for width in (3.5, 7.0):
        _, texts, _ = draw(a_run(), tmp_path / "a.svg", "latency", width)
        root = ElementTree.parse(tmp_path / "a.svg").getroot()
        assert float(root.get("width").removesuffix("pt")) == pytest.approx(72 * width)
        of_width[width] = texts.count("torch_cpu")
    assert of_width == {3.5: 2, 7.0: 1}


def test_no_text_is_cut_off_or_lies_on_another(tmp_path, monkeypatch):
    """Of real runs at both widths: the frames of all texts, as drawn, lie within the figure and apart."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    kept = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: kept.append(figure))
    for width in (3.5, 7.0):
        plot(load(*sorted(MEASURED.iterdir())), tmp_path / "a.png", "latency", width)
    assert len(kept) == 2
    for figure in kept:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
        boxes = [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in shown]
        assert len(boxes) > 30
        for name, box in boxes:
            assert figure.bbox.x0 <= box.x0, name
            assert box.x1 <= figure.bbox.x1, name
            assert figure.bbox.y0 <= box.y0, name
            assert box.y1 <= figure.bbox.y1, name
        for number, (name, box) in enumerate(boxes):
            assert [other for other, its in boxes[:number] if box.overlaps(its)] == [], name


def test_ticks_are_round_and_have_room():
    assert ticks_of(0.09, 0.9, 2.0) == [0.1, 0.2, 0.5]
    assert ticks_of(2.05, 3.3, 2.0) == [2.5, 3.0]
    assert ticks_of(1e-6, 1.0, 1.5) == [1e-6, 1e-4, 1e-2, 1.0]
    for low in (1.0, 1.37, 2.9, 4.6, 7.7, 9.1):
        for ratio in (1.6, 2.5, 10, 300):
            assert len(ticks_of(low, low * ratio, 2.0)) >= 2, (low, ratio)
    assert [time_tick(value) for value in (2.5, 0.3, 1e-6, 5e-10)] == ["2.5 s", "300 ms", "1 µs", "0.5 ns"]
    assert [rate_tick(value) for value in (0.5, 20, 1000, 1.5e6)] == ["0.5", "20", "1 k", "1.5 M"]
    assert ratio_tick(2.5) == "2.5x"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--output", "a.pdf"], "cannot draw into a.pdf; expected a name that ends in .svg or .png"),
        (
            ["--output", "a.svg", "--show", "energy"],
            "cannot show 'energy'; known: latency, throughput, phases, precisions",
        ),
        (["--output", "a.svg", "--width", "1"], "cannot draw these names 1 inch wide; expected 2.1 to 40"),
        (["--output", "a.svg", "--width", "nan"], "cannot draw these names nan inch wide"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, monkeypatch, capsys, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    write_csv(a_run(), tmp_path / "results.csv")
    assert door.main(["plot", "results.csv", *arguments]) == 2
    assert complaint in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]


@pytest.mark.parametrize("rows", [[], [without("refused", "torch_cpu", reason_code="disturbed")], [idle_row()]])
def test_without_a_verified_number_there_is_no_plot(tmp_path, rows):
    with pytest.raises(ResultsError, match=f"no verified number to show in {len(rows)} rows: samestep table"):
        plot(to_frame(rows), tmp_path / "a.svg")
    assert not (tmp_path / "a.svg").exists()


def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ResultsError, match=r"pip install -e '\.\[reports\]'"):
        plot(to_frame(a_run()), tmp_path / "a.svg")


def test_the_command_draws_several_runs(tmp_path, capsys):
    runs = [str(path) for path in sorted(MEASURED.iterdir())]
    assert door.main(["plot", *runs, "--output", str(tmp_path / "a.svg"), "--show", "throughput"]) == 0
    assert capsys.readouterr().out == f"31 numbers; cells without one: 1: {tmp_path / 'a.svg'}\n"
    texts, markers = drawn(tmp_path / "a.svg")
    assert len(markers) == 31
    assert {"torch_cpu@one-thread", "wrong", "resnet50 224 train, batch 4"} <= set(texts)


LOWER = Path(__file__).resolve().parents[1] / "docs" / "measured" / "2026-11-30-precisions"


def test_what_a_lower_precision_brings_is_a_dot_beside_fp32_of_the_same_backend(tmp_path):
    ((first, *_), *_) = dots_of(load(LOWER), "precisions").panels
    labels = {dot.label: dot for dot in first.dots}
    assert not any("fp32" in label for label in labels)
    assert any(" e" in label for label in labels)
    assert any("dB" in label for label in labels)
    assert all(dot.low < dot.value < dot.high for dot in first.dots if dot.low)
    texts = plot(load(LOWER), tmp_path / "a.svg", "precisions")
    assert "numbers: " in texts
    assert "slower than fp32" in (tmp_path / "a.svg").read_text()
