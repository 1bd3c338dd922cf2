"""The report: complete without JavaScript or network, failures first, numbers linked to their rows, nothing run."""

import hashlib
import json
import re
from base64 import b64encode
from datetime import timedelta
from html.parser import HTMLParser

import pytest

from results import svg
from results.__main__ import main
from results.history import history
from results.report import page
from results.table import to_frame
from tests.browser import Browser, chromium
from tests.fakes.rows import idle_row, row_of
from tests.fakes.runs import FIRST, write_run
from tests.test_history import write_nights

HOSTILE = "<script>alert(1)</script><img src=http://example.com/x onerror=alert(2)>"
TIMES = {"latency_min_s": 0.9e-3, "latency_max_s": 2e-3, "latency_ci_low_s": 0.99e-3, "latency_ci_high_s": 1.01e-3}
ROWS = [
    row_of(**TIMES, latency_n=500, latency_p90_s=1.2e-3, software_id="s1", library_versions='{"torch": "2.13.0"}'),
    row_of(backend="jax_cpu", latency_p50_s=0.5e-3, throughput_samples_per_s=9000.0, quality="degraded", flags="steal"),
    row_of(phase="train", latency_p50_s=4e-3, throughput_samples_per_s=1000.0),
    row_of(phase="train", backend="jax_cpu", latency_p50_s=5e-3, throughput_samples_per_s=800.0),
    row_of("crashed", workload="gpt2", reason=HOSTILE),
    row_of("unavailable", backend="torch_cuda"),
    idle_row(),
]


class Page(HTMLParser):
    """The elements of a page: ids, where links lead, and what would be fetched or run."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.fetched, self.scripts, self.styled = [], [], [], 0, 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.scripts += tag == "script" or any(name.startswith("on") for name in given)
        self.styled += "style" in given
        if tag == "a":
            self.links.append(given["href"])
        for name in ("src", "srcset", "data", "xlink:href") + (("href",) if tag in ("link", "use", "image") else ()):
            self.fetched += [given[name]] if name in given else []


@pytest.fixture(scope="module")
def of_rows():
    return page(to_frame(ROWS))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    write_nights(folder, "alpha", 20, backends=("jax_cpu",), software="s2")
    write_nights(folder, "beta", nights=27, seed=1)
    return folder


@pytest.fixture(scope="module")
def of_store(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    assert main(["report", str(store), "--output", str(out / "report.html"), "--csv-dir", str(out / "csv")]) == 0
    return out


@pytest.mark.parametrize("which", ["of_rows", "of_store"])
def test_nothing_is_run_or_fetched_and_every_link_leads_somewhere(which, request):
    made = request.getfixturevalue(which)
    text = made if isinstance(made, str) else (made / "report.html").read_text()
    found = Page(text)
    assert found.scripts == 0
    assert [one for one in found.fetched if one != "data:,"] == []
    assert not re.search(r"url\(|@import|https?://", text.partition("</style>")[0])
    assert len(set(found.ids)) == len(found.ids)
    assert {link.removeprefix("#") for link in found.links} <= set(found.ids)
    assert len(found.links) > 10


def policy_of(text):
    """Returns the directives of the page's policy."""
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text)
    return dict(directive.split(maxsplit=1) for directive in policy.split("; "))


@pytest.mark.parametrize("which", ["of_rows", "of_store"])
def test_the_policy_allows_what_the_page_holds_and_nothing_else(which, request):
    made = request.getfixturevalue(which)
    text = made if isinstance(made, str) else (made / "report.html").read_text()
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy_of(text) == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert Page(text).styled == 0  # a style attribute would be blocked
    assert text.index("Content-Security-Policy") < text.index("<style>")


def test_what_is_in_a_name_or_a_reason_is_text(of_rows):
    assert HOSTILE not in of_rows
    assert "&lt;script&gt;alert(1)" in of_rows


TURNING = [*map(chr, (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))]


def test_no_text_turns_its_direction():
    reason = f"a{''.join(TURNING)}b\u05d0"
    versions = json.dumps({"torch\u202e": "2"}, ensure_ascii=False)
    rows = [row_of(library_versions=versions), row_of("crashed", workload="gpt2", reason=reason)]
    assert rows[1]["reason"] == reason  # what a row may hold comes as far as the page
    text = page(to_frame(rows))
    assert not set(TURNING) & set(text)
    shown = "".join(f"\\u{ord(one):04x}" for one in TURNING)
    assert text.count(f"a{shown}b\u05d0") == 1
    assert "torch\\u202e 2" in text


