"""What comes over the wire, cut at every place: responses, events and their times, tokens, refusals of fields."""

import json

import pytest

from bench.serving.answer import Chunk
from bench.serving.tokens import Piece, counted, piece_of
from bench.serving.wire.events import Event, NoEvent, events_of
from bench.serving.wire.http_response import Malformed, Response
from bench.serving.wire.optional_fields import named_in, nested

CHUNKED = (
    b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n5\r\nab\r\nc\r\n1;x=y\r\nd\r\n0\r\nTrailer: 1\r\n\r\n"
)
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nab\r\ncd"


def fed(*parts):
    response = Response()
    for at_s, part in enumerate(parts):
        response.feed(float(at_s), part)
    return response


@pytest.mark.parametrize("whole", [CHUNKED, LENGTH], ids=["chunked", "length"])
def test_a_response_may_be_cut_anywhere(whole):
    for first in range(len(whole) + 1):
        for second in range(first, len(whole) + 1):
            response = fed(whole[:first], whole[first:second], whole[second:])
            assert (response.status, response.body, response.is_whole) == (200, b"ab\r\ncd", True)
            assert response.can_be_followed
            assert not fed(whole[: min(first, len(whole) - 1)]).is_whole


def test_every_byte_may_come_by_itself():
    response = fed(*[CHUNKED[place : place + 1] for place in range(len(CHUNKED))])
    assert (response.body, response.is_whole) == (b"ab\r\ncd", True)


def test_pieces_keep_the_time_at_which_they_came():
    response = fed(LENGTH[:-5], LENGTH[-5:-2], LENGTH[-2:])
    assert response.pieces == [(0.0, b"a"), (1.0, b"b\r\n"), (2.0, b"cd")]


@pytest.mark.parametrize(
    ("head", "rest", "can"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2", b"ab", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close", b"ab", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2", b"ab", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: Keep-Alive", b"ab", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2", b"ab and more", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0", b"", True),
        (b"HTTP/1.1 204 No Content", b"", True),
        (b"HTTP/1.1 200", b"ab", False),
    ],
)
def test_a_connection_is_kept_where_both_sides_know_where_the_answer_ends(head, rest, can):
    response = fed(head + b"\r\n\r\n" + rest)
    assert response.end_of_connection()
    assert response.can_be_followed is can


@pytest.mark.parametrize(
    "whole",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1_0\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 70_000,
    ],
)
def test_what_is_no_response_is_said(whole):
    with pytest.raises(Malformed):
        fed(whole)


STREAM = ': ping\n\ndata: {"a": 1}\n\nevent: x\ndata: {"b":\ndata: "é"}\nid: 7\n\n\n\ndata:{"c": 3}\n\ndata: [DONE]\n\n'
HELD = [{"a": 1}, {"b": "é"}, {"c": 3}]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_events_may_be_cut_anywhere(line_end, bom):
    body = (bom + STREAM.replace("\n", line_end)).encode()
    for cut in range(len(body) + 1):
        events = [*events_of([(1.0, body[:cut]), (2.0, body[cut:])], is_whole=True)]
        assert [event.data for event in events if not event.is_done] == HELD
        assert events[-1].is_done


def test_an_event_is_there_when_its_blank_line_is():
    first, second = b'data: {"a": 1}\n\n', b'data: {"b": 2}\n\n'
    cut = [(1.0, first[:4]), (2.0, first[4:-1]), (3.0, first[-1:] + second[:3]), (4.0, second[3:])]
    assert [*events_of(cut, is_whole=True)] == [Event(3.0, {"a": 1}), Event(4.0, {"b": 2})]
    assert [event.at_s for event in events_of([(5.0, first + second)], is_whole=True)] == [5.0, 5.0]
    assert [event.at_s for event in events_of([(5.0, first), (6.0, second)], is_whole=True)] == [5.0, 6.0]


def test_a_last_event_without_a_blank_line_counts_where_the_body_is_whole():
    pieces = [(1.0, b'data: {"a": 1}\n\ndata: [DONE]\n')]
    assert [event.is_done for event in events_of(pieces, is_whole=True)] == [False, True]
    assert [event.is_done for event in events_of(pieces, is_whole=False)] == [False]


@pytest.mark.parametrize(
    "data",
    [b"data: {", b"data: [1]", b"data: 1", b"data: \xff", b"data: text", b"data: " + b"[" * 10**5 + b"]" * 10**5],
    ids=["cut", "list", "number", "no UTF-8", "text", "deep"],
)
def test_what_is_no_event_is_said(data):
    with pytest.raises(NoEvent):
        [*events_of([(1.0, data + b"\n\n")], is_whole=True)]


@pytest.mark.parametrize(
    ("data", "held"), [('{"message": "x"}', {"message": "x"}), ("plain words", "plain words"), ('{"error": "x"}', "x")]
)
def test_an_event_may_be_named_error(data, held):
    (event,) = events_of([(1.0, f"event: error\ndata: {data}\n\n".encode())], is_whole=True)
    assert event.data == {"error": held}


