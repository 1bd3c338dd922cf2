"""A service whose weights are known, held against the reference by its log-probabilities; what is wrong is refused."""

import json
from dataclasses import replace

import pytest
from safetensors.numpy import save_file

from bench.service_cell import ServiceCell, known_model
from bench.serving.service.measure import measure
from bench.serving.verified.told import told_of
from bench.serving.verified.verify import verified
from results.record.services.row import make_service_row
from tests.fakes.door import bench, run_in
from tests.fakes.openai_server import Script, Server
from tests.fakes.served_llama import ServedLlama, drawn
from workloads.precision import PRECISIONS

OURS = drawn()[1]
RIGHT = ServedLlama(OURS)


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    workload, parameters = drawn()
    path = tmp_path_factory.mktemp("weights") / "llama.safetensors"
    save_file({spec.name: parameters[spec.name] for spec in workload.stored}, path)
    return known_model("llama:tiny", str(path), None)


def measured(known, model, tells=("token_ids", "logprobs"), **script):
    with Server(Script(model=model, tells=tells, **script)) as server:
        lengths = {"prompt_tokens": 20, "output_tokens": 16, "requests": 2, "vocabulary": 211}
        row = measure(ServiceCell(url=server.url, model="m", salt="s", known=known, **lengths))
    make_service_row(**row, source="samestep 0")
    json.dumps(row, allow_nan=False)  # how it leaves the process that measured it
    return row


@pytest.mark.parametrize(
    ("tells", "n"),
    [
        (("token_ids", "logprobs"), 64),
        (("token_ids", "logprobs", "names"), 64 * 5),
        (("logprobs", "names"), 64 * 5),
        (("logprobs",), 4 * 5),
    ],
    ids=["ids", "ids and names", "names", "neither"],
)
def test_a_right_service_is_verified(known, tells, n):
    row = measured(known, RIGHT, tells)
    assert (row["status"], row.get("reason")) == ("ok", None)
    assert row["verification"].startswith("logprobs: ")
    assert row["logprobs_compared"] >= n
    assert row["logprobs_rms"] <= row["logprobs_allowed"] / 2
    assert row["tokens_equal"] >= 0.9 * row["tokens_compared"]


@pytest.mark.parametrize("tells", [("token_ids", "logprobs"), ("logprobs",)], ids=["ids", "no ids"])
@pytest.mark.parametrize(
    ("model", "said"),
    [
        (ServedLlama(drawn(1)[1]), "log-probabilities are off by"),
        (replace(RIGHT, behind=1), "log-probabilities are off by"),
        (replace(RIGHT, left_out=2), "log-probabilities are off by"),
        (replace(RIGHT, temperature=0.8), "expected"),
    ],
    ids=["other weights", "other position", "truncated prompt", "temperature"],
)
def test_a_wrong_service_is_refused(known, model, said, tells):
    row = measured(known, model, tells)
    print(row.get("reason"), row.get("verification"))
    assert (row["status"], row["verification"]) == ("wrong", "wrong")
    assert said in row["reason"] or "token_ids" not in tells
    assert "e2e_s_p50" not in row


def test_another_precision_than_the_claimed_one_is_refused(known):
    row = measured(replace(known, precision=PRECISIONS["fp32"].name), RIGHT)
    assert row["status"] == "wrong"
    assert "in fp32: log-probabilities are off by" in row["reason"]


def test_the_precision_that_is_claimed_is_the_one_that_is_held(known):
    fp32 = PRECISIONS["fp32"]
    row = measured(
        replace(known, precision=fp32.name), replace(RIGHT, precision=fp32), ("token_ids", "logprobs", "names")
    )
    assert row["status"] == "ok"
    assert row["verification"].endswith("allowed (fp32)")
    assert row["logprobs_allowed"] < 1e-3


def chatted(known, model, tells):
    """Returns what is said of a chat whose load is left out: the fake counts no words."""
    with Server(Script(model=model, tells=tells, has_role=True)) as server:
        cell = ServiceCell(url=server.url, model="m", kind="chat", prompt_tokens=20, known=known)
        return verified(cell, known, lambda: {"status": "ok", "notes": ""})


def test_a_chat_is_verified_over_the_prompt_that_the_server_says_it_read(known):
    told = ("token_ids", "logprobs", "prompt_ids")
    assert chatted(known, RIGHT, told)["verification"].startswith("logprobs: ")
    assert chatted(known, ServedLlama(drawn(1)[1]), told)["status"] == "wrong"
    assert "does not tell the token ids of a chat's prompt" in chatted(known, RIGHT, ("logprobs",))["notes"]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ({"tells": ("token_ids",)}, "not verified: the server tells no log-probabilities"),
        ({"tells": ("token_ids",), "refused": ("logprobs",)}, "no log-probabilities, and refuses logprobs"),
        ({"tells": ("token_ids", "logprobs"), "model": "strange"}, "has token 999; the model's vocabulary has 211"),
    ],
)
def test_where_nothing_can_be_said_the_row_says_why_and_has_its_numbers(known, script, said):
    strange = ServedLlama(OURS, renamed=999)
    row = measured(known, strange if script.pop("model", "") else RIGHT, **script)
    assert (row["status"], row["verification"]) == ("ok", "none: a service")
    assert said in row["notes"]
    assert row["e2e_s_p50"] > 0


