"""OpenVINO: a step whose cache is state of the infer request (`MakeStateful`), which nothing moves between steps.

https://docs.openvino.ai/2026/openvino-workflow/running-inference/inference-request/stateful-models.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import passes

from backends._graphs import carries_a_cache, zeros
from backends._openvino import OpenVinoStep, one_name
from backends.base import Effective, Request

NEXT = "next."
"""A state is called by its input and its output: `cache.k.0next.cache.k.0`."""


class OpenVinoCachedStep(OpenVinoStep):
    """One infer request that keeps the cache; what differs from step to step is bound anew."""

    def __init__(self, request: Request, device: str) -> None:
        super().__init__(request, device)
        self.given = self.buffers[0]
        self.buffers = [{}, {}]
        self.states: dict[str, Any] = {}
        manager = passes.Manager()
        manager.register_pass(passes.MakeStateful({name: f"{NEXT}{name}" for name in self.given}))
        manager.run_passes(self.model)

    def compile_model(self, hints: Mapping[str, Any]) -> Any:
        # By its default a fused attention may keep keys and values in 8 bits, under float32 too.
        return super().compile_model({"KV_CACHE_PRECISION": "f32", **hints})

    def _bind_all(self) -> None:
        held = {name: np.array(array) for name, array in self.state()} or self.given
        request = self._bind(self.batches[0], {}, {})
        self.requests = [[request], [request]]
        self.states = {state.name.partition(NEXT)[0]: state for state in request.query_state()}
        self.set_state(held)
        self.fed = [
            [
                (port, ov.Tensor(batch[one_name(port.get_names(), batch)], shared_memory=True))
                for port in self.compiled.inputs
            ]
            for batch in self.batches
        ]

    def set_state(self, held: Mapping[str, NDArray[Any]]) -> None:
        """Puts arrays where the next step reads its cache."""
        for name, state in self.states.items():
            state.state = ov.Tensor(held[name], shared_memory=True)  # from where the state takes a copy

    def step(self, i: int) -> None:
        for port, tensor in self.fed[i % len(self.fed)]:
            self.requests[0][0].set_tensor(port, tensor)
        super().step(i)

    def touch(self) -> None:
        super().touch()
        for _, array in self.state():
            array.reshape(-1)[0].item()

    def state(self) -> Iterator[tuple[str, NDArray[Any]]]:
        for name, state in self.states.items():
            yield name, state.state.data

    def restart(self, parameters: Mapping[str, NDArray[Any]]) -> None:
        initial = self.request.program.initial_state(parameters, zeros)
        self.set_state({name: np.array(array) for name, array in initial.items()})
        self.count = 0

    def effective(self) -> Effective:
        effective = super().effective()
        kept = self.compiled.get_property("KV_CACHE_PRECISION").get_type_name()
        return replace(effective, more={**effective.more, "kv_cache_precision": kept})


def opened(request: Request, device: str) -> OpenVinoStep:
    """Returns the step of a request in the form that its state asks for."""
    return (OpenVinoCachedStep if carries_a_cache(request.program) else OpenVinoStep)(request, device)
