"""What Llama and its kin have in common: all of a block but its MLP, and the embedding and the head around the blocks.

RMSNorm, rotary positions, grouped queries; names and shapes of Hugging Face's `LlamaForCausalLM`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from workloads.models._decoder import Attend, Decoder
from workloads.ops import Array, Ops, Parameters
from workloads.optim import AdamW
from workloads.recipes.rope import Scaling, rope_tables
from workloads.specs import ParameterSpec
from workloads.weights.published import Published

INVERSE_FREQUENCIES = r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq"
"""What files of old releases hold beside the parameters."""
RULE = AdamW(learning_rate=1e-4, beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=0.1)


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


Turns = tuple[Array, Array]
"""What `Ops.rope` is told of the positions of a block's tokens."""
Mlp = Callable[[Ops, Array, Parameters], Array]
"""`mlp(ops, x, p)`: what the second half of a block makes of the normed `x` (B, T, hidden), with the block's `p`."""


def decoder(
    name: str, size: str, config: Config, mlp: Mlp, of_mlp: Callable[[str], Iterable[ParameterSpec]]
) -> Decoder:
    """Returns the language model whose blocks have `mlp`, and its parameters `of_mlp(prefix of the block)`."""

    def block(ops: Ops, x: Array, p: Parameters, turns: Turns, attend: Attend) -> Array:
        x = x + _attended(ops, config, x, p, turns, attend)
        return x + mlp(ops, ops.rms_norm(x, p["post_attention_layernorm.weight"], config.rms_norm_eps), p)

    return Decoder(
        name=name,
        size=size,
        blocks="model.layers",
        n_layer=config.num_hidden_layers,
        heads=config.num_key_value_heads,
        head_size=config.head_dim,
        vocab_size=config.vocab_size,
        n_positions=config.max_position_embeddings,
        begin=_begin,
        block=block,
        head=lambda ops, x, p: _head(ops, config, x, p),
        parameters=_parameters(config, of_mlp),
        tables=rope_tables(config.max_position_embeddings, config.head_dim, config.rope_theta, config.rope_scaling),
        rule=RULE,
        hyperparameters=_hyperparameters(config),
        published=Published(
            ignored=(INVERSE_FREQUENCIES,),
            tied={"lm_head.weight": "model.embed_tokens.weight"} if config.tie_word_embeddings else {},
        ),
    )


def linear(name: str, n_out: int, n_in: int) -> ParameterSpec:
    """Returns the weight of a product, as published: normal with 0.02."""
    return ParameterSpec(f"{name}.weight", (n_out, n_in), 0.0, 0.02)


def _begin(ops: Ops, p: Parameters, input_ids: Array, positions: Array | None) -> tuple[Array, Turns]:
    sequence = input_ids.shape[1]
    if positions is None:
        tables = (p["rope.cos"][:sequence, :], p["rope.sin"][:sequence, :])
    else:
        tables = (ops.embedding(p["rope.cos"], positions), ops.embedding(p["rope.sin"], positions))
    return ops.embedding(p["model.embed_tokens.weight"], input_ids), ops.rope_turns(*tables)


def _attended(ops: Ops, config: Config, x: Array, p: Parameters, turns: Turns, attend: Attend) -> Array:
    """Returns what the attention of one block adds to `x` (B, T, hidden)."""
    batch, sequence, _ = x.shape
    h = ops.rms_norm(x, p["input_layernorm.weight"], config.rms_norm_eps)

    def projected(name: str, heads: int) -> Array:
        y = ops.linear(h, p[f"self_attn.{name}.weight"], p.get(f"self_attn.{name}.bias"))
        return ops.transpose(ops.reshape(y, (batch, sequence, heads, config.head_dim)), (0, 2, 1, 3))

    q = ops.rope(projected("q_proj", config.num_attention_heads), *turns)
    k = ops.rope(projected("k_proj", config.num_key_value_heads), *turns)
    v = projected("v_proj", config.num_key_value_heads)
    attended = ops.transpose(attend(q, k, v), (0, 2, 1, 3))
    return ops.linear(ops.reshape(attended, (batch, sequence, config.hidden_size)), p["self_attn.o_proj.weight"])


def _head(ops: Ops, config: Config, x: Array, p: Parameters) -> Array:
    """Returns the logits of `x`."""
    table = p["model.embed_tokens.weight" if config.tie_word_embeddings else "lm_head.weight"]
    return ops.linear(ops.rms_norm(x, p["model.norm.weight"], config.rms_norm_eps), table)


def _parameters(config: Config, of_mlp: Callable[[str], Iterable[ParameterSpec]]) -> tuple[ParameterSpec, ...]:
    """Returns the parameters in the published order, initialised as published but for biases and norms.

    Norms, published as exact ones, are drawn around them, and biases around zero, so that a dropped one cannot go
    unseen.
    """
    d = config.hidden_size
    of_keys = config.num_key_value_heads * config.head_dim
    specs = [linear("model.embed_tokens", config.vocab_size, d)]
    for i in range(config.num_hidden_layers):
        prefix = f"model.layers.{i}"
        for name, width in (("q", d), ("k", of_keys), ("v", of_keys)):
            specs.append(linear(f"{prefix}.self_attn.{name}_proj", width, d))
            if config.qkv_bias:
                specs.append(ParameterSpec(f"{prefix}.self_attn.{name}_proj.bias", (width,), 0.0, 0.02))
        specs.append(linear(f"{prefix}.self_attn.o_proj", d, d))
        specs += of_mlp(prefix)
        specs.append(ParameterSpec(f"{prefix}.input_layernorm.weight", (d,), 1.0, 0.02))
        specs.append(ParameterSpec(f"{prefix}.post_attention_layernorm.weight", (d,), 1.0, 0.02))
    specs.append(ParameterSpec("model.norm.weight", (d,), 1.0, 0.02))
    if not config.tie_word_embeddings:
        specs.append(linear("lm_head", config.vocab_size, d))
    return tuple(specs)


def _hyperparameters(config: Config) -> dict[str, Any]:
    named = {name: value for name, value in asdict(config).items() if not isinstance(value, (dict, type(None)))}
    if config.rope_scaling is not None:
        named |= {f"rope_scaling.{name}": value for name, value in asdict(config.rope_scaling).items()}
    return named
