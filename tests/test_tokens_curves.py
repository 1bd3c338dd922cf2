"""Curves of the time per token over depth and batch, and of throughput against interactivity: data, plot, report."""

import re
from xml.etree import ElementTree

import pytest

from results import __main__ as door
from results.record.csvfile import write_csv
from results.record.files import ResultsError
from results.record.limits import with_limits
from results.show.plot.dots import dots_of
from results.show.plot.figure import _arranged, plot
from results.show.report.chart import curves
from results.show.report.page import page
from results.show.tokens.curves import SHOWN, charts
from results.tables.table import to_frame
from tests.fakes.rows import row_of
from tests.fakes.served import served_row
from tests.test_tokens import stream_read

TIMES = {"torch_cpu": 1.0, "jax_cpu": 2.0}
SVG = "{http://www.w3.org/2000/svg}"


def step(backend, batch, depth, **changes):
    """Returns a step of 100 ms (torch_cpu) or 50 ms, 1 ms more for each sequence, and 1 ms for 128 tokens of depth."""
    seconds = (0.1 + 0.001 * batch + 0.001 * depth / 128) / TIMES.get(backend, 1.0)
    numbers = {"latency_ci_low_s": 0.9 * seconds, "latency_ci_high_s": 1.2 * seconds}
    rate = {"throughput_tokens_per_s": batch / seconds, "workload_digest": f"{batch} {depth}"}
    ends = {f"throughput_ci_{end}_samples_per_s": k * batch / seconds for end, k in (("low", 0.8), ("high", 1.1))}
    return served_row("decode", backend=backend, batch=batch, depth=depth, **{**rate, **numbers, **ends, **changes})


def a_run(**changes):
    steps = [step(backend, batch, depth) for backend in TIMES for batch in (1, 8) for depth in (128, 512)]
    return with_limits([*steps, stream_read(25e9), served_row("prefill")])


def test_the_time_per_token_goes_over_depth_at_each_batch():
    first, second = charts(to_frame(a_run()), "depth")
    assert [first.title, second.title] == ["gpt2 124m decode, batch 1", "gpt2 124m decode, batch 8"]
    assert [curve.label for curve in first.curves] == ["jax_cpu", "torch_cpu"]
    points = first.curves[1].points
    assert [(point.x, point.y) for point in points] == [(128, pytest.approx(0.102)), (512, pytest.approx(0.105))]
    assert points[0].y_ends == (pytest.approx(0.0918), pytest.approx(0.1224))
    assert first.best == ((128, pytest.approx((500 << 20) / 25e9)), (512, pytest.approx((500 << 20) / 25e9)))


def test_and_over_batch_at_each_depth():
    found = charts(to_frame(a_run()), "batch")
    assert [chart.title for chart in found] == ["gpt2 124m decode, depth 128", "gpt2 124m decode, depth 512"]
    assert [point.x for point in found[0].curves[0].points] == [1, 8]


def test_throughput_stands_against_what_one_user_gets():
    points = charts(to_frame(a_run()), "interactivity")[0].curves[1].points
    assert [(point.name, point.x, point.y) for point in points] == [
        ("1", pytest.approx(1 / 0.102), pytest.approx(1 / 0.102)),
        ("8", pytest.approx(1 / 0.109), pytest.approx(8 / 0.109)),
    ]
    assert points[1].x_ends == (pytest.approx(1 / (1.2 * 0.109)), pytest.approx(1 / (0.9 * 0.109)))
    assert points[1].y_ends == (pytest.approx(0.8 * 8 / 0.109), pytest.approx(1.1 * 8 / 0.109))


def test_what_computes_something_else_is_in_no_curve_and_is_counted():
    other = step("openvino_cpu", 1, 512, workload_digest="of other weights")
    chart = charts(to_frame([*a_run(), other]), "depth")[0]
    assert [curve.label for curve in chart.curves] == ["jax_cpu", "torch_cpu"]
    assert chart.left_out == 1


def test_machines_without_the_same_memory_have_no_common_roof():
    there = {"machine": "other", "machine_id": "ba9876543210", "run_id": "20261124T125900Z-other-3c4d"}
    others = [step("jax_cpu", 1, depth, **there) for depth in (128, 512)]
    chart = charts(to_frame([*a_run(), *with_limits([*others, stream_read(50e9, **there)])]), "depth")[0]
    assert [curve.label for curve in chart.curves] == ["jax_cpu@machine", "jax_cpu@other", "torch_cpu@machine"]
    assert chart.best == ()


def test_one_point_is_no_curve():
    assert charts(to_frame([step("jax_cpu", 1, 128)]), "depth") == []
    assert charts(to_frame([row_of()]), "batch") == []


@pytest.mark.parametrize("show", SHOWN)
def test_every_point_is_drawn_and_named_and_the_same_rows_make_the_same_bytes(tmp_path, show):
    for name in ("a.svg", "b.svg"):
        said = plot(to_frame(a_run()), tmp_path / name, show)
    assert said == f"8 numbers in 4 curves: {tmp_path / 'b.svg'}"
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    texts = [text.text for text in ElementTree.parse(tmp_path / "a.svg").getroot().iter(f"{SVG}text")]
    assert {"jax_cpu", "torch_cpu"} <= {*texts}
    assert (show == "interactivity") != ("best possible" in texts)
    expected = {"depth": ("128", "512"), "batch": ("1", "8"), "interactivity": ("1", "8")}[show]
    assert {*expected} <= {*texts}


