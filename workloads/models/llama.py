"""Llama (Touvron et al. 2023, arXiv:2302.13971; Grattafiori et al. 2024, arXiv:2407.21783) and models of its shape.

RMSNorm, rotary positions, grouped queries, SwiGLU; names and shapes of Hugging Face's `LlamaForCausalLM` and
`Qwen2ForCausalLM`. `infer` is the forward pass over whole sequences, `prefill` the same that returns the logits of the
last position and the cache, `decode` one token for each sequence against a cache of `depth` tokens; `train` is
next-token prediction with AdamW on all parameters. Labels are given shifted: `labels[:, t]` follows `input_ids[:, t]`.
"""

from __future__ import annotations

from workloads.models._decoder import Serving
from workloads.models._rotary import Config, decoder, linear
from workloads.ops import Array, Ops, Parameters
from workloads.recipes.rope import Scaling
from workloads.specs import ParameterSpec
from workloads.workload import Workload

SUITES = {
    "llm": ("infer", "train", "prefill", "decode"),
    "tuning": ("train", "lora", "dpo", "grpo", "distill"),
}
ADAPTED = ("self_attn.q_proj.weight", "self_attn.v_proj.weight")
"""Ends of the names of the weights that get adapters, as PEFT has it for this model."""


def llama3(factor: float) -> Scaling:
    """Returns the published stretching of frequencies by `factor`."""
    return Scaling(factor, 1.0, 4.0, 8192)


# The published configurations of SmolLM-135M and 360M, Qwen2.5-0.5B, Llama-3.2-1B and Llama-3.1-8B, at https://huggingface.co.
SIZES = {
    "tiny": Config(32, 2, 4, 2, 48, 211, 64, 10_000.0),
    "tiny-3": Config(32, 3, 4, 2, 48, 211, 64, 10_000.0),
    "135m": Config(576, 30, 9, 3, 1536, 49_152, 2048, 10_000.0),
    "360m": Config(960, 32, 15, 5, 2560, 49_152, 2048, 10_000.0),
    "qwen2.5-0.5b": Config(896, 24, 14, 2, 4864, 151_936, 32_768, 1e6, rms_norm_eps=1e-6, qkv_bias=True),
    "1b": Config(2048, 16, 32, 8, 8192, 128_256, 131_072, 5e5, rope_scaling=llama3(32.0)),
    "8b": Config(4096, 32, 32, 8, 14_336, 128_256, 131_072, 5e5, tie_word_embeddings=False, rope_scaling=llama3(8.0)),
}
PUBLISHED = "135m"
TEACHERS = {"tiny": "tiny-3", "135m": "360m"}
_TINY = ("tiny", "tiny-3")
BATCHES = dict.fromkeys(SIZES, 1) | dict.fromkeys(_TINY, 2)
SEQUENCES = dict.fromkeys(SIZES, 128) | dict.fromkeys(_TINY, 16)
SERVINGS = dict.fromkeys(SIZES, Serving(128, 16, 512)) | dict.fromkeys(_TINY, Serving(24, 8, 32))
SHAPES = ((1, 128), (8, 128))
DEPTHS = ((1, 128), (8, 128), (1, 512), (8, 512))


def _mlp(ops: Ops, x: Array, p: Parameters) -> Array:
    """SwiGLU (Shazeer 2020, arXiv:2002.05202)."""
    gated = ops.silu(ops.linear(x, p["mlp.gate_proj.weight"])) * ops.linear(x, p["mlp.up_proj.weight"])
    return ops.linear(gated, p["mlp.down_proj.weight"])


def build(size: str, batch: int, sequence: int | None = None, depth: int | None = None) -> Workload:
    """Returns the workload at `size`; with `depth` the one that decodes, at that many tokens.

    Raises ValueError where `sequence` or `depth` exceeds the model's positions.
    """
    config = SIZES[size]

    def of_mlp(prefix: str) -> list[ParameterSpec]:
        d, width = config.hidden_size, config.intermediate_size
        shapes = {"gate": (width, d), "up": (width, d), "down": (d, width)}
        return [linear(f"{prefix}.mlp.{name}_proj", *shape) for name, shape in shapes.items()]

    model = decoder("llama", size, config, _mlp, of_mlp)
    return model.workload(batch, sequence or SEQUENCES[size], depth, SERVINGS[size])
