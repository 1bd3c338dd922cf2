"""A server that speaks as OpenAI-compatible ones do, well or badly, by a script: `python -m tests.fakes.openai_server`.

It listens on a free port of this machine, in a thread of its own, and knows what requests it got.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Thread
from time import perf_counter
from types import TracebackType


@dataclass(frozen=True)
class Said:
    """A token that a model generated, its log-probability, and those of the likeliest ones by id."""

    token_id: int
    logprob: float
    top: Mapping[int, float]


@dataclass(frozen=True)
class Script:
    """What the server does with every request.

    `mode` is what goes wrong, or how the bytes come: ok, split, joined, status, error_event, abort, close, stall, json,
    garbage, no_finish. `usage` is where it stands: end (an event without choices), choices (the last with choices),
    each, none.
    """

    mode: str = "ok"
    tokens: int = 8
    """How many tokens there are, whatever was asked for."""
    per_event: int = 1
    usage: str = "end"
    wrong_usage: int = 0
    """Added to every usage."""
    tells: Sequence[str] = ()
    """token_ids, logprobs, names (of tokens by their ids), prompt_ids: what each chunk tells."""
    finish_reason: str = "length"
    has_done: bool = True
    has_role: bool = False
    """Whether a chat begins with a chunk that has a role alone."""
    has_empty_last: bool = True
    """Whether the finish reason comes in an event of its own, without text."""
    repeated: int | None = None
    """The chunk that is sent twice."""
    pings: bool = False
    line_end: str = "\n"
    delays_s: Sequence[float] = ()
    """Before each chunk with text; the last one goes on."""
    at_event: int = 3
    """The event before which an error_event, abort, close or stall happens."""
    status: int = 200
    reply: str = ""
    """The body of a status."""
    headers: Sequence[str] = ()
    refused: Sequence[str] = ()
    """Fields that are refused: `refusal` is the status, the body has FastAPI's form or that of transformers."""
    refusal: int = 422
    framing: str = "chunked"
    """chunked, length, close."""
    message: str = "the engine died"
    """What an error_event says, and garbage, and json."""
    text: str = ""
    """What every chunk holds in place of its words."""
    gate: int = 0
    """Nothing is answered before so many requests are under way."""
    model: Callable[[Sequence[int], int], Sequence[Said]] | None = None
    """What generates: from the prompt's token ids and how many tokens are asked for; None: words without a meaning."""


@dataclass
class Request:
    """A request as it came."""

    head: str
    body: dict[str, object]
    connection: int
    """Which connection it came on, in the order in which they were opened."""
    sent_s: list[float] = field(default_factory=list)
    """When each event of the answer was about to be sent, by `perf_counter`."""


@dataclass
class Server:
    """The server while it runs; `with Server(script) as server`."""

    script: Script
    tls: ssl.SSLContext | None = None
    requests: list[Request] = field(default_factory=list)
    n_connections: int = 0
    port: int = 0
    most_at_once: int = 0

    def __enter__(self) -> Server:
        self._loop, self._tasks = asyncio.new_event_loop(), set[asyncio.Task[None]]()
        self._at_once, self._gate = 0, asyncio.Event()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http{'' if self.tls is None else 's'}://localhost:{self.port}/v1"

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=4096, ssl=self.tls)

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self.n_connections = self.n_connections, self.n_connections + 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while (request := await read_request(reader, number)) is not None:
                self.requests.append(request)
                self._at_once += 1
                self.most_at_once = max(self.most_at_once, self._at_once)
                if self._at_once >= self.script.gate:
                    self._gate.set()
                try:
                    await self._gate.wait()
                    await answer(self.script, request, writer)
                finally:
                    self._at_once -= 1
                if self.script.framing == "close":
                    break
        except (
            ConnectionError,
            asyncio.IncompleteReadError,
            asyncio.CancelledError,
        ):  # the client went, or the test is over
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()


