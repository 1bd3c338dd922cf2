"""The client of OpenAI-compatible endpoints, against a server that does every thing that real ones were seen to do."""

import gc
import resource
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from queue import Queue
from time import perf_counter

import pytest

from bench.serving.definitions import summary
from bench.serving.openai_http import OpenAITarget
from bench.serving.prompts import IdPrompts
from bench.serving.streamed import COUNTED_BY, ERRORS, NOTES
from bench.serving.wire.endpoint import Endpoint
from tests.fakes.openai_client import answers_of
from tests.fakes.openai_server import Script, Server

WORDS = "".join([f" w{number}" for number in range(8)])


def answer_to(script, **more):
    """Returns the answer to one request."""
    with Server(script) as server:
        (answer,) = answers_of(server, 1, **more)
    assert not answer.error or answer.error in ERRORS
    assert {*answer.notes} <= NOTES.keys()
    assert answer.counted_by in COUNTED_BY
    return answer


def said(answer):
    return answer.error, answer.tokens, answer.counted_by, answer.notes


def held(answer):
    return [chunk.tokens for chunk in answer.chunks]


@pytest.mark.parametrize("kind", ["completions", "chat"])
@pytest.mark.parametrize("mode", ["ok", "split", "joined"])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_however_the_bytes_come_the_answer_is_one(kind, mode, framing):
    answer = answer_to(Script(mode, framing=framing, tells=["token_ids"]), kind=kind)
    assert said(answer) == ("", 8, "token_ids", ())
    assert (answer.text, answer.token_ids, answer.finish_reason) == (WORDS, tuple(range(8)), "length")
    assert held(answer) == [1] * 8
    assert (answer.prompt_tokens, answer.status) == (5, 200)
    assert answer.sent_s <= answer.event_s <= answer.chunks[0].at_s <= answer.chunks[-1].at_s <= answer.end_s


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_pings_are_no_events(line_end):
    assert said(answer_to(Script("split", pings=True, line_end=line_end))) == ("", 8, "usage", ("first_chunk_unknown",))


def test_a_chunk_is_stamped_after_it_was_sent_and_as_it_comes():
    with Server(Script(delays_s=[0.0] * 7 + [0.5], tells=["token_ids"])) as server:
        (answer,) = answers_of(server, 1)
        sent_s = server.requests[0].sent_s
    times = [chunk.at_s for chunk in answer.chunks]
    assert all(sent <= at for sent, at in zip(sent_s, times, strict=False))
    assert times[0] < sent_s[7]


@pytest.mark.parametrize(
    ("script", "expected", "in_chunks"),
    [
        (Script(per_event=3, tells=["token_ids"]), (8, "token_ids", ()), [3, 3, 2]),
        (Script(per_event=3, tells=["token_ids", "logprobs"]), (8, "token_ids", ()), [3, 3, 2]),
        (Script(per_event=3, usage="each"), (8, "usage_per_event", ()), [3, 3, 2]),
        (Script(per_event=3, usage="each", tells=["token_ids"]), (8, "token_ids", ()), [3, 3, 2]),
        (Script(per_event=3, tells=["logprobs"]), (8, "logprobs", ()), [3, 3, 2]),
        (Script(per_event=3, usage="none", tells=["logprobs"]), (8, "logprobs", ()), [3, 3, 2]),
        (Script(per_event=3), (8, "usage", ("first_chunk_unknown",)), [None] * 3),
        (Script(per_event=3, usage="choices"), (8, "usage", ("first_chunk_unknown",)), [None] * 3),
        (Script(usage="none"), (None, "unknown", ()), [None] * 8),
    ],
)
@pytest.mark.parametrize("kind", ["completions", "chat"])
def test_tokens_are_counted_by_the_first_rule_that_can(script, expected, in_chunks, kind):
    answer = answer_to(script, kind=kind)
    assert said(answer) == ("", *expected)
    assert held(answer) == in_chunks


