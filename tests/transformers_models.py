"""Hugging Face transformers' models beside ours: built from their configs, with our names and our weights.

Importing this module requires torch and transformers; nothing is downloaded.
"""

import os
import re
from dataclasses import asdict

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported

import torch
import torch.nn.functional as F
import transformers

from backends._torch_ops import to_torch
from workloads.models import bert_base, gpt2, llama, moe, resnet50

transformers.logging.set_verbosity_error()

CPU = torch.device("cpu")


def gpt2_config(size, attention, **changes):
    config = gpt2.SIZES[size]
    published = {
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_embd": config.n_embd,
        "vocab_size": config.vocab_size,
        "n_positions": config.n_positions,
        "layer_norm_epsilon": gpt2.LAYER_NORM_EPSILON,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "use_cache": False,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "attn_implementation": attention,
    }
    return transformers.GPT2Config(**published | changes)


def bert_config(size, attention, **changes):
    config = bert_base.SIZES[size]
    published = {
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_position_embeddings,
        "type_vocab_size": config.type_vocab_size,
        "layer_norm_eps": bert_base.LAYER_NORM_EPSILON,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "attn_implementation": attention,
    }
    return transformers.BertConfig(**published | changes)


def resnet_config(size, attention, **changes):
    config = resnet50.SIZES[size]
    published = {
        "embedding_size": config.width,
        "hidden_sizes": [resnet50.EXPANSION * config.width << stage for stage in range(4)],
        "depths": list(config.layers),
        "num_labels": config.num_classes,
        "layer_type": "bottleneck",
        "downsample_in_bottleneck": False,  # the stride in the 3×3 convolution: v1.5
    }
    return transformers.ResNetConfig(**published | changes)


def rotary_parameters(config):
    """Returns their parameters of rotary positions."""
    scaling = config.rope_scaling
    stretched = {"rope_type": "default"} if scaling is None else {"rope_type": "llama3", **asdict(scaling)}
    return {"rope_theta": config.rope_theta, **stretched}


def rotary_config(config, attention, changes):
    named = (
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "intermediate_size",
        "vocab_size",
        "max_position_embeddings",
        "rms_norm_eps",
        "tie_word_embeddings",
    )
    published = {name: getattr(config, name) for name in named} | {
        "rope_parameters": rotary_parameters(config),
        "use_cache": False,
        "attn_implementation": attention,
    }
    return published | changes


def llama_config(size, attention, **changes):
    config = llama.SIZES[size]
    theirs = transformers.Qwen2Config if config.qkv_bias else transformers.LlamaConfig
    return theirs(**rotary_config(config, attention, changes))


def llama_model(config):
    is_qwen = isinstance(config, transformers.Qwen2Config)
    return (transformers.Qwen2ForCausalLM if is_qwen else transformers.LlamaForCausalLM)(config)


def moe_config(size, attention, **changes):
    config = moe.SIZES[size]
    of_experts = {name: getattr(config, name) for name in ("num_local_experts", "num_experts_per_tok")}
    of_experts["experts_implementation"] = "eager"  # the others (5.24) take no float64
    return transformers.MixtralConfig(**rotary_config(config, attention, of_experts | changes))


LANGUAGE = ("gpt2", "llama", "moe")
MODELS = {
    "gpt2": (gpt2_config, transformers.GPT2LMHeadModel),
    "bert_base": (bert_config, transformers.BertForPreTraining),
    "resnet50": (resnet_config, transformers.ResNetForImageClassification),
    "llama": (llama_config, llama_model),
    "moe": (moe_config, transformers.MixtralForCausalLM),
}
"""Their config and their class, by the name of our workload."""