@pytest.mark.parametrize("show", [*SHOWN, "latency"])
def test_no_text_is_cut_off_or_lies_on_another(tmp_path, monkeypatch, show):
    """At both widths: the frames of all texts, as drawn, lie within the figure and apart."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    kept = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: kept.append(figure))
    for width in (3.5, 7.0):
        plot(to_frame([*a_run(), served_row("train"), served_row("infer")]), tmp_path / "a.png", show, width)
    for figure in kept:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
        boxes = [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in shown]
        assert len(boxes) > 10
        for number, (name, box) in enumerate(boxes):
            assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1, name
            assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1, name
            assert [other for other, its in boxes[:number] if box.overlaps(its)] == [], name


def test_what_cannot_be_drawn_is_refused(tmp_path):
    with pytest.raises(
        ResultsError, match="no backend has verified decode steps at two values of depth; run --depth A,B"
    ):
        plot(to_frame([step("jax_cpu", 1, 128)]), tmp_path / "a.svg", "depth")
    with pytest.raises(ValueError, match="expected 3 or more"):
        plot(to_frame(a_run()), tmp_path / "a.svg", "batch", 2.0)
    with pytest.raises(ValueError, match="known: latency, throughput, phases, precisions, depth, batch, interactivity"):
        plot(to_frame(a_run()), tmp_path / "a.svg", "nonsense")


def test_the_command_draws_them(tmp_path, capsys):
    write_csv(a_run(), tmp_path / "results.csv")
    words = ["plot", str(tmp_path / "results.csv"), "--output", str(tmp_path / "a.png"), "--show", "interactivity"]
    assert door.main(words) == 0
    assert re.search(r"8 numbers in 4 curves: .*a.png", capsys.readouterr().out)


def test_the_report_has_them_and_who_is_fastest_at_which_tokens():
    text = page(to_frame(a_run()))
    section = text[text.index('<section id="tokens">') : text.index('<section id="comparisons">')]
    assert section.count('<svg class="curve"') == 6  # over depth at two batches, over batch at two depths, and against
    assert section.count("best possible</span>") == 4
    lines = re.findall(r"<tr><td>(.*?)</td><td>(\w+)</td><td>(\w+)", section)
    assert [(model.replace("\xa0", " "), tokens, who) for model, tokens, who in lines] == [
        ("gpt2 124m, batch 2 × 128", "prompt", "torch_cpu"),
        *((f"gpt2 124m, batch {b}, depth {d}", "generated", "jax_cpu") for b in (1, 8) for d in (128, 512)),
    ]
    assert ">2.43x</td>" in section  # 51 ms by 500 MiB at 25 GB/s
    assert "decode" not in text[text.index('<section id="summary">') : text.index('<section id="tokens">')].replace(
        "decode, ", ""
    )


def test_a_report_without_such_steps_has_no_such_part():
    assert '<section id="tokens">' not in page(to_frame([row_of()]))


def test_a_backend_has_one_colour_in_all_drawings_of_the_page():
    rows = [row for row in a_run() if (row["backend"], row["batch"]) != ("jax_cpu", 1)]
    section = page(to_frame(rows))
    assert {*re.findall(r'<span class="(k\d)"><i></i>torch_cpu', section)} == {"k1"}
    drawings = re.findall(r'<svg class="curve".*?</svg>', section)
    assert next(re.findall(r'<g class="(k\d)">', drawing) for drawing in drawings) == ["k1"]


def test_a_drawing_has_its_points_where_they_lie():
    chart = charts(to_frame(a_run()), "interactivity")[0]
    drawing = curves(chart, {"jax_cpu": "k0", "torch_cpu": "k1"})
    circles = [tuple(map(float, place)) for place in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawing)]
    (one, eight), (slow_one, slow_eight) = circles[:2], circles[2:]
    assert one[0] > slow_one[0]  # twice as fast for each user is to the right
    assert eight[1] < one[1]  # and more tokens of all are above
    assert one[0] - slow_one[0] == pytest.approx(eight[0] - slow_eight[0], abs=0.2)  # equal ratios, equal distances
    degraded = charts(to_frame([step("jax_cpu", 1, d, quality="degraded") for d in (128, 512)]), "depth")[0]
    assert curves(degraded, {"jax_cpu": "k0"}).count('<circle class="o"') == 2


def test_cells_of_fewer_phases_share_a_row_in_the_plot_of_latency():
    rows = [*a_run(), *(served_row(phase, backend=name) for phase in ("train", "infer") for name in TIMES)]
    arranged = _arranged(dots_of(to_frame(rows), "latency").panels, 6.0)
    assert [[panel and panel.title.removeprefix("gpt2 124m ") for panel in row] for row in arranged] == [
        ["decode, batch 1, depth 128", "decode, batch 1, depth 512", None],
        ["infer, batch 2 × 128", "prefill, batch 2 × 128", "train, batch 2 × 128"],
        ["decode, batch 8, depth 128", "decode, batch 8, depth 512", None],
    ]
    other = [row for row in rows if (row["backend"], row["depth"]) != ("jax_cpu", 512)]
    assert [len([*filter(None, row)]) for row in _arranged(dots_of(to_frame(other), "latency").panels, 6.0)] == [
        1,
        1,
        3,
        1,
        1,
    ]
