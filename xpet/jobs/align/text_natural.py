"""Natural captions in the training text of routine `text`: few, so each stands in it as often as their share asks.

They are the captions of the shots, beside the frozen features of their English ones; no picture is looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpet.core.captions import Split
from xpet.core.errors import DataError
from xpet.data.cleaning import text_hash
from xpet.data.pair_files import RowSequence

if TYPE_CHECKING:
    from torch import Tensor

    from xpet.jobs.shared.corpus import Parts
    from xpet.training.queue import Rows


@dataclass(frozen=True)
class Natural:
    """Captions of one language to train on and to validate with, each (English, the language's)."""

    train: tuple[tuple[str, str], ...]
    validation: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class MixedTokens(RowSequence):
    """Token rows: those of `corpus`, then `extra` rows that go through `natural` again and again."""

    corpus: Sequence[Sequence[int]]
    natural: Sequence[list[int]]
    extra: int

    def __len__(self) -> int:
        return len(self.corpus) + self.extra

    def row(self, row: int) -> list[int]:
        """Row 0, 1, ..."""
        if row < len(self.corpus):
            return list(self.corpus[row])
        return self.natural[(row - len(self.corpus)) % len(self.natural)]


@dataclass(frozen=True)
class MixedRows:
    """Features of the rows of `MixedTokens`: the first `count` of `corpus`, then those of `natural` [natural, d]."""

    corpus: Rows
    count: int
    natural: Tensor

    def __getitem__(self, rows: Sequence[int], /) -> Tensor:
        """Features [len(rows), d]."""
        own = [place for place, row in enumerate(rows) if row < self.count]
        other = [place for place, row in enumerate(rows) if row >= self.count]
        out = self.natural.new_empty(len(rows), self.natural.shape[1])
        if own:
            out[own] = self.corpus[[rows[place] for place in own]]
        out[other] = self.natural[[(rows[place] - self.count) % len(self.natural) for place in other]]
        return out


def extra_rows(corpus: int, natural: int, share: float) -> int:
    """How many rows of natural captions make up a `share` of all rows beside `corpus` others; all of them at least."""
    return max(natural, round(corpus * share / (1 - share))) if share < 1 else natural


def natural_of(parts: Parts, language: str, forbidden: Collection[int]) -> Natural:
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
    return Natural(train, validation)


def _rows(split: Split, language: str) -> dict[tuple[str, str], None]:
    texts = split.captions[language].complete(("pivot", "target")).texts
    return dict.fromkeys(zip(texts.get("pivot", ()), texts.get("target", ()), strict=False))
