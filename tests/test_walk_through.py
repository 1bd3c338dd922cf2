"""The walk-through shows what the commands print, from rows that were really measured."""

import re
from importlib import metadata

import pytest

import samestep
from results.record.read import read_rows
from results.show.plot.figure import plot
from results.show.render import render
from tests.walk_through import PAGE, ROOT, renewed

RUNS = ROOT / "docs" / "measured" / "runs"
FIRST = ROOT / "docs" / "measured" / "2026-11-29-first-command.csv"
"""What the first command gave."""


@pytest.fixture(scope="module")
def printed():
    """Returns the lines that `samestep table` prints of the rows of the first command."""
    return render(samestep.load(FIRST), width=160).splitlines()


def shown_in(page):
    """Returns the lines of the block that begins with the table of latencies."""
    block = (ROOT / page).read_text().partition("```\nLatency: median")[2].partition("\n```")[0]
    return f"Latency: median{block}".splitlines()


def test_the_page_of_commands_shows_what_its_rows_say(printed):
    shown = shown_in("docs/commands.md")
    assert len(shown) > 40
    assert [line for line in shown if line not in printed] == []


def test_the_readme_shows_lines_of_the_table(printed):
    title, header, *lines = shown_in("README.md")
    start = printed.index(title)
    table = printed[start : printed.index("", start)]
    assert table[1] == header
    assert lines == [line for line in table if line.split()[0] in ("gpt2", "resnet50")]
    assert len(lines) == 4


def test_the_readme_shows_a_picture_of_the_same_rows(tmp_path):
    committed = (ROOT / "docs" / "latency.svg").read_text()
    plot(samestep.load(FIRST), tmp_path / "latency.svg")
    drawn = (tmp_path / "latency.svg").read_text()
    assert re.findall(r"<text.*?>(.*?)</text>", committed) == re.findall(r"<text.*?>(.*?)</text>", drawn)
    assert len(committed) < 100_000
    if f"Matplotlib v{metadata.version('matplotlib')}," in committed:  # another one may set its letters elsewhere
        stale = f"docs/latency.svg is stale: samestep plot {FIRST} --output docs/latency.svg"
        assert named_alike(committed) == named_alike(drawn), stale


def named_alike(svg):
    """Returns the picture without the names of its clips: hashes of sizes to the last bit, in which CPUs differ."""
    return re.sub(r"\bp[0-9a-f]{10}\b", "clip", svg)


def test_the_output_in_it_is_what_comes_out():
    text = PAGE.read_text()
    assert renewed(text) == text


def test_its_rows_are_whole():
    rows, problems = read_rows(RUNS)
    assert problems == ()
    assert {row["machine"] for row in rows} == {"one-thread", "two-threads", "two-threads-again"}


def test_a_stale_block_is_seen():
    assert renewed("```\n>>> 1 + 1\n3\n```") == "```\n>>> 1 + 1\n2\n```"
    with pytest.raises(RuntimeError, match="expected samestep"):
        renewed("```\n$ rm -rf /nowhere\n```")
