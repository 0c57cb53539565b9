"""Chooses the natural captions that `--natural-share` mixes into the training text of routine `text`.

They are the captions of the shots, paired with their English ones; their pictures are not used.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpet.core.captions import Split
from xpet.core.errors import DataError
from xpet.data.cleaning import text_hash

if TYPE_CHECKING:
    from xpet.jobs.shared.corpus import Parts


@dataclass(frozen=True)
class NaturalCaptions:
    """Captions of one language to train on and to validate with, as pairs (English, own language)."""

    train: tuple[tuple[str, str], ...]
    validation: tuple[tuple[str, str], ...]


def natural_of(parts: Parts, language: str, forbidden: Collection[int]) -> NaturalCaptions:
    """The natural captions of the shots and of validation that stand beside English ones.

    Captions are left out whose English one is forbidden (by `text_hash`). Raises DataError where too few are left.
    """
    train, validation = (
        tuple(row for row in _rows(part, language) if text_hash(row[0]) not in forbidden)
        for part in (parts.train, parts.validation)
    )
    if len(train) < 2 or not validation:
        raise DataError(
            f"--natural-share: expected captions of {language} beside English ones in the shots and in the validation "
            f"part, found {len(train)} and {len(validation)}; leave --natural-share out"
        )
    return NaturalCaptions(train, validation)


def _rows(split: Split, language: str) -> dict[tuple[str, str], None]:
    texts = split.captions[language].complete(("pivot", "target")).texts
    return dict.fromkeys(zip(texts.get("pivot", ()), texts.get("target", ()), strict=False))
