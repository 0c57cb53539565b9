"""MetaCLIP 2 worldwide (Chuang et al. 2025): CLIP's layout, XLM-V's tokenizer, pooling at the first end token.

It is not read as a CLIP: with the end token 2, as its tokenizer has it, CLIP takes the largest id of a text instead.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from xpet.core.errors import ModelError
from xpet.core.known_models import KNOWN
from xpet.models.families.base import CONFIG, DiskLayout, Family, document
from xpet.models.families.clip import build_clip, check_end, clip_name, text_settings
from xpet.models.families.clip_vision import IMAGE_HALF, open_image
from xpet.models.families.saving import write_as_read
from xpet.models.pooling import Pooling
from xpet.models.text_tower import TextTower
from xpet.models.tokenizer import TextTokenizer, load_tokenizer
from xpet.models.weights import read_json

WHOLE, TEXT = "metaclip_2", "metaclip_2_text_model"
"""`model_type` of a whole model, and of its text half."""
_PAD = 1
"""Id of padding in XLM-V's vocabulary: what follows the end token has no effect."""


def _read(folder: Path) -> DiskLayout:
    return DiskLayout(folder, read_json(folder / CONFIG, "a MetaCLIP 2 model"))


def _build(layout: DiskLayout, attention: str) -> TextTower:
    settings = text_settings(layout, WHOLE)
    end = settings.get("eos_token_id")
    if type(end) is not int:
        raise ModelError(f"{layout.folder}: expected the end token eos_token_id in text_config, found {end!s:.60}")
    return build_clip(layout, settings, Pooling("end", end), attention)


def _tokenizer(layout: DiskLayout, tower: TextTower) -> TextTokenizer:
    settings: Any = tower.transformer.config
    tokenizer = load_tokenizer(layout.folder, int(settings.max_position_embeddings), _PAD)
    check_end(tokenizer, tower.pooling, layout.folder)
    return tokenizer


FAMILY = Family(
    "MetaCLIP 2",
    recognise=lambda folder: document(folder).get("model_type") in (WHOLE, TEXT),
    read=_read,
    build=_build,
    tokenizer=_tokenizer,
    write=write_as_read,
    on_disk=lambda layout, name: clip_name(name),
    image=partial(open_image, kind=WHOLE),
    image_half=IMAGE_HALF,
    unread=("logit_scale",),
    signs=("text_model.encoder.layers.", "text_projection."),
    facts=KNOWN["MetaCLIP 2"],
)  # fmt: skip
