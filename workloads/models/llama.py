"""Llama (Touvron et al. 2023, arXiv:2302.13971; Grattafiori et al. 2024, arXiv:2407.21783) and models of its shape.

RMSNorm, rotary positions, grouped queries, SwiGLU; names and shapes of Hugging Face's `LlamaForCausalLM` and
`Qwen2ForCausalLM`. `infer` is the forward pass over whole sequences, `prefill` the same that returns the logits of the
last position and the cache, `decode` one token for each sequence against a cache of `depth` tokens; `train` is
next-token prediction with AdamW on all parameters. Labels are given shifted: `labels[:, t]` follows `input_ids[:, t]`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from workloads.models._decoder import Attend, Serving, cached, served
from workloads.ops import Array, Ops, Parameters, subset
from workloads.optim import AdamW
from workloads.program import Work, inference, training
from workloads.recipes.rope import Scaling, rope_tables
from workloads.specs import InputSpec, ParameterSpec
from workloads.weights.published import Published
from workloads.workload import Workload

SUITES = {"llm": None}


@dataclass(frozen=True)
class Config:
    """Sizes of the model, named as in its published configuration."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    rope_theta: float
    rms_norm_eps: float = 1e-5
    tie_word_embeddings: bool = True
    qkv_bias: bool = False
    rope_scaling: Scaling | None = None

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads


def llama3(factor: float) -> Scaling:
    """Returns the published stretching of frequencies by `factor`."""
    return Scaling(factor, 1.0, 4.0, 8192)


# The published configurations of SmolLM-135M, Qwen2.5-0.5B, Llama-3.2-1B and Llama-3.1-8B, at https://huggingface.co.
SIZES = {
    "tiny": Config(32, 2, 4, 2, 48, 211, 64, 10_000.0),
    "135m": Config(576, 30, 9, 3, 1536, 49_152, 2048, 10_000.0),
    "qwen2.5-0.5b": Config(896, 24, 14, 2, 4864, 151_936, 32_768, 1e6, rms_norm_eps=1e-6, qkv_bias=True),
    "1b": Config(2048, 16, 32, 8, 8192, 128_256, 131_072, 5e5, rope_scaling=llama3(32.0)),
    "8b": Config(4096, 32, 32, 8, 14_336, 128_256, 131_072, 5e5, tie_word_embeddings=False, rope_scaling=llama3(8.0)),
}
PUBLISHED = "135m"
BATCHES = dict.fromkeys(SIZES, 1) | {"tiny": 2}
SEQUENCES = dict.fromkeys(SIZES, 128) | {"tiny": 16}
SERVINGS = dict.fromkeys(SIZES, Serving(depth=128, window=16, capacity=512)) | {"tiny": Serving(24, 8, 32)}
SHAPES = ((1, 128), (8, 128))
DEPTHS = ((1, 128), (8, 128), (1, 512), (8, 512))
INVERSE_FREQUENCIES = r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq"
"""What files of old releases hold beside the parameters."""


def _tables(config: Config) -> tuple[ParameterSpec, ...]:
    return rope_tables(config.max_position_embeddings, config.head_dim, config.rope_theta, config.rope_scaling)


def _layer(ops: Ops, config: Config, x: Array, p: Parameters, turns: tuple[Array, Array], attend: Attend) -> Array:
    """Returns what one block makes of `x` (B, T, hidden); `turns` are the cosines and sines of its positions."""
    batch, sequence, _ = x.shape

    def projected(name: str, heads: int) -> Array:
        y = ops.linear(h, p[f"self_attn.{name}.weight"], p.get(f"self_attn.{name}.bias"))
        return ops.transpose(ops.reshape(y, (batch, sequence, heads, config.head_dim)), (0, 2, 1, 3))

    h = ops.rms_norm(x, p["input_layernorm.weight"], config.rms_norm_eps)
    q = ops.rope(projected("q_proj", config.num_attention_heads), *turns)
    k = ops.rope(projected("k_proj", config.num_key_value_heads), *turns)
    v = projected("v_proj", config.num_key_value_heads)
    attended = ops.transpose(attend(q, k, v), (0, 2, 1, 3))
    x = x + ops.linear(ops.reshape(attended, (batch, sequence, config.hidden_size)), p["self_attn.o_proj.weight"])
    h = ops.rms_norm(x, p["post_attention_layernorm.weight"], config.rms_norm_eps)
    gated = ops.silu(ops.linear(h, p["mlp.gate_proj.weight"])) * ops.linear(h, p["mlp.up_proj.weight"])
    return x + ops.linear(gated, p["mlp.down_proj.weight"])


def _head(ops: Ops, config: Config, x: Array, p: Parameters) -> Array:
    """Returns the logits of `x`."""
    table = p["model.embed_tokens.weight" if config.tie_word_embeddings else "lm_head.weight"]
    return ops.linear(ops.rms_norm(x, p["model.norm.weight"], config.rms_norm_eps), table)


def forward(ops: Ops, config: Config, p: Parameters, input_ids: Array) -> Array:
    """Returns the logits (B, T, vocabulary) of every position."""
    sequence = input_ids.shape[1]
    turns = (p["rope.cos"][:sequence, :], p["rope.sin"][:sequence, :])

    def block(x: Array, p: Parameters) -> Array:
        return _layer(ops, config, x, p, turns, lambda q, k, v: ops.attention(q, k, v, causal=True))

    x = ops.embedding(p["model.embed_tokens.weight"], input_ids)
    return _head(ops, config, ops.repeat(block, x, p, "model.layers", config.num_hidden_layers), p)