def test_failures_come_first_and_what_is_not_expected_here_is_folded(of_rows):
    order = re.findall(r'<section id="(\w+)"', of_rows)
    assert order == ["failures", "summary", "comparisons", "phases", "distributions", "rows"]
    failures, _, folded = of_rows.partition("Not here, and not expected")
    assert "crashed" in failures
    assert "torch_cuda" not in failures.partition('id="failures"')[2]
    assert "torch_cuda" in folded


def test_the_numbers_are_those_of_the_rows(of_rows):
    assert of_rows.count("2.00x") >= 2
    assert "500 µs~" in of_rows
    assert "torch 2.13.0" in of_rows
    assert "Training against inference" in of_rows
    assert re.search(r"<td>torch_cpu</td><td class=\"n good\">1.00 ms best</td>", of_rows)


def test_it_is_the_same_each_time(of_rows, store, of_store, tmp_path):
    assert page(to_frame(ROWS)) == of_rows
    assert main(["report", str(store), "--output", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_bytes() == (of_store / "report.html").read_bytes()


def test_a_store_shows_its_nights_its_alarm_and_who_is_away(of_store):
    text = (of_store / "report.html").read_text()
    assert "+20." in text.partition('id="summary"')[0] or "+19." in text.partition('id="summary"')[0]
    assert "did not run in the newest night" in text
    assert text.count('class="hist"') == 8
    assert 'class="a"' in text
    assert 'class="s"' in text
    rows = text.partition('id="rows"')[2]
    assert "alpha" in rows
    assert "-beta-" not in rows  # away tonight: no old row stands in
    assert sorted(path.name for path in (of_store / "csv").iterdir()) == [
        "alarms.csv",
        "means.csv",
        "missing-cells.csv",
        "missing-machines.csv",
        "phases.csv",
        "rows.csv",
    ]


def test_runs_without_a_store_and_what_cannot_be_reported(tmp_path, capsys):
    run = write_run(tmp_path, "alpha", FIRST, {"torch_cpu": 1e-3, "jax_cpu": None})
    assert main(["report", str(run), "--output", str(tmp_path / "a.html")]) == 0
    assert main(["report", str(run), "--output", str(tmp_path / "a.html"), "--baseline", "nobody"]) == 2
    assert "unknown baseline 'nobody'" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "absent"), "--output", str(tmp_path / "a.html")]) == 2
    with pytest.raises(ValueError, match="no row"):
        page(to_frame([]))


def test_a_wrong_run_in_the_store_costs_itself(tmp_path, capsys):
    write_nights(tmp_path, "alpha", nights=3)
    bad = tmp_path / f"{FIRST + timedelta(2):%Y%m%d}T040000Z-alpha-ffff"
    bad.mkdir()
    (bad / "results.csv").write_text("row_format,workload\n1,<b>\n")
    assert main(["report", str(tmp_path), "--output", str(tmp_path / "a.html")]) == 0
    assert str(bad) in capsys.readouterr().err


def test_drawings():
    assert 'width="50.0"' in svg.bar(0.5)
    assert "M40.0 2V10" in svg.bar(0.5, 0.4, 0.6)
    low, high = svg.axis([0.5, 2.0])
    assert low < 0.5
    assert high > 2.0
    assert "M50.0 6h0" in svg.dot(1.0, None, None, 0.5, 2.0)
    drawn = svg.history(svg.Series([1.0, None, 1.0, 1.2, 1.0], hollow=(3,), marks=(2,), levels=((0, 4, 1.0),), alarm=4))
    assert drawn.count("<path") == 7
    assert svg.history(svg.Series([None, None])) == ""


def test_a_history_without_alarms_has_none(tmp_path):
    write_nights(tmp_path, "alpha", nights=12)
    found = history(tmp_path)
    assert "Nothing: every planned cell" in page(to_frame(ROWS[:1]), found)


