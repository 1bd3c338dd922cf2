"""Mixtral (Jiang et al. 2024, arXiv:2401.04088): Llama with a mixture of eight experts in the place of its MLP.

A router sends each token to the two experts of eight that its softmax finds most likely, and weighs them by their part
of that likelihood. Names and shapes of the published weights of Hugging Face's `MixtralForCausalLM`, expert by expert
(its classes stack them). Programs and labels are those of `llama`; the loss has no term for the experts' balance, as
published (`output_router_logits` false). Which two experts a token gets jumps where two are nearly as likely: there
correct code may choose either (`bench/child/checks/choices.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from workloads.models import _rotary
from workloads.models._decoder import Serving
from workloads.models._rotary import decoder
from workloads.ops import Array, Ops, Parameters
from workloads.specs import ParameterSpec
from workloads.workload import Workload

SUITES = {"llm": None}
BLOCK = "block_sparse_moe"


@dataclass(frozen=True, kw_only=True)
class Config(_rotary.Config):
    """Sizes of the model, named as in its published configuration."""

    num_local_experts: int = 8
    num_experts_per_tok: int = 2
    tie_word_embeddings: bool = False


# The last is the published configuration of Mixtral-8x7B-v0.1, at https://huggingface.co; no one publishes one as small
# as the second, which is ours: it trains in 23 GB.
SIZES = {
    "tiny": Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        vocab_size=211,
        max_position_embeddings=64,
        rope_theta=1e6,
    ),
    "139m": Config(
        hidden_size=512,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=2,
        intermediate_size=1024,
        vocab_size=32_000,
        max_position_embeddings=2048,
        rope_theta=1e6,
    ),
    "mixtral-8x7b": Config(
        hidden_size=4096,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        intermediate_size=14_336,
        vocab_size=32_000,
        max_position_embeddings=32_768,
        rope_theta=1e6,
    ),
}
PUBLISHED = "139m"
BATCHES = dict.fromkeys(SIZES, 1) | {"tiny": 2}
SEQUENCES = dict.fromkeys(SIZES, 128) | {"tiny": 16}
SERVINGS = dict.fromkeys(SIZES, Serving(depth=128, window=16, capacity=512)) | {"tiny": Serving(24, 8, 32)}
SHAPES = ((1, 128), (8, 128))
DEPTHS = ((1, 128), (8, 128), (1, 512), (8, 512))


def _mixture(ops: Ops, config: Config, x: Array, p: Parameters) -> Array:
    """Returns what the experts of one block make of `x` (B, T, hidden), each token's chosen ones weighed and summed."""
    rows = ops.reshape(x, (-1, config.hidden_size))
    logits = ops.linear(rows, p[f"{BLOCK}.gate.weight"])
    weights, ids = ops.route(logits, config.num_experts_per_tok, is_normalized=True)

    def expert(rows: Array, p: Parameters) -> Array:
        gated = ops.silu(ops.linear(rows, p["w1.weight"])) * ops.linear(rows, p["w3.weight"])
        return ops.linear(gated, p["w2.weight"])

    mixed = ops.experts(expert, rows, weights, ids, p, f"{BLOCK}.experts", config.num_local_experts)
    return ops.reshape(mixed, x.shape)


def _of_mixture(config: Config, prefix: str) -> list[ParameterSpec]:
    """Returns router and experts of one block, in the published order.

    Narrow models are drawn so that products are as large as the published 0.02 makes them at the published width: of
    32 hidden states experts at 0.02 would make so little that bf16 hides which of them it was.
    """
    d, width = config.hidden_size, config.intermediate_size
    deviation = 0.02 * sqrt(SIZES["mixtral-8x7b"].hidden_size / d)
    shapes = {"gate": (config.num_local_experts, d)}
    for i in range(config.num_local_experts):
        shapes |= {f"experts.{i}.w1": (width, d), f"experts.{i}.w2": (d, width), f"experts.{i}.w3": (width, d)}
    return [ParameterSpec(f"{prefix}.{BLOCK}.{name}.weight", shape, 0.0, deviation) for name, shape in shapes.items()]


def build(size: str, batch: int, sequence: int | None = None, depth: int | None = None) -> Workload:
    """Returns the workload at `size`; with `depth` the one that decodes, at that many tokens.

    Raises ValueError where `sequence` or `depth` exceeds the model's positions.
    """
    config = SIZES[size]

    model = decoder(
        "moe", size, config, lambda ops, x, p: _mixture(ops, config, x, p), lambda prefix: _of_mixture(config, prefix)
    )
    return model.workload(batch, sequence or SEQUENCES[size], depth, SERVINGS[size])
