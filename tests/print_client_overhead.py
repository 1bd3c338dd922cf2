"""Prints the client's CPU per chunk, with the server in another process: `python -m tests.print_client_overhead`.

Of the whole process, both threads: sockets, stamps, framing, and the parsing after the end. The aim is 30 µs. Beside it
what asyncio takes by itself to read as much, each read stamped and thrown away: what no client on it can be below.
"""

import asyncio
import subprocess
import sys
from pathlib import Path
from queue import Queue
from statistics import median
from time import perf_counter, process_time

from bench.serving.definitions import icl_s, percentile
from bench.serving.openai_http import OpenAITarget
from bench.serving.wire.endpoint import Endpoint

ROOT = Path(__file__).resolve().parent.parent
CASES = [(1, 2000, 0.0), (64, 500, 0.0), (1, 1000, 0.002), (64, 200, 0.03)]
"""Streams, tokens of each, seconds between tokens."""
REPEATS = 5


def seconds_per_chunk(streams: int, tokens: int, url: str) -> tuple[float, list[float]]:
    """Returns the CPU seconds per chunk of so many requests at once, and the gaps between chunks."""
    ended: Queue = Queue()
    with OpenAITarget(Endpoint(url, "fake", tokens), lambda number: f"prompt {number}") as target:
        target.open(streams)
        target.ask("warm")
        began_s = process_time()
        for number in range(streams):
            target.start(number, perf_counter(), ended.put)
        answers = [ended.get() for _ in range(streams)]
        took_s = process_time() - began_s
    assert {(answer.error, len(answer.chunks)) for answer in answers} == {("", tokens)}
    return took_s / (streams * tokens), [gap for answer in answers for gap in icl_s(answer)]


class Reader(asyncio.Protocol):
    """Reads, stamps, and knows when the answer has ended."""

    def __init__(self):
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        perf_counter()
        if data.endswith(b"0\r\n\r\n") and not self.ended.done():
            self.ended.set_result(None)


async def asyncio_alone(streams: int, tokens: int, port: int) -> float:
    """Returns the CPU seconds per chunk of reading alone."""
    loop = asyncio.get_running_loop()
    readers = [(await loop.create_connection(Reader, "127.0.0.1", port))[1] for _ in range(streams)]
    began_s = process_time()
    for reader in readers:
        reader.transport.write(b"POST /v1/completions HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
    await asyncio.gather(*[reader.ended for reader in readers])
    took_s = process_time() - began_s
    for reader in readers:
        reader.transport.abort()
    await asyncio.sleep(0)
    return took_s / (streams * tokens)


def measure(streams: int, tokens: int, delay_s: float) -> None:
    command = [sys.executable, "-m", "tests.fakes.openai_server", str(tokens), str(delay_s)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        url = server.stdout.readline().strip()
        port = Endpoint(url, "fake", tokens).port
        runs, alone = [], []
        for _ in range(REPEATS):
            runs.append(seconds_per_chunk(streams, tokens, url))
            alone.append(asyncio.run(asyncio_alone(streams, tokens, port)))
        server.stdin.close()
    costs, gaps = [cost for cost, _ in runs], [gap for _, more in runs for gap in more]
    print(
        f"{streams:3} streams, {tokens} chunks {delay_s * 1e3:g} ms apart: "
        f"{median(costs) * 1e6:5.1f} µs of CPU per chunk ({min(costs) * 1e6:.1f} … {max(costs) * 1e6:.1f}, aim 30); "
        f"asyncio alone {median(alone) * 1e6:.1f}; "
        f"gaps p50 {percentile(gaps, 0.5) * 1e3:.2f}, p99 {percentile(gaps, 0.99) * 1e3:.2f} ms",
        flush=True,
    )


if __name__ == "__main__":
    for case in CASES:
        measure(*case)
