"""AltCLIP (Chen et al. 2022): XLM-R whose first state passes a LayerNorm and two linear layers, beside CLIP's vision.

A checkpoint holds both halves. Text features are `projection(transformation(LayerNorm(state of <s>)))`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xpet.core.errors import ModelError
from xpet.core.known_models import KNOWN
from xpet.models.backbones import build_transformer, configured, token_limit
from xpet.models.families.base import CONFIG, DiskLayout, Family, document, replaced
from xpet.models.families.clip_vision import IMAGE_HALF, open_image
from xpet.models.families.saving import write_as_read
from xpet.models.pooling import Pooling
from xpet.models.text_tower import TextTower
from xpet.models.tokenizer import TextTokenizer, load_tokenizer
from xpet.models.weights import read_json

KIND = "altclip"
_SETTINGS: Mapping[str, Any] = {
    "vocab_size": 250002, "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
    "num_attention_heads": 16, "max_position_embeddings": 514, "type_vocab_size": 1, "hidden_act": "gelu",
    "layer_norm_eps": 1e-5, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.0, "pad_token_id": 1,
    "bos_token_id": 0, "eos_token_id": 2,
}  # fmt: skip
"""Settings of text_config that are read, and what transformers takes where they are not there."""
_NAMES = (
    ("transformer.", "text_model.roberta."), ("neck.norm.", "text_model.pre_LN."),
    ("neck.dense.", "text_model.transformation."), ("LinearTransformation.", "text_projection."),
)  # fmt: skip
"""How names begin: in the tower, on the disk."""


def _read(folder: Path) -> DiskLayout:
    config = read_json(folder / CONFIG, "an AltCLIP model")
    if not isinstance(config.get("text_config", {}), Mapping):
        raise ModelError(f"{folder}: expected an object text_config in {CONFIG}, found another value")
    return DiskLayout(folder, config)


def _build(layout: DiskLayout, attention: str) -> TextTower:
    """The tower on the meta device; sizes of the two linear layers are those of their tensors."""
    written = layout.config.get("text_config") or {}
    settings = {key: written.get(key, default) for key, default in _SETTINGS.items()}
    with torch.device("meta"):
        transformer = build_transformer(configured("xlm-roberta", settings), False, attention)
        hidden = settings["hidden_size"]
        norm = nn.LayerNorm(hidden, eps=settings["layer_norm_eps"])
        dense = nn.Linear(hidden, layout.size("text_model.transformation.weight"))
        neck = nn.Sequential(OrderedDict(norm=norm, dense=dense))
        return TextTower(transformer, layout.size("text_projection.weight"), Pooling("first"), neck, bias=False)


def _on_disk(layout: DiskLayout, name: str) -> str:
    return replaced(name, _NAMES)


def _tokenizer(layout: DiskLayout, tower: TextTower) -> TextTokenizer:
    settings: Any = tower.transformer.config
    return load_tokenizer(layout.folder, token_limit(settings), settings.pad_token_id)


FAMILY = Family(
    "AltCLIP",
    recognise=lambda folder: document(folder).get("model_type") == KIND,
    read=_read,
    build=_build,
    tokenizer=_tokenizer,
    write=write_as_read,
    on_disk=_on_disk,
    image=partial(open_image, kind=KIND),
    image_half=IMAGE_HALF,
    unread=("logit_scale", "text_model.roberta.pooler."),
    signs=("text_model.roberta.",),
    facts=KNOWN["AltCLIP"],
)  # fmt: skip
