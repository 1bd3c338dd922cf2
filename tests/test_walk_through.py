"""The walk-through shows what the commands print, from rows that were really measured."""

import pytest

import samestep
from results.record.read import read_rows
from results.show.render import render
from tests.walk_through import PAGE, ROOT, renewed

RUNS = ROOT / "docs" / "measured" / "runs"


def test_the_readme_shows_what_its_rows_say():
    rows = samestep.load(ROOT / "docs" / "measured" / "2026-11-26-first-command.csv")
    shown = (ROOT / "README.md").read_text().partition("```\nLatency: median")[2].partition("\n```")[0]
    said = render(rows, width=160).splitlines()
    assert len(shown.splitlines()) > 40
    assert [line for line in f"Latency: median{shown}".splitlines() if line not in said] == []


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
