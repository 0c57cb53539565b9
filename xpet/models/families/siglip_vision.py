"""SigLIP's vision tower: patches without a class token, pooled by one query that attends to them all; no projection."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from xpet.core.errors import ModelError, one_line
from xpet.models.families.base import CONFIG, OpenImage
from xpet.models.preprocessing import SIGLIP, read_processing
from xpet.models.weights import LONG, read_json, read_weights

WHOLE, VISION, NAFLEX = "siglip", "siglip_vision_model", "siglip2"
"""`model_type` of a whole model, of its image half alone, and of SigLIP 2 for pictures of any shape."""
IMAGE_HALF = ("vision_model.",)
"""How names of tensors begin that are of the image tower."""
_OTHER = ("text_model.", "logit_scale", "logit_bias")
"""How names of a whole model's tensors begin that are not of its image tower."""
_PURPOSE = "a SigLIP image tower"
_SETTINGS = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_channels", "image_size",
    "patch_size", "hidden_act", "layer_norm_eps", "attention_dropout", "vision_use_head",
)  # fmt: skip
"""Settings of vision_config that are read; what is not there has transformers' own value, as in published files."""


class SiglipImageTower(nn.Module):
    """transformers' vision model of SigLIP, called as CLIP's with a projection is."""

    def __init__(self, config: Any) -> None:
        from transformers import SiglipVisionModel

        super().__init__()
        self.config = config
        self.vision_model = SiglipVisionModel(config)
        self.visual_projection = _Same(config.hidden_size)

    def forward(self, pixel_values: Tensor) -> Any:
        """An object with `image_embeds` [rows, dimensions] of pixels [rows, channels, height, width]."""
        pooled = self.vision_model(pixel_values=pixel_values).pooler_output
        return SimpleNamespace(image_embeds=self.visual_projection(pooled))


class _Same(nn.Identity):
    """The projection that SigLIP's vision tower does not have: its channels are those of the shared space."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.out_features = features


def open_image(folder: Path) -> OpenImage:
    """The image tower of a whole checkpoint, or of a vision-only one; raises ModelError."""
    config = read_json(folder / CONFIG, _PURPOSE)
    kind = config.get("model_type")
    refuse_naflex(folder, kind)
    if kind not in (WHOLE, VISION):
        raise ModelError(f"{folder}: expected {_PURPOSE} (model_type {WHOLE} or {VISION}), found '{kind}'")
    settings = (config.get("vision_config") or {}) if kind == WHOLE else config
    if not isinstance(settings, Mapping):
        raise ModelError(f"{folder}: expected an object vision_config in {CONFIG}, found {settings!r:.60}")
    tower = _empty({key: settings[key] for key in _SETTINGS if settings.get(key) is not None}, folder)
    processing = read_processing(folder, int(tower.config.image_size), SIGLIP)
    return OpenImage(tower, _vision(read_weights(folder), kind == WHOLE), processing)


def refuse_naflex(folder: Path, kind: object) -> None:
    """Raise ModelError, naming what to use instead, for the `model_type` of SigLIP 2 for pictures of any shape."""
    if kind == NAFLEX:
        raise ModelError(
            f"{folder}: expected a SigLIP 2 of a fixed resolution, found NaFlex (model_type {NAFLEX}), which takes "
            "pictures of any shape; use google/siglip2-base-patch16-256, google/siglip2-so400m-patch16-384 or the like"
        )


def _vision(tensors: Mapping[str, Tensor], is_whole: bool) -> dict[str, Tensor]:
    """The image half of tensors by the names in the tower; an image half alone may be written without their start."""
    (start,) = IMAGE_HALF
    if is_whole or any(name.startswith(start) for name in tensors):
        return {name: tensor for name, tensor in tensors.items() if not name.startswith(_OTHER)}
    return {start + name: tensor for name, tensor in tensors.items()}


def _empty(settings: Mapping[str, Any], folder: Path) -> SiglipImageTower:
    """The tower on the meta device; raises ModelError for settings that transformers refuses, and without pooling."""
    from transformers import SiglipVisionConfig

    try:
        with torch.device("meta"):
            tower = SiglipImageTower(SiglipVisionConfig(**settings))
    except Exception as error:  # transformers validates its settings with errors of its own
        raise ModelError(
            f"{folder}: the image tower cannot be built: {one_line(error, LONG, first_only=True)}"
        ) from None
    if not tower.config.vision_use_head or not isinstance(tower.config.image_size, int):
        raise ModelError(f"{folder}: expected {_PURPOSE} for square pictures with vision_use_head, found another")
    return tower