async def read_request(reader: asyncio.StreamReader, connection: int) -> Request | None:
    """Returns the next request of a connection, None where there is none."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    (length,) = [line.partition(":")[2] for line in head.splitlines() if line.lower().startswith("content-length:")]
    return Request(head, json.loads(await reader.readexactly(int(length))), connection)


async def answer(script: Script, request: Request, writer: asyncio.StreamWriter) -> None:
    """Sends what the script says."""
    named = [name for name in script.refused if name in request.body]
    if named:
        text = f"Unexpected fields in the request: {set(named)}"
        detail = [{"type": "extra_forbidden", "loc": ["body", n], "msg": "…", "input": request.body} for n in named]
        said = {422: {"detail": text}, 400: {"detail": detail}}[script.refusal]
        await send_whole(writer, script.refusal, json.dumps(said), ())
        return
    if script.mode == "status":
        await send_whole(writer, script.status, script.reply, script.headers)
        return
    if script.mode == "json":
        await send_whole(writer, 200, json.dumps({"message": script.message}), ())
        return
    events = [*encoded(script, request)]
    framing = {"chunked": "Transfer-Encoding: chunked\r\n", "close": "Connection: close\r\n"}.get(script.framing)
    if framing is None:
        framing = f"Content-Length: {sum(len(data) for _, data in events)}\r\n"
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n{framing}\r\n".encode()
    await send(script, writer, head)
    held = b""
    for place, (delay_s, data) in enumerate([*events, (0.0, b"")]):
        if place == script.at_event and script.mode in ("abort", "close", "stall"):
            await end_badly(script.mode, writer)
        if not data:
            break
        if delay_s:
            await asyncio.sleep(delay_s)
        request.sent_s.append(perf_counter())
        framed = b"%x\r\n%b\r\n" % (len(data), data) if script.framing == "chunked" else data
        if script.mode == "joined":
            held += framed
        else:
            await send(script, writer, framed)
    await send(script, writer, held + (b"0\r\n\r\n" if script.framing == "chunked" else b""))


async def end_badly(mode: str, writer: asyncio.StreamWriter) -> None:
    """Resets the connection, closes it in the middle, or says nothing more."""
    if mode == "stall":
        await asyncio.Event().wait()
    if mode == "abort":
        reset = struct.pack("ii", 1, 0)  # SO_LINGER of no seconds: the kernel sends RST instead of FIN
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    await writer.drain()
    writer.close()
    raise ConnectionAbortedError


async def send(script: Script, writer: asyncio.StreamWriter, data: bytes) -> None:
    """Sends bytes: in the mode `split` a few at a time."""
    size = 11 if script.mode == "split" else max(len(data), 1)
    for start in range(0, len(data), size):
        writer.write(data[start : start + size])
        await writer.drain()
        if script.mode == "split":
            await asyncio.sleep(0.0002)


async def send_whole(writer: asyncio.StreamWriter, status: int, body: str, headers: Sequence[str]) -> None:
    """Sends a response that is no stream."""
    lines = [f"HTTP/1.1 {status} Said", "Content-Type: application/json", f"Content-Length: {len(body.encode())}"]
    writer.write("\r\n".join([*lines, *headers, "", body]).encode())
    await writer.drain()


def encoded(script: Script, request: Request) -> Iterator[tuple[float, bytes]]:
    """Yields the events as bytes, each with the delay before it."""
    for delay_s, event in events_of(script, request):
        end = script.line_end
        data = event if isinstance(event, str) else json.dumps(event)
        ping = f": ping{end}{end}" if script.pings else ""
        yield delay_s, f"{ping}data: {data}{end}{end}".encode()


def events_of(script: Script, request: Request) -> Iterator[tuple[float, dict[str, object] | str]]:
    """Yields the events with the delay before each; `[DONE]` is a text."""
    is_chat = "messages" in request.body
    said: Sequence[Said] = ()
    if script.model is not None:
        prompt = request.body.get("prompt", [1, 2, 3])
        assert isinstance(prompt, list), "the model of this server reads token ids; a chat is one it always reads so"
        said = script.model(prompt, int(str(request.body["max_tokens"])))
        script = replace(script, tokens=len(said))
    for place, (delay_s, event) in enumerate(answer_events(script, is_chat, said)):
        if script.mode == "error_event" and place == script.at_event:
            yield 0.0, {"error": {"message": script.message, "type": "internal_error"}}
            break
        yield delay_s, script.message if script.mode == "garbage" else event
    if script.has_done:
        yield 0.0, "[DONE]"


def answer_events(
    script: Script, is_chat: bool, said: Sequence[Said] = ()
) -> Iterator[tuple[float, dict[str, object]]]:
    """Yields the events of an answer."""
    if script.has_role:
        yield 0.0, {"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}], "usage": None}
    delays = [*script.delays_s] or [0.0]
    firsts = range(0, script.tokens, script.per_event)
    for place, first in enumerate(firsts):
        ids = [*range(first, min(first + script.per_event, script.tokens))]
        is_last = place == len(firsts) - 1
        reason = script.finish_reason if is_last and not script.has_empty_last and script.mode != "no_finish" else None
        event = chunk(script, ids, is_chat, reason, ids[-1] + 1, is_last and not script.has_empty_last, said)
        for _ in range(1 + (script.repeated == place)):
            yield delays[min(place, len(delays) - 1)], event
    if script.has_empty_last and script.mode != "no_finish":
        yield 0.0, chunk(script, [], is_chat, script.finish_reason, script.tokens, True)
    if script.usage == "end":
        yield 0.0, {"choices": [], "usage": usage(script, script.tokens)}


def chunk(
    script: Script,
    ids: list[int],
    is_chat: bool,
    reason: str | None,
    so_far: int,
    is_last: bool,
    said: Sequence[Said] = (),
) -> dict[str, object]:
    """Returns one event with these tokens."""
    text = (script.text if ids else "") or "".join([f" w{one}" for one in ids])
    choice: dict[str, object] = {"index": 0, "finish_reason": reason}
    choice |= {"delta": {"content": text}} if is_chat else {"text": text}
    if "token_ids" in script.tells:
        choice["token_ids"] = [said[one].token_id for one in ids] if said else ids
    if "prompt_ids" in script.tells:
        choice["prompt_token_ids"] = [1, 2, 3]
    if "logprobs" in script.tells:
        choice["logprobs"] = logprobs(
            script, [said[one] for one in ids] if said else [Said(i, -1.0, {}) for i in ids], is_chat
        )
    told = script.usage == "each" or (script.usage == "choices" and is_last)
    return {"id": "x", "choices": [choice], "usage": usage(script, so_far) if told else None}


def logprobs(script: Script, said: Sequence[Said], is_chat: bool) -> dict[str, object]:
    """Returns the log-probabilities of tokens, in the form of completions or of chat."""

    def name(token_id: int) -> str:
        return f"token_id:{token_id}" if "names" in script.tells else f" w{token_id}"

    if is_chat:
        tops = [[{"token": name(one), "logprob": value} for one, value in told.top.items()] for told in said]
        return {
            "content": [
                {"token": name(told.token_id), "logprob": told.logprob, "top_logprobs": top}
                for told, top in zip(said, tops, strict=True)
            ]
        }
    return {
        "tokens": [name(told.token_id) for told in said],
        "token_logprobs": [told.logprob for told in said],
        "top_logprobs": [{name(one): value for one, value in told.top.items()} for told in said],
    }


def usage(script: Script, tokens: int) -> dict[str, int]:
    """Returns the usage after so many tokens."""
    return {"prompt_tokens": 5, "completion_tokens": tokens + script.wrong_usage, "total_tokens": tokens + 5}


if __name__ == "__main__":
    TOKENS, DELAY_S = int(sys.argv[1]), float(sys.argv[2])
    with Server(Script(tokens=TOKENS, delays_s=(DELAY_S,))) as running:
        print(running.url, flush=True)
        sys.stdin.read()  # until whoever started it goes
