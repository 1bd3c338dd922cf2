"""A connection that is kept: one request after another, each read stamped as the loop sees it, before anything else.

A protocol of asyncio, the layer beneath its streams: with `StreamReader` a read is stamped when the waiting task runs,
which is later, and two reads in between become one.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from time import perf_counter

from bench.serving.wire.http_response import Malformed, Response


class Connection(asyncio.Protocol):
    """A connection to the server, that of `connect`; while it lasts it is in the set `everyone`."""

    def __init__(self, everyone: set[Connection]) -> None:
        self.used_s: float | None = None
        """When its last response ended; None where there was none."""
        self._everyone = everyone
        self._transport: asyncio.Transport | None = None
        self._response: Response | None = None
        self._ended: asyncio.Future[None] | None = None
        self._lost = asyncio.get_running_loop().create_future()

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing() and not self._lost.done()

    @property
    def address(self) -> tuple[str, int]:
        """The other side, as numbers."""
        assert self._transport is not None
        host, port = self._transport.get_extra_info("peername")[:2]
        return host, port

    async def ask(self, request: Callable[[], list[bytes]], timeout_s: float) -> tuple[float, Response]:
        """Sends a request; returns when it was sent and the response, be it whole or not, when it has ended.

        `request` returns the bytes: a key is in them, which should be in no variable that outlives their sending.
        Where it is not whole, or not in `timeout_s` seconds since it was sent, the connection is closed.
        """
        assert self._transport is not None
        assert self._response is None, "one request at a time"
        loop = asyncio.get_running_loop()
        self._response, self._ended = response, ended = Response(), loop.create_future()
        sent_s = perf_counter()
        self._transport.writelines(request())
        timer = loop.call_later(timeout_s, self._end, "timeout", f"not whole after {timeout_s:g} s")
        try:
            await ended
        finally:
            timer.cancel()
            self._response, self.used_s = None, perf_counter()
            if not response.can_be_followed:
                self.abort()
        return sent_s, response

    def abort(self) -> None:
        """Closes the connection soon."""
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Closes the connection, and returns when it is."""
        self.abort()
        await self._lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._everyone.add(self)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        at_s = perf_counter()
        response = self._response
        if response is None:  # nobody asked
            self.abort()
            return
        try:
            response.feed(at_s, data)
        except Malformed as fault:
            self._end("broken_stream", str(fault), at_s)
        else:
            if response.is_whole:
                self._end("", "", at_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._everyone.discard(self)
        if not self._lost.done():
            self._lost.set_result(None)
        if self._response is None:
            return
        if exc is None and self._response.end_of_connection():
            self._end("", "")
        else:
            kind = "closed" if exc is None else f"lost ({type(exc).__name__})"
            where = "before the answer" if self._response.status is None else "in the middle of the answer"
            self._end("broken_stream", f"the connection was {kind} {where}")

    def _end(self, error: str, detail: str, at_s: float | None = None) -> None:
        if self._response is not None and self._ended is not None and not self._ended.done():
            self._response.end_s = perf_counter() if at_s is None else at_s
            self._response.error, self._response.detail = error, detail
            self._ended.set_result(None)


async def connect(
    host: str, port: int, tls: ssl.SSLContext | None, name: str, timeout_s: float, everyone: set[Connection]
) -> Connection:
    """Returns an open connection to `host`, whose certificate is to be that of `name`. Raises OSError."""
    server_name = name if tls is not None else None
    async with asyncio.timeout(timeout_s):
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(everyone), host, port, ssl=tls, server_hostname=server_name
        )
    return connection
