"""Text-tower checkpoints in the M-CLIP layout (SPEC section 4): loading strictly, saving whole."""

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
    read_tensors,
    without_position_ids,
    write_json,
    write_tensors,
)

_KEYS = ("modelBase", "transformerDimensions", "numDims")
_PURPOSE = "an M-CLIP text tower"


@dataclass(frozen=True)
class LoadedText:
    """A frozen text tower in eval mode with its tokenizer.

    `fingerprint` is that of the stored weights, so it does not depend on the dtype they were loaded in; `config` is the
    checkpoint's config.json.
    """

    tower: TextTower
    tokenizer: TextTokenizer
    fingerprint: str
    config: Mapping[str, Any]


@dataclass(frozen=True)
class OpenText:
    """A checked text tower whose weights are not loaded: `tower` is on the meta device, `tensors` are mapped files."""

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    tower: TextTower
    tokenizer: TextTokenizer

    def streamed(self) -> Mapping[str, Tensor]:
        """The tensors for one pass over them, which does not leave them all in memory."""
        return Remapped(lambda: without_position_ids(read_tensors(self.folder)))

    def fingerprint(self) -> str:
        """That of the stored weights; reads them all."""
        return fingerprint(self.streamed())


def open_text_tower(name_or_path: str | Path, allow_download: bool = True, attention: str = "sdpa") -> OpenText:
    """A text tower from a local M-CLIP folder or hub name, its weights left on the disk; raises ModelError."""
    folder = checkpoint_folder(name_or_path, allow_download)
    config = read_json(folder / "config.json", _PURPOSE)
    _check_keys(config, folder)
    tensors = without_position_ids(read_tensors(folder))
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
    """A text tower from a local M-CLIP folder or hub name; the base model's weights are not needed.

    `attention` is transformers' implementation, 'sdpa' or 'eager'. `trained` are weights that take the place of all
    the checkpoint's own (full fine-tuning), which are only read for the fingerprint then. Raises ModelError for a
    checkpoint that is missing, damaged, of another layout, or whose tensors do not fit exactly.
    """
    opened = open_text_tower(name_or_path, allow_download, attention)
    if trained is not None:
        fill(opened.tower, trained, dtype, "the run's delta")
    else:
        copied = any(tensor.dtype != dtype for tensor in opened.tensors.values())
        fill(opened.tower, opened.streamed() if copied else opened.tensors, dtype, opened.folder)
    return LoadedText(opened.tower, opened.tokenizer, opened.fingerprint(), opened.config)


def _check_keys(config: Mapping[str, Any], folder: Path) -> None:
    kind = config.get("model_type", "unknown")
    spare = ("modelBase",) if kind in tuple(FAMILIES) else ()  # the settings of the base itself stand there then
    missing = [key for key in _KEYS if key not in config and key not in spare]
    if missing:
        raise ModelError(
            f"{folder}: expected {_PURPOSE}, found a model of type '{kind}' whose config.json lacks "
            f"{', '.join(missing)}"
        )
    if not isinstance(config.get("modelBase", ""), str):
        raise ModelError(f"{folder}: expected a name as modelBase in config.json, found {config['modelBase']!r:.60}")


def _empty_tower(config: Mapping[str, Any], tensors: Mapping[str, Tensor], attention: str, folder: Path) -> TextTower:
    own = config.get("transformerConfig") or {}
    if not isinstance(own, dict):
        raise ModelError(f"{folder}: expected transformerConfig to be an object, found {type(own).__name__}")
    beside = {key: value for key, value in config.items() if key != "model_type" or value in tuple(FAMILIES)}
    written = {**beside, **own}
    try:
        settings = transformer_config(config.get("modelBase", ""), written, tensors)
        pooler = "transformer.pooler.dense.weight" in tensors
        with torch.device("meta"):
            tower = TextTower(build_transformer(settings, pooler, attention), _dimensions(config, tensors, settings))
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from None
    return tower


def _dimensions(config: Mapping[str, Any], tensors: Mapping[str, Tensor], settings: Any) -> int:
    """Output size of the projection; config.json and weights must agree on both of its sides."""
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
        write_beside(stage, tower, tokenizer, config or {})
        write_tensors(stage / "model.safetensors", tower)

    write_folder(folder, write)


def write_beside(folder: Path, tower: TextTower, tokenizer: TextTokenizer, config: Mapping[str, Any]) -> None:
    """All of the M-CLIP layout but the weights: config.json, tokenizer.json, tokenizer_config.json."""
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
