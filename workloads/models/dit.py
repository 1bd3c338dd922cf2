"""Diffusion transformers (Peebles & Xie 2023, arXiv:2212.09748), names and shapes of the authors' `models.py`.

A step denoises latents (B, 4, H, W), given their timesteps and classes; conditions enter by adaptive layer norms, whose
published zeros are drawn around zero here, since with them whole gradients vanish. The sinusoids of positions and of
timesteps are tables. Training regresses noise and variances together onto a given target: the published loss has a
bound on the likelihood for the variances, an operation on a few elements. AdamW trains all parameters.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from workloads.ops import Array, Ops, Parameters
from workloads.optim import AdamW
from workloads.program import Work, inference, training
from workloads.specs import InputSpec, ParameterSpec, TableSpec
from workloads.vocabulary.losses import widened
from workloads.workload import Workload

SUITES = {"vision": None}
CHANNELS, MLP_RATIO, TIMESTEPS, MAX_PERIOD = 4, 4, 1000, 10_000.0
LAYER_NORM_EPSILON = 1e-6
RULE = AdamW(learning_rate=1e-4, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.0)


@dataclass(frozen=True)
class Config:
    """Sizes of the model, named as in the authors' code."""

    input_size: int
    patch_size: int
    hidden_size: int
    depth: int
    num_heads: int
    num_classes: int
    frequency_embedding_size: int

    @property
    def side(self) -> int:
        """Patches along a side."""
        return self.input_size // self.patch_size


SIZES = {
    "tiny": Config(8, 2, hidden_size=32, depth=2, num_heads=2, num_classes=10, frequency_embedding_size=16),
    "s-2": Config(32, 2, hidden_size=384, depth=12, num_heads=6, num_classes=1000, frequency_embedding_size=256),
    "xl-2": Config(32, 2, hidden_size=1152, depth=28, num_heads=16, num_classes=1000, frequency_embedding_size=256),
}
PUBLISHED = "s-2"
BATCHES = dict.fromkeys(SIZES, 2)
SEQUENCES = None


@dataclass(frozen=True)
class Sinusoids(TableSpec):
    """Cosines and sines of `places` times falling frequencies, along the last axis."""

    is_exact = False

    def values(self) -> Any:
        import numpy as np

        return _waves(np.arange(self.shape[0]), self.shape[1]).astype(np.float32)


