"""GPT-2 (Radford et al. 2019), with the names and shapes of Hugging Face's `GPT2LMHeadModel`.

Token embedding and output head are tied. Dropout is 0. The inference step is the forward pass over whole
sequences and returns the logits of every position, `prefill` the same with those of the last and the cache; `decode` is
one token for each sequence against a cache of `depth` tokens; the training step is next-token prediction with AdamW on
all parameters. Labels are given shifted: `labels[:, t]` is the token that follows `input_ids[:, t]`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from workloads.models._decoder import Attend, Serving, cached, served
from workloads.ops import Array, Ops, Parameters, subset
from workloads.optim import AdamW
from workloads.program import Work, inference, training
from workloads.specs import InputSpec, ParameterSpec
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
    "124m": Config(n_layer=12, n_head=12, n_embd=768, vocab_size=50257, n_positions=1024),
}
PUBLISHED = "124m"
SUITES = {"core": ("infer", "train", "decode"), "llm": ("prefill", "decode")}
BATCHES = {"tiny": 2, "124m": 2}
SEQUENCES = {"tiny": 16, "124m": 128}
SERVINGS = {"tiny": Serving(depth=24, window=8, capacity=32), "124m": Serving(depth=128, window=16, capacity=512)}
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


def forward(ops: Ops, config: Config, p: Parameters, input_ids: Array) -> Array:
    """Returns the logits (B, T, vocabulary) of every position."""
    sequence = input_ids.shape[1]

    def block(x: Array, p: Parameters) -> Array:
        return _block(ops, config, x, p, lambda q, k, v: ops.attention(q, k, v, causal=True))

    x = _embedded(ops, p, input_ids, ops.arange(sequence, like=input_ids))
    return _head(ops, ops.repeat(block, x, p, "transformer.h", config.n_layer), p)


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


def _embedded(ops: Ops, p: Parameters, input_ids: Array, positions: Array) -> Array:
    x = ops.embedding(p["transformer.wte.weight"], input_ids)
    return x + ops.embedding(p["transformer.wpe.weight"], positions)


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
    sequence = sequence or SEQUENCES[size]
    for name, value in (("sequence", sequence), ("depth", depth or 0)):
        if value > config.n_positions:
            raise ValueError(f"{name} {value} is longer than gpt2-{size}'s {config.n_positions} positions")

    def of_cache(ops: Ops, p: Parameters, ids: Array, positions: Array, attends: list[Attend]) -> Array:
        x = _embedded(ops, p, ids, positions)
        for i, attend in enumerate(attends):
            x = _block(ops, config, x, subset(p, f"transformer.h.{i}."), attend)
        return _head(ops, x[:, -1:, :], p)

    specs = parameters(config)
    hyperparameters = asdict(config) | {"layer_norm_epsilon": LAYER_NORM_EPSILON, "dropout": 0}
    if depth is not None:
        serving = SERVINGS[size].at(depth)
        heads = (config.n_layer, config.n_head, config.n_embd // config.n_head)
        return Workload(
            name="gpt2",
            size=size,
            batch=batch,
            sequence=None,
            parameters=specs,
            hyperparameters=hyperparameters | asdict(serving),
            published=FILES,
            programs={"decode": cached(of_cache, heads, serving, batch, config.vocab_size, specs)},
        )

    def infer(ops: Ops, p: Parameters, batch: Parameters) -> dict[str, Array]:
        return {"logits": forward(ops, config, p, batch["input_ids"])}

    def loss(ops: Ops, p: Parameters, batch: Parameters) -> tuple[Array, dict[str, Array]]:
        logits = ops.reshape(forward(ops, config, p, batch["input_ids"]), (-1, config.vocab_size))
        return ops.cross_entropy(logits, ops.reshape(batch["labels"], (-1,))), {}

    tokens = (batch, sequence)
    input_ids = InputSpec("input_ids", tokens, "int64", high=config.vocab_size)
    labels = InputSpec("labels", tokens, "int64", high=config.vocab_size)
    rule = AdamW(learning_rate=1e-4, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.01)
    work = Work(batch, tokens_read=batch * sequence)
    return Workload(
        name="gpt2",
        size=size,
        batch=batch,
        sequence=sequence,
        parameters=specs,
        hyperparameters=hyperparameters,
        published=FILES,
        programs={
            "infer": inference(infer, inputs=(input_ids,), constants=specs, work=work),
            "train": training(loss, rule, inputs=(input_ids, labels), parameters=specs, work=work),
            "prefill": inference(served(of_cache, config.n_layer), inputs=(input_ids,), constants=specs, work=work),
        },
    )