def test_usage_beside_text_on_one_chunk_is_a_count_per_event():
    answer = answer_to(Script(per_event=8, usage="choices", has_empty_last=False))
    assert said(answer) == ("", 8, "usage_per_event", ())


@pytest.mark.parametrize("tells", ["token_ids", "logprobs"])
@pytest.mark.parametrize("usage", ["end", "choices"])
def test_wrong_usage_is_said(tells, usage):
    answer = answer_to(Script(wrong_usage=-2, usage=usage, tells=[tells]))
    assert said(answer) == ("", 8, tells, ("usage_disagrees",))


def test_a_chunk_that_comes_twice_is_counted_as_it_is_told_and_usage_disagrees():
    answer = answer_to(Script(repeated=2, tells=["token_ids"]))
    assert said(answer) == ("", 9, "token_ids", ("usage_disagrees",))
    assert answer.token_ids == (0, 1, 2, 2, 3, 4, 5, 6, 7)
    assert summary([answer], bounds={}, asked_tokens=8).values["n_mismatch"] == 1


def test_a_chunk_that_comes_twice_raises_no_usage():
    answer = answer_to(Script(repeated=2, usage="each"))
    assert said(answer) == ("", 8, "usage_per_event", ())
    assert held(answer) == [1, 1, 1, 0, 1, 1, 1, 1, 1]


def test_a_role_is_an_event_and_no_token():
    with Server(Script(has_role=True, delays_s=[0.5, 0.0])) as server:
        (answer,) = answers_of(server, 1, kind="chat")
        assert answer.event_s < server.requests[0].sent_s[1] <= answer.chunks[0].at_s
    assert len(answer.chunks) == 8


def test_an_empty_last_event_does_not_move_the_last_token():
    with_one = answer_to(Script(has_empty_last=True))
    without = answer_to(Script(has_empty_last=False))
    assert len(with_one.chunks) == len(without.chunks) == 8


def test_a_finish_reason_is_enough_without_done():
    answer = answer_to(Script(has_done=False, usage="choices"))
    assert said(answer) == ("", 8, "usage", ("first_chunk_unknown", "no_done"))


def test_done_is_enough_without_a_finish_reason():
    assert answer_to(Script("no_finish")).error == ""


def test_an_end_alone_is_none():
    answer = answer_to(Script("no_finish", has_done=False))
    assert (answer.error, answer.detail) == (
        "broken_stream",
        "the stream ended without a finish_reason and without [DONE]",
    )


@pytest.mark.parametrize("mode", ["abort", "close"])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_a_stream_that_breaks_is_no_answer(mode, framing):
    answer = answer_to(Script(mode, framing=framing, delays_s=[0.01]))
    assert answer.error == "broken_stream"
    assert len(answer.chunks) == 3


def test_a_stream_that_breaks_after_done_is_whole():
    answer = answer_to(Script("close", at_event=10, usage="none"))
    assert said(answer) == ("", None, "unknown", ("unclean_end",))
    assert answer.end_s >= answer.chunks[-1].at_s


def test_silence_is_a_timeout():
    answer = answer_to(Script("stall"), timeout_s=0.3)
    assert (answer.error, answer.detail, len(answer.chunks)) == ("timeout", "not whole after 0.3 s", 3)


def test_an_error_within_a_stream_is_one():
    answer = answer_to(Script("error_event"))
    assert (answer.error, answer.detail, answer.status) == ("error_event", "the engine died", 200)


def test_an_aborted_finish_is_an_error():
    assert answer_to(Script(finish_reason="abort")).error == "error_event"


def test_an_answer_that_is_no_stream_is_broken():
    answer = answer_to(Script("json"))
    assert answer.error == "broken_stream"
    assert "asked for a stream of events, got 'application/json'" in answer.detail


def test_a_body_without_events_is_told():
    reply = "<h1>Welcome</h1>"
    answer = answer_to(Script("status", status=200, reply=reply, headers=["Content-Type: text/html"]))
    assert answer.error == "broken_stream"
    assert answer.detail == "no event came, in a body of type 'text/html': <h1>Welcome</h1>"


