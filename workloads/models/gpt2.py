"""GPT-2 (Radford et al. 2019), with the names and shapes of Hugging Face's `GPT2LMHeadModel`.

Token embedding and output head are tied. Dropout is 0. The inference step is the forward pass over whole
sequences and returns the logits of every position, `prefill` the same with those of the last and the cache; `decode` is
one token for each sequence against a cache of `depth` tokens; the training step is next-token prediction with AdamW on
all parameters. Labels are given shifted: `labels[:, t]` is the token that follows `input_ids[:, t]`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from workloads.models._decoder import Attend, Decoder, Serving
from workloads.ops import Array, Ops, Parameters
from workloads.optim import AdamW
from workloads.specs import ParameterSpec
from workloads.weights.published import Published
from workloads.workload import Workload

LAYER_NORM_EPSILON = 1e-5


@dataclass(frozen=True)
class Config:
    """Sizes of the model, named as in its published configuration."""

    n_layer: int
    n_head: int
    n_embd: int
    vocab_size: int
    n_positions: int


SIZES = {
    "tiny": Config(n_layer=2, n_head=2, n_embd=32, vocab_size=211, n_positions=32),
    "tiny-3": Config(n_layer=3, n_head=2, n_embd=32, vocab_size=211, n_positions=32),
    "124m": Config(n_layer=12, n_head=12, n_embd=768, vocab_size=50257, n_positions=1024),
    "355m": Config(n_layer=24, n_head=16, n_embd=1024, vocab_size=50257, n_positions=1024),
}
PUBLISHED = "124m"
TEACHERS = {"tiny": "tiny-3", "124m": "355m"}
ADAPTED = ("attn.c_attn.weight",)
"""Ends of the names of the weights that get adapters, as PEFT has it for this model."""
SUITES = {
    "core": ("infer", "train", "decode"),
    "llm": ("prefill", "decode"),
    "tuning": ("train", "lora", "dpo", "grpo", "distill"),
}
BATCHES = dict.fromkeys(SIZES, 2)
SEQUENCES = dict.fromkeys(SIZES, 128) | dict.fromkeys(("tiny", "tiny-3"), 16)
SERVINGS = dict.fromkeys(SIZES, Serving(depth=128, window=16, capacity=512)) | dict.fromkeys(
    ("tiny", "tiny-3"), Serving(depth=24, window=8, capacity=32)
)
SHAPES = ((1, 128), (2, 128), (4, 128), (1, 512))
"""(batch, sequence) of preset `full`."""
DEPTHS = ((1, 128), (8, 128), (1, 512), (8, 512))
"""(batch, depth) of preset `full`."""
# https://huggingface.co/openai-community/gpt2 has no prefix, and the causal masks as `attn.bias`.
FILES = Published(
    prefix="transformer.",
    ignored=(r"transformer\.h\.\d+\.attn\.(masked_)?bias",),
    tied={"lm_head.weight": "transformer.wte.weight"},
)


def _norm(ops: Ops, x: Array, p: Parameters, name: str) -> Array:
    return ops.layer_norm(x, p[f"{name}.weight"], p[f"{name}.bias"], LAYER_NORM_EPSILON)


def _block(ops: Ops, config: Config, x: Array, p: Parameters, attend: Attend) -> Array:
    """Returns what one block makes of `x` (B, T, n_embd)."""
    batch, sequence, _ = x.shape
    heads = (batch, sequence, config.n_head, config.n_embd // config.n_head)

    def conv1d(x: Array, name: str) -> Array:
        return ops.linear(x, p[f"{name}.weight"], p[f"{name}.bias"], layout="io")

    q, k, v = (
        ops.transpose(ops.reshape(part, heads), (0, 2, 1, 3))
        for part in ops.split(conv1d(_norm(ops, x, p, "ln_1"), "attn.c_attn"), 3)
    )
    attended = ops.transpose(attend(q, k, v), (0, 2, 1, 3))
    x = x + conv1d(ops.reshape(attended, (batch, sequence, config.n_embd)), "attn.c_proj")
    return x + conv1d(ops.gelu(conv1d(_norm(ops, x, p, "ln_2"), "mlp.c_fc"), "tanh"), "mlp.c_proj")


def _begin(ops: Ops, p: Parameters, input_ids: Array, positions: Array | None) -> tuple[Array, None]:
    """Returns the embedded tokens, which know their positions; blocks are told nothing more."""
    if positions is None:
        positions = ops.arange(input_ids.shape[1], like=input_ids)
    x = ops.embedding(p["transformer.wte.weight"], input_ids)
    return x + ops.embedding(p["transformer.wpe.weight"], positions), None


def _head(ops: Ops, x: Array, p: Parameters) -> Array:
    """Returns the logits of `x`."""
    return ops.linear(_norm(ops, x, p, "transformer.ln_f"), p["transformer.wte.weight"])


def parameters(config: Config) -> tuple[ParameterSpec, ...]:
    """Returns the parameters in the published order, initialised as published but for biases and norms.

    Weights are normal with 0.02, residual projections scaled by 1/sqrt(2·n_layer). Biases and norms, published
    as exact zeros and ones, are drawn around them, so that a dropped bias cannot go unseen.
    """
    d, specs = config.n_embd, []

    def norm(name: str) -> None:
        specs.append(ParameterSpec(f"{name}.weight", (d,), 1.0, 0.02))
        specs.append(ParameterSpec(f"{name}.bias", (d,), 0.0, 0.02))

    def conv1d(name: str, n_in: int, n_out: int, scale: float = 1.0) -> None:
        specs.append(ParameterSpec(f"{name}.weight", (n_in, n_out), 0.0, 0.02 * scale))
        specs.append(ParameterSpec(f"{name}.bias", (n_out,), 0.0, 0.02))

    specs.append(ParameterSpec("transformer.wte.weight", (config.vocab_size, d), 0.0, 0.02))
    specs.append(ParameterSpec("transformer.wpe.weight", (config.n_positions, d), 0.0, 0.02))
    residual = (2 * config.n_layer) ** -0.5
    for i in range(config.n_layer):
        prefix = f"transformer.h.{i}"
        norm(f"{prefix}.ln_1")
        conv1d(f"{prefix}.attn.c_attn", d, 3 * d)
        conv1d(f"{prefix}.attn.c_proj", d, d, residual)
        norm(f"{prefix}.ln_2")
        conv1d(f"{prefix}.mlp.c_fc", d, 4 * d)
        conv1d(f"{prefix}.mlp.c_proj", 4 * d, d, residual)
    norm("transformer.ln_f")
    return tuple(specs)


def build(size: str, batch: int, sequence: int | None = None, depth: int | None = None) -> Workload:
    """Returns the workload at `size`; with `depth` the one that decodes, at that many tokens.

    Raises ValueError where `sequence` or `depth` exceeds the model's positions.
    """
    config = SIZES[size]
    decoder = Decoder(
        name="gpt2",
        size=size,
        blocks="transformer.h",
        n_layer=config.n_layer,
        heads=config.n_head,
        head_size=config.n_embd // config.n_head,
        vocab_size=config.vocab_size,
        n_positions=config.n_positions,
        begin=_begin,
        block=lambda ops, x, p, _, attend: _block(ops, config, x, p, attend),
        head=_head,
        parameters=parameters(config),
        rule=AdamW(learning_rate=1e-4, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.01),
        hyperparameters=asdict(config) | {"layer_norm_epsilon": LAYER_NORM_EPSILON, "dropout": 0},
        published=FILES,
    )
    return decoder.workload(batch, sequence or SEQUENCES[size], depth, SERVINGS[size])
