"""Twelve public architectures that are not ours, small, with random weights: transformers' configurations, and torch's.

Dropout is 0 in each configuration: left on, they would be refused. Weights are shaken, since published zeros and ones
(norms, biases) hide mistakes.
"""

import torch
import torch.nn.functional as F
from torch import nn

import samestep
from tests.models.zoo import pixels, recurrent

VOCABULARY = 40
NAMES = (
    "bert", "t5", "vit", "convnext", "whisper", "llama", "wav2vec2", "unet", "lstm", "dlrm", "mamba", "conv3d",
)  # fmt: skip


def shaken(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return module


def ids(batch, length=10):
    return torch.randint(3, VOCABULARY, (batch, length))


def mask(batch, length=10):
    return (torch.arange(length) < torch.randint(6, length + 1, (batch, 1))).long()


def by_token(output, labels):
    return F.cross_entropy(output.logits.flatten(0, 1), labels.flatten())


def by_sample(output, labels):
    return F.cross_entropy(output.logits, labels)


def bert(batch=2):
    from transformers import BertConfig, BertForMaskedLM

    no_dropout = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    module = BertForMaskedLM(BertConfig(vocab_size=VOCABULARY, max_position_embeddings=16, **small, **no_dropout))
    inputs = {"input_ids": ids(batch), "attention_mask": mask(batch)}
    return samestep.Model(shaken(module), inputs, ids(batch), by_token)


def t5(batch=2):
    from transformers import T5Config, T5ForConditionalGeneration

    small = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    module = T5ForConditionalGeneration(T5Config(vocab_size=VOCABULARY, dropout_rate=0.0, use_cache=False, **small))
    inputs = {"input_ids": ids(batch), "attention_mask": mask(batch), "decoder_input_ids": ids(batch, 7)}
    return samestep.Model(shaken(module), inputs, ids(batch, 7), by_token)


def vit(batch=2):
    from transformers import ViTConfig, ViTForImageClassification

    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    no_dropout = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
    module = ViTForImageClassification(ViTConfig(image_size=16, patch_size=4, num_labels=5, **small, **no_dropout))
    inputs = {"pixel_values": torch.randn(batch, 3, 16, 16)}
    return samestep.Model(shaken(module), inputs, torch.randint(0, 5, (batch,)), by_sample)


def convnext(batch=2):
    from transformers import ConvNextConfig, ConvNextForImageClassification

    config = ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], image_size=32, num_labels=5)
    inputs = {"pixel_values": torch.randn(batch, 3, 32, 32)}
    module = shaken(ConvNextForImageClassification(config))
    return samestep.Model(module, inputs, torch.randint(0, 5, (batch,)), by_sample)


def whisper(batch=2):
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    sides = ("encoder_layers", "decoder_layers")
    small = {"d_model": 16, **dict.fromkeys(sides, 1)}
    small |= dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2)
    small |= dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 32)
    small |= {"num_mel_bins": 8, "max_source_positions": 16, "max_target_positions": 16, "dropout": 0.0}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    config = WhisperConfig(vocab_size=VOCABULARY, use_cache=False, **small, **tokens)
    inputs = {"input_features": torch.randn(batch, 8, 32), "decoder_input_ids": ids(batch)}
    return samestep.Model(shaken(WhisperForConditionalGeneration(config)), inputs, ids(batch), by_token)


def llama(batch=2):
    from transformers import LlamaConfig, LlamaForCausalLM

    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    module = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, use_cache=False, **small, **heads, **tokens))
    inputs = {"input_ids": ids(batch), "attention_mask": mask(batch)}
    return samestep.Model(shaken(module), inputs, ids(batch), by_token)


def wav2vec2(batch=2):
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    convolutions = {"conv_dim": (8, 8), "conv_stride": (5, 2), "conv_kernel": (10, 3), "num_feat_extract_layers": 2}
    positions = {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    kinds = ("hidden", "activation", "attention", "feat_proj", "final", "hidden")
    off = {f"{kind}_dropout": 0.0 for kind in kinds} | {"layerdrop": 0.0, "apply_spec_augment": False}
    module = Wav2Vec2ForCTC(Wav2Vec2Config(vocab_size=20, **small, **convolutions, **positions, **off))
    inputs = {"input_values": torch.randn(batch, 200)}
    return samestep.Model(shaken(module), inputs, (), lambda output: output.logits.square().mean())


def mamba(batch=2):
    from transformers import MambaConfig, MambaForCausalLM

    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = MambaConfig(
        vocab_size=VOCABULARY, hidden_size=16, state_size=4, num_hidden_layers=1, use_cache=False, **tokens
    )
    inputs = {"input_ids": ids(batch, 6)}
    return samestep.Model(shaken(MambaForCausalLM(config)), inputs, ids(batch, 6), by_token)


def unet(batch=2):
    return pixels(batch)


def lstm(batch=3):
    return recurrent(batch)


class Recommender(nn.Module):
    """DLRM (Naumov et al. 2019, arXiv:1906.00091): bags of embeddings, and the dot products of all pairs."""

    def __init__(self):
        super().__init__()
        self.bottom = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU())
        self.tables = nn.ModuleList(nn.EmbeddingBag(n, 8, mode="sum") for n in (30, 20, 10))
        self.top = nn.Sequential(nn.Linear(8 + 6, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, dense, bags):
        x = self.bottom(dense)
        every = torch.stack([x, *(table(bags[:, i]) for i, table in enumerate(self.tables))], 1)
        pairs = every @ every.transpose(1, 2)
        rows, columns = torch.tril_indices(4, 4, -1)
        return self.top(torch.cat([x, pairs[:, rows, columns]], 1)).squeeze(1)


def dlrm(batch=4):
    inputs = (torch.randn(batch, 6), torch.randint(0, 10, (batch, 3, 2)))
    clicks = (torch.arange(batch) % 2).float()
    return samestep.Model(shaken(Recommender()), inputs, clicks, F.binary_cross_entropy_with_logits)


def conv3d(batch=2):
    module = nn.Sequential(
        nn.Conv3d(2, 6, 3, padding=1), nn.BatchNorm3d(6), nn.ReLU(), nn.Conv3d(6, 6, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(6, 4),
    )  # fmt: skip
    inputs = (torch.randn(batch, 2, 6, 6, 6),)
    return samestep.Model(shaken(module), inputs, torch.randint(0, 4, (batch,)), F.cross_entropy)
