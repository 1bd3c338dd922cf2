"""The report: complete without JavaScript or network, failures first, numbers linked to their rows, nothing run."""

import hashlib
import json
import re
from base64 import b64encode
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from results.__main__ import main
from results.nights.history import history
from results.record.vocabulary import STATUSES
from results.show.report import svg
from results.show.report.page import page
from results.tables.table import to_frame
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


def test_dollars_are_on_the_page_with_their_source_or_the_reason_why_not(monkeypatch, of_rows, tmp_path):
    assert "No dollars: " in of_rows
    prices = tmp_path / "prices.csv"
    text = (Path(svg.__file__).parents[2] / "tables" / "prices.csv").read_text().splitlines()
    made_up = dict.fromkeys(text[0].split(","), "") | {"name": "lab", "kind": "cloud", "machine": "machine"}
    made_up |= {"devices": "1", "region": "here", "usd_per_hour": "3.6", "source": "a bill"}
    made_up |= {"retrieved": "2026-11-01", "confidence": "own"}
    prices.write_text(f"{text[0]}\n{','.join(made_up.values())}\n")
    monkeypatch.setenv("SAMESTEP_PRICES", str(prices))
    priced = page(to_frame(ROWS))
    assert "No dollars: " not in priced
    assert "a bill, read 2026-11-01 (own)" in priced
    assert '<td class="n">$1.00</td><td class="n">$0.250</td>' in priced  # 1e-3 USD/s by 1e6 samples at 1000/s


def test_what_a_cell_lacks_is_not_named(of_store):
    assert "&lt;NA&gt;" not in (of_store / "report.html").read_text()


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
    versions = json.dumps({"torch\u202e": "2"})
    assert versions.isascii()  # what JSON escapes comes as far as the page
    whole = row_of(library_versions=versions)
    # A row has none of them; should one come from elsewhere, it is shown as what it is.
    crashed = {**row_of("crashed", workload="gpt2"), "reason": reason}
    text = page(to_frame([whole, crashed]))
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


def test_who_cannot_be_told_from_the_fastest_is_named_with_it():
    """Two backends that swap places from round to round, and one that is behind in each."""
    rounds = {
        "torch_cpu": "0:1.0 1:1.1 2:1.0 3:1.1 4:1.0 5:1.1 6:1.0 7:1.1",
        "jax_cpu": "0:1.1 1:1.0 2:1.1 3:1.0 4:1.1 5:1.0 6:1.1 7:1.0",
        "openvino_cpu": "0:2.0 1:2.1 2:2.0 3:2.1 4:2.0 5:2.1 6:2.0 7:2.1",
    }
    of_group = {"group_id": "g", "latency_ci_low_s": 1.0, "latency_ci_high_s": 1.1}
    rows = [row_of(backend=b, latency_p50_s=1.05, rounds_latency_s=text, **of_group) for b, text in rounds.items()]
    text = page(to_frame(rows))
    assert re.search(r"<td>(torch_cpu, jax_cpu|jax_cpu, torch_cpu) \(within \d+\s%\)</td>", text)
    assert "1.05 s ±5%" in text


@pytest.mark.parametrize("status", [status for status in STATUSES if status != "ok"])
def test_a_cell_of_any_status_is_on_the_page(status):
    assert "for a reason" in page(to_frame([row_of(), row_of(status, backend="jax_cpu", reason="for a reason")]))


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


def test_a_night_on_which_nobody_ran_is_a_page(store, tmp_path):
    arguments = ["report", str(store), "--output", str(tmp_path / "a.html"), "--csv-dir", str(tmp_path)]
    (tmp_path / "expected.txt").write_text("alpha\nbeta\ngamma\n")
    arguments += ["--until", str(FIRST + timedelta(30)), "--machines", str(tmp_path / "expected.txt")]
    assert main(arguments) == 0
    text = (tmp_path / "a.html").read_text()
    assert re.findall(r'<section id="(\w+)"', text) == ["failures", "histories"]
    assert text.count("No machine ran in the night 2026-10-01") == 3
    assert text.count("did not run in the newest night; last on") == 2
    assert '<b>gamma</b></td><td class="why">never ran' in text
    found = Page(text)
    assert {link.removeprefix("#") for link in found.links} <= set(found.ids)
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 1
    later = [*arguments[:-3], "2030-01-01", "--baseline", "torch_cpu"]
    assert main(later) == 0
    text = (tmp_path / "a.html").read_text()
    assert re.findall(r'<section id="(\w+)"', text) == ["failures"]
    assert "Nothing: every planned cell" not in text


def test_the_page_is_of_the_night_and_the_acknowledgements_that_are_asked_for(store, tmp_path, capsys):
    arguments = ["report", str(store), "--output", str(tmp_path / "a.html"), "--csv-dir", str(tmp_path)]
    assert main([*arguments, "--until", str(FIRST + timedelta(26))]) == 0
    rows = (tmp_path / "rows.csv").read_text()
    assert set(re.findall(r"(\d{8})T\d{6}Z-(\w+)-", rows)) == {("20260927", "alpha"), ("20260927", "beta")}
    (alarm,) = history(store).alarms["alarm_id"]
    (tmp_path / "known.csv").write_text(f"alarm_id,day,by,note\n{alarm},2026-10-01,me,wanted\n")
    assert main([*arguments, "--acknowledged", str(tmp_path / "known.csv")]) == 0
    assert "2026-10-01 me: wanted" in (tmp_path / "alarms.csv").read_text()
    assert "Confirmed regressions" not in (tmp_path / "a.html").read_text()
    (run,) = store.glob("20260927T*-beta-*")
    assert main(["report", str(run), "--output", str(tmp_path / "a.html"), "--until", "2026-09-27"]) == 2
    assert "--until is of a store's nights" in capsys.readouterr().err


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


def test_the_test_of_the_page_sees_what_it_looks_for():
    found = Page('<a href="#x"></a><img src="http://e/x"><script></script><p onclick="x()" id="y" style="">')
    assert (found.scripts, found.styled, found.fetched) == (2, 1, ["http://e/x"])
    assert (found.links, found.ids) == (["#x"], ["y"])


def test_what_is_emulated_is_marked():
    text = page(to_frame([row_of(precision="bf16", precision_requested="bf16", is_emulated=True), row_of()]))
    assert len(re.findall(r"1\.00 ms e\b", text)) >= 2  # the fastest, and its row
    assert "e: emulated" in text
