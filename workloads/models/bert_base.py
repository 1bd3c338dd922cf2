"""BERT (Devlin et al. 2018, arXiv:1810.04805), with the names of Hugging Face's `BertForPreTraining`.

Masked-language-model and next-sentence heads, the decoder tied to the word embeddings, post-layer norm, exact GELU.
Dropout is 0, and there is no padding. 15 % of the positions are predicted, as published; the loss is the sum of both
heads' cross-entropies, and AdamW trains all parameters.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from workloads.ops import Array, Ops, Parameters, subset
from workloads.optim import AdamW
from workloads.program import Work, inference, training
from workloads.specs import InputSpec, ParameterSpec
from workloads.weights.published import Published
from workloads.workload import Workload

LAYER_NORM_EPSILON = 1e-12
PREDICTED_SHARE = 0.15


@dataclass(frozen=True)
class Config:
    """Sizes of the model, named as in its published configuration."""

    num_hidden_layers: int
    num_attention_heads: int
    hidden_size: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    type_vocab_size: int = 2


SIZES = {
    "tiny": Config(2, 2, 32, 64, vocab_size=211, max_position_embeddings=32),
    "110m": Config(12, 12, 768, 3072, vocab_size=30522, max_position_embeddings=512),
}
PUBLISHED = "110m"
BATCHES = {"tiny": 2, "110m": 2}
SEQUENCES = {"tiny": 16, "110m": 128}
# https://huggingface.co/google-bert/bert-base-uncased keeps the names of the TensorFlow release.
FILES = Published(
    renamed=((".LayerNorm.gamma", ".LayerNorm.weight"), (".LayerNorm.beta", ".LayerNorm.bias")),
    ignored=(r"bert\.embeddings\.position_ids",),
    tied={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
)


def forward(ops: Ops, config: Config, p: Parameters, input_ids: Array, token_type_ids: Array) -> dict[str, Array]:
    """Returns `prediction_logits` (B, T, vocabulary) and `seq_relationship_logits` (B, 2)."""
    batch, sequence = input_ids.shape
    n_head, hidden = config.num_attention_heads, config.hidden_size

    def dense(x: Array, p: Parameters, name: str) -> Array:
        return ops.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])

    def norm(x: Array, p: Parameters, name: str) -> Array:
        return ops.layer_norm(x, p[f"{name}.weight"], p[f"{name}.bias"], LAYER_NORM_EPSILON)

    def layer(x: Array, p: Parameters) -> Array:
        q, k, v = (
            ops.transpose(
                ops.reshape(dense(x, p, f"attention.self.{name}"), (batch, sequence, n_head, hidden // n_head)),
                (0, 2, 1, 3),
            )
            for name in ("query", "key", "value")
        )
        attended = ops.reshape(
            ops.transpose(ops.attention(q, k, v, causal=False), (0, 2, 1, 3)), (batch, sequence, hidden)
        )
        x = norm(x + dense(attended, p, "attention.output.dense"), p, "attention.output.LayerNorm")
        y = dense(ops.gelu(dense(x, p, "intermediate.dense"), "none"), p, "output.dense")
        return norm(x + y, p, "output.LayerNorm")

    at = subset(p, "bert.embeddings.")
    x = ops.embedding(at["word_embeddings.weight"], input_ids)
    x = x + ops.embedding(at["token_type_embeddings.weight"], token_type_ids)
    x = x + ops.embedding(at["position_embeddings.weight"], ops.arange(sequence, like=input_ids))
    x = norm(x, at, "LayerNorm")
    x = ops.repeat(layer, x, p, "bert.encoder.layer", config.num_hidden_layers)
    pooled = ops.tanh(dense(x[:, 0], p, "bert.pooler.dense"))
    heads = subset(p, "cls.predictions.")
    y = norm(ops.gelu(dense(x, heads, "transform.dense"), "none"), heads, "transform.LayerNorm")
    return {
        "prediction_logits": ops.linear(y, at["word_embeddings.weight"], heads["bias"]),
        "seq_relationship_logits": dense(pooled, p, "cls.seq_relationship"),
    }


def parameters(config: Config) -> tuple[ParameterSpec, ...]:
    """Returns the parameters, normal with 0.02 as published; biases and norms are drawn around zero and one."""
    d, specs = config.hidden_size, []

    def table(name: str, rows: int) -> None:
        specs.append(ParameterSpec(f"bert.embeddings.{name}.weight", (rows, d), 0.0, 0.02))

    def dense(name: str, n_in: int, n_out: int) -> None:
        specs.append(ParameterSpec(f"{name}.weight", (n_out, n_in), 0.0, 0.02))
        specs.append(ParameterSpec(f"{name}.bias", (n_out,), 0.0, 0.02))

    def norm(name: str) -> None:
        specs.append(ParameterSpec(f"{name}.weight", (d,), 1.0, 0.02))
        specs.append(ParameterSpec(f"{name}.bias", (d,), 0.0, 0.02))

    table("word_embeddings", config.vocab_size)
    table("position_embeddings", config.max_position_embeddings)
    table("token_type_embeddings", config.type_vocab_size)
    norm("bert.embeddings.LayerNorm")
    for i in range(config.num_hidden_layers):
        at = f"bert.encoder.layer.{i}"
        for name in ("query", "key", "value"):
            dense(f"{at}.attention.self.{name}", d, d)
        dense(f"{at}.attention.output.dense", d, d)
        norm(f"{at}.attention.output.LayerNorm")
        dense(f"{at}.intermediate.dense", d, config.intermediate_size)
        dense(f"{at}.output.dense", config.intermediate_size, d)
        norm(f"{at}.output.LayerNorm")
    dense("bert.pooler.dense", d, d)
    specs.append(ParameterSpec("cls.predictions.bias", (config.vocab_size,), 0.0, 0.02))
    dense("cls.predictions.transform.dense", d, d)
    norm("cls.predictions.transform.LayerNorm")
    dense("cls.seq_relationship", d, 2)
    return tuple(specs)


def build(size: str, batch: int, sequence: int | None = None) -> Workload:
    """Returns the workload at `size`. Raises ValueError where `sequence` exceeds the model's positions."""
    config = SIZES[size]
    sequence = sequence or SEQUENCES[size]
    if sequence > config.max_position_embeddings:
        raise ValueError(
            f"sequence {sequence} is longer than bert_base-{size}'s {config.max_position_embeddings} positions"
        )

    def infer(ops: Ops, p: Parameters, batch: Parameters) -> dict[str, Array]:
        return forward(ops, config, p, batch["input_ids"], batch["token_type_ids"])

    def loss(ops: Ops, p: Parameters, batch: Parameters) -> tuple[Array, dict[str, Array]]:
        logits = infer(ops, p, batch)
        predictions = ops.reshape(logits["prediction_logits"], (-1, config.vocab_size))
        masked = ops.cross_entropy(predictions, ops.reshape(batch["labels"], (-1,)))
        return masked + ops.cross_entropy(logits["seq_relationship_logits"], batch["next_sentence_label"]), {}

    tokens = (batch, sequence)
    inputs = (
        InputSpec("input_ids", tokens, "int64", high=config.vocab_size),
        InputSpec("token_type_ids", tokens, "int64", high=config.type_vocab_size),
    )
    targets = (
        InputSpec("labels", tokens, "int64", high=config.vocab_size, ignored=1 - PREDICTED_SHARE),
        InputSpec("next_sentence_label", (batch,), "int64", high=2),
    )
    rule = AdamW(learning_rate=1e-4, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.01)
    specs, work = parameters(config), Work(batch, tokens_read=batch * sequence)
    return Workload(
        name="bert_base",
        size=size,
        batch=batch,
        sequence=sequence,
        parameters=specs,
        hyperparameters=asdict(config) | {"layer_norm_epsilon": LAYER_NORM_EPSILON, "dropout": 0},
        published=FILES,
        programs={
            "infer": inference(infer, inputs=inputs, constants=specs, work=work),
            "train": training(loss, rule, inputs=inputs + targets, parameters=specs, work=work),
        },
    )
