"""A target of requests that is an OpenAI-compatible endpoint: a loop in a thread of its own, and a pool of connections.

A request is sent once. What fails is an answer with an error, never sent again; the one exception is a refusal that
names an optional field: it is no answer, and the request goes out without that field, which `dropped_fields` tells.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from threading import Lock, Thread
from time import perf_counter
from types import TracebackType

from bench.serving.answer import Answer
from bench.serving.http_stream import Connection, connect
from bench.serving.streamed import StreamedAnswer
from bench.serving.wire.endpoint import Endpoint, Prompt, asks_exact_length
from bench.serving.wire.key import Key
from bench.serving.wire.optional_fields import named_in
from bench.serving.wire.read_answer import read_answer

NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")
"""What OpenSSL calls an answer that is none of TLS."""
CONNECTIONS_AT_ONCE = 64
"""Warm connections are opened so many at a time: a listening server's queue is short."""


Done = Callable[[StreamedAnswer], None]


class OpenAITarget:
    """Sends the request `prompt_of(number)` to the endpoint; a `Target` between `open` and `close`.

    The environment is read by `open`. What follows happens in the loop's thread, `prompt_of` and `done` included, so
    that they should return soon. Times are of `time.perf_counter`, which is one for all threads.
    """

    def __init__(self, endpoint: Endpoint, prompt_of: Callable[[int], Prompt]) -> None:
        self.endpoint = endpoint
        self._prompt_of = prompt_of
        self._prompts: dict[int, bytes] = {}
        self._fields = dict(endpoint.fields)
        self._head = endpoint.head()
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._tasks: set[asyncio.Task[StreamedAnswer]] = set()
        self._faults: list[BaseException] = []
        self._address: tuple[str, int] | None = None
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def dropped_fields(self) -> tuple[str, ...]:
        """The optional fields that the server was found not to take."""
        return tuple(name for name in self.endpoint.fields if name not in self._fields)

    def open(self, connections: int = 0) -> tuple[float, ...]:
        """Opens connections before the clock runs; returns how many seconds each took. Raises OSError, ValueError."""
        if self._loop is None:
            self._key = Key(self.endpoint.key_variable)
            self._tls = ssl.create_default_context() if self.endpoint.has_tls else None
            self._loop = asyncio.new_event_loop()
            self._loop.set_exception_handler(self._keep)
            self._thread = Thread(target=self._loop.run_forever, name="requests", daemon=True)
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(self._warm(connections), self._loop).result()

    def prepare(self, numbers: Iterable[int]) -> None:
        """Makes the bodies of these requests before the clock runs: a long prompt takes a while to be written."""
        for number in numbers:
            self._prompts[number] = self.endpoint.prompt_part(self._prompt_of(number))

    def ask(self, prompt: Prompt, max_tokens: int | None = None) -> StreamedAnswer:
        """Returns the answer to one request outside the run: it finds fields to drop, and counts a prompt's tokens."""
        body, answer = self.endpoint.prompt_part(prompt), Future[StreamedAnswer]()
        self._submit(-1, perf_counter(), lambda: body, max_tokens or self.endpoint.max_tokens, answer.set_result)
        return answer.result()

    def start(self, number: int, due_s: float, done: Callable[[Answer], None]) -> None:
        """Sends request `number`, and returns at once. From any thread. Raises RuntimeError where it is not open."""
        self._submit(number, due_s, partial(self._prompt, number), self.endpoint.max_tokens, done)

    def close(self) -> None:
        """Ends what is under way, each with an answer, and closes the connections; then it may be opened anew.

        Raises RuntimeError for errors in the loop's thread, those of a `done` included, from the first one.
        """
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is None:
            return
        asyncio.run_coroutine_threadsafe(self._end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()
        if self._faults:
            raise RuntimeError(f"{len(self._faults)} errors in the thread of requests") from self._faults[0]

    def __enter__(self) -> OpenAITarget:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _submit(self, number: int, due_s: float, prompt: Callable[[], bytes], max_tokens: int, done: Done) -> None:
        with self._lock:  # so that what is started before the end is in the loop before the end
            if self._loop is None:
                raise RuntimeError("the target is not open: open() comes first, and close() last")
            self._loop.call_soon_threadsafe(self._launch, number, due_s, prompt, max_tokens, done)

    def _launch(self, number: int, due_s: float, prompt: Callable[[], bytes], max_tokens: int, done: Done) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(number, due_s, prompt, max_tokens))
        self._tasks.add(task)
        task.add_done_callback(partial(self._deliver, number, due_s, perf_counter(), done))

    def _deliver(
        self, number: int, due_s: float, began_s: float, done: Done, task: asyncio.Task[StreamedAnswer]
    ) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            error, detail = "cancelled", "the target was closed"
        elif (fault := task.exception()) is not None:
            error, detail = "client_failed", type(fault).__name__  # what else it says may be of the request
        else:
            done(task.result())
            return
        done(StreamedAnswer(due_s, began_s, perf_counter(), error=error, detail=detail, number=number))

    def _prompt(self, number: int) -> bytes:
        made = self._prompts.pop(number, None)
        return self.endpoint.prompt_part(self._prompt_of(number)) if made is None else made

    async def _answer(self, number: int, due_s: float, prompt: Callable[[], bytes], max_tokens: int) -> StreamedAnswer:
        first, notes = prompt(), tuple[str, ...]()
        while True:
            fields, began_s, connect_s = dict(self._fields), perf_counter(), None
            dropped = tuple(name for name in self.endpoint.fields if name not in fields)
            asked = StreamedAnswer(due_s, began_s, began_s, number=number, notes=notes, dropped_fields=dropped)
            connection = self._idle_connection()
            if connection is None:
                try:
                    connection = await self._connect()
                except OSError as fault:
                    said = self._key.hidden(str(fault))
                    return replace(asked, end_s=perf_counter(), error="connect_failed", detail=said)
                connect_s = perf_counter() - began_s
            rest = self.endpoint.rest_part(fields, max_tokens)
            sent_s, response = await connection.ask(partial(self._request, first, rest), self.endpoint.timeout_s)
            if connection.is_open:
                self._idle.append(connection)
            named = named_in(response.body, fields) if response.status in (400, 422) else ()
            if not named:
                exact = max_tokens if asks_exact_length(fields, max_tokens) else None
                asked = replace(asked, sent_s=sent_s, connect_s=connect_s)
                return await read_answer(asked, response, exact, self._key.hidden)
            for name in named:
                self._fields.pop(name, None)
            notes = ("resent",)

    def _request(self, first: bytes, rest: bytes) -> list[bytes]:
        length = f"Content-Length: {len(first) + len(rest)}\r\n\r\n".encode()
        return [self._head, self._key.header(), length, first, rest]

    def _idle_connection(self) -> Connection | None:
        oldest_s = perf_counter() - self.endpoint.keep_alive_s
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and (connection.used_s is None or connection.used_s >= oldest_s):
                return connection
            connection.abort()
        return None

    async def _connect(self) -> Connection:
        # The name is looked up once: thousands of look-ups at once would be measured instead of the service.
        host, port = self._address or (self.endpoint.host, self.endpoint.port)
        timeout_s = self.endpoint.timeout_s
        try:
            connection = await connect(host, port, self._tls, self.endpoint.host, timeout_s, self._connections)
        except TimeoutError:
            raise TimeoutError(f"no connection to {self.endpoint.host}, port {port}, in {timeout_s:g} s") from None
        except ssl.SSLError as fault:
            if fault.reason not in NO_TLS:
                raise
            raise ConnectionError(f"port {port} speaks no TLS: expected https there, or http:// in the url") from fault
        self._address = connection.address
        return connection

    async def _warm(self, connections: int) -> tuple[float, ...]:
        took_s: list[float] = []
        while len(took_s) < connections:
            some = min(CONNECTIONS_AT_ONCE if took_s else 1, connections - len(took_s))
            took_s += await asyncio.gather(*[self._warm_one() for _ in range(some)])
        return tuple(took_s)

    async def _warm_one(self) -> float:
        began_s = perf_counter()
        self._idle.append(await self._connect())
        return perf_counter() - began_s

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.gather(*[connection.close() for connection in self._connections])
        self._idle.clear()

    def _keep(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        fault = context.get("exception")
        self._faults.append(fault if isinstance(fault, BaseException) else RuntimeError(str(context.get("message"))))
