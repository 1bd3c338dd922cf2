"""A real server on loopback, measured by a run: `tox -e service`. It prints what it saw; no time is asserted."""

import pytest

pytest.importorskip("transformers", reason="a server of its own: tox -e service")
pytest.importorskip("uvicorn", reason="a server of its own: tox -e service")

from bench.service_cell import ServiceCell
from bench.serving.verified.ask import NotVerifiable, texts_of
from results.record.run import latest_run, read_run
from results.show.services.text import services_text
from samestep.__main__ import main
from tests.fakes.door import bench
from tests.fakes.real_server import make_model, real_server

TOKENS, PROMPT = 24, 64
SCENARIOS = "single_stream,multi_stream,offline,concurrency:4,server:1"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("served") / "model")


@pytest.fixture(scope="module")
def server(model):
    with real_server(model, model.parent / "server.log") as url:
        yield url


@pytest.fixture(scope="module")
def run(server, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    asked = ("--service", server, "--service-model", str(model), "--scenario", SCENARIOS)
    lengths = ("--service-prompt", str(PROMPT), "--service-output", str(TOKENS), "--service-requests", "8")
    optional = ("--service-field", "ignore_eos=true")
    done = bench(*asked, *lengths, *optional, "--results-dir", str(folder), cwd=folder)
    print(done.stdout)
    return read_run(latest_run(folder))


def test_every_scenario_is_answered(run):
    """On a busy machine Poisson arrivals may be refused, for our own client was late: that is an answer, too."""
    came = {row["scenario"]: (row["status"], row["reason"]) for row in run.services}
    if "our client sent late" in (came["server:1"][1] or ""):
        del came["server:1"]
    assert came == dict.fromkeys([name for name in SCENARIOS.split(",") if name in came], ("ok", None))
    print(services_text(run.services, 200))


def test_prompts_and_answers_are_as_long_as_asked(run):
    of_one = [row for row in run.services if row["scenario"] != "multi_stream" and row["status"] == "ok"]
    assert [(row["n_failed"], row["n_mismatch"]) for row in of_one] == [(0, 0)] * len(of_one)


def test_tokens_are_counted_by_usage_at_the_end(run):
    """It tells no token ids, no log-probabilities, and usage once: so no time between tokens is claimed."""
    row = next(row for row in run.services if row["scenario"] == "single_stream")
    assert row["counted_by"] == "usage"
    assert "no_done" in row["notes"]
    assert row["itl_s_n"] == 0
    assert row["tpot_s_n"] == 0
    assert row["tpot_first_one_s_n"] == 8
    assert row["icl_s_n"] > 0


def test_a_field_that_it_refuses_is_dropped_and_said(run):
    assert {row["dropped_fields"] for row in run.services if row["status"] == "ok"} == {"ignore_eos"}


def test_chat_is_measured_from_the_command_line(server, model, capsys):
    words = ("--kind", "chat", "--prompt-tokens", str(PROMPT), "--max-tokens", str(TOKENS), "--requests", "4")
    assert main(["service", server, "--model", str(model), *words]) == 0
    with capsys.disabled():
        print(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("kind", "said"), [("completions", "prompt must be a string"), ("chat", "the server tells no log-probabilities")]
)
def test_what_it_computes_cannot_be_verified(server, model, kind, said):
    """It takes no token ids, and log-probabilities not at all (`logprobs=None`, transformers 5.24)."""
    cell = ServiceCell(url=server, model=str(model), kind=kind, prompt_tokens=20, output_tokens=8)
    with pytest.raises(NotVerifiable, match=said):
        texts_of(cell, 259, "before")


def test_a_model_that_it_does_not_have_is_broken(server, capsys):
    assert main(["service", server, "--model", "no/such", "--requests", "1"]) == 1
    assert "broken: the endpoint does not answer: " in capsys.readouterr().err  # 400 was seen, and 500
