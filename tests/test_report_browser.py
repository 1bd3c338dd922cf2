"""The report in a browser: no error, no request, nothing that its policy forbids, and no scrolling sideways."""

import re

import pytest

from results.__main__ import main
from results.show.report.page import page
from results.tables.table import to_frame
from tests.browser import Browser, chromium
from tests.fakes.rows import row_of
from tests.test_history import write_nights
from tests.test_report import ROWS, TIMES

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def of_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    write_nights(folder / "store", "alpha", 20, backends=("jax_cpu",), software="s2")
    write_nights(folder / "store", "beta", nights=27, seed=1)
    assert main(["report", str(folder / "store"), "--output", str(folder / "report.html")]) == 0
    return folder


@pytest.mark.parametrize("scripts", [True, False], ids=["with JavaScript", "without"])
def test_a_browser_shows_it_without_error_or_request(of_store, scripts):
    seen = Browser(scripts=scripts).open(of_store / "report.html")
    assert seen.errors == []
    assert seen.requests == []
    assert ("Who is fastest at what" in seen.text) == scripts


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 420])
def test_the_page_fits_its_window_and_wide_tables_scroll_by_themselves(of_store, width, dark):
    seen = Browser(dark=dark).layout(of_store / "report.html", width)
    assert seen.width == width
    assert seen.scroll_width <= width
    assert seen.boxes > 5
    assert (seen.scrolling > 0) or width == 1280
    assert seen.background == ("rgb(20, 23, 26)" if dark else "rgb(251, 251, 250)")


def test_long_words_do_not_widen_the_page(tmp_path):
    words = {"reason": "x" * 2000}, {"machine": "m" * 100}, {"backend": "b" * 60}
    rows = [row_of("crashed", workload="gpt2", **words[0]), *(row_of(**TIMES, **word) for word in words[1:])]
    (tmp_path / "page.html").write_text(page(to_frame([*ROWS, *rows])))
    seen = Browser().layout(tmp_path / "page.html", 420)
    assert seen.scroll_width <= seen.width


def test_a_page_that_is_too_wide_would_be_seen(of_store, tmp_path):
    text = (of_store / "report.html").read_text()
    (tmp_path / "planted.html").write_text(text.replace("<main>", f"<main>{'x' * 400}"))
    seen = Browser().layout(tmp_path / "planted.html", 420)
    assert seen.scroll_width > seen.width


def test_a_browser_would_say_of_a_request_and_of_an_error(of_store, tmp_path):
    planted = tmp_path / "planted.html"
    text = (of_store / "report.html").read_text()
    without_policy = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    bad = '<img src="http://127.0.0.1:9/x.png"><script>throw new Error("planted")</script></body>'
    planted.write_text(without_policy.replace("</body>", bad))
    seen = Browser().open(planted)
    assert any("planted" in error for error in seen.errors)
    assert any("127.0.0.1:9" in request for request in seen.requests)


@pytest.mark.parametrize("planted", ["<p style='color: red'>", "<style>p { color: red }</style>", "<script>1</script>"])
def test_a_browser_obeys_the_policy_and_says_so(of_store, tmp_path, planted):
    (tmp_path / "planted.html").write_text((of_store / "report.html").read_text().replace("</body>", planted))
    (error,) = Browser().open(tmp_path / "planted.html").errors
    assert "Content Security Policy directive" in error
