"""CLIP's vision tower, which several families have under CLIP's names, from whole checkpoints or vision-only ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xpet.core.errors import ModelError, one_line
from xpet.models.families.base import CONFIG, OpenImage
from xpet.models.weights import LONG, read_json, read_weights

SETTINGS = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_channels", "image_size",
    "patch_size", "hidden_act", "layer_norm_eps", "attention_dropout",
)  # fmt: skip
"""Settings of CLIP's vision configuration that are read and written."""
IMAGE_HALF = ("vision_model.", "visual_projection.")
"""How names of tensors begin that are of the image tower."""
TEXT_HALF = ("text_model.", "text_projection.", "logit_scale")
"""How names of a whole CLIP's tensors begin that are not of its image tower."""
VISION_ALONE = "clip_vision_model"
"""`model_type` of a checkpoint of CLIP's vision tower alone."""
_PURPOSE = "a CLIP image tower"


def open_image(folder: Path, kind: str = "clip") -> OpenImage:
    """The image tower of a whole checkpoint of a `model_type`, or of a vision-only one; raises ModelError."""
    settings, has_text = _settings(read_json(folder / CONFIG, _PURPOSE), folder, kind)
    tensors = read_weights(folder)
    if has_text:
        tensors = {_spelt(name): tensor for name, tensor in tensors.items() if not name.startswith(TEXT_HALF)}
    return OpenImage(_empty_tower(settings, tensors, folder), tensors)


def _spelt(name: str) -> str:
    """The name of a tensor as CLIP spells it; transformers writes AltCLIP's layers as BERT's."""
    return name.replace("vision_model.encoder.layer.", "vision_model.encoder.layers.")


def _settings(config: Mapping[str, Any], folder: Path, whole: str) -> tuple[dict[str, Any], bool]:
    """The vision settings of a config.json, and whether it is of a whole model, with a text tower."""
    kind = config.get("model_type")
    if kind not in (whole, VISION_ALONE):
        raise ModelError(f"{folder}: expected {_PURPOSE} (model_type clip or clip_vision_model), found '{kind}'")
    vision = config.get("vision_config") if kind == whole else config
    if not isinstance(vision, Mapping):
        raise ModelError(f"{folder}: expected a vision_config in config.json, found none")
    return {key: vision[key] for key in SETTINGS if key in vision}, kind == whole


def _empty_tower(settings: Mapping[str, Any], tensors: Mapping[str, Tensor], folder: Path) -> nn.Module:
    """The tower of these settings, on the meta device; its output size is that of the projection's tensor."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    weight = tensors.get("visual_projection.weight")
    if weight is None or weight.dim() != 2:
        raise ModelError(f"{folder}: expected {_PURPOSE} with a projection, found no matrix visual_projection.weight")
    try:
        with torch.device("meta"):
            config = CLIPVisionConfig(**settings, projection_dim=int(weight.shape[0]))
            return CLIPVisionModelWithProjection(config)
    except Exception as error:  # transformers validates its settings with errors of its own
        raise ModelError(
            f"{folder}: the image tower cannot be built: {one_line(error, LONG, first_only=True)}"
        ) from None
