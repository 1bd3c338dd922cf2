"""`samestep run --service`: rows of services in a run, apart from verified ones, with the key in none of them."""

import json
import os
import signal
from dataclasses import replace
from time import monotonic, sleep

import pytest

from bench.parent import services
from bench.parent.plans.parse import PlanError
from bench.parent.plans.services import services_of
from bench.service_cell import ServiceCell
from bench.serving.answer import Answer
from bench.serving.definitions import DEFINITIONS, OVER_ALL, PER_ANSWER, POOLED
from bench.serving.service import load
from bench.serving.service import measure as measuring
from bench.serving.service.batched import Batched
from bench.serving.streamed import ERRORS
from results.__main__ import main as results_main
from results.record.files import ResultsError
from results.record.journal import Journal
from results.record.services import columns
from results.record.services.columns import COLUMN, LATENCIES, VERIFICATION
from results.record.services.csvfile import read_services, services_csv, write_services
from results.record.services.row import make_service_row
from results.tables.services.compare import beside_decoding, compared
from tests.fakes.door import bench, run_in
from tests.fakes.openai_server import Script, Server
from tests.fakes.searches import SHORT
from tests.test_openai_key import KEY, is_told

SCENARIOS = "single_stream,multi_stream,offline,concurrency:4"
WORDS = ("--service-vocabulary", "500", "--service-prompt", "20", "--service-output", "8", "--service-requests", "6")


def asked_of(server, *more):
    return ("--service", server.url, "--service-model", "m", *WORDS, *more)


def row(**more):
    known = {"service": "http://h/v1", "model": "m", "scenario": "single_stream", "source": "samestep 0"}
    return make_service_row(**known | {"status": "ok", "n_requests": 3, "n_failed": 0} | more)


def cell(url, **more):
    known = {"vocabulary": 500, "prompt_tokens": 20, "output_tokens": 8, "requests": 6}
    return ServiceCell(url=url, model="m", **known | more)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "runs"
    folder.mkdir()
    with Server(Script(tokens=8, tells=("token_ids",), delays_s=(0.005,))) as server:
        words = asked_of(server, "--scenario", SCENARIOS, "--service-key-env", "MY_KEY")
        done = bench(*words, "--results-dir", str(folder), cwd=folder.parent, MY_KEY=KEY)
        heads = [request.head for request in server.requests]
    return folder, done, run_in(folder), heads


def test_a_run_of_a_service_alone_has_its_rows_and_no_cell(run):
    _, done, found, _ = run
    assert done.returncode == 0, done.stdout
    assert found.rows == ()
    assert {one["scenario"]: one["status"] for one in found.services} == dict.fromkeys(SCENARIOS.split(","), "ok")
    assert {one["verification"] for one in found.services} == {VERIFICATION}
    assert {one["run_id"] for one in found.services} == {found.header["run_id"]}
    assert found.problems == ()


def test_each_row_has_the_numbers_of_its_scenario(run):
    rows = {one["scenario"]: one for one in run[2].services}
    assert {name: one["n_requests"] for name, one in rows.items()} == dict.fromkeys(rows, 6)
    assert rows["single_stream"]["itl_s_n"] == 6 * 7
    assert rows["concurrency:4"]["in_flight"] == 4
    assert rows["multi_stream"]["samples_per_s"] == pytest.approx(8 * rows["multi_stream"]["requests_per_s"])
    assert (rows["multi_stream"]["ttft_s_n"], rows["multi_stream"]["n_mismatch"]) == (0, 0)
    assert rows["offline"]["output_tokens_per_s"] > rows["single_stream"]["output_tokens_per_s"]


def test_the_csv_beside_the_journal_says_the_same(run):
    folder, _, found, _ = run
    (path,) = folder.glob("*/services.csv")
    assert read_services(path) == found.services


