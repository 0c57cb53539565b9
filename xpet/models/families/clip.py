"""CLIP (Radford et al. 2021): a causal pre-norm transformer whose state at the end token is projected without bias.

A checkpoint holds both halves (`clip`) or the text half (`clip_text_model`). Texts are cut to the tower's positions, 77
with the end token. What MetaCLIP 2 and SigLIP share with it, names and tower, is here as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from xpet.core.errors import ModelError, one_line
from xpet.core.json_files import parsed
from xpet.core.known_models import KNOWN
from xpet.core.regular_files import read_text
from xpet.models.families.base import CONFIG, DiskLayout, Family, document, replaced
from xpet.models.families.clip_vision import IMAGE_HALF, open_image
from xpet.models.families.saving import write_as_read
from xpet.models.pooling import Pooling
from xpet.models.text_tower import TextTower
from xpet.models.tokenizer import TextTokenizer, load_tokenizer
from xpet.models.weights import LONG, read_json

WHOLE, TEXT = "clip", "clip_text_model"
"""`model_type` of a whole CLIP, and of its text half."""
LEGACY_END = 2
"""End token that older configurations name wrongly; the highest id of a text is its end token then."""
PAD = 0
"""Id of padding: what follows the end token has no effect, and no rule for finding that token picks id 0."""
_PURPOSE = "a CLIP text tower"
_PROJECTION = "text_projection.weight"
_SETTINGS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "max_position_embeddings", "hidden_act", "layer_norm_eps", "attention_dropout", "eos_token_id",
)  # fmt: skip
"""Settings of CLIP's text configuration that are read."""
_NAMES = (
    ("transformer.output.LayerNorm.", "text_model.final_layer_norm."),
    ("transformer.embeddings.word_embeddings.", "text_model.embeddings.token_embedding."),
    ("transformer.embeddings.position_embeddings.", "text_model.embeddings.position_embedding."),
    ("transformer.encoder.layer.", "text_model.encoder.layers."),
    (".attention.self.query.", ".self_attn.q_proj."), (".attention.self.key.", ".self_attn.k_proj."),
    (".attention.self.value.", ".self_attn.v_proj."), (".attention.output.dense.", ".self_attn.out_proj."),
    (".attention.output.LayerNorm.", ".layer_norm1."), (".output.LayerNorm.", ".layer_norm2."),
    (".intermediate.dense.", ".mlp.fc1."), (".output.dense.", ".mlp.fc2."),
)  # fmt: skip
"""Parts of the names of a pre-norm tower -> CLIP's, to be replaced in this order."""


def text_settings(layout: DiskLayout, whole: str) -> Mapping[str, Any]:
    """The settings of the text tower in a whole checkpoint of a `model_type`, or in one of the text half alone."""
    config = layout.config
    settings = config.get("text_config") if config.get("model_type") == whole else config
    if not isinstance(settings, Mapping):
        raise ModelError(f"{layout.folder}: expected a text_config in config.json, found none")
    return settings


def build_clip(layout: DiskLayout, settings: Mapping[str, Any], pooling: Pooling, attention: str) -> TextTower:
    """A causal tower with CLIP's head on the meta device; its output size is that of the projection's tensor."""
    weight = layout.tensors.get(_PROJECTION)
    if weight is None or weight.dim() != 2:
        raise ModelError(f"{layout.folder}: expected {_PURPOSE} with a projection, found no matrix {_PROJECTION}")
    known = {key: settings[key] for key in _SETTINGS if settings.get(key) is not None}
    return pre_norm_tower(layout, known, pooling, attention, is_causal=True, dimensions=len(weight), bias=False)


def pre_norm_tower(
    layout: DiskLayout, settings: Mapping[str, Any], pooling: Pooling, attention: str, *, is_causal: bool,
    dimensions: int, bias: bool, projects: bool = True,
) -> TextTower:  # fmt: skip
    """A tower of pre-norm layers on the meta device; `settings` are of transformers' CLIPTextConfig."""
    from xpet.models.pre_norm import build_pre_norm

    try:
        with torch.device("meta"):
            transformer = build_pre_norm(is_causal, attention, **settings)
            return TextTower(transformer, dimensions, pooling, bias=bias, projects=projects)
    except ModelError as error:
        raise ModelError(f"{layout.folder}: {error}") from None


def clip_name(name: str, head: str = "text_projection.") -> str:
    """CLIP's name of a tensor of a pre-norm tower; `head` is how those of its head begin."""
    return replaced(name, (("LinearTransformation.", head), *_NAMES))


def _read(folder: Path) -> DiskLayout:
    return DiskLayout(folder, read_json(folder / CONFIG, _PURPOSE))


def _build(layout: DiskLayout, attention: str) -> TextTower:
    settings = text_settings(layout, WHOLE)
    end = settings.get("eos_token_id", 49407)  # CLIP's own, where it is not written
    return build_clip(layout, settings, Pooling("largest") if end == LEGACY_END else Pooling("end", end), attention)


def _tokenizer(layout: DiskLayout, tower: TextTower) -> TextTokenizer:
    """The checkpoint's tokenizer; raises ModelError unless it ends every row with the end token the tower looks for."""
    settings: Any = tower.transformer.config
    folder, limit = layout.folder, int(settings.max_position_embeddings)
    if (folder / "tokenizer.json").is_file():
        tokenizer = load_tokenizer(folder, limit, PAD)
    else:
        tokenizer = TextTokenizer(_from_vocabulary(folder), limit, PAD)
    check_end(tokenizer, tower.pooling, folder)
    return tokenizer


def check_end(tokenizer: TextTokenizer, pooling: Pooling, folder: Path) -> None:
    """Raise ModelError unless a tokenizer ends every row with the token that the tower looks for."""
    row = tokenizer.encode(["a"])[0]
    end = max(row) if pooling.kind == "largest" else pooling.end
    if len(row) < 2 or end not in row or row.index(end) != len(row) - 1:
        raise ModelError(
            f"{folder}: expected a tokenizer that ends a text with token {end}, found tokens {row} for 'a'"
        )


def _from_vocabulary(folder: Path) -> Any:
    """The tokenizer of older checkpoints, which have vocab.json and merges.txt alone."""
    from transformers import CLIPTokenizer

    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    missing = [path.name for path in (vocabulary, merges) if not path.is_file()]
    if missing:
        raise ModelError(f"{folder}: expected tokenizer.json, or vocab.json and merges.txt, found no {missing[0]}")
    try:
        lines = read_text(merges).split("\n")
        pairs = [tuple(line.split()) for line in lines if line.strip() and not line.startswith("#version")]
        return CLIPTokenizer(vocab=parsed(read_text(vocabulary)), merges=pairs)
    except Exception as error:  # tokenizers raises plain Exception
        raise ModelError(
            f"cannot read {vocabulary}: damaged or truncated ({one_line(error, LONG, first_only=True)}); fetch it again"
        ) from None


FAMILY = Family(
    "CLIP",
    recognise=lambda folder: document(folder).get("model_type") in (WHOLE, TEXT),
    read=_read,
    build=_build,
    tokenizer=_tokenizer,
    write=write_as_read,
    on_disk=lambda layout, name: clip_name(name),
    image=open_image,
    image_half=IMAGE_HALF,
    unread=("logit_scale",),
    signs=("text_model.encoder.layers.", "text_projection."),
    facts=KNOWN["CLIP"],
)  # fmt: skip