@dataclass(frozen=True)
class Positions(TableSpec):
    """The fixed embedding (1, side², D) of patches: sines and cosines of the column, then of the row."""

    is_exact = False

    def values(self) -> Any:
        import numpy as np

        _, n, width = self.shape
        row, column = np.divmod(np.arange(n), round(n**0.5))
        halves = [np.roll(_waves(place, width // 2), width // 4, axis=1) for place in (column, row)]
        return np.concatenate(halves, axis=1)[None].astype(np.float32)


def _waves(places: Any, width: int) -> Any:
    """Returns cosines, then sines, of each place (n) times `width` / 2 frequencies, as (n, width)."""
    import numpy as np

    angles = places[:, None] * MAX_PERIOD ** -(np.arange(width // 2) / (width // 2))
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)


def _dense(ops: Ops, x: Array, p: Parameters, name: str) -> Array:
    return ops.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])


def _modulated(ops: Ops, x: Array, shift: Array, scale: Array) -> Array:
    """Returns `x` (B, T, D) normalised, and shifted and scaled by what the condition (B, 1, D) says."""
    return ops.layer_norm(x, None, None, LAYER_NORM_EPSILON) * (scale + 1.0) + shift


def _modulation(ops: Ops, c: Array, p: Parameters, name: str, n: int) -> list[Array]:
    """Returns `n` arrays (B, 1, D) that a product makes of the condition `c` (B, D)."""
    parts = ops.split(_dense(ops, ops.silu(c), p, f"{name}.adaLN_modulation.1".removeprefix(".")), n)
    return [ops.reshape(part, (c.shape[0], 1, c.shape[1])) for part in parts]


def _block(ops: Ops, config: Config, x: Array, p: Parameters, c: Array) -> Array:
    batch, n, d = x.shape
    heads = (batch, n, config.num_heads, d // config.num_heads)
    shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = _modulation(ops, c, p, "", 6)
    joint = _dense(ops, _modulated(ops, x, shift, scale), p, "attn.qkv")
    q, k, v = (ops.transpose(ops.reshape(one, heads), (0, 2, 1, 3)) for one in ops.split(joint, 3))
    attended = ops.reshape(ops.transpose(ops.attention(q, k, v, causal=False), (0, 2, 1, 3)), (batch, n, d))
    x = x + gate * _dense(ops, attended, p, "attn.proj")
    h = ops.gelu(_dense(ops, _modulated(ops, x, shift_mlp, scale_mlp), p, "mlp.fc1"), "tanh")
    return x + gate_mlp * _dense(ops, h, p, "mlp.fc2")


def _forward(ops: Ops, config: Config, p: Parameters, batch: Parameters) -> Array:
    """Returns noise and variances (B, 8, H, W) of the latents."""
    n, d, side, patch = batch["x"].shape[0], config.hidden_size, config.side, config.patch_size
    x = ops.conv2d(batch["x"], p["x_embedder.proj.weight"], patch, 0, bias=p["x_embedder.proj.bias"])
    x = ops.transpose(ops.reshape(x, (n, d, -1)), (0, 2, 1)) + p["pos_embed"]
    t = ops.embedding(p["t_embedder.table"], batch["t"])
    t = _dense(ops, ops.silu(_dense(ops, t, p, "t_embedder.mlp.0")), p, "t_embedder.mlp.2")
    c = t + ops.embedding(p["y_embedder.embedding_table.weight"], batch["y"])
    blocks = {**p, **{f"blocks.{i}.c": c for i in range(config.depth)}}
    x = ops.repeat(lambda x, p: _block(ops, config, x, p, p["c"]), x, blocks, "blocks", config.depth)
    x = _modulated(ops, x, *_modulation(ops, c, p, "final_layer", 2))
    x = ops.reshape(_dense(ops, x, p, "final_layer.linear"), (n, side, side, patch, patch, 2 * CHANNELS))
    x = ops.transpose(x, (0, 5, 1, 3, 2, 4))
    return ops.reshape(x, (n, 2 * CHANNELS, config.input_size, config.input_size))


def _parameters(config: Config) -> tuple[ParameterSpec, ...]:
    """Returns the parameters, normal with 0.02."""
    d, patch, specs = config.hidden_size, config.patch_size, []

    def weight(name: str, *shape: int) -> None:
        specs.append(ParameterSpec(f"{name}.weight", shape, 0.0, 0.02))

    def dense(name: str, n_in: int, n_out: int) -> None:
        weight(name, n_out, n_in)
        specs.append(ParameterSpec(f"{name}.bias", (n_out,), 0.0, 0.02))

    weight("x_embedder.proj", d, CHANNELS, patch, patch)
    specs.append(ParameterSpec("x_embedder.proj.bias", (d,), 0.0, 0.02))
    dense("t_embedder.mlp.0", config.frequency_embedding_size, d)
    dense("t_embedder.mlp.2", d, d)
    weight("y_embedder.embedding_table", config.num_classes + 1, d)
    for i in range(config.depth):
        dense(f"blocks.{i}.attn.qkv", d, 3 * d)
        dense(f"blocks.{i}.attn.proj", d, d)
        dense(f"blocks.{i}.mlp.fc1", d, MLP_RATIO * d)
        dense(f"blocks.{i}.mlp.fc2", MLP_RATIO * d, d)
        dense(f"blocks.{i}.adaLN_modulation.1", d, 6 * d)
    dense("final_layer.linear", d, patch**2 * 2 * CHANNELS)
    dense("final_layer.adaLN_modulation.1", d, 2 * d)
    return tuple(specs)


def build(size: str, batch: int, sequence: int | None = None) -> Workload:
    """Returns the workload at `size` with `batch` latents per step."""
    config = SIZES[size]

    def infer(ops: Ops, p: Parameters, batch: Parameters) -> dict[str, Array]:
        return {"noise_and_variances": _forward(ops, config, p, batch)}

    def loss(ops: Ops, p: Parameters, batch: Parameters) -> tuple[Array, dict[str, Array]]:
        wide = ops.wide()
        error = widened(ops, _forward(ops, config, p, batch) - batch["target"])
        return wide.mean(error * error, (0, 1, 2, 3)), {}

    sides = (config.input_size, config.input_size)
    inputs = (
        InputSpec("x", (batch, CHANNELS, *sides), "float32"),
        InputSpec("t", (batch,), "int64", high=TIMESTEPS),
        InputSpec("y", (batch,), "int64", high=config.num_classes + 1),
    )
    target = InputSpec("target", (batch, 2 * CHANNELS, *sides), "float32")
    tables = (
        Positions("pos_embed", (1, config.side**2, config.hidden_size), 0.0, 0.0),
        Sinusoids("t_embedder.table", (TIMESTEPS, config.frequency_embedding_size), 0.0, 0.0),
    )
    specs, work = _parameters(config), Work(batch)
    return Workload(
        name="dit",
        size=size,
        batch=batch,
        sequence=None,
        parameters=specs,
        buffers=tables,
        hyperparameters=asdict(config) | {"layer_norm_epsilon": LAYER_NORM_EPSILON},
        programs={
            "infer": inference(infer, inputs=inputs, constants=specs + tables, work=work),
            "train": training(loss, RULE, inputs=(*inputs, target), parameters=specs, constants=tables, work=work),
        },
    )