RESNET_NAMES = (
    (r"^resnet\.embedder\.embedder\.convolution\.", "conv1."),
    (r"^resnet\.embedder\.embedder\.normalization\.", "bn1."),
    (r"^classifier\.1\.", "fc."),
    (r"^resnet\.encoder\.stages\.(\d)\.layers\.", lambda found: f"layer{int(found[1]) + 1}."),
    (r"shortcut\.convolution\.", "downsample.0."),
    (r"shortcut\.normalization\.", "downsample.1."),
    (r"layer\.(\d)\.convolution\.", lambda found: f"conv{int(found[1]) + 1}."),
    (r"layer\.(\d)\.normalization\.", lambda found: f"bn{int(found[1]) + 1}."),
)
"""From their names to torchvision's, which are ours; GPT-2 and BERT have the same names on both sides."""


def our_name(workload, name):
    """Returns our name of the tensor that is called `name` in their model."""
    if workload == "resnet50":
        for pattern, ours in RESNET_NAMES:
            name = re.sub(pattern, ours, name)
    if workload == "moe":
        name = name.replace(".mlp.", f".{moe.BLOCK}.")
    return name


def by_our_names(workload, tensors):
    """Returns their tensors by our names; experts, which their classes stack, one by one as they are published."""
    ours = {}
    for name, tensor in tensors.items():
        block, is_of_experts, which = name.partition(".mlp.experts.")
        if not is_of_experts:
            ours[our_name(workload, name)] = tensor
            continue
        for i, one in enumerate(tensor):
            parts = {"w1": one.chunk(2)[0], "w3": one.chunk(2)[1]} if which == "gate_up_proj" else {"w2": one}
            ours |= {f"{block}.{moe.BLOCK}.experts.{i}.{part}.weight": x for part, x in parts.items()}
    return ours


def parameters_of(workload, model):
    """Returns their parameters, tied ones once, by our names."""
    return by_our_names(workload, dict(model.named_parameters()))


def gradients_of(workload, model):
    """Returns the gradients of their parameters by our names."""
    return by_our_names(workload, {name: p.grad for name, p in model.named_parameters()})


def statistics_of(workload, model):
    """Returns their running statistics by our names: the buffers that are state, not masks, indices and counters."""
    return {our_name(workload, name): b for name, b in model.named_buffers() if ".running_" in f".{name}"}


def build(workload, size, device=CPU, attention="sdpa", **changes):
    """Returns their model from its config, on `device`, with dropout 0; `changes` make it another model."""
    config, model = MODELS[workload]
    with device:
        return model(config(size, attention, **changes))


def with_our_weights(workload, model, parameters, dtype=torch.float32):
    """Returns their `model` in `dtype` with the values of `parameters`, by our names; each is used exactly once."""
    model = model.to(dtype)
    tensors = parameters_of(workload, model) | statistics_of(workload, model)
    if tensors.keys() != parameters.keys():
        raise ValueError(f"names differ: {sorted(tensors.keys() ^ parameters.keys())}")
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(to_torch(parameters[name], CPU, dtype))
    return model


def infer(workload, model, batch):
    """Returns their outputs by our names."""
    if workload == "resnet50":
        return {"logits": model(pixel_values=batch["images"]).logits}
    if workload in LANGUAGE:
        return {"logits": model(input_ids=batch["input_ids"]).logits}
    found = model(input_ids=batch["input_ids"], token_type_ids=batch["token_type_ids"])
    return {
        "prediction_logits": found.prediction_logits,
        "seq_relationship_logits": found.seq_relationship_logits,
    }


def loss(workload, model, batch):
    """Returns their own loss; a language model's labels are given shifted, as ours are.

    Their loss of a language model rounds the logits to float32 (5.23, `ForCausalLMLoss`), which would hide what a
    comparison in float64 is for: there torch's cross-entropy of their logits takes its place.
    """
    if workload == "resnet50":
        return model(pixel_values=batch["images"], labels=batch["labels"]).loss
    if workload in LANGUAGE and model.dtype == torch.float64:
        logits = model(input_ids=batch["input_ids"]).logits
        return F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())
    if workload in LANGUAGE:
        return model(input_ids=batch["input_ids"], labels=batch["labels"], shift_labels=batch["labels"]).loss
    return model(**batch).loss
