"""What is asked of a service in one row of a run: where, of which model, at which load. Data that any process may hold.

The key is no part of it: the process that sends requests reads it from the environment variable that is named here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from bench.serving.service.load import check
from bench.serving.wire.endpoint import PATHS, Endpoint
from workloads.catalog import DECODING, load
from workloads.generate import PREFILL
from workloads.precision import BF16, PRECISIONS
from workloads.weights import files

ALWAYS_SENT: Mapping[str, object] = {"stream_options.include_usage": True}
REQUESTS = 64
KINDS = tuple(PATHS)
MOST_TOKENS = 10_000_000
"""Of one prompt, and of one answer: more than any model reads, and a prompt is kept in memory."""
LEAST_IDS = 2


@dataclass(frozen=True)
class KnownModel:
    """What a service is said to compute: a workload at a size, with weights of a file, in a precision."""

    workload: str
    size: str
    weights: str
    weights_sha256: str
    precision: str

    @property
    def vocabulary(self) -> int:
        """How many token ids it has."""
        (vocabulary,) = {spec.high for spec in load(self.workload, self.size).programs[PREFILL].inputs}
        assert vocabulary is not None
        return vocabulary

    def columns(self) -> dict[str, Any]:
        """Returns what a row says of it."""
        named = {"model_is": f"{self.workload}:{self.size}", "precision": self.precision}
        return named | {"weights_sha256": self.weights_sha256}


def known_model(name: str | None, weights: str | None, precision: str | None) -> KnownModel | None:
    """Returns the model that is meant by `WORKLOAD:SIZE`, checked against its weights; None where none was named.

    Raises ValueError.
    """
    if name is None and weights is None and precision is None:
        return None
    if name is None or weights is None:
        raise ValueError("what a service computes is known by its weights and by what model they are of: give both")
    workload, _, size = name.partition(":")
    if workload not in DECODING:
        raise ValueError(f"no language model {workload!r}; expected WORKLOAD:SIZE, one of: {', '.join(DECODING)}")
    spoken = {one.name for one in PRECISIONS.values() if not one.is_quantized}
    precision = BF16.name if precision is None else precision
    if precision not in spoken:
        raise ValueError(f"no definition of a service in {precision!r}; known: {', '.join(sorted(spoken))}")
    found = load(workload, size or None)
    checked = files.check(Path(weights).expanduser().absolute(), found)
    return KnownModel(workload, found.size, checked.path, checked.sha256, precision)


@dataclass(frozen=True, kw_only=True)
class ServiceCell:
    """One service at one load. Raises ValueError for what cannot be asked."""

    url: str
    model: str
    scenario: str = "single_stream"
    """`single_stream`, `multi_stream`, `offline`, `concurrency:N`, `server:RATE`, or `server:max`: searched."""
    kind: str = "completions"
    key_variable: str = "OPENAI_API_KEY"
    requests: int = REQUESTS
    prompt_tokens: int = 128
    output_tokens: int = 64
    vocabulary: int | None = None
    """Prompts are token ids below it; None: text, fitted to as many tokens."""
    seed: int = 0
    salt: str | None = None
    """What makes prompts unlike those of before; None: the time."""
    timeout_s: float = 600.0
    bounds: Mapping[str, float] = field(default_factory=dict)
    fields: Mapping[str, object] = field(default_factory=dict)
    """Optional fields of a request, dropped where the server refuses them by name."""
    mlperf: bool = False
    """Whether MLPerf's least duration and number of queries are kept."""
    known: KnownModel | None = None
    """What its log-probabilities are held against."""

    def __post_init__(self) -> None:
        self.endpoint()
        check(self.scenario, self.seed, self.requests, self.bounds, self.mlperf)
        for name in ("prompt_tokens", "output_tokens"):
            if not 1 <= getattr(self, name) <= MOST_TOKENS:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 1 to {MOST_TOKENS:,}")
        if self.vocabulary is not None and self.vocabulary < LEAST_IDS:
            raise ValueError(
                f"the vocabulary has {self.vocabulary} ids; expected {LEAST_IDS} or more to tell prompts apart"
            )

    def endpoint(self) -> Endpoint:
        """Returns where requests go."""
        return Endpoint(
            self.url,
            self.model,
            self.output_tokens,
            self.kind,
            self.timeout_s,
            self.key_variable,
            {**ALWAYS_SENT, **self.fields},
        )

    @property
    def is_chat(self) -> bool:
        """Whether it takes words, and no token ids."""
        return self.kind == "chat"

    @property
    def id(self) -> str:
        """What its test is called."""
        return f"openai_http-{urlsplit(self.url).netloc}-{self.model}-{self.scenario}"

    @property
    def title(self) -> str:
        """What it is, in words."""
        return f"service {self.model} at {self.url}: {self.scenario}, {self.requests} requests"

    def columns(self) -> dict[str, Any]:
        """Returns what a row says of what was asked."""
        return {
            "service": self.url,
            "model": self.model,
            "kind": self.kind,
            "scenario": self.scenario,
            "prompt_tokens_asked": self.prompt_tokens,
            "output_tokens_asked": self.output_tokens,
            "seed": self.seed,
            "bounds": json.dumps(dict(self.bounds), sort_keys=True) if self.bounds else None,
            **({} if self.known is None else self.known.columns()),
        }

    def job(self) -> dict[str, Any]:
        """Returns it as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_job(cls, job: Mapping[str, Any]) -> Self:
        """Returns what `job` wrote."""
        known = job.get("known")
        given = {one.name: job[one.name] for one in fields(cls) if one.name != "known"}
        return cls(**given, known=None if known is None else KnownModel(**known))