@pytest.mark.parametrize(
    "script", [Script("error_event", message="a\x1b[2Jb"), Script("status", status=500, reply="a\x1b[2Jb")]
)
def test_what_a_server_says_holds_nothing_that_a_terminal_obeys(script):
    assert answer_to(script).detail.endswith("a [2Jb")


def test_half_of_a_letter_can_be_printed():
    answer = answer_to(Script("status", status=500, reply='{"error": "a\\ud800b"}'))
    assert answer.detail == "status 500: a b"


@pytest.mark.parametrize(
    ("status", "reply", "error", "detail"),
    [
        (429, '{"error": {"message": "slow down"}}', "refused_429", "status 429: slow down"),
        (500, "<h1>oh</h1>", "server_5xx", "status 500: <h1>oh</h1>"),
        (503, '{"detail": "starting"}', "server_5xx", "status 503: starting"),
        (401, '{"message": "who are you"}', "http_4xx", "status 401: who are you"),
        (400, '{"detail": [{"loc": ["body", "prompt"]}]}', "http_4xx", 'status 400: [{"loc": ["body", "prompt"]}]'),
        (307, "", "http_3xx", "status 307: "),
        (204, "", "broken_stream", "status 204: "),
    ],
)
def test_a_status_is_an_error_of_its_class(status, reply, error, detail):
    answer = answer_to(Script("status", status=status, reply=reply, headers=["Retry-After: 7"]))
    assert (answer.error, answer.detail, answer.status) == (error, detail.strip(), status)
    assert answer.retry_after_s == 7.0
    assert answer.chunks == ()


def test_nothing_is_sent_twice_because_it_failed():
    with Server(Script("status", status=503)) as server:
        assert [answer.error for answer in answers_of(server, 5)] == ["server_5xx"] * 5
        assert len(server.requests) == 5


