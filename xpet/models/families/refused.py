"""Kinds of image-text models that xpet recognises and does not read, each with what to use in its place.

A row of REFUSED is tried before the families, the last one behind them all but M-CLIP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from xpet.core.errors import ModelError
from xpet.models.families.base import CONFIG, DiskLayout, Family, OpenImage, Part, document
from xpet.models.families.clip_vision import open_image
from xpet.models.families.saving import write_as_read

_ANY = "M-CLIP/XLM-Roberta-Large-Vit-B-32 or google/siglip2-base-patch16-256"
"""Widely used multilingual models that are read."""
_UFORM = (CONFIG, "torch_config.json")
"""Names of UForm's file of settings, of its third release and of those before."""


def refused(
    kind: str, why: str, instead: str, recognise: Callable[[Path], bool], has_clip_image: bool = False
) -> Family:
    """A row: reading its text tower raises one line that names the kind, why it is not read, and what to use instead.

    `has_clip_image`: its image half is CLIP's and can be taken for another text tower.
    """

    def refuse(folder: Path) -> NoReturn:
        raise ModelError(f"{folder}: found {kind}, which xpet does not read: {why}; use {instead} instead")

    def read(folder: Path) -> DiskLayout:
        refuse(folder)

    def image(folder: Path) -> OpenImage:
        refuse(folder)

    def never(*_: Any) -> NoReturn:
        raise AssertionError(f"{kind} is not read")

    return Family(
        kind, recognise=recognise, read=read, build=never, tokenizer=never, write=write_as_read,
        image=open_image if has_clip_image else image, parts=(Part(),) if has_clip_image else (),
    )  # fmt: skip


def _brings_code(folder: Path) -> bool:
    return isinstance(document(folder).get("auto_map"), Mapping)


def _is_vision(folder: Path) -> bool:
    """Whether a folder is CLIP's image tower alone, which is read, whatever code lies beside it."""
    return document(folder).get("model_type") == "clip_vision_model"


def _is_class(name: str) -> Callable[[Path], bool]:
    """Whether `architectures` of a folder's settings name a class that begins so."""

    def recognise(folder: Path) -> bool:
        classes = document(folder).get("architectures")
        return isinstance(classes, list) and any(str(found).startswith(name) for found in classes)

    return recognise


def _is_mt5(folder: Path) -> bool:
    """Whether the text half is an mT5."""
    text = document(folder).get("text_config")
    return isinstance(text, Mapping) and str(text.get("model_type")) in ("t5", "mt5", "umt5")


def _is_uform(folder: Path) -> bool:
    found = [document(folder, name) for name in _UFORM]
    return any(isinstance(one.get("text_encoder"), Mapping) and "image_encoder" in one for one in found)


REFUSED: tuple[Family, ...] = (
    refused(
        "jina-clip", "both towers are code of its own, with rotary positions", _ANY,
        lambda folder: document(folder).get("model_type") == "jina_clip",
    ),
    refused(
        "LLM2CLIP", "its text tower is a large language model in another repository",
        "facebook/metaclip-2-worldwide-l14 or google/siglip2-large-patch16-256", _is_class("LLM2CLIP"),
        has_clip_image=True,
    ),
    refused(
        "NLLB-CLIP in its first layout", "its text tower is code of its own",
        "visheratin/nllb-clip-base-oc or visheratin/nllb-clip-large-oc", _is_class("NLLBCLIP"), has_clip_image=True,
    ),
    refused(
        "an image-text model with an mT5 as text tower", "layers with relative positions are not built",
        "facebook/metaclip-2-worldwide-l14", _is_mt5, has_clip_image=True,
    ),
    refused(
        "UForm", "its towers are code of its own, with layers for pairs of text and picture", _ANY, _is_uform,
    ),
)  # fmt: skip
"""Tried before the families: some of their settings say `clip`."""
WITH_CODE = refused(
    "a model that brings its own code (auto_map in config.json)", "no code of a checkpoint is run", _ANY,
    lambda folder: _brings_code(folder) and "modelBase" not in document(folder) and not _is_vision(folder),
)  # fmt: skip
"""Tried where no family recognised a folder."""
