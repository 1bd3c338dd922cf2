"""Vision Transformer B/16 (Dosovitskiy et al. 2021, arXiv:2010.11929), with the names and shapes of timm's
`vit_base_patch16_224`.

The class token and the positions are drawn as all else: published zeros would prove nothing. Dropout is 0; AdamW trains
all parameters.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from workloads.ops import Array, Ops, Parameters
from workloads.optim import AdamW
from workloads.program import Work, inference, training
from workloads.specs import InputSpec, ParameterSpec
from workloads.workload import Workload

SUITES = {"vision": None}
CHANNELS = 3
LAYER_NORM_EPSILON = 1e-6
RULE = AdamW(learning_rate=1e-4, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.3)


@dataclass(frozen=True)
class Config:
    """Sizes of the model, named as in the paper, where it has names."""

    image_size: int
    patch_size: int
    num_layers: int
    num_heads: int
    hidden_dim: int
    mlp_dim: int
    num_classes: int

    @property
    def seq_length(self) -> int:
        """Patches, and the class token."""
        return (self.image_size // self.patch_size) ** 2 + 1


SIZES = {
    "tiny": Config(16, 4, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=10),
    "224": Config(224, 16, num_layers=12, num_heads=12, hidden_dim=768, mlp_dim=3072, num_classes=1000),
}
PUBLISHED = "224"
BATCHES = {"tiny": 2, "224": 2}
SEQUENCES = None


def _dense(ops: Ops, x: Array, p: Parameters, name: str) -> Array:
    return ops.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])


def _norm(ops: Ops, x: Array, p: Parameters, name: str) -> Array:
    return ops.layer_norm(x, p[f"{name}.weight"], p[f"{name}.bias"], LAYER_NORM_EPSILON)


def _layer(ops: Ops, config: Config, x: Array, p: Parameters) -> Array:
    """Returns what one encoder layer makes of `x` (B, T, D): norms before attention and MLP."""
    batch, n, d = x.shape
    heads = (batch, n, config.num_heads, d // config.num_heads)
    h = _norm(ops, x, p, "norm1")
    joint = ops.linear(h, p["attn.qkv.weight"], p["attn.qkv.bias"])
    q, k, v = (ops.transpose(ops.reshape(one, heads), (0, 2, 1, 3)) for one in ops.split(joint, 3))
    attended = ops.reshape(ops.transpose(ops.attention(q, k, v, causal=False), (0, 2, 1, 3)), (batch, n, d))
    x = x + _dense(ops, attended, p, "attn.proj")
    h = ops.gelu(_dense(ops, _norm(ops, x, p, "norm2"), p, "mlp.fc1"), "none")
    return x + _dense(ops, h, p, "mlp.fc2")


def _forward(ops: Ops, config: Config, p: Parameters, images: Array) -> Array:
    """Returns the logits (B, classes)."""
    batch, d = images.shape[0], config.hidden_dim
    x = ops.conv2d(images, p["patch_embed.proj.weight"], config.patch_size, 0, bias=p["patch_embed.proj.bias"])
    patches = ops.transpose(ops.reshape(x, (batch, d, -1)), (0, 2, 1))
    x = ops.concatenate([ops.broadcast(p["cls_token"], (batch, 1, d)), patches], axis=1)
    x = x + p["pos_embed"]
    x = ops.repeat(lambda x, p: _layer(ops, config, x, p), x, p, "blocks", config.num_layers)
    return _dense(ops, _norm(ops, x, p, "norm")[:, 0], p, "head")


def _parameters(config: Config) -> tuple[ParameterSpec, ...]:
    """Returns the parameters in the published order, normal with 0.02; norms are drawn around one."""
    d, specs = config.hidden_dim, []

    def add(name: str, shape: tuple[int, ...], mean: float = 0.0) -> None:
        specs.append(ParameterSpec(name, shape, mean, 0.02))

    def dense(name: str, n_in: int, n_out: int) -> None:
        add(f"{name}.weight", (n_out, n_in))
        add(f"{name}.bias", (n_out,))

    def norm(name: str) -> None:
        add(f"{name}.weight", (d,), 1.0)
        add(f"{name}.bias", (d,))

    add("cls_token", (1, 1, d))
    add("patch_embed.proj.weight", (d, CHANNELS, config.patch_size, config.patch_size))
    add("patch_embed.proj.bias", (d,))
    add("pos_embed", (1, config.seq_length, d))
    for i in range(config.num_layers):
        at = f"blocks.{i}"
        norm(f"{at}.norm1")
        add(f"{at}.attn.qkv.weight", (3 * d, d))
        add(f"{at}.attn.qkv.bias", (3 * d,))
        dense(f"{at}.attn.proj", d, d)
        norm(f"{at}.norm2")
        dense(f"{at}.mlp.fc1", d, config.mlp_dim)
        dense(f"{at}.mlp.fc2", config.mlp_dim, d)
    norm("norm")
    dense("head", d, config.num_classes)
    return tuple(specs)


def build(size: str, batch: int, sequence: int | None = None) -> Workload:
    """Returns the workload at `size` with `batch` images per step."""
    config = SIZES[size]

    def infer(ops: Ops, p: Parameters, batch: Parameters) -> dict[str, Array]:
        return {"logits": _forward(ops, config, p, batch["images"])}

    def loss(ops: Ops, p: Parameters, batch: Parameters) -> tuple[Array, dict[str, Array]]:
        return ops.cross_entropy(_forward(ops, config, p, batch["images"]), batch["labels"]), {}

    images = InputSpec("images", (batch, CHANNELS, config.image_size, config.image_size), "float32")
    labels = InputSpec("labels", (batch,), "int64", high=config.num_classes)
    specs = _parameters(config)
    return Workload(
        name="vit_b16",
        size=size,
        batch=batch,
        sequence=None,
        parameters=specs,
        hyperparameters=asdict(config) | {"layer_norm_epsilon": LAYER_NORM_EPSILON, "dropout": 0},
        programs={
            "infer": inference(infer, inputs=(images,), constants=specs, work=Work(batch)),
            "train": training(loss, RULE, inputs=(images, labels), parameters=specs, work=Work(batch)),
        },
    )
