"""Tables for a terminal: what gives way where the columns do not fit, and in which order."""

import pytest

from results.show.terminal import columns_text

HEADER = ["workload", "backend", "time", "top-1"]
LINES = [["mlp", "onnxruntime_cpu", "6.69 ms", "100.0 % of 32"], ["gpt2", "jax_cpu", "178 µs~", "-"]]


def cells(width):
    return [line.split() for line in columns_text(HEADER, LINES, 2, width).splitlines()]


def test_where_all_fits_each_row_is_a_line():
    assert cells(60)[1:] == [
        ["mlp", "onnxruntime_cpu", "6.69", "ms", "100.0", "%", "of", "32"],
        ["gpt2", "jax_cpu", "178", "µs~", "-"],
    ]


@pytest.mark.parametrize(
    ("width", "first", "rest"),
    [
        (43, ["mlp", "onnxruntime_cpu", "6.69", "ms", "100.0", "%"], ["of", "32"]),
        (40, ["mlp", "onnxruntime_cpu", "6.69", "ms", "100.0", "%"], ["of", "32"]),  # in narrow gaps
        (36, ["mlp", "onnxruntime_cpu", "6.69", "100.0"], ["ms", "%", "of"]),  # no word is broken
    ],
)
def test_between_words_is_broken_first_and_units_are_parted_last(width, first, rest):
    text = columns_text(HEADER, LINES, 2, width)
    assert max(map(len, text.splitlines())) <= width
    assert cells(width)[1:3] == [first, rest]


@pytest.mark.parametrize("width", [30, 20, 14])
def test_nothing_is_lost_where_words_must_be_broken(width):
    text = columns_text(HEADER, LINES, 2, width)
    assert max(map(len, text.splitlines())) <= width
    wanted = "".join([*HEADER, *(cell for line in LINES for cell in line)]).replace(" ", "")
    assert sorted(text.replace(" ", "").replace("\n", "")) == sorted(wanted)


def test_lines_of_a_header_stay_and_a_table_may_be_empty():
    assert columns_text(["a", "first\ntoken"], [["x", "1"]], 1, 80).splitlines() == ["   first", "a  token", "x      1"]
    assert columns_text(["a", "b"], [], 1, 80) == "a  b"
