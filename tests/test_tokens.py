"""Prompt and generated tokens apart: who is fastest at which, and how far from the best that the memory allows."""

import pytest

from results.record.limits import with_limits
from results.show.render import render
from results.tables.table import to_frame
from tests.fakes.rows import row_of
from tests.fakes.served import served_row, served_run


def stream_read(per_s, **changes):
    reached = {"throughput_bytes_per_s": per_s, "minimum_bytes_per_step": 200 << 20, "device": "chip"}
    return row_of(**{"workload": "stream_read", "size": "192mib", "batch": 48, **reached, **changes})


def text_of(rows, width=100):
    return render(to_frame(with_limits(rows)), width=width)


def lines_of(text, title):
    """Returns the words of the lines of the block that begins with a title."""
    block = next(block for block in text.split("\n\n") if block.startswith(title))
    return [line.split() for line in block.splitlines()]


def test_reading_a_prompt_and_generating_stand_apart_from_whole_sequences():
    text = text_of([*served_run(), *served_run(times=2.0, backend="jax_cpu")])
    whole, served = (text.index(title) for title in ("Fastest, with those", "As language models are served"))
    assert "prefill" not in text[whole:served]
    assert "decode" not in text[whole:served]
    block = text[served : text.index("Latency:")]
    assert "infer" not in block.replace("inference", "")
    assert "time to first token  256 ms: jax_cpu; 2.00x torch_cpu" in block
    assert "prompt tokens/s      1,000: jax_cpu; 2.00x torch_cpu" in block
    assert "time per token       50.0 ms: jax_cpu; 2.00x torch_cpu" in block
    assert "tokens/s             40.0: jax_cpu; 2.00x torch_cpu" in block


def test_each_batch_and_depth_is_named():
    steps = [(batch, depth) for batch in (1, 8) for depth in (128, 512)]
    text = text_of([served_row("decode", batch=batch, depth=depth, times=batch) for batch, depth in steps])
    lines = [line for line in text.splitlines() if "  time per token " in line]
    assert [line.split()[2:6] for line in lines] == [
        ["batch", b, "depth", d] for b, d in (("1", "128"), ("1", "512"), ("8", "128"), ("8", "512"))
    ]


def test_the_time_per_token_stands_beside_the_best_possible():
    rows = [served_row("decode"), served_row("decode", times=4.0, backend="jax_cpu"), stream_read(25e9)]
    text = text_of([*rows, stream_read(10e9, backend="jax_cpu")])
    title, header, line = lines_of(text, "Time per token, and how")[-3:]
    assert " ".join(title).endswith("weights and cache once at 25.0 GB/s (torch_cpu stream_read)")
    assert header[-3:] == ["best", "jax_cpu", "torch_cpu"]
    assert line == ["gpt2", "decode", "21.0", "ms", "25.0", "ms", "1.19x", "100", "ms", "4.77x"]
    assert "25.0 ms, 1.19x the best possible: jax_cpu" in text
    assert max(map(len, text.splitlines())) <= 100


def test_machines_have_roofs_of_their_own():
    here = with_limits([served_row("decode"), stream_read(25e9)])
    there = {"machine": "other", "machine_id": "ba9876543210", "run_id": "20261124T125900Z-other-3c4d"}
    rows = with_limits([served_row("decode", **there), stream_read(50e9, **there)])
    lines = lines_of(render(to_frame([*here, *rows]), width=100), "Time per token, and how")
    assert [line[2:4] for line in lines[-2:]] == [["10.5", "ms"], ["21.0", "ms"]]


def test_why_there_is_no_best_possible_is_said():
    rows = [served_row("decode"), served_row("decode", workload="llama", size="135m")]
    shown = " ".join(text_of(rows).split())
    assert "No best possible time per token: the run measured no bandwidth" in shown
    assert "--workloads gpt2,llama,stream_read" in shown
    small = text_of([served_row("decode", minimum_bytes_per_step=1 << 20), stream_read(25e9)])
    assert "a cache may hold all that a step reads" in " ".join(small.split())
    assert "--workloads" not in small
    assert "best possible" not in text_of([row_of()])


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_one_backend_alone_has_its_numbers_too(phase):
    assert "As language models are served, the fastest" in text_of([served_row(phase)])
