"""Text-tower checkpoints: opened and loaded strictly, whatever their family; xpet's own towers saved as M-CLIP's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xpet.core.errors import ModelError
from xpet.core.files import write_folder
from xpet.models.families import family_of
from xpet.models.families.base import OpenText, text_tensors
from xpet.models.families.m_clip import write_settings
from xpet.models.families.unknown import explained, is_known
from xpet.models.hub import checkpoint_folder
from xpet.models.text_tower import TextTower
from xpet.models.tokenizer import TextTokenizer
from xpet.models.weights import fill, write_tensors

__all__ = ["LoadedText", "OpenText", "load_text_tower", "open_text_tower", "save_text_tower"]


@dataclass(frozen=True)
class LoadedText:
    """A frozen text tower in eval mode with its tokenizer."""

    tower: TextTower
    tokenizer: TextTokenizer
    fingerprint: str
    """SHA-256 (hex) of the stored weights, whatever dtype they were loaded in."""
    config: Mapping[str, Any]
    """Contents of the checkpoint's config.json."""
    has_image: bool = False
    """Whether the image tower is in the same checkpoint."""
    logit_scale: float | None = None
    """What cosines with pictures were multiplied by when the model was trained; None: the checkpoint does not say."""
    logit_bias: float | None = None
    """What was added then, in models trained with a sigmoid loss."""


def open_text_tower(name_or_path: str | Path, allow_download: bool = True, attention: str = "sdpa") -> OpenText:
    """Open a text tower of any family from a local folder or hub name; its weights stay on the disk.

    Raises ModelError as `load_text_tower` does, but for weights that are not finite, which are not read here.
    """
    folder = checkpoint_folder(name_or_path, allow_download)
    family = family_of(folder)
    if not is_known(folder):
        raise explained(folder, "a text tower")
    layout = family.read(folder)
    layout = replace(layout, tensors=layout.mapped())
    tower = family.build(layout, attention)
    tensors = text_tensors(tower, family, layout)
    tokenizer = family.tokenizer(layout, tower)
    words: Any = tower.transformer.config
    if tokenizer.highest_id >= words.vocab_size:
        raise ModelError(
            f"{folder}: the tokenizer does not fit the weights: expected ids below {words.vocab_size}, found "
            f"{tokenizer.highest_id}"
        )
    return OpenText(family, layout, tensors, tower, tokenizer)


def load_text_tower(
    name_or_path: str | Path,
    dtype: torch.dtype = torch.float32,
    allow_download: bool = True,
    attention: str = "sdpa",
    trained: Mapping[str, Tensor] | None = None,
) -> LoadedText:
    """Load a text tower of any family from a local folder or hub name.

    Args:
        name_or_path: a folder, or a name on the hub.
        dtype: of the loaded weights.
        allow_download: whether it may be downloaded.
        attention: transformers' implementation, 'sdpa' or 'eager'.
        trained: weights by name that replace all of the checkpoint's (full fine-tuning); those are then only read for
            the fingerprint.

    Raises:
        ModelError: the checkpoint is missing, damaged or of another layout, or its tensors do not fit exactly.
    """
    opened = open_text_tower(name_or_path, allow_download, attention)
    is_in_use = trained is None and all(tensor.dtype == dtype for tensor in opened.tensors.values())
    if trained is not None:
        fill(opened.tower, trained, dtype, "the run's delta")
    else:
        fill(opened.tower, opened.tensors if is_in_use else opened.streamed(), dtype, opened.folder, opened.on_disk)
    digest = opened.fingerprint(is_in_use)
    scale, bias = opened.logits
    return LoadedText(opened.tower, opened.tokenizer, digest, opened.config, opened.has_image, scale, bias)


def save_text_tower(
    folder: str | os.PathLike[str],
    tower: TextTower,
    tokenizer: TextTokenizer,
    config: Mapping[str, Any] | None = None,
) -> None:
    """Write the M-CLIP layout: config.json, model.safetensors, tokenizer.json, tokenizer_config.json.

    `config` adds or keeps entries of config.json (`modelBase` of a loaded checkpoint). The tower's own dtype is kept.
    The folder must be new or empty (OutputError otherwise) and appears complete or not at all.
    """

    def write(stage: Path) -> None:
        write_settings(stage, tower, tokenizer, config or {})
        write_tensors(stage / "model.safetensors", tower)

    write_folder(folder, write)