def test_the_nights_begin_with_the_first_run_and_the_series_are_in_order(of_store):
    section = (of_store / "report.html").read_text().partition('id="histories"')[2].partition("</section>")[0]
    assert f"Nights {FIRST} to" in section
    first_point = {re.match(r"\d+", path)[0] for path in re.findall(r'class="p" d="M([^"]+)', section)}
    assert first_point == {str(svg.EDGE)}
    of_machine = [re.findall(r'<tr id="s\w+"><td>([^<]+)', part) for part in section.split("<details")[1:]]
    assert [len(names) for names in of_machine] == [4, 4]
    assert all(names == sorted(names) for names in of_machine)


def test_one_night_is_no_history_and_what_is_unknown_is_not_named(tmp_path):
    write_nights(tmp_path, "alpha", nights=1)
    one = page(to_frame(ROWS), history(tmp_path))
    assert "Night after night" not in one
    write_nights(tmp_path, "beta", nights=2)
    two = page(to_frame(ROWS), history(tmp_path))
    assert "Night after night" in two
    assert "NA" not in two.partition("<body>")[2]


def test_a_series_since_a_night():
    whole = svg.Series([None, None, 1.0, 2.0, 3.0], hollow=[3], marks=[4], levels=[(2, 4, 1.0)], alarm=3)
    assert whole.since(2) == svg.Series([1.0, 2.0, 3.0], hollow=[1], marks=[2], levels=[(0, 2, 1.0)], alarm=1)


needs_chromium = pytest.mark.skipif(chromium() is None, reason="no Chromium: apt-get install chromium")


@needs_chromium
@pytest.mark.parametrize("scripts", [True, False], ids=["with JavaScript", "without"])
def test_a_browser_shows_it_without_error_or_request(of_store, scripts):
    seen = Browser(scripts=scripts).open(of_store / "report.html")
    assert seen.errors == []
    assert seen.requests == []
    assert ("Who is fastest at what" in seen.text) == scripts


@needs_chromium
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 420])
def test_the_page_fits_its_window_and_wide_tables_scroll_by_themselves(of_store, width, dark):
    seen = Browser(dark=dark).layout(of_store / "report.html", width)
    assert seen.width == width
    assert seen.scroll_width <= width
    assert seen.boxes > 5
    assert (seen.scrolling > 0) or width == 1280
    assert seen.background == ("rgb(20, 23, 26)" if dark else "rgb(251, 251, 250)")


@needs_chromium
def test_long_words_do_not_widen_the_page(tmp_path):
    words = {"reason": "x" * 2000}, {"machine": "m" * 100}, {"backend": "b" * 60}
    rows = [row_of("crashed", workload="gpt2", **words[0]), *(row_of(**TIMES, **word) for word in words[1:])]
    (tmp_path / "page.html").write_text(page(to_frame([*ROWS, *rows])))
    seen = Browser().layout(tmp_path / "page.html", 420)
    assert seen.scroll_width <= seen.width


@needs_chromium
def test_a_page_that_is_too_wide_would_be_seen(of_store, tmp_path):
    text = (of_store / "report.html").read_text()
    (tmp_path / "planted.html").write_text(text.replace("<main>", f"<main>{'x' * 400}"))
    seen = Browser().layout(tmp_path / "planted.html", 420)
    assert seen.scroll_width > seen.width


@needs_chromium
def test_a_browser_would_say_of_a_request_and_of_an_error(of_store, tmp_path):
    planted = tmp_path / "planted.html"
    text = (of_store / "report.html").read_text()
    without_policy = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    bad = '<img src="http://127.0.0.1:9/x.png"><script>throw new Error("planted")</script></body>'
    planted.write_text(without_policy.replace("</body>", bad))
    seen = Browser().open(planted)
    assert any("planted" in error for error in seen.errors)
    assert any("127.0.0.1:9" in request for request in seen.requests)


@needs_chromium
@pytest.mark.parametrize("planted", ["<p style='color: red'>", "<style>p { color: red }</style>", "<script>1</script>"])
def test_a_browser_obeys_the_policy_and_says_so(of_store, tmp_path, planted):
    (tmp_path / "planted.html").write_text((of_store / "report.html").read_text().replace("</body>", planted))
    (error,) = Browser().open(tmp_path / "planted.html").errors
    assert "Content Security Policy directive" in error


def test_the_test_of_the_page_sees_what_it_looks_for():
    found = Page('<a href="#x"></a><img src="http://e/x"><script></script><p onclick="x()" id="y" style="">')
    assert (found.scripts, found.styled, found.fetched) == (2, 1, ["http://e/x"])
    assert (found.links, found.ids) == (["#x"], ["y"])
