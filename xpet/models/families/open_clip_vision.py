"""open_clip's own vision transformer, read as the CLIP vision tower that computes the same.

open_clip keeps query, key and value in one matrix, and the projection transposed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xpet.core.errors import ModelError, one_line
from xpet.models.families.base import OpenImage, replaced
from xpet.models.preprocessing import ROUNDS, checked_processing
from xpet.models.weights import LONG, check_fit

START = "visual."
"""How names of tensors begin on the disk that are of the image tower."""
_PROJECTION = "visual_projection.weight"
_NAMES = (
    ("vision_model.embeddings.patch_embedding.", "visual.conv1."),
    ("vision_model.embeddings.class_embedding", "visual.class_embedding"),
    ("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"),
    ("vision_model.pre_layrnorm.", "visual.ln_pre."), ("vision_model.post_layernorm.", "visual.ln_post."),
    ("vision_model.encoder.layers.", "visual.transformer.resblocks."),
    (".layer_norm1.", ".ln_1."), (".layer_norm2.", ".ln_2."), (".self_attn.out_proj.", ".attn.out_proj."),
    (".self_attn.q_proj.", ".attn.in_proj_"), (".self_attn.k_proj.", ".attn.in_proj_"),
    (".self_attn.v_proj.", ".attn.in_proj_"),
    (".mlp.fc1.", ".mlp.c_fc."), (".mlp.fc2.", ".mlp.c_proj."), (_PROJECTION, "visual.proj"),
)  # fmt: skip
"""Parts of the names of CLIP's vision tower -> open_clip's."""
_THIRDS = (".q_proj.", ".k_proj.", ".v_proj.")
"""Which third of open_clip's one matrix is which matrix of CLIP's."""
_SIZES = {"layers": 12, "width": 768, "head_width": 64, "patch_size": 16, "image_size": 224}
"""Sizes in a vision_cfg that are read, and what open_clip takes where they are not there."""
_READ = (*_SIZES, "mlp_ratio", "norm_kwargs", "act_kwargs")
_NO_MATTER = (
    "patch_dropout", "output_tokens", "final_ln_after_pool", "attn_pooler_queries", "attn_pooler_heads",
    "timm_model_pretrained", "timm_pool", "timm_proj", "timm_proj_bias", "timm_drop", "timm_drop_path",
)  # fmt: skip
"""Entries of a vision_cfg that change nothing in the features of a tower that is read: a LayerNorm after pooling one
token is one before it."""
_ONLY: Mapping[str, str] = {"pool_type": "tok", "pos_embed_type": "learnable", "block_type": "default"}
"""Entries that change the features, with the one value that is read."""
_FILTERS = {"bicubic": 3, "bilinear": 2, "random": 3}
"""Interpolation -> Pillow's number; open_clip takes the first where training draws one."""


def open_vision(
    model: Mapping[str, Any], preprocess: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path
) -> OpenImage:
    """The image tower that a `model_cfg` describes, with its tensors and the pre-processing of a `preprocess_cfg`.

    Args:
        model: contents of model_cfg; its vision_cfg and quick_gelu are read.
        preprocess: contents of preprocess_cfg; what is not there has open_clip's own value.
        tensors: of the image half, by name on the disk.
        path: the file of settings, for errors.

    Raises:
        ModelError: another kind of tower, settings that are not valid, or tensors missing, left over or misshapen.
    """
    vision = model.get("vision_cfg")
    if not isinstance(vision, Mapping):
        raise ModelError(f"{path}: expected an object vision_cfg, found {vision!r:.60}")
    settings = _settings(vision, model.get("quick_gelu") is True, path)
    dimensions = _whole(model.get("embed_dim"), "embed_dim", path)
    tower = _empty(settings, dimensions, path)
    expected = {_on_disk(name): _stored(name, tensor) for name, tensor in tower.state_dict().items()}
    check_fit(expected, tensors, path.parent)
    found = {name: _taken(name, tensors[_on_disk(name)]) for name in tower.state_dict()}
    return OpenImage(tower, found, _processing(preprocess, settings["image_size"], path), _on_disk)


