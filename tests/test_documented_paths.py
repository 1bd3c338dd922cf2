"""Files, modules and tests that the pages name are there, and links lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
ROOMS = ("backends", "bench", "docs", "host", "results", "samestep", "scripts", "tests", "workloads")
NAMED = re.compile(rf"`((?:{'|'.join(ROOMS)})/[^`\s:,]*)(?=[`\s:,])")
TEST = re.compile(r"`(test_\w+\*?\.py)`")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
MADE = ("results/runs", "tests/test_mybackend.py")
"""What a run makes, and what stands for something."""


def ids(page):
    return page.name


def anchor(heading):
    """Returns what GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_what_a_page_names_is_there(page):
    text = page.read_text()
    named = {name for name in NAMED.findall(text) if not name.startswith(MADE) and "NAME" not in name}
    named |= {f"tests/{name}" for name in TEST.findall(text)}
    assert [name for name in sorted(named) if not any(ROOT.glob(name.rstrip("/")))] == []


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_its_links_lead_somewhere(page):
    for name, heading in LINK.findall(page.read_text()):
        target = page.parent / name if name else page
        assert target.exists(), f"{page.name}: {name} is not there"
        if heading:
            anchors = {
                anchor(line.lstrip("#").strip()) for line in target.read_text().splitlines() if line.startswith("#")
            }
            assert heading in anchors, f"{page.name}: {name} has no heading #{heading}"


def test_every_page_is_linked_from_the_readme():
    linked = {name for name, _ in LINK.findall((ROOT / "README.md").read_text())}
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= linked


def test_the_way_of_a_cell_has_as_many_files_as_it_says():
    page = (ROOT / "CONTRIBUTING.md").read_text().partition("### The way of a cell")[2].partition("\n## ")[0]
    (number,) = re.findall(r"handed through (\d+) files", page)
    rows = "\n".join(line for line in page.splitlines() if line.startswith("| "))
    assert len(set(re.findall(r"`([\w/]+\.py)`", rows))) == int(number)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 950
