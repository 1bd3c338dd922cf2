"""The key of a service is sent to it, and told nowhere else: no text, log, error, detail or local variable holds it."""

import logging
import pickle
import traceback
from queue import Queue
from time import perf_counter

import pytest

from bench.serving.definitions import summary
from bench.serving.openai_http import OpenAITarget
from bench.serving.wire.endpoint import Endpoint
from bench.serving.wire.http_response import Response
from bench.serving.wire.key import Key
from tests.fakes.openai_client import answers_of
from tests.fakes.openai_server import Script, Server

KEY = 'sk-planted"4711/abcdefghijklmnopqrstuvwxyz'


@pytest.fixture(autouse=True)
def planted(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def parts_of(secret, length=8):
    return [secret[start : start + length] for start in range(len(secret) - length + 1)]


def is_told(text):
    return any(part in text for part in parts_of(KEY))


def test_the_check_for_a_key_sees_one():
    assert is_told(f"wrong key {KEY[3:14]}…")
    assert not is_told(f"wrong key {KEY[:7]}…")


ECHO = KEY.replace('"', '\\"')


@pytest.mark.parametrize(
    "script",
    [
        Script(),
        Script("status", status=401, reply=f'{{"error": {{"message": "wrong key {ECHO}"}}}}'),
        Script("status", status=400, reply=f"wrong key {KEY}"),
        Script("status", status=500, reply="x" * 290 + KEY),
        Script("status", status=403, reply=f'{{"headers": "Bearer {ECHO[:20]}…"}}'),
        Script("error_event", message=f"wrong key {KEY}"),
        Script("json", message=KEY),
        Script(text=KEY),
        Script("garbage", message=KEY),
    ],
    ids=lambda script: f"{script.mode}-{script.status}",
)
def test_a_key_is_sent_and_told_nowhere(script, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    ended = Queue()
    with Server(script) as server, OpenAITarget(Endpoint(server.url, "fake", 8), str) as target:
        target.open()
        target.start(0, perf_counter(), ended.put)
        answer = ended.get(timeout=60)
        assert f"Authorization: Bearer {KEY}\r\n" in server.requests[0].head
        shown = [repr(thing) for thing in (answer, target.endpoint, target, vars(target), vars(answer))]
        shown += [str(summary([answer], bounds={})), caplog.text, *capfd.readouterr()]
    assert [text for text in shown if is_told(text)] == []
    if script.mode != "ok":
        assert answer.detail
        assert answer.error


def test_a_key_is_in_no_local_variable_of_an_error(monkeypatch):
    faults = []

    class Failing(Response):
        @property
        def can_be_followed(self):
            raise ZeroDivisionError

    monkeypatch.setattr("bench.serving.http_stream.Response", Failing)
    deliver = OpenAITarget._deliver

    def delivering(self, number, due_s, began_s, done, task):
        faults.append(
            "".join(traceback.TracebackException.from_exception(task.exception(), capture_locals=True).format())
        )
        deliver(self, number, due_s, began_s, done, task)

    monkeypatch.setattr(OpenAITarget, "_deliver", delivering)
    with Server(Script()) as server:
        (answer,) = answers_of(server, 1)
    assert answer.error == "client_failed"
    assert "ZeroDivisionError" in faults[0]
    assert "request = functools.partial" in faults[0]
    assert not is_told(faults[0])


def test_a_key_comes_from_the_variable_that_was_named(monkeypatch):
    monkeypatch.setenv("MY_KEY", "mine-is-another\n")
    with Server(Script()) as server:
        answers_of(server, 1, key_variable="MY_KEY")
        answers_of(server, 1, key_variable="NO_SUCH_KEY")
        heads = [request.head for request in server.requests]
    assert "Authorization: Bearer mine-is-another\r\n" in heads[0]
    assert "Authorization" not in heads[1]
    assert not any(is_told(head) for head in heads)


def test_a_key_that_no_header_may_hold_is_not_shown(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "a-secret\r\nX-Other: 1")
    target = OpenAITarget(Endpoint("http://localhost:1/v1", "fake", 8), str)
    with pytest.raises(ValueError, match="OPENAI_API_KEY holds characters that no header may hold") as caught:
        target.open()
    assert "a-secret" not in str(caught.value)


def test_a_key_is_not_written_down():
    with pytest.raises(TypeError, match="a key is not written down"):
        pickle.dumps(Key("OPENAI_API_KEY"))
    assert repr(Key("OPENAI_API_KEY")) == "Key('OPENAI_API_KEY', set)"


@pytest.mark.parametrize(
    ("key", "text", "hidden"),
    [
        ("short", "wrong key short, in full", "wrong key ***, in full"),
        ('a"b\\c', 'as "a\\"b\\\\c" in JSON', 'as "***" in JSON'),
        ("", "no key at all", "no key at all"),
    ],
)
def test_a_short_key_is_hidden_whole(monkeypatch, key, text, hidden):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    assert Key("OPENAI_API_KEY").hidden(text) == hidden
