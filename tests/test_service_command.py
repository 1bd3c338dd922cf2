"""`samestep service`: a fake endpoint measured from the command line; what goes wrong is said in a line."""

import csv
import json

import pytest

from samestep.__main__ import main
from tests.fakes.openai_server import Script, Server


@pytest.fixture
def served():
    servers = []

    def of(**script):
        server = Server(Script(**script))
        servers.append(server)
        server.__enter__()
        return server

    yield of
    for server in servers:
        server.__exit__(None, None, None)


def service(server, *words):
    return main(["service", server.url, "--model", "m", "--prompt-tokens", "40", "--salt", "s", *words])


IDS = ("--vocabulary", "500", "--max-tokens", "8")


@pytest.mark.parametrize("load", [(), ("--concurrency", "4"), ("--rate", "200")], ids=["single", "four", "poisson"])
def test_an_endpoint_is_measured_and_nothing_is_claimed_of_what_it_computes(served, tmp_path, capsys, load):
    if load[:1] == ("--rate",):
        load = (*load, "--bound", "e2e_s=60")
    server = served(tokens=8, tells=("token_ids",), delays_s=(0.02,))
    files = ("--csv", str(tmp_path / "a.csv"), "--json", str(tmp_path / "a.json"))
    status = service(server, *IDS, "--requests", "12", *load, *files)
    printed = capsys.readouterr()
    if status and "our client sent late" in printed.err:
        pytest.skip("the machine was too busy to send in time, and the command said so")
    assert status == 0
    record = json.loads((tmp_path / "a.json").read_text())
    assert (record["n_requests"], record["n_failed"], record["n_mismatch"]) == (12, 0, 0)
    assert record["counted_by"] == "token_ids"
    assert record["verification"] == "none: a service"
    assert record["itl_s_n"] == 12 * 7
    assert record["ttft_s_p50"] <= record["ttft_s_p99"] < record["e2e_s_p99"]
    (row,) = csv.DictReader((tmp_path / "a.csv").read_text().splitlines())
    assert float(row["tpot_s_p50"]) == record["tpot_s_p50"]
    assert "is not proven" in printed.out
    assert "none failed" in printed.out


def test_failures_are_counted_by_class_and_in_the_exit_status(served, capsys):
    server = served(mode="abort", tokens=8)
    assert service(server, *IDS, "--requests", "3") == 1
    assert "does not answer: broken_stream" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--bound", "latency=3"), "no bound can be set on latency; known: ttft_s"),
        (("--bound", "ttft_s"), "expected NAME=VALUE, got 'ttft_s'"),
        (("--field", "ignore_eos=yes"), "a field's value is JSON"),
        (("--field", "a=NaN"), "a field's value is JSON"),
        (("--field", f"a={'[' * 10**5}"), "a field's value is JSON"),
        (("--bound", "ttft_s=nan"), "the bound on ttft_s is nan; expected seconds above 0"),
        (("--bound", "ttft_s=-1"), "the bound on ttft_s is -1; expected seconds above 0"),
        (("--bound", "ttft_s=soon"), "the bound on ttft_s is a number of seconds, such as 0.5; got 'soon'"),
        (("--bound", "ttft_s=1", "--bound", "ttft_s=2"), "a bound stands there twice: ttft_s=1, ttft_s=2"),
        (("--requests", "0"), "requests is 0; expected 1 to 10,000,000"),
        (("--requests", "1000000000000"), "expected 1 to 10,000,000"),
        (("--prompt-tokens", "1000000000000"), "prompt_tokens is 1000000000000; expected 1 to 10,000,000"),
        (("--max-tokens", "1000000000000"), "output_tokens is 1000000000000; expected 1 to 10,000,000"),
        (("--vocabulary", "1"), "the vocabulary has 1 ids; expected 2 or more"),
        (("--rate", "-1"), "a rate is a number of requests per second above 0, got -1.0"),
        (("--rate", "inf"), "a rate is a number of requests per second above 0, got inf"),
        (("--scenario", "server:fast"), "expected a number behind the colon, got 'fast'"),
        (("--scenario", "concurrency:1.5"), "expected a whole number behind the colon, got '1.5'"),
        (("--timeout", "nan"), "above 0, not 64 and nan"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_sent(capsys, words, said):
    with pytest.raises(SystemExit) as ended:
        main(["service", "http://127.0.0.1:9/v1", "--model", "m", *words])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_where_nobody_listens_it_is_said(capsys):
    assert main(["service", "http://127.0.0.1:9/v1", "--model", "m", *IDS]) == 1
    assert "samestep service: " in capsys.readouterr().err


@pytest.mark.parametrize("form", ["csv", "json"])
def test_numbers_that_cannot_be_written_are_printed_and_that_is_said(served, capsys, tmp_path, form):
    server = served(tokens=8, tells=["token_ids"])
    assert service(server, *IDS, "--requests", "2", f"--{form}", str(tmp_path / "none" / "numbers")) == 2
    told = capsys.readouterr()
    assert "none failed" in told.out
    assert "the numbers are not written: " in told.err
