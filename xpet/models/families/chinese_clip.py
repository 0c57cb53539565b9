"""Chinese-CLIP (Yang et al. 2022): a Chinese BERT whose state at [CLS] is projected without bias, beside CLIP's vision.

A checkpoint holds both halves. The tokenizer is BERT's of vocab.txt: lower case, and at most 52 tokens a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from xpet.core.errors import ModelError, one_line
from xpet.core.known_models import KNOWN
from xpet.core.regular_files import read_text
from xpet.models.backbones import build_transformer, configured, token_limit
from xpet.models.families.base import CONFIG, DiskLayout, Family, document, replaced
from xpet.models.families.clip_vision import IMAGE_HALF, open_image
from xpet.models.families.saving import write_as_read
from xpet.models.pooling import Pooling
from xpet.models.text_tower import TextTower
from xpet.models.tokenizer import TextTokenizer, load_tokenizer
from xpet.models.weights import LONG, read_json

KIND = "chinese_clip"
CONTEXT = 52
"""Tokens of a text, [CLS] and [SEP] included, that the models were trained with; its own code cuts there."""
_VOCABULARY = "vocab.txt"
_CHOICES = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")
"""Settings of BERT's tokenizer that tokenizer_config.json may hold."""
_SETTINGS: Mapping[str, Any] = {
    "vocab_size": 30522, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "max_position_embeddings": 512, "type_vocab_size": 2, "hidden_act": "gelu",
    "layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "pad_token_id": 0,
}  # fmt: skip
"""Settings of text_config that are read, and what transformers takes where they are not there."""
_NAMES = (("transformer.", "text_model."), ("LinearTransformation.", "text_projection."))
"""How names begin: in the tower, on the disk."""


def _read(folder: Path) -> DiskLayout:
    config = read_json(folder / CONFIG, "a Chinese-CLIP model")
    if not isinstance(config.get("text_config") or {}, Mapping):
        raise ModelError(f"{folder}: expected an object text_config in {CONFIG}, found another value")
    return DiskLayout(folder, config)


def _build(layout: DiskLayout, attention: str) -> TextTower:
    """The tower on the meta device; its output size is that of the projection's tensor."""
    written = layout.config.get("text_config") or {}
    settings = {key: default if written.get(key) is None else written[key] for key, default in _SETTINGS.items()}
    with torch.device("meta"):
        transformer = build_transformer(configured("bert", settings), False, attention)
        return TextTower(transformer, layout.size("text_projection.weight"), Pooling("first"), bias=False)


def _tokenizer(layout: DiskLayout, tower: TextTower) -> TextTokenizer:
    """The checkpoint's tokenizer: tokenizer.json where it is there, else BERT's of vocab.txt."""
    settings: Any = tower.transformer.config
    folder, limit = layout.folder, min(CONTEXT, token_limit(settings))
    if (folder / "tokenizer.json").is_file():
        return load_tokenizer(folder, limit, settings.pad_token_id)
    return TextTokenizer(_from_vocabulary(folder, settings.vocab_size), limit, settings.pad_token_id)


def _from_vocabulary(folder: Path, size: int) -> Any:
    """BERT's tokenizer of a list of `size` pieces, one a line; raises ModelError where it is missing or damaged."""
    from transformers import BertTokenizer

    path = folder / _VOCABULARY
    if not path.is_file():
        raise ModelError(f"{folder}: expected a tokenizer in {_VOCABULARY} or tokenizer.json, found neither")
    settings = document(folder, "tokenizer_config.json")
    chosen = {key: settings[key] for key in _CHOICES if isinstance(settings.get(key), bool)}
    try:
        pieces = read_text(path).removesuffix("\n").split("\n")  # U+2028 is a piece, and ends no line
        vocabulary = {piece: number for number, piece in enumerate(pieces)}
        if missing := [mark for mark in ("[PAD]", "[UNK]", "[CLS]", "[SEP]") if mark not in vocabulary]:
            raise ValueError(f"no piece {missing[0]}")
        if len(pieces) < size:
            raise ValueError(f"{len(pieces)} pieces, the weights have {size}")
        return BertTokenizer(vocab=vocabulary, **chosen)
    except Exception as error:  # tokenizers raises plain Exception
        raise ModelError(
            f"cannot read {path}: damaged or truncated ({one_line(error, LONG, first_only=True)}); fetch it again"
        ) from None


FAMILY = Family(
    "Chinese-CLIP",
    recognise=lambda folder: document(folder).get("model_type") == KIND,
    read=_read,
    build=_build,
    tokenizer=_tokenizer,
    write=write_as_read,
    on_disk=lambda layout, name: replaced(name, _NAMES),
    image=partial(open_image, kind=KIND),
    image_half=IMAGE_HALF,
    unread=("logit_scale", "text_model.pooler."),
    signs=("text_model.encoder.layer.", "text_projection."),
    facts=KNOWN["Chinese-CLIP"],
)  # fmt: skip