def hidden(ops: Ops, config: Config, p: Parameters, input_ids: Array, positions: Array, attends: list[Attend]) -> Array:
    """Returns what the last block makes of tokens at `positions` (B, T) or (T,), each block with its own attention."""
    turns = (ops.embedding(p["rope.cos"], positions), ops.embedding(p["rope.sin"], positions))
    x = ops.embedding(p["model.embed_tokens.weight"], input_ids)
    for i, attend in enumerate(attends):
        x = _layer(ops, config, x, subset(p, f"model.layers.{i}."), turns, attend)
    return x


def parameters(config: Config) -> tuple[ParameterSpec, ...]:
    """Returns the parameters in the published order, initialised as published but for biases and norms.

    Weights are normal with 0.02. Norms, published as exact ones, are drawn around them, and biases around zero, so that
    a dropped one cannot go unseen.
    """
    d, specs = config.hidden_size, []
    of_keys = config.num_key_value_heads * config.head_dim

    def linear(name: str, n_out: int, n_in: int) -> None:
        specs.append(ParameterSpec(f"{name}.weight", (n_out, n_in), 0.0, 0.02))

    linear("model.embed_tokens", config.vocab_size, d)
    for i in range(config.num_hidden_layers):
        prefix = f"model.layers.{i}"
        for name, width in (("q", d), ("k", of_keys), ("v", of_keys)):
            linear(f"{prefix}.self_attn.{name}_proj", width, d)
            if config.qkv_bias:
                specs.append(ParameterSpec(f"{prefix}.self_attn.{name}_proj.bias", (width,), 0.0, 0.02))
        linear(f"{prefix}.self_attn.o_proj", d, d)
        linear(f"{prefix}.mlp.gate_proj", config.intermediate_size, d)
        linear(f"{prefix}.mlp.up_proj", config.intermediate_size, d)
        linear(f"{prefix}.mlp.down_proj", d, config.intermediate_size)
        specs.append(ParameterSpec(f"{prefix}.input_layernorm.weight", (d,), 1.0, 0.02))
        specs.append(ParameterSpec(f"{prefix}.post_attention_layernorm.weight", (d,), 1.0, 0.02))
    specs.append(ParameterSpec("model.norm.weight", (d,), 1.0, 0.02))
    if not config.tie_word_embeddings:
        linear("lm_head", config.vocab_size, d)
    return tuple(specs)


def build(size: str, batch: int, sequence: int | None = None, depth: int | None = None) -> Workload:
    """Returns the workload at `size`; with `depth` the one that decodes, at that many tokens.

    Raises ValueError where `sequence` or `depth` exceeds the model's positions.
    """
    config = SIZES[size]
    sequence = sequence or SEQUENCES[size]
    for name, value in (("sequence", sequence), ("depth", depth or 0)):
        if value > config.max_position_embeddings:
            raise ValueError(f"{name} {value} is longer than llama-{size}'s {config.max_position_embeddings} positions")
    specs, tables = parameters(config), _tables(config)
    constants = specs + tables
    hyperparameters = {
        name: value for name, value in asdict(config).items() if not isinstance(value, (dict, type(None)))
    }
    if config.rope_scaling is not None:
        hyperparameters |= {f"rope_scaling.{name}": value for name, value in asdict(config.rope_scaling).items()}

    def of_cache(ops: Ops, p: Parameters, ids: Array, positions: Array, attends: list[Attend]) -> Array:
        return _head(ops, config, hidden(ops, config, p, ids, positions, attends)[:, -1:, :], p)

    heads = (config.num_hidden_layers, config.num_key_value_heads, config.head_dim)
    common: dict[str, Any] = {
        "name": "llama",
        "size": size,
        "batch": batch,
        "parameters": specs,
        "buffers": tables,
        "published": Published(
            ignored=(INVERSE_FREQUENCIES,),
            tied={"lm_head.weight": "model.embed_tokens.weight"} if config.tie_word_embeddings else {},
        ),
    }
    if depth is not None:
        serving = SERVINGS[size].at(depth)
        return Workload(
            **common,
            sequence=None,
            hyperparameters=hyperparameters | asdict(serving),
            programs={"decode": cached(of_cache, heads, serving, batch, config.vocab_size, constants)},
        )

    def infer(ops: Ops, p: Parameters, batch: Parameters) -> dict[str, Array]:
        return {"logits": forward(ops, config, p, batch["input_ids"])}

    def loss(ops: Ops, p: Parameters, batch: Parameters) -> tuple[Array, dict[str, Array]]:
        logits = ops.reshape(forward(ops, config, p, batch["input_ids"]), (-1, config.vocab_size))
        return ops.cross_entropy(logits, ops.reshape(batch["labels"], (-1,))), {}

    tokens = (batch, sequence)
    input_ids = InputSpec("input_ids", tokens, "int64", high=config.vocab_size)
    labels = InputSpec("labels", tokens, "int64", high=config.vocab_size)
    rule = AdamW(learning_rate=1e-4, beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=0.1)
    work = Work(batch, tokens_read=batch * sequence)
    return Workload(
        **common,
        sequence=sequence,
        hyperparameters=hyperparameters,
        programs={
            "infer": inference(infer, inputs=(input_ids,), constants=constants, work=work),
            "train": training(loss, rule, inputs=(input_ids, labels), parameters=specs, constants=tables, work=work),
            "prefill": inference(
                served(of_cache, config.num_hidden_layers), inputs=(input_ids,), constants=constants, work=work
            ),
        },
    )
