"""Prints what a decode step takes beside a hand-written cached loop, and beside computing the whole sequence anew.

    python tests/print_decode.py [PAIRS] [SIZE of llama] [DEPTH…]

For each CPU runtime and depth, in processes of their own, in which the adapter's step and the loop are opened first by
turns: ABBA pairs of a lap through the window, the median of their ratios adapter/hand-written with its 95 % interval by
order statistics, and the whole sequence's step by the decode step's. In PyTorch and JAX the loop is a llama written
here, with none of the vocabulary; ONNX Runtime and OpenVINO have a bare loop over the same graph.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# ruff: noqa: E402 - a script that imports from its own checkout
import numpy as np

import backends
from backends._graphs import graph_of, zeros
from backends._memory import set_memory
from backends.base import Request
from bench.cell import Cell
from bench.effort import Effort
from bench.parent.cache import Cache, default_root
from bench.parent.environment import child_environment
from bench.parent.suite import Suite
from host.topology import usable_cpus
from tests.fakes.steps import request_in
from tests.print_fidelity import interval
from workloads.catalog import load
from workloads.models import llama

WARM_UP = 3
LAUNCHES = 4
"""Sessions of one graph differ by 10 % for as long as they live, whichever code runs them: ONNX Runtime's most."""


def by_torch(request: Request, config: llama.Config) -> Callable[[int], Any]:
    """Grouped-query attention by torch's own function, over caches that are written in place."""
    import torch
    import torch.nn.functional as F

    set_memory(request.options.get("memory", "returned"))
    p = {name: torch.from_numpy(array.copy()) for name, array in request.parameters.items()}
    cache = {name: torch.from_numpy(a) for name, a in _caches(request).items()}
    batches = [{k: torch.from_numpy(v.copy()) for k, v in batch.items()} for batch in request.batches]
    layers = [{n.removeprefix(at): t for n, t in p.items() if n.startswith(at)} for at in _layers(config)]
    heads, kept, d, eps = config.num_attention_heads, config.num_key_value_heads, config.head_dim, config.rms_norm_eps
    n, places = len(request.batches[0]["start"]), torch.arange(cache["cache.k.0"].shape[2])
    rows, embedded = torch.arange(n), p["model.embed_tokens.weight"]

    def turned(x: Any, cos: Any, sin: Any) -> Any:
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    @torch.inference_mode()
    def step(i: int) -> Any:
        batch = batches[i % len(batches)]
        start = batch["start"]
        cos, sin = (p[f"rope.{part}"][start][:, None] for part in ("cos", "sin"))
        seen = (places <= start[:, None])[:, None, None]
        x = F.embedding(batch["input_ids"][:, 0], embedded)
        for number, w in enumerate(layers):
            h = F.rms_norm(x, x.shape[-1:], w["input_layernorm.weight"], eps)
            q = turned(F.linear(h, w["self_attn.q_proj.weight"]).view(n, heads, d), cos, sin)
            keys, values = cache[f"cache.k.{number}"], cache[f"cache.v.{number}"]
            keys[rows, :, start] = turned(F.linear(h, w["self_attn.k_proj.weight"]).view(n, kept, d), cos, sin)
            values[rows, :, start] = F.linear(h, w["self_attn.v_proj.weight"]).view(n, kept, d)
            y = F.scaled_dot_product_attention(q.view(n, kept, heads // kept, d), keys, values, attn_mask=seen)
            x = x + F.linear(y.reshape(n, heads * d), w["self_attn.o_proj.weight"])
            h = F.rms_norm(x, x.shape[-1:], w["post_attention_layernorm.weight"], eps)
            gated = F.silu(F.linear(h, w["mlp.gate_proj.weight"])) * F.linear(h, w["mlp.up_proj.weight"])
            x = x + F.linear(gated, w["mlp.down_proj.weight"])
        return F.linear(F.rms_norm(x, x.shape[-1:], p["model.norm.weight"], eps), embedded)

    return step


def by_jax(request: Request, config: llama.Config) -> Callable[[int], Any]:
    """`dynamic_update_slice` for each sequence, over caches that are donated."""
    import jax
    import jax.numpy as jnp

    set_memory(request.options.get("memory", "returned"))
    p = {name: jnp.array(array) for name, array in request.parameters.items()}
    held = {name: jnp.array(a) for name, a in _caches(request).items()}
    batches = [{k: jnp.array(v.astype(np.int32)) for k, v in batch.items()} for batch in request.batches]
    heads, kept, d, eps = config.num_attention_heads, config.num_key_value_heads, config.head_dim, config.rms_norm_eps
    n = len(request.batches[0]["start"])

    def norm(x: Any, weight: Any) -> Any:
        return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + eps) * weight

    def turned(x: Any, cos: Any, sin: Any) -> Any:
        a, b = jnp.split(x, 2, -1)
        return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    def written(cache: Any, new: Any, start: Any) -> Any:
        for row in range(n):
            cache = jax.lax.dynamic_update_slice(cache, new[row][None, :, None], (row, 0, start[row], 0))
        return cache

    def step(cache: dict[str, Any], p: dict[str, Any], batch: dict[str, Any]) -> Any:
        start = batch["start"]
        cos, sin = (p[f"rope.{part}"][start][:, None] for part in ("cos", "sin"))
        x = p["model.embed_tokens.weight"][batch["input_ids"][:, 0]]
        seen = jnp.arange(cache["cache.k.0"].shape[2]) <= start[:, None]
        for number, at in enumerate(_layers(config)):
            h = norm(x, p[f"{at}input_layernorm.weight"])
            q = turned((h @ p[f"{at}self_attn.q_proj.weight"].T).reshape(n, heads, d), cos, sin)
            k = turned((h @ p[f"{at}self_attn.k_proj.weight"].T).reshape(n, kept, d), cos, sin)
            v = (h @ p[f"{at}self_attn.v_proj.weight"].T).reshape(n, kept, d)
            keys = cache[f"cache.k.{number}"] = written(cache[f"cache.k.{number}"], k, start)
            values = cache[f"cache.v.{number}"] = written(cache[f"cache.v.{number}"], v, start)
            scores = jnp.einsum("bghd,bgsd->bghs", q.reshape(n, kept, heads // kept, d), keys) * d**-0.5
            weights = jax.nn.softmax(jnp.where(seen[:, None, None], scores, -jnp.inf), -1)
            y = jnp.einsum("bghs,bgsd->bghd", weights, values)
            x = x + y.reshape(n, heads * d) @ p[f"{at}self_attn.o_proj.weight"].T
            h = norm(x, p[f"{at}post_attention_layernorm.weight"])
            gated = jax.nn.silu(h @ p[f"{at}mlp.gate_proj.weight"].T) * (h @ p[f"{at}mlp.up_proj.weight"].T)
            x = x + gated @ p[f"{at}mlp.down_proj.weight"].T
        return norm(x, p["model.norm.weight"]) @ p["model.embed_tokens.weight"].T, cache

    compiled = jax.jit(step, donate_argnums=0)

    def run(i: int) -> Any:
        nonlocal held
        logits, held = compiled(held, p, batches[i % len(batches)])
        jax.block_until_ready(held)
        return logits.block_until_ready()

    return run


def by_onnxruntime(request: Request, config: llama.Config) -> Callable[[int], Any]:
    """A session with bound buffers, a cache's as input and as output."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = request.threads, 1
    session = ort.InferenceSession(str(graph_of(request)), options, providers=["CPUExecutionProvider"])
    value = ort.OrtValue.ortvalue_from_numpy
    held = {name: value(a) for name, a in _caches(request).items()}
    bindings = []
    for batch in request.batches:
        binding = session.io_binding()
        for name, v in ({k: value(a.copy()) for k, a in batch.items()} | held).items():
            binding.bind_ortvalue_input(name, v)
        binding.bind_output("logits")
        for name, v in held.items():
            binding.bind_ortvalue_output(f"next.{name}", v)
        bindings.append(binding)

    def run(i: int) -> Any:
        binding = bindings[i % len(bindings)]
        session.run_with_iobinding(binding)
        return binding.get_outputs()[0].numpy()

    return run


def by_openvino(request: Request, config: llama.Config) -> Callable[[int], Any]:
    """A request with a state of its own in the runtime (`MakeStateful`)."""
    import openvino as ov
    from openvino import passes

    core = ov.Core()
    model = core.read_model(str(graph_of(request)))
    caches = _caches(request)
    manager = passes.Manager()
    manager.register_pass(passes.MakeStateful({name: f"next.{name}" for name in caches}))
    manager.run_passes(model)
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(model, "CPU", {**hints, "INFERENCE_NUM_THREADS": request.threads})
    running = compiled.create_infer_request()
    for state in running.query_state():
        state.state = ov.Tensor(caches[state.name.partition("next.")[0]])
    batches = [{port: batch[port.any_name] for port in compiled.inputs} for batch in request.batches]

    def run(i: int) -> Any:
        return running.infer(batches[i % len(batches)])[0]

    return run


def _caches(request: Request) -> dict[str, np.ndarray]:
    initial = request.program.initial_state(request.parameters, zeros)
    return {name: np.array(array) for name, array in initial.items()}


def _layers(config: llama.Config) -> list[str]:
    return [f"model.layers.{number}." for number in range(config.num_hidden_layers)]


LOOPS = {
    "torch_cpu": by_torch,
    "jax_cpu": by_jax,
    "onnxruntime_cpu": by_onnxruntime,
    "openvino_cpu": by_openvino,
}


def asked(phase: str, backend: str, size: str, **shape: int) -> Request:
    """Returns the request of a cell, artifacts from the cache."""
    adapter, threads = backends.get(backend), len(usable_cpus())
    workload = load("llama", size, 1, **shape)
    cell = Cell("llama", size, phase, backend, 1, shape.get("sequence"), "fp32", threads, depth=shape.get("depth"))
    suite = Suite(Cache(default_root(os.environ), lambda said: None), Path(tempfile.mkdtemp()), Effort(0, 0, 0, 1))
    entries = suite.entries(cell, workload, adapter)
    return request_in(entries, adapter, workload, phase, threads, options=adapter.chosen_options({}))


def opened(backend: str, request: Request) -> tuple[Any, Callable[[int], None]]:
    """Returns the adapter's step of a request, and what runs it to its end."""
    step = backends.get(backend).prepare(request)
    step.compile()

    def run(i: int) -> None:
        step.step(i)
        step.sync()

    return step, run


def seconds(run: Callable[[int], Any], times: int) -> float:
    """Returns the mean time of a step over so many in a row."""
    start = perf_counter()
    for i in range(times):
        run(i)
    return (perf_counter() - start) / times


def measure(backend: str, size: str, depth: int, pairs: int, is_loop_first: bool) -> None:
    """Prints what one process measures of a runtime at a depth, as JSON."""
    request = asked("decode", backend, size, depth=depth)
    backends.get(backend).load(request)
    make = partial(LOOPS[backend], request, llama.SIZES[size])
    by_hand = make() if is_loop_first else None
    step, ours = opened(backend, request)
    by_hand = by_hand or make()
    _, anew = opened(backend, asked("infer", backend, size, sequence=depth + 1))
    lap = request.program.n_batches
    for i in range(WARM_UP):
        ours(i)
        anew(i)
        theirs = np.asarray(by_hand(i))
    off = float(np.abs(theirs.reshape(-1) - step.outputs()["logits"].reshape(-1)).max())
    ratios, times, factors = [], [], []
    for _ in range(pairs):
        a, b = seconds(ours, lap), seconds(by_hand, lap)
        b, a = b + seconds(by_hand, lap), a + seconds(ours, lap)
        ratios.append(a / b)
        times.append(a / 2)
        factors.append(2 * seconds(anew, 2) / a)
    print(json.dumps({"ratios": ratios, "times": times, "factors": factors, "off": [off]}))


def line_of(backend: str, size: str, depth: str, pairs: int) -> str:
    """Returns one line of a runtime at a depth, of all its processes."""
    found: dict[str, list[float]] = {}
    environment = child_environment(os.environ, len(usable_cpus()))
    for launch in range(LAUNCHES):
        words = (backend, size, depth, str(len(range(launch, pairs, LAUNCHES))), str(launch % 2))
        said = subprocess.check_output([sys.executable, __file__, *words], env=environment, text=True)
        for name, values in json.loads(said.splitlines()[-1]).items():
            found[name] = found.get(name, []) + values
    low, high = interval(found["ratios"])
    return (
        f"{backend:16} depth {depth:>4} {median(found['times']) * 1e3:7.1f} ms  {median(found['ratios']):.3f} "
        f"[{low:.3f}, {high:.3f}]  anew {median(found['factors']):5.1f} x  logits differ by {max(found['off']):.1e}"
    )


def main() -> None:
    """Prints a line of every combination; with the words that `line_of` adds it is one of its processes."""
    if len(sys.argv) == 6 and sys.argv[1] in LOOPS:
        measure(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "1")
        return
    pairs, size = int((sys.argv[1:] or ["8"])[0]), (sys.argv[2:] or ["135m"])[0]
    print(f"llama {size}, batch 1: adapter / hand-written loop, {pairs} ABBA pairs; and the whole sequence / one step")
    for depth in sys.argv[3:] or ("128", "512"):
        for backend in LOOPS:
            print(line_of(backend, size, depth, pairs), flush=True)


if __name__ == "__main__":
    main()