def test_nobody_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = Endpoint(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", "fake", 8)
        with OpenAITarget(endpoint, str) as target:
            target.open()
            answer = target.ask("hello")
            assert answer.error == "connect_failed"
            with pytest.raises(OSError, match="Connect call failed"):
                target.open(3)


@pytest.mark.parametrize(
    ("fields", "error"),
    [({"ignore_eos": True}, "short"), ({"min_tokens": 8}, "short"), ({"min_tokens": 2}, ""), ({}, "")],
)
def test_fewer_tokens_are_short_where_an_exact_length_was_asked(fields, error):
    answer = answer_to(Script(tokens=6, finish_reason="stop"), fields=fields)
    assert (answer.error, answer.tokens) == (error, 6)
    assert summary([answer], bounds={}, asked_tokens=8).values["n_mismatch"] == (not error)


def test_nothing_at_all_is_short():
    assert answer_to(Script(tokens=0)).error == "short"


def test_a_request_for_one_token_asks_for_no_more_at_least():
    endpoint = Endpoint("http://host/v1", "fake", 8, fields={"min_tokens": 8})
    assert b'"max_tokens":1,"stream":true,"min_tokens":1}' in endpoint.rest_part(endpoint.fields, 1)
    assert b'"max_tokens":8,"stream":true,"min_tokens":8}' in endpoint.rest_part(endpoint.fields, 8)


def test_fields_are_sent_as_configured():
    fields = {"ignore_eos": True, "stream_options.include_usage": True, "stream_options.other": 1, "logprobs": 2}
    with Server(Script()) as server:
        answers_of(server, 1, lambda number: [1, 2, number], fields=fields, max_tokens_field="max_completion_tokens")
        assert server.requests[0].body == {
            "model": "fake",
            "prompt": [1, 2, 0],
            "max_completion_tokens": 8,
            "stream": True,
            "ignore_eos": True,
            "stream_options": {"include_usage": True, "other": 1},
            "logprobs": 2,
        }
        answers_of(server, 1, kind="chat")
        assert server.requests[1].body["messages"] == [{"role": "user", "content": "0"}]
        assert server.requests[1].head.startswith("POST /v1/chat/completions HTTP/1.1\r\n")


@pytest.mark.parametrize("refusal", [400, 422])
def test_a_field_that_a_refusal_names_is_dropped_once_and_for_all(refusal):
    fields = {"ignore_eos": True, "logprobs": 2, "return_token_ids": True}
    with (
        Server(Script(refused=["ignore_eos", "return_token_ids"], refusal=refusal, tokens=6)) as server,
        OpenAITarget(Endpoint(server.url, "fake", 8, fields=fields), str) as target,
    ):
        target.open()
        first, second = target.ask("hello"), target.ask("again")
        assert target.dropped_fields == ("ignore_eos", "return_token_ids")
        assert first.dropped_fields == second.dropped_fields == ("ignore_eos", "return_token_ids")
        assert ("resent" in first.notes, "resent" in second.notes) == (True, False)
        assert (first.error, second.error) == ("", "")  # without ignore_eos the length is the model's own
        assert [sorted(request.body.keys() & fields.keys()) for request in server.requests] == [
            ["ignore_eos", "logprobs", "return_token_ids"],
            ["logprobs"],
            ["logprobs"],
        ]


def test_a_refusal_that_names_no_field_is_an_error():
    answer = answer_to(Script("status", status=400, reply="ignore the eos"), fields={"ignore_eos": True})
    assert (answer.error, answer.dropped_fields) == ("http_4xx", ())


def test_connections_are_opened_before_and_kept():
    with Server(Script()) as server, OpenAITarget(Endpoint(server.url, "fake", 8), str) as target:
        assert len(target.open(3)) == 3
        assert [target.ask("hello").connect_s for _ in range(5)] == [None] * 5
        assert server.n_connections == 3


def test_connecting_is_told_where_a_request_had_to():
    answer = answer_to(Script())
    assert answer.connect_s > 0
    assert answer.due_s + answer.connect_s <= answer.sent_s


def test_a_connection_that_was_idle_for_long_is_not_used_again():
    with (
        Server(Script()) as server,
        OpenAITarget(Endpoint(server.url, "fake", 8, keep_alive_s=0.0), str) as target,
    ):
        target.open()
        assert [target.ask("hello").error for _ in range(3)] == [""] * 3
        assert server.n_connections == 3


def test_two_thousand_at_once_all_come_back():
    count = 2000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * count + 500
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"the hard limit of open files is {hard}; {needed} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    try:
        with Server(Script(tokens=4, gate=count, tells=["token_ids"])) as server:
            prompts = IdPrompts(1000, 16, seed=0, salt="test")
            answers = answers_of(server, count, prompts, max_tokens=4)
            assert server.most_at_once == count
            assert sorted(tuple(request.body["prompt"]) for request in server.requests) == sorted(
                prompts(number) for number in range(count)
            )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [answer.number for answer in answers] == [*range(count)]
    assert {said(answer) for answer in answers} == {("", 4, "token_ids", ())}


def test_requests_may_be_started_from_many_threads():
    ended = Queue()
    with Server(Script()) as server, OpenAITarget(Endpoint(server.url, "fake", 8), str) as target:
        target.open()
        target.prepare(range(100))

        def some(first):
            for number in range(first, 100, 8):
                target.start(number, perf_counter(), ended.put)

        threads = [threading.Thread(target=some, args=(first,)) for first in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(ended.get(timeout=60).number for _ in range(100)) == [*range(100)]
        assert {request.body["prompt"] for request in server.requests} == {str(number) for number in range(100)}


def test_what_is_under_way_at_the_end_comes_back_as_cancelled():
    answers = []
    with Server(Script("stall")) as server:
        target = OpenAITarget(Endpoint(server.url, "fake", 8), str)
        target.open()
        for number in range(5):
            target.start(number, perf_counter(), answers.append)
        target.close()
        target.close()
    assert [answer.error for answer in answers] == ["cancelled"] * 5
    with pytest.raises(RuntimeError, match="not open"):
        target.start(5, 0.0, answers.append)


def test_a_prompt_that_cannot_be_made_is_an_answer_too():
    with Server(Script()) as server:
        (answer,) = answers_of(server, 1, lambda number: [number], kind="chat")
    assert (answer.error, answer.detail) == ("client_failed", "ValueError")


def test_an_error_in_what_takes_an_answer_is_raised_at_the_end():
    with Server(Script()) as server:
        target, reached = OpenAITarget(Endpoint(server.url, "fake", 8), str), threading.Event()
        target.open()

        def done(answer):
            reached.set()
            raise KeyError(answer.number)

        target.start(7, perf_counter(), done)
        assert reached.wait(60)
        with pytest.raises(RuntimeError, match="1 errors in the thread of requests"):
            target.close()


@pytest.fixture
def certificate(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make a certificate")
    key, pem = tmp_path / "key.pem", tmp_path / "pem.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", pem],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    return context, pem


def test_encryption_with_a_port_that_has_none_is_told():
    def refuse(listening):
        connection, _ = listening.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=refuse, args=(listening,), daemon=True).start()
        endpoint = Endpoint(f"https://127.0.0.1:{listening.getsockname()[1]}/v1", "fake", 8, timeout_s=20)
        with OpenAITarget(endpoint, str) as target, pytest.raises(ConnectionError, match="speaks no TLS: expected"):
            target.open(1)


def test_a_connection_that_is_not_made_in_time_is_told(monkeypatch):
    async def never(*_):
        raise TimeoutError

    monkeypatch.setattr("bench.serving.openai_http.connect", never)
    endpoint = Endpoint("http://host:9/v1", "fake", 8, timeout_s=3)
    with OpenAITarget(endpoint, str) as target, pytest.raises(TimeoutError, match="to host, port 9, in 3 s"):
        target.open(1)


def test_an_encrypted_connection_is_to_whom_one_trusts(certificate, monkeypatch):
    context, pem = certificate
    with Server(Script(tells=["token_ids"]), context) as server:
        (stranger,) = answers_of(server, 1)
        assert stranger.error == "connect_failed"
        assert "CERTIFICATE_VERIFY_FAILED" in stranger.detail
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        assert [said(answer) for answer in answers_of(server, 3, connections=2)] == [("", 8, "token_ids", ())] * 3


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"url": "http://me:secret@host/v1"}, "a key belongs in the environment"),
        ({"url": "http://host/v1?api-key=secret"}, "a key belongs in the environment"),
        ({"url": "ftp://host/v1"}, "like http://host:port/v1, not 'ftp://host/v1'"),
        ({"url": "host:80/v1"}, "like http://host:port/v1"),
        ({"url": "http://host/v1 x"}, "printable ASCII characters without spaces"),
        ({"url": "http://host/v1\r\nX: y"}, "printable ASCII characters without spaces"),
        ({"timeout_s": float("nan")}, "above 0, not 8 and nan"),
        ({"kind": "responses"}, "unknown kind 'responses'; known: completions, chat"),
        ({"max_tokens": 0}, "above 0, not 0 and 600"),
        ({"fields": {"stream": False, "model": "x"}}, "model, stream are no optional fields"),
        ({"fields": {"a": 1, "a.b": 1}}, "within 'a', which has a value of its own"),
    ],
)
def test_what_cannot_be_asked_is_refused(more, message):
    with pytest.raises(ValueError, match=message) as caught:
        Endpoint(**{"url": "http://host/v1", "model": "fake", "max_tokens": 8} | more)
    assert "secret" not in str(caught.value)


def test_nothing_stays_open():
    before = len([*Path("/proc/self/fd").iterdir()]), threading.active_count()
    with Server(Script()) as server:
        answers_of(server, 20, connections=5)
    gc.collect()
    assert (len([*Path("/proc/self/fd").iterdir()]), threading.active_count()) == before
