"""Text-tower checkpoints in the layout of multilingual-clip (M-CLIP): loaded strictly, saved whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xpet.core.errors import ModelError
from xpet.core.files import write_folder
from xpet.models.families import FAMILIES, build_transformer, token_limit, transformer_config, written_config
from xpet.models.hub import checkpoint_folder
from xpet.models.text_tower import TextTower
from xpet.models.tokenizer import TextTokenizer, load_tokenizer
from xpet.models.weights import (
    Remapped,
    check_fit,
    fill,
    fingerprint,
    read_json,
    read_weights,
    write_json,
    write_tensors,
)

_KEYS = ("modelBase", "transformerDimensions", "numDims")
"""Keys of config.json in the M-CLIP layout."""
_PURPOSE = "an M-CLIP text tower"


@dataclass(frozen=True)
class LoadedText:
    """A frozen text tower in eval mode with its tokenizer."""

    tower: TextTower
    tokenizer: TextTokenizer
    fingerprint: str
    """SHA-256 (hex) of the stored weights, whatever dtype they were loaded in."""
    config: Mapping[str, Any]
    """Contents of the checkpoint's config.json."""


@dataclass(frozen=True)
class OpenText:
    """A text tower whose checkpoint is checked and whose weights are not loaded."""

    folder: Path
    config: Mapping[str, Any]
    """Contents of config.json."""
    tensors: Mapping[str, Tensor]
    """By name, mapped from the files."""
    tower: TextTower
    """On the meta device."""
    tokenizer: TextTokenizer

    def streamed(self) -> Mapping[str, Tensor]:
        """The tensors by name, for one pass over them that does not leave them all in memory."""
        return Remapped(lambda: read_weights(self.folder))

    def fingerprint(self) -> str:
        """Fingerprint (SHA-256, hex) of the stored weights; reads them all."""
        return fingerprint(self.streamed())


def open_text_tower(name_or_path: str | Path, allow_download: bool = True, attention: str = "sdpa") -> OpenText:
    """Open a text tower from a local M-CLIP folder or hub name; its weights stay on the disk.

    Raises ModelError as `load_text_tower` does, but for weights that are not finite, which are not read here.
    """
    folder = checkpoint_folder(name_or_path, allow_download)
    config = read_json(folder / "config.json", _PURPOSE)
    _check_keys(config, folder)
    tensors = read_weights(folder)
    tower = _empty_tower(config, tensors, attention, folder)
    check_fit(tower, tensors, folder)
    settings: Any = tower.transformer.config
    tokenizer = load_tokenizer(folder, token_limit(settings), settings.pad_token_id)
    if tokenizer.highest_id >= settings.vocab_size:
        raise ModelError(
            f"{folder}: the tokenizer does not fit the weights: expected ids below {settings.vocab_size}, found "
            f"{tokenizer.highest_id}"
        )
    return OpenText(folder, config, tensors, tower, tokenizer)


def load_text_tower(
    name_or_path: str | Path,
    dtype: torch.dtype = torch.float32,
    allow_download: bool = True,
    attention: str = "sdpa",
    trained: Mapping[str, Tensor] | None = None,
) -> LoadedText:
    """Load a text tower from a local M-CLIP folder or hub name; the base model's weights are not needed.

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
    if trained is not None:
        fill(opened.tower, trained, dtype, "the run's delta")
    else:
        is_copied = any(tensor.dtype != dtype for tensor in opened.tensors.values())
        fill(opened.tower, opened.streamed() if is_copied else opened.tensors, dtype, opened.folder)
    return LoadedText(opened.tower, opened.tokenizer, opened.fingerprint(), opened.config)


def _check_keys(config: Mapping[str, Any], folder: Path) -> None:
    """Raise ModelError unless a config.json has the keys of the M-CLIP layout."""
    kind = config.get("model_type", "unknown")
    optional = ("modelBase",) if kind in tuple(FAMILIES) else ()  # config.json has the transformer's settings then
    missing = [key for key in _KEYS if key not in config and key not in optional]
    if missing:
        raise ModelError(
            f"{folder}: expected {_PURPOSE}, found a model of type '{kind}' whose config.json lacks "
            f"{', '.join(missing)}"
        )
    if not isinstance(config.get("modelBase", ""), str):
        raise ModelError(f"{folder}: expected a name as modelBase in config.json, found {config['modelBase']!r:.60}")


def _empty_tower(config: Mapping[str, Any], tensors: Mapping[str, Tensor], attention: str, folder: Path) -> TextTower:
    """The tower that config.json and the tensors describe, on the meta device; raises ModelError."""
    nested = config.get("transformerConfig") or {}
    if not isinstance(nested, dict):
        raise ModelError(f"{folder}: expected transformerConfig to be an object, found {type(nested).__name__}")
    outer = {key: value for key, value in config.items() if key != "model_type" or value in tuple(FAMILIES)}
    try:
        settings = transformer_config(config.get("modelBase", ""), {**outer, **nested}, tensors)
        pooler = "transformer.pooler.dense.weight" in tensors
        with torch.device("meta"):
            tower = TextTower(build_transformer(settings, pooler, attention), _dimensions(config, tensors, settings))
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from None
    return tower


def _dimensions(config: Mapping[str, Any], tensors: Mapping[str, Tensor], settings: Any) -> int:
    """Output size of the projection [numDims, transformerDimensions]; raises ModelError where config.json disagrees."""
    weight = tensors.get("LinearTransformation.weight")
    if weight is None or weight.dim() != 2:
        raise ModelError("the weights are not in the M-CLIP layout: expected a matrix LinearTransformation.weight")
    sizes = {"numDims": weight.shape[0], "transformerDimensions": settings.hidden_size}
    wrong = [f"{name} {config[name]!s:.60} against {size}" for name, size in sizes.items() if config[name] != size]
    if wrong:
        raise ModelError(
            f"config.json and weights disagree: {', '.join(wrong)}; correct config.json or fetch both again"
        )
    return int(weight.shape[0])


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


def write_settings(folder: Path, tower: TextTower, tokenizer: TextTokenizer, config: Mapping[str, Any]) -> None:
    """Write all files of the M-CLIP layout but the weights: config.json, tokenizer.json, tokenizer_config.json."""
    settings: Any = tower.transformer.config
    document = {
        "architectures": ["MultilingualCLIP"],
        "modelBase": settings.model_type,
        **config,
        "model_type": "M-CLIP",
        "numDims": tower.dimensions,
        "transformerDimensions": settings.hidden_size,
        "transformerConfig": written_config(settings),
    }
    write_json(folder / "config.json", document)
    tokenizer.save(folder)
