"""The model families: which there are, and which one a checkpoint folder is of.

A family is a file of this folder that holds `FAMILY`, and a row here. See `xpet.models.families.base.Family`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xpet.models.families import (
    altclip,
    chinese_clip,
    clip,
    m_clip,
    metaclip_2,
    nllb_clip,
    open_clip,
    sentence_transformers,
    siglip,
)
from xpet.models.families.base import CONFIG, Family, document
from xpet.models.families.refused import REFUSED, WITH_CODE

FAMILIES: tuple[Family, ...] = (
    sentence_transformers.FAMILY,
    nllb_clip.FAMILY,
    open_clip.FAMILY,
    altclip.FAMILY,
    chinese_clip.FAMILY,
    siglip.FAMILY,
    metaclip_2.FAMILY,
    clip.FAMILY,
    m_clip.FAMILY,
)
"""In the order in which they are tried: the first that recognises a folder reads it."""


def family_of(folder: Path) -> Family:
    """The family of a checkpoint folder; M-CLIP, whose errors say what is missing, for a folder of none.

    One of `xpet.models.families.refused` for a kind that is recognised and not read: its functions raise ModelError.
    """
    return next(family for family in (*REFUSED, *FAMILIES[:-1], WITH_CODE, FAMILIES[-1]) if family.recognise(folder))


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder has settings that can be a checkpoint's, or files that tell a family."""
    return (folder / CONFIG).exists() or family_of(folder) is not m_clip.FAMILY


def settings_in(folder: Path) -> Mapping[str, Any]:
    """The settings of a folder, under its family's name of them; empty where there are none to be read."""
    names = family_of(folder).settings
    return next((found for name in names if (found := document(folder, name))), {})
