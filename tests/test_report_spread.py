"""Distributions: a histogram where samples were kept, a strip where they were not, a note where they are wrong."""

import re

import pytest

from results.__main__ import main
from results.nights.store import pack
from results.record import read, samples
from results.record.journal import JOURNAL_NAME, Journal
from results.record.row import cell_of
from results.show.report import svg
from results.show.report.page import page
from results.tables.table import to_frame
from tests.fakes.rows import HEADER, RUN_ID, cell, idle_row, row_of

SPREAD = {"latency_min_s": 0.9e-3, "latency_max_s": 2e-3}
SAMPLES_S = [1e-3, 0.9e-3, 2e-3, 1e-3]
ROWS = [row_of(**SPREAD), row_of(backend="jax_cpu", **SPREAD), idle_row()]


def launch(samples_s, quality="valid", **changes):
    return {**cell(**changes), "status": "ok", "columns": {"quality": quality}, "samples_s": samples_s}


def write_run(store, launches):
    with Journal.create(store, RUN_ID, HEADER) as journal:
        for record in launches:
            journal.launch(record)
        for row in ROWS:
            journal.row(row)
        journal.end("the plan is done")
    return journal.folder


def drawn(path):
    """Returns the kinds of drawings in the section, in order."""
    section = path.read_text().partition('id="distributions"')[2].partition("</section>")[0]
    return re.findall(r'<svg class="(dist|strip)"', section)


@pytest.fixture
def report(tmp_path):
    def made(*paths):
        assert main(["report", *map(str, paths), "--output", str(tmp_path / "page.html")]) == 0
        return tmp_path / "page.html"

    return made


def test_a_histogram_has_logarithmic_bins_and_a_tick():
    # log 2.1 / log 8 = 0.357: bins 0, 10 and 29 of 30, each 4 wide.
    assert svg.histogram([1.0, 2.1, 2.1, 8.0], 1.0, 8.0, 2.1).partition("<path")[2] == (
        ' class="f" d="M0 28H0V14H4V28H40V0H44V28H116V14H120V28z"/><path class="m" d="M43 0V28"/></svg>'
    )


def test_what_lies_beyond_its_axis_is_not_drawn_and_what_is_rare_can_be_seen():
    body = svg.histogram([1.0] * 1000 + [3.0, 50.0], 1.0, 4.0, 1.0)
    assert body.count("V26") == 1
    assert body == svg.histogram([1.0] * 1000 + [3.0], 1.0, 4.0, 1.0)


def test_rows_with_samples_have_a_histogram_and_others_a_strip():
    known = {(RUN_ID, *cell_of(ROWS[0])): SAMPLES_S}
    text = page(to_frame(ROWS), samples=known)
    assert (text.count('class="dist"'), text.count('class="strip"')) == (1, 1)
    assert text == page(to_frame(ROWS), samples=known)
    assert text.count("Strips, where the samples were not kept") == 1
    without = page(to_frame(ROWS))
    assert (without.count('class="dist"'), without.count('class="strip"')) == (0, 2)
    assert "Histograms" not in without


def test_samples_of_another_run_are_not_shown():
    assert 'class="dist"' not in page(to_frame(ROWS), samples={("other", *cell_of(ROWS[0])): SAMPLES_S})


@pytest.mark.parametrize("same", [[1e-3], [1e-3] * 200, [1e-15, 1e9]])
def test_samples_that_are_all_alike_or_far_apart_can_be_drawn(same):
    assert 'class="dist"' in page(to_frame(ROWS), samples={(RUN_ID, *cell_of(ROWS[0])): same})


def test_the_axis_ends_at_p99():
    ordinary = [1e-3 * (1 + number / 1000) for number in range(199)]
    one_late, later = ({(RUN_ID, *cell_of(ROWS[0])): [*ordinary, late]} for late in (5e-3, 50e-3))
    assert page(to_frame(ROWS), samples=one_late) == page(to_frame(ROWS), samples=later)


def test_launches_are_pooled_and_the_journal_is_read_once(tmp_path, report, monkeypatch):
    read_run, seen = read.read_run, []
    monkeypatch.setattr(read, "read_run", lambda path: seen.append(path) or read_run(path))
    folder = write_run(tmp_path, [launch(SAMPLES_S[:2]), launch(SAMPLES_S[2:]), launch([7.0], "invalid")])
    assert drawn(report(folder)) == ["strip", "dist"]
    assert seen == [folder]
    pooled = page(to_frame(read_run(folder).rows), samples={(RUN_ID, *cell_of(ROWS[0])): SAMPLES_S})
    assert report(folder).read_text() == pooled


def test_what_computes_nothing_is_left_out(tmp_path):
    folder = write_run(tmp_path, [launch(SAMPLES_S), launch([1e-9] * 100, backend="null")])
    collected = samples.Collected()
    read.read_rows(folder, on_run=collected.add)
    assert list(collected.samples) == [(RUN_ID, *cell_of(cell()))]


@pytest.mark.parametrize("packed", [False, True])
def test_a_store_shows_the_samples_of_its_newest_night(tmp_path, report, packed):
    write_run(tmp_path / "store", [launch(SAMPLES_S)])
    if packed:
        pack(tmp_path / "store")
    assert drawn(report(tmp_path / "store")) == ["strip", "dist"]


def test_of_a_packed_store_without_its_journals_there_are_strips(tmp_path, report):
    folder = write_run(tmp_path / "store", [launch(SAMPLES_S)])
    pack(tmp_path / "store")
    (folder / JOURNAL_NAME).unlink()
    assert drawn(report(tmp_path / "store")) == ["strip", "strip"]


def test_a_journal_that_cannot_be_read_is_a_note(tmp_path, report, capsys):
    folder = write_run(tmp_path / "store", [launch(SAMPLES_S)])
    pack(tmp_path / "store")
    (folder / JOURNAL_NAME).write_bytes(b"{}\n{}\n")
    assert drawn(report(tmp_path / "store")) == ["strip", "strip"]
    assert f"no samples: {folder / JOURNAL_NAME}, line 1" in capsys.readouterr().err


def test_samples_that_are_no_times_are_a_note(tmp_path, report, capsys):
    folder = write_run(tmp_path, [launch([1e-3, "fast"])])
    assert drawn(report(folder)) == ["strip", "strip"]
    assert "has 'fast' as a time in s" in capsys.readouterr().err