@pytest.mark.parametrize(
    ("choice", "has_output"),
    [
        ({"text": "a"}, True),
        ({"text": ""}, False),
        ({"text": "", "token_ids": [3]}, True),
        ({"text": "", "token_ids": []}, False),
        ({"delta": {"role": "assistant"}}, False),
        ({"delta": {"role": "assistant", "content": ""}}, False),
        ({"delta": {"content": None, "reasoning_content": "hm"}}, True),
        ({"delta": {"reasoning": "hm"}}, True),
        ({"delta": {"tool_calls": [{"index": 0}]}}, True),
        ({"delta": {}, "finish_reason": "length"}, False),
    ],
)
def test_what_carries_output(choice, has_output):
    assert piece_of(1.0, {"choices": [choice]}).has_output is has_output


@pytest.mark.parametrize("data", [{}, {"choices": []}, {"choices": None, "usage": None}, {"choices": ["x"]}])
def test_an_event_may_say_nothing(data):
    assert piece_of(1.0, data) == Piece(1.0)


def out(at_s, **more):
    return Piece(at_s, **{"text": "a", "has_choices": True} | more)


def test_an_event_without_text_that_raises_the_count_is_a_chunk():
    count = counted([out(1.0, usage=1), out(2.0, text="", usage=2), out(3.0, usage=4), Piece(4.0, usage=5)])
    assert count.chunks == (Chunk(1.0, 1), Chunk(2.0, 1), Chunk(3.0, 2))
    assert (count.tokens, count.counted_by, count.notes) == (5, "usage_per_event", ("tokens_beyond_chunks",))


def test_usage_that_goes_down_is_no_count_per_event():
    count = counted([out(1.0, usage=2), out(2.0, usage=1), Piece(3.0, usage=4)])
    assert (count.tokens, count.counted_by) == (4, "usage")
    assert count.notes == ("first_chunk_unknown", "usage_decreases")


def test_usage_before_the_end_is_no_count():
    count = counted([Piece(0.0, usage=0), out(1.0), out(2.0)])
    assert (count.tokens, count.counted_by, count.notes) == (None, "unknown", ("usage_early",))


def test_token_ids_on_some_chunks_alone_do_not_count():
    count = counted([out(1.0, token_ids=(1,)), out(2.0), Piece(3.0, usage=2)])
    assert (count.tokens, count.counted_by) == (2, "usage")
    assert "token_ids_partial" in count.notes


def test_logprobs_that_differ_from_ids_are_said():
    count = counted([out(1.0, token_ids=(1, 2), logprobs=1)])
    assert (count.tokens, count.counted_by, count.notes) == (2, "token_ids", ("logprobs_disagree",))


def test_usage_per_event_that_differs_from_logprobs_is_said():
    count = counted([out(1.0, usage=1, logprobs=1), out(2.0, usage=2, logprobs=2)])
    assert (count.tokens, count.counted_by, count.notes) == (2, "usage_per_event", ("usage_disagrees",))


FIELDS = {
    "ignore_eos": True,
    "seed": 1,
    "logprobs": 1,
    "stream_options.include_usage": True,
    "stream_options.continuous_usage_stats": True,
}
EXTRA = {"type": "extra_forbidden", "msg": "Extra inputs are not permitted", "input": {"ignore_eos": 1, "seed": 1}}


@pytest.mark.parametrize(
    ("refusal", "named"),
    [
        ({"detail": "Unexpected fields in the request: {'ignore_eos', 'seed'}"}, ("ignore_eos", "seed")),
        ({"detail": [{"loc": ["body", "ignore_eos"], **EXTRA}]}, ("ignore_eos",)),
        ({"detail": [{"loc": ["body", "prompt"], **EXTRA}]}, ()),
        ({"error": {"message": "Unrecognized request argument supplied: seed", "param": None}}, ("seed",)),
        ({"error": {"message": "bad value", "param": "seed"}}, ("seed",)),
        ({"error": {"message": "the seed of this is not long enough"}}, ()),
        ({"error": {"message": "unknown top_logprobs"}}, ()),
        (
            {"error": {"message": "Unknown parameter: stream_options.include_usage"}},
            ("stream_options.include_usage",),
        ),
        (
            {"error": "unsupported stream_options"},
            ("stream_options.include_usage", "stream_options.continuous_usage_stats"),
        ),
        ("Unknown field `logprobs`", ("logprobs",)),
        ({"error": "no such model"}, ()),
    ],
)
def test_which_fields_a_refusal_names(refusal, named):
    body = refusal if isinstance(refusal, str) else json.dumps(refusal)
    assert named_in(body.encode(), FIELDS) == named


def test_a_dot_leads_into_a_field():
    assert nested(FIELDS)["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