def _settings(vision: Mapping[str, Any], quick: bool, path: Path) -> dict[str, Any]:
    """The settings of transformers' CLIPVisionConfig; raises ModelError for what they cannot say."""
    if vision.get("timm_model_name"):
        raise ModelError(
            f"{path}: expected open_clip's own vision transformer, found timm's {vision['timm_model_name']!s:.60}; "
            "give another image tower with --image-model, or image features with --image-features"
        )
    for key, value in vision.items():
        if key not in (*_READ, *_NO_MATTER) and value not in (None, False, _ONLY.get(key)):
            raise ModelError(f"{path}: expected {key} {_ONLY.get(key, 'off')} in vision_cfg, found {value!r:.60}")
    sizes = {key: _whole(vision.get(key, default), key, path) for key, default in _SIZES.items()}
    norm, ratio = vision.get("norm_kwargs") or {}, vision.get("mlp_ratio", 4.0)
    if not isinstance(norm, Mapping) or norm.keys() - {"eps"} or not isinstance(ratio, (int, float)):
        raise ModelError(
            f"{path}: expected norm_kwargs with eps, and a number mlp_ratio, found {norm!r:.60}, {ratio!r}"
        )
    return {
        "hidden_size": sizes["width"], "num_hidden_layers": sizes["layers"], "patch_size": sizes["patch_size"],
        "num_attention_heads": max(1, sizes["width"] // sizes["head_width"]), "image_size": sizes["image_size"],
        "intermediate_size": int(sizes["width"] * ratio), "layer_norm_eps": norm.get("eps", 1e-5),
        "hidden_act": _activation(vision.get("act_kwargs") or {}, quick, path),
    }  # fmt: skip


def _whole(value: object, name: str, path: Path) -> int:
    """A whole number from 1 on; height and width stand for one where they are equal. Raises ModelError for others."""
    if isinstance(value, (list, tuple)) and len(value) == len(("height", "width")) and value[0] == value[1]:
        value = value[0]
    if type(value) is not int or value < 1:
        raise ModelError(f"{path}: expected a whole number from 1 on as {name}, found {value!r:.60}")
    return value


def _activation(settings: object, quick: bool, path: Path) -> str:
    """Transformers' name of the activation: exact GELU, unless the settings say otherwise."""
    known = {"": "quick_gelu" if quick else "gelu", "tanh": "gelu_pytorch_tanh", "none": "gelu"}
    kind = settings.get("approximate", "") if isinstance(settings, Mapping) and len(settings) < 2 else None  # noqa: PLR2004
    if kind not in known or (kind and quick) or (settings and not kind):
        raise ModelError(f"{path}: expected act_kwargs with approximate or none at all, found {settings!r:.60}")
    return known[kind]


def _empty(settings: Mapping[str, Any], dimensions: int, path: Path) -> nn.Module:
    """The tower on the meta device; raises ModelError for settings that transformers refuses."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    try:
        with torch.device("meta"):
            return CLIPVisionModelWithProjection(CLIPVisionConfig(**settings, projection_dim=dimensions))
    except Exception as error:  # transformers validates its settings with errors of its own
        raise ModelError(f"{path}: the image tower cannot be built: {one_line(error, LONG, first_only=True)}") from None


def _on_disk(name: str) -> str:
    """open_clip's name of the tensor that holds one of CLIP's."""
    return replaced(name, _NAMES)


def _third(name: str) -> int | None:
    return next((place for place, mark in enumerate(_THIRDS) if mark in name), None)


def _stored(name: str, tensor: Tensor) -> Tensor:
    """A tensor of the shape that open_clip stores the one of this name and any shape in."""
    if _third(name) is not None:
        return tensor.new_empty((3 * tensor.shape[0], *tensor.shape[1:]))
    return tensor.T if name == _PROJECTION else tensor


def _taken(name: str, stored: Tensor) -> Tensor:
    """The part of a stored tensor [rows, ...] that is the one of this name."""
    place = _third(name)
    if place is not None:
        return stored.chunk(len(_THIRDS))[place]
    return stored.T.contiguous() if name == _PROJECTION else stored


def _processing(written: Mapping[str, Any], side: int, path: Path) -> dict[str, Any]:
    """A preprocess_cfg in transformers' words; raises ModelError for one that xpet does not have."""
    mode, filter_ = written.get("resize_mode") or "shortest", written.get("interpolation") or "bicubic"
    if mode not in ("shortest", "squash") or filter_ not in _FILTERS or written.get("mode", "RGB") != "RGB":
        raise ModelError(
            f"{path}: expected resize_mode shortest or squash, interpolation {', '.join(_FILTERS)}, and mode RGB, "
            f"found {mode!s:.60}, {filter_!s:.60}, {written.get('mode', 'RGB')!s:.60}"
        )
    both = {"height": side, "width": side}
    size = {"size": both, "do_center_crop": False} if mode == "squash" else {"size": {"shortest_edge": side}}
    pixels = {f"image_{name}": written[name] for name in ("mean", "std") if written.get(name) is not None}
    return checked_processing(
        {**size, **pixels, "crop_size": both, "resample": _FILTERS[filter_], ROUNDS: mode == "shortest"}, side, path
    )
