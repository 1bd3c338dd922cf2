"""DLRM (Naumov et al. 2019, arXiv:1906.00091), names and shapes of https://github.com/facebookresearch/dlrm.

A bottom MLP reads the dense features, a table of embeddings each categorical one (one id each, so that a bag is a row);
their products in pairs go into a top MLP, whose logit says whether a user will click. The tables are those of Criteo's
Kaggle data; `kaggle-100k` has at most 100,000 rows in each, so that one machine can train them. SGD updates whole
tables: sparse updates are another step.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from workloads.ops import Array, Ops, Parameters
from workloads.optim import SGD
from workloads.program import Work, inference, training
from workloads.specs import InputSpec, ParameterSpec
from workloads.workload import Workload

SUITES = {"recsys": None}
# fmt: off
KAGGLE = (
    1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194, 27, 14992, 5461306, 10, 5652,
    2173, 4, 7046547, 18, 15, 286181, 105, 142572,
)
# fmt: on
"""Rows of each table, as published with the reference implementation."""
CAP = 100_000
RULE = SGD(learning_rate=0.1, momentum=0.9)


@dataclass(frozen=True)
class Config:
    """Widths of the bottom MLP, from dense features to the width of a row; of the top one behind the products; rows."""

    bottom: tuple[int, ...]
    top: tuple[int, ...]
    rows: tuple[int, ...]

    @property
    def n_products(self) -> int:
        """Pairs of different vectors."""
        n = len(self.rows) + 1
        return n * (n - 1) // 2


SIZES = {
    "tiny": Config((5, 16, 8), (16, 1), (7, 30, 3, 11)),
    "kaggle-100k": Config((13, 512, 256, 64, 16), (512, 256, 1), tuple(min(n, CAP) for n in KAGGLE)),
    "kaggle": Config((13, 512, 256, 64, 16), (512, 256, 1), KAGGLE),
}
PUBLISHED = "kaggle-100k"
BATCHES = dict.fromkeys(SIZES, 128) | {"tiny": 4}
SEQUENCES = None


def _mlp(ops: Ops, x: Array, p: Parameters, name: str, n: int) -> Array:
    """Returns what `n` products make of `x`, each with a ReLU behind it but the last of the top."""
    for i in range(n):
        x = ops.linear(x, p[f"{name}.{2 * i}.weight"], p[f"{name}.{2 * i}.bias"])
        if name == "bot_l" or i < n - 1:
            x = ops.relu(x)
    return x


def _products(ops: Ops, vectors: list[Array]) -> Array:
    """Returns the products (B, pairs) of all `vectors` (B, D) with those before them."""
    n, (batch, width) = len(vectors), vectors[0].shape
    stacked = ops.concatenate([ops.reshape(x, (batch, 1, width)) for x in vectors], axis=1)
    square = ops.matmul(stacked, ops.transpose(stacked, (0, 2, 1)))
    # Of row i the first i are kept.
    lengths = [length for i in range(1, n) for length in (i, n - i)]
    pieces = ops.split(ops.reshape(square, (batch, n * n)), [n, *lengths])
    return ops.concatenate(pieces[1::2])


def _forward(ops: Ops, config: Config, p: Parameters, batch: Parameters) -> Array:
    """Returns the logits (B) of a click."""
    x = _mlp(ops, batch["dense"], p, "bot_l", len(config.bottom) - 1)
    rows = [ops.embedding(p[f"emb_l.{i}.weight"], batch[f"C{i + 1}"]) for i in range(len(config.rows))]
    x = ops.concatenate([x, _products(ops, [x, *rows])])
    return ops.reshape(_mlp(ops, x, p, "top_l", len(config.top)), (-1,))


def _parameters(config: Config) -> tuple[ParameterSpec, ...]:
    """Returns the parameters, as widely drawn as published (there uniform in the tables)."""
    width = config.bottom[-1]
    specs = [
        ParameterSpec(f"emb_l.{i}.weight", (rows, width), 0.0, (1 / (3 * rows)) ** 0.5)
        for i, rows in enumerate(config.rows)
    ]
    for name, widths in (("bot_l", config.bottom), ("top_l", (width + config.n_products, *config.top))):
        for i, (n_in, n_out) in enumerate(pairwise(widths)):
            specs.append(ParameterSpec(f"{name}.{2 * i}.weight", (n_out, n_in), 0.0, (2 / (n_in + n_out)) ** 0.5))
            specs.append(ParameterSpec(f"{name}.{2 * i}.bias", (n_out,), 0.0, n_out**-0.5))
    return tuple(specs)


def build(size: str, batch: int, sequence: int | None = None) -> Workload:
    """Returns the workload at `size` with `batch` impressions per step."""
    config = SIZES[size]

    def infer(ops: Ops, p: Parameters, batch: Parameters) -> dict[str, Array]:
        return {"logits": _forward(ops, config, p, batch)}

    def loss(ops: Ops, p: Parameters, batch: Parameters) -> tuple[Array, dict[str, Array]]:
        return ops.binary_cross_entropy(_forward(ops, config, p, batch), batch["clicks"]), {}

    dense = InputSpec("dense", (batch, config.bottom[0]), "float32")
    ids = (InputSpec(f"C{i + 1}", (batch,), "int64", high=rows) for i, rows in enumerate(config.rows))
    inputs = (dense, *ids)
    clicks = InputSpec("clicks", (batch,), "int64", high=2)
    specs, work = _parameters(config), Work(batch)
    return Workload(
        name="dlrm",
        size=size,
        batch=batch,
        sequence=None,
        parameters=specs,
        hyperparameters={name: ",".join(map(str, getattr(config, name))) for name in ("bottom", "top", "rows")},
        programs={
            "infer": inference(infer, inputs=inputs, constants=specs, work=work),
            "train": training(loss, RULE, inputs=(*inputs, clicks), parameters=specs, work=work),
        },
    )
