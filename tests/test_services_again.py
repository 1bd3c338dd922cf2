"""Services in what is done with a run afterwards: it goes on where it stopped, is compared, and is a page."""

import signal
import subprocess

import pytest

from results.__main__ import main as results_main
from results.record.csvfile import write_csv
from results.record.services.csvfile import CSV_NAME, read_services, write_services
from results.record.services.row import make_service_row
from tests.fakes.door import bench, command, environment, run_in, wait_for
from tests.fakes.openai_server import Script, Server

SCENARIOS = ("single_stream", "concurrency:4", "offline")
WORDS = ("--service-vocabulary", "500", "--service-prompt", "20", "--service-output", "8", "--service-requests", "6")


def asked_of(server):
    return ("--service", server.url, "--service-model", "m", "--scenario", ",".join(SCENARIOS), *WORDS)


def row(**more):
    known = {"service": "http://h/v1", "model": "m", "scenario": "single_stream", "source": "samestep 0"}
    return make_service_row(**known | {"status": "ok", "n_requests": 3, "n_failed": 0} | more)


def test_an_interrupted_run_goes_on_with_the_services_that_it_did_not_come_to(tmp_path):
    """Stopped in the second scenario of three, when its first request has come."""
    with Server(Script(tokens=8, tells=("token_ids",), delays_s=(0.3,))) as server:
        words = command(*asked_of(server), "--results-dir", str(tmp_path))
        with subprocess.Popen(
            words, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            assert wait_for(
                lambda: len(server.requests) > 8
            )  # seven of the first scenario, one that looks, one of the load
            process.send_signal(signal.SIGINT)
            process.wait(60)
        before = {one["scenario"]: one for one in run_in(tmp_path).services}
        done_before = [name for name, one in before.items() if one["status"] == "ok"]
        n_before = len(server.requests)
        done = bench("--resume", str(run_in(tmp_path).path), cwd=tmp_path)
        n_more = len(server.requests) - n_before
    assert 1 <= len(done_before) < len(SCENARIOS), before
    assert done.returncode == 0, done.stdout
    after = {one["scenario"]: one for one in run_in(tmp_path).services}
    assert {name: one["status"] for name, one in after.items()} == dict.fromkeys(SCENARIOS, "ok")
    assert {name: after[name] for name in done_before} == {name: before[name] for name in done_before}
    assert n_more == (len(SCENARIOS) - len(done_before)) * 7  # six requests each, behind one that looks who is there
    assert read_services(run_in(tmp_path).path / CSV_NAME) == run_in(tmp_path).services


def test_a_run_whose_services_are_done_sends_nothing_when_it_is_resumed(tmp_path):
    with Server(Script(tokens=8, tells=("token_ids",))) as server:
        assert bench(*asked_of(server), "--results-dir", str(tmp_path), cwd=tmp_path).returncode == 0
        n_before = len(server.requests)
        bench("--resume", str(run_in(tmp_path).path), cwd=tmp_path)
        assert len(server.requests) == n_before
    assert len(run_in(tmp_path).services) == len(SCENARIOS)


@pytest.fixture
def sides(tmp_path):
    """Returns the folders of two runs without journals, as they travel: an empty CSV of cells, and one of services."""
    found = []
    for name, factor in (("before", 1.0), ("after", 0.5)):
        (tmp_path / name).mkdir()
        write_csv((), tmp_path / name / "results.csv")
        rows = [
            row(ttft_s_p50=0.2 * factor, output_tokens_per_s=10 / factor),
            row(scenario="offline", ttft_s_p50=0.4) if name == "before" else row(scenario="server:2", ttft_s_p50=0.1),
        ]
        write_services(rows, tmp_path / name / CSV_NAME)
        found.append(str(tmp_path / name))
    return found


def test_the_services_of_two_runs_are_compared_where_they_did_the_same(sides, capsys):
    assert results_main(["compare", *sides]) == 0
    shown = capsys.readouterr().out
    assert "one measurement a side, without an interval" in shown
    lines = [line.split() for line in shown.splitlines() if line.startswith("m ")]
    assert [(line[1], line[2], line[-1]) for line in lines] == [
        ("single_stream", "ttft_s_p50", "2.00x"),
        ("single_stream", "output_tokens_per_s", "2.00x"),
    ]


def test_another_service_is_compared_where_that_is_asked_for(sides, tmp_path, capsys):
    write_services([row(service="http://other/v1", ttft_s_p50=0.1)], tmp_path / "after" / CSV_NAME)
    results_main(["compare", *sides])
    assert "ttft_s_p50" not in capsys.readouterr().out
    assert results_main(["compare", *sides, "--across", "service"]) == 0
    assert "2.00x" in capsys.readouterr().out


PROVEN = {
    "verification": "logprobs: 64, of 64 tokens, are off by 0.01 in root mean square, 0.16 allowed (bf16)",
    "model_is": "llama:135m",
    "weights_sha256": "0" * 64,
    "precision": "bf16",
    "logprobs_compared": 64,
    "logprobs_rms": 0.01,
    "logprobs_allowed": 0.16,
}


def test_services_are_on_the_page_apart_and_with_what_is_known_of_them(tmp_path):
    rows = [
        row(ttft_s_p50=0.2, requests_per_s=3.0, model="<b>m</b>"),
        row(scenario="offline", **PROVEN),
        row(scenario="server:2", status="refused", reason="our client sent late", n_requests=None, n_failed=None),
        row(
            **PROVEN | {"verification": "wrong"},
            scenario="concurrency:4",
            status="wrong",
            reason="it is not that model",
            n_requests=None,
            n_failed=None,
        ),
    ]
    write_services(rows, tmp_path / CSV_NAME)
    assert results_main(["report", str(tmp_path / CSV_NAME), "--output", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    section = page[page.index('<section id="services">') :]
    assert "No cell was measured, and nothing here is verified." in page
    assert "&lt;b&gt;m&lt;/b&gt;" in section
    assert "<b>m" not in section
    assert "200 ms" in section
    assert "logprobs: 64, of 64 tokens" in section
    assert 'class="bad">wrong' in section
    assert "it is not that model" in section
    assert 'class="bad">refused' in section


def test_the_table_says_which_services_are_verified(tmp_path, capsys):
    write_services([row(ttft_s_p50=0.2), row(scenario="offline", **PROVEN)], tmp_path / CSV_NAME)
    assert results_main(["table", str(tmp_path / CSV_NAME)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Of those that say so below, log-probabilities are those of our reference" in shown
    assert "m at http://h/v1, offline: is llama:135m: verification logprobs: 64, of 64 tokens" in shown
    assert "single_stream: is" not in shown