def test_a_tolerance_that_another_model_could_pass_verifies_nothing(known, monkeypatch):
    monkeypatch.setattr("bench.serving.verified.judge.FACTOR", 1000.0)
    row = measured(known, ServedLlama(drawn(1)[1]))
    assert row["verification"] == "none: a service"
    assert "another model could pass" in row["notes"]


def test_what_a_server_makes_worse_under_load_is_seen(known):
    """Right before the load, wrong behind it."""
    asked = []

    def model(prompt, n):
        asked.append(n)
        return (RIGHT if len(asked) < 4 else replace(RIGHT, behind=1))(prompt, n)

    row = measured(known, model)
    assert row["status"] == "wrong"


@pytest.mark.parametrize(
    ("name", "path", "precision", "said"),
    [
        ("llama:tiny", None, None, "give both"),
        (None, "x", None, "give both"),
        ("resnet50:tiny", "x", None, "no language model 'resnet50'"),
        ("llama:huge", "x", None, "unknown size 'huge'"),
        ("llama:tiny", "x", "int8", "no definition of a service in 'int8'"),
        ("llama:tiny", "/nowhere", None, "/nowhere"),
    ],
)
def test_what_cannot_be_a_known_model_is_refused_before_anything_runs(name, path, precision, said):
    with pytest.raises(ValueError, match=said):
        known_model(name, path, precision)


@pytest.mark.parametrize(("model", "status", "code"), [(RIGHT, "ok", 0), (ServedLlama(drawn(1)[1]), "wrong", 1)])
def test_a_run_verifies_its_service(known, tmp_path, model, status, code):
    with Server(Script(model=model, tells=("token_ids", "logprobs"))) as server:
        lengths = ("--service-vocabulary", "211", "--service-prompt", "20", "--service-output", "8")
        asked = ("--service", server.url, "--service-model", "m", "--service-requests", "2", *lengths)
        is_said = ("--service-model-is", "llama:tiny", "--service-weights", known.weights)
        done = bench(*asked, *is_said, "--results-dir", str(tmp_path), cwd=tmp_path)
    (row,) = run_in(tmp_path).services
    assert (done.returncode, row["status"]) == (code, status), done.stdout
    assert row["model_is"] == "llama:tiny"
    assert row["logprobs_compared"] == 4 * 8
    assert ("is llama:tiny: verification logprobs" in " ".join(done.stdout.split())) == (status == "ok")


def test_weights_of_another_size_are_refused(known):
    with pytest.raises(ValueError, match="expects"):
        known_model("llama:135m", known.weights, None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"verification": "logprobs: fine"}, "model_is, weights_sha256"),
        ({"verification": "wrong"}, "do not go together"),
        ({"status": "wrong", "reason": "x", "n_requests": None}, "expected 'wrong'"),
        ({"verification": "passed"}, "expected 'none: a service', 'logprobs: …' or 'wrong'"),
    ],
)
def test_a_row_claims_no_proof_that_it_does_not_have(given, said):
    known = {"service": "http://h/v1", "model": "m", "scenario": "offline", "source": "samestep 0", "status": "ok"}
    with pytest.raises(ValueError, match=said):
        make_service_row(**known | {"n_requests": 3, "n_failed": 0} | given)


def test_a_job_holds_what_is_known(known):
    cell = ServiceCell(url="http://h/v1", model="m", known=known)
    assert ServiceCell.from_job(cell.job()) == cell
    assert cell.columns()["model_is"] == "llama:tiny"


@pytest.mark.parametrize(
    ("chunk", "said"),
    [
        (
            {"tokens": ["a"], "token_logprobs": [-1.5], "top_logprobs": [{"a": -1.5, "b": -2}]},
            (-1.5, None, (-1.5, -2.0)),
        ),
        ({"content": [{"id": 7, "token": "a", "logprob": -1, "top_logprobs": []}]}, (-1.0, 7, ())),
        ({"content": [{"token": "token_id:9", "logprob": float("nan")}]}, (-1e6, 9, ())),
        ({"tokens": ["a"], "token_logprobs": [None]}, None),
        ({"tokens": ["a"]}, None),
        ({"content": ["a", {"token": "b"}]}, None),
    ],
)
def test_log_probabilities_are_read_in_the_forms_that_servers_have(chunk, said):
    told = told_of([chunk, "nothing"], None)
    assert [(one.logprob, one.token_id, one.likely) for one in told] == ([] if said is None else [said])