def test_the_key_is_sent_and_stands_in_no_file_and_no_line(run):
    folder, done, _, heads = run
    assert all(f"Authorization: Bearer {KEY}\r\n" in head for head in heads)
    texts = [done.stdout, done.stderr, *(path.read_text() for path in folder.rglob("*") if path.is_file())]
    assert len(texts) > 4
    assert [text for text in texts if is_told(text)] == []


def test_services_stand_apart_in_the_table(run, capsys):
    assert results_main(["table", str(next(run[0].iterdir()))]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Services, verification none: a service.")
    assert "concurrency:4" in shown
    assert "are in no ratio with the above" in shown


def test_the_same_services_are_compared_without_an_interval(run, capsys):
    path = next(run[0].iterdir())
    assert results_main(["compare", str(path), str(path / "services.csv")]) == 0
    shown = capsys.readouterr().out
    assert "one measurement a side, without an interval" in shown
    assert "1.00x" in shown


def test_what_fails_is_a_row_and_a_failure_of_the_run(tmp_path):
    with Server(Script(mode="status", status=401, reply=f"wrong key {KEY}")) as server:
        done = bench(*asked_of(server), "--results-dir", str(tmp_path), cwd=tmp_path, OPENAI_API_KEY=KEY)
    (found,) = run_in(tmp_path).services
    assert done.returncode == 1
    assert found["status"] == "broken"
    assert "http_4xx" in found["reason"]
    assert not is_told(done.stdout + done.stderr + json.dumps(found))


def test_where_nobody_listens_it_is_unavailable():
    found = services.measured(cell("http://127.0.0.1:9/v1"), _devnull(), 60)
    assert (found["status"], "n_requests" in found) == ("unavailable", False)


def _devnull():
    from pathlib import Path

    return Path(os.devnull)


def test_a_client_that_hangs_is_ended(tmp_path):
    """The server stalls for longer than the client may take."""
    with Server(Script(mode="stall", tokens=8)) as server:
        found = services.measured(cell(server.url, timeout_s=300), tmp_path / "log", 2.0)
    assert (found["status"], found["reason"]) == ("timeout", "our client did not end within 2 s")


def test_a_client_that_is_killed_is_a_crash(tmp_path, monkeypatch):
    communicate = services.subprocess.Popen.communicate

    def killed(process, *given, **more):
        os.kill(process.pid, signal.SIGKILL)
        return communicate(process, *given, **more)

    monkeypatch.setattr(services.subprocess.Popen, "communicate", killed)
    found = services.measured(cell("http://127.0.0.1:9/v1"), tmp_path / "log", 60)
    assert found["status"] == "crashed"
    assert "SIGKILL" in found["reason"]


def test_a_mistake_of_the_client_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(services, "CHILD", "bench/nothing_of_that_name.py")
    assert services.measured(cell("http://127.0.0.1:9/v1"), tmp_path / "log", 60)["status"] == "error"


def test_a_client_that_sends_late_is_refused(monkeypatch):
    """Its lag is above 5 % of the shortest answer: the latencies at that rate would be ours."""
    start = measuring.OpenAITarget.start

    def late(target, number, due_s, done):
        until_s = monotonic() + 0.03
        while monotonic() < until_s:
            sleep(0.005)
        start(target, number, due_s, done)

    monkeypatch.setattr(measuring.OpenAITarget, "start", late)
    with Server(Script(tokens=8, tells=("token_ids",), delays_s=(0.005,))) as server:
        found = measuring.measure(cell(server.url, scenario="server:200"))
    assert found["status"] == "refused"
    assert "our client sent late" in found["reason"]
    assert "e2e_s_p50" not in found


def test_the_highest_rate_of_a_service_is_searched(monkeypatch):
    """The last trial is the row's; late trials of a busy machine would refuse it, which is another test."""
    monkeypatch.setattr("bench.serving.rate_search.why_late", lambda answers, bound_s: "")
    monkeypatch.setattr(load, "PLAN", SHORT)
    with Server(Script(tokens=8, tells=("token_ids",), delays_s=(0.002,))) as server:
        bounds = {"e2e_from_due_s": 0.5, "ttft_s": 0.5}
        asked = cell(server.url, scenario="server:max", requests=SHORT.queries, bounds=bounds)
        found = measuring.measure(asked)
        prompts = [request.body["prompt"] for request in server.requests]
    assert found["status"] == "ok", found
    assert found["search_n"] >= SHORT.queries - SHORT.confirming_queries
    assert found["offline_per_s"] > 0
    assert found["highest_rate_per_s"] or "the throughput decides" in found["notes"]
    assert len({tuple(prompt) for prompt in prompts[1:]}) == len(prompts) - 1  # no trial sends another's prompts


def test_mlperf_keeps_its_least_duration_and_queries(monkeypatch):
    least = {name: replace(one, duration_s=0.3) for name, one in load.MINIMUM.items()}
    monkeypatch.setattr(load, "MINIMUM", least)
    with Server(Script(tokens=1, tells=("token_ids",))) as server:
        found = measuring.measure(cell(server.url, output_tokens=1, requests=2, mlperf=True))
    assert found["n_requests"] >= 64
    assert found["duration_s"] >= 0.3
    assert found["early_stopping_latency_s"] >= found["e2e_s_p90"]


def test_a_request_of_several_samples_ends_with_its_slowest_and_fails_with_any():
    sent = []

    class Parts:
        def start(self, number, due_s, done):
            sent.append(number)
            error = "timeout" if number == 6 else ""
            done(Answer(due_s, due_s + 0.1, due_s + 1.0 + number % 4, tokens=8, error=error))

    answers = []
    for number in range(2):
        Batched(Parts(), 4).start(number, 5.0, answers.append)
    assert sent == [*range(8)]
    assert [(one.samples, one.sent_s, one.end_s, one.tokens) for one in answers] == [(4, 5.1, 9.0, 32)] * 2
    assert [one.error for one in answers] == ["", "timeout"]


def options(**given):
    known = {f"--{name.replace('_', '-')}": value for name, value in given.items()}
    return services_of(known.get)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"service_model": "m"}, "--service-model without --service URL"),
        ({"service": "http://h/v1"}, "--service needs --service-model NAME"),
        ({"scenario": "server"}, "scenario 'server'"),
        ({"scenario": "burst:3"}, "unknown scenario 'burst:3'; known: single_stream, multi_stream, offline"),
        ({"scenario": "concurrency:0"}, "clients and samples are 1 or more"),
        ({"scenario": "offline,offline"}, "--scenario has one twice"),
        ({"scenario": "server:max"}, "server:max is the highest rate within a bound: say one"),
        (
            {"scenario": "server:max", "service_bound": "ttft_s=1"},
            "4,401 requests or more, and 5,921 are usual",
        ),
        ({"scenario": "concurrency:2", "mlperf": True}, "--mlperf is for the scenarios SingleStream"),
        ({"service_requests": "many"}, "--service-requests takes a whole number, got 'many'"),
        ({"service_requests": "0"}, "requests is 0; expected 1 to 10,000,000"),
        ({"service_bound": "latency=1"}, "no bound can be set on latency"),
        ({"service_field": ["a=yes"]}, "a field's value is JSON"),
        ({"service": f"http://user:{KEY}@h/v1"}, "a key belongs in the environment"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_runs(given, said):
    known = {} if "service_model" in given else {"service": "http://h/v1"}
    named = {} if given == {"service": "http://h/v1"} or "service_model" in given else {"service_model": "m"}
    with pytest.raises(PlanError) as refused:
        options(**known | named | given)
    assert said in str(refused.value)
    assert not is_told(str(refused.value))


def test_without_a_service_nothing_is_asked():
    assert options() == ()


def test_the_columns_are_those_of_the_definitions():
    """`results` knows no other room: the two lists are held together here."""
    assert {*LATENCIES} == {*PER_ANSWER, *POOLED}
    assert {*DEFINITIONS} <= {*COLUMN}
    assert {name: COLUMN[name].unit for name in OVER_ALL} == {name: unit for name, (unit, _) in OVER_ALL.items()}
    assert {*columns.STATISTICS} == {"n", "mean", "p50", "p90", "p99"}


def test_failures_by_class_are_those_of_the_client():
    assert {"refused_429", "broken_stream", "timeout"} <= {*ERRORS}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"verification": "passed"}, "verification is 'passed'; expected 'none: a service'"),
        ({"verification": "wrong"}, "these do not go together"),
        ({"status": "not_needed"}, "unknown status 'not_needed'"),
        ({"n_failed": 3}, "of 3 requests 3 failed; expected a whole answer"),
        ({"status": "unavailable"}, "reason is missing"),
        ({"status": "unavailable", "reason": "x"}, "only an answered service has numbers"),
        ({"source": None}, "source missing"),
        ({"ttft_s_p50": -1.0}, "ttft_s_p50 is -1.0; expected 0 or more"),
    ],
)
def test_what_no_row_can_be_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        row(**given)


def test_a_service_that_the_run_did_not_come_to_has_a_row(tmp_path):
    header = {"machine": {"name": "m", "machine_id": "0" * 12}, "versions": {}, "options": {}, "started_utc": "now"}
    journal = Journal.create(tmp_path, "20261130T070000Z-m-0000", header)
    both = [{"run_id": journal.run_id, "service": "http://h/v1", "model": "m", "source": "samestep 0"}] * 2
    planned = [one | {"scenario": name} for one, name in zip(both, ("single_stream", "offline"), strict=True)]
    journal.plan([], planned)
    journal.service(row(**planned[0], ttft_s_p50=0.1))
    journal.end("stopped", "interrupted")
    journal.close()
    found = run_in(tmp_path).services
    assert [(one["scenario"], one["status"]) for one in found] == [("single_stream", "ok"), ("offline", "not_run")]
    assert found[1]["reason"] == "the run ended first: stopped"


def test_a_csv_of_services_reads_back_and_refuses_what_is_none(tmp_path):
    path = tmp_path / "any.csv"
    rows = (row(notes="=1+1", ttft_s_p50=0.1, n_failed=1, failures="refused_429:1"), row(scenario="offline"))
    write_services(rows, path)
    assert read_services(path) == rows
    assert ",'=1+1," in path.read_text()
    path.write_text(services_csv(rows).replace("0.1", "soon"))
    with pytest.raises(ResultsError, match=r"line 2: ttft_s_p50 is 'soon'; expected a number"):
        read_services(path)


def test_only_the_same_work_of_one_tool_is_compared():
    ours = row(ttft_s_p50=0.2, output_tokens_per_s=10.0)
    faster = row(ttft_s_p50=0.1, output_tokens_per_s=30.0)
    assert [(one.metric, one.ratio) for one in compared([ours], [faster])] == [
        ("ttft_s_p50", 2.0),
        ("output_tokens_per_s", 3.0),
    ]
    assert compared([ours], [row(ttft_s_p50=0.1, source="aiperf 1")]) == []
    assert compared([ours], [row(ttft_s_p50=0.1, output_tokens_asked=9)]) == []
    assert len(compared([ours], [row(ttft_s_p50=0.1, service="http://other/v1")], across=["service"])) == 1


def test_a_service_is_beside_verified_decode_steps_only_where_it_has_a_time_per_token():
    step = {"depth": 128, "verification": "passed", "latency_p50_s": 0.02}
    others = [step | {"depth": None}, step | {"verification": None}, step | {"latency_p50_s": None}]
    assert [one.ratio for one in beside_decoding([row(tpot_s_p50=0.05)], [step, *others])] == [2.5]
    assert beside_decoding([row()], [step]) == []
