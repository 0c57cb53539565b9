"""The training rows of routine `text`: translations of English lines, and the lines' frozen features (anchors).

Rows are read from disk when they are used. Natural captions may follow them, repeated as often as their share asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xpet.data.pair_files import MappedTokenRows, RowSequence

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Indices = np.ndarray[tuple[int], np.dtype[np.int64]]

HEAD = ("index of the English line", "held out")
"""The numbers before the tokens of a stored row: its line's index among the kept lines, and 1 if it is held out."""


@dataclass(frozen=True)
class AnchorRows:
    """Frozen English features of training rows; only the rows that are used are read.

    `features` are those of the English lines, [lines, d]; `line_index[row]` is the line of a row, [rows].
    """

    features: Tensor
    line_index: Indices

    def __getitem__(self, rows: Sequence[int], /) -> Tensor:
        """Features of these rows, [len(rows), d]."""
        import torch

        return self.features[torch.from_numpy(self.line_index[list(rows)])]


@dataclass(frozen=True)
class SelectedTokens(RowSequence):
    """Token numbers of some rows of a store, without the HEAD before them."""

    stored: Sequence[list[int]]
    rows: Indices

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, row: int) -> list[int]:
        """Token numbers of row 0, 1, ..."""
        return self.stored[int(self.rows[row])][len(HEAD) :]


@dataclass(frozen=True)
class MixedTokens(RowSequence):
    """Token rows: those of `corpus`, then `extra` rows that cycle through `natural`."""

    corpus: Sequence[Sequence[int]]
    natural: Sequence[list[int]]
    extra: int

    def __len__(self) -> int:
        return len(self.corpus) + self.extra

    def row(self, row: int) -> list[int]:
        """Token numbers of row 0, 1, ..."""
        if row < len(self.corpus):
            return list(self.corpus[row])
        return self.natural[(row - len(self.corpus)) % len(self.natural)]


@dataclass(frozen=True)
class MixedAnchors:
    """Features of the rows of `MixedTokens`: the first `count` of `corpus`, then those of `natural`, [natural, d]."""

    corpus: AnchorRows | MixedAnchors
    count: int
    natural: Tensor

    def __getitem__(self, rows: Sequence[int], /) -> Tensor:
        """Features of these rows, [len(rows), d]."""
        from_corpus = [position for position, row in enumerate(rows) if row < self.count]
        from_natural = [position for position, row in enumerate(rows) if row >= self.count]
        features = self.natural.new_empty(len(rows), self.natural.shape[1])
        if from_corpus:
            features[from_corpus] = self.corpus[[rows[position] for position in from_corpus]]
        features[from_natural] = self.natural[
            [(rows[position] - self.count) % len(self.natural) for position in from_natural]
        ]
        return features


@dataclass(frozen=True)
class TrainingPairs:
    """Training pairs of one language, and its held-out pairs for validation.

    Attributes:
        tokens: token numbers of the translations, row by row.
        frozen: features of the English line of each row (AnchorRows, MixedAnchors); `frozen[rows]` is [len(rows), d].
        val_tokens: token numbers of the held-out translations.
        val_frozen: features of their English lines, [held out, d].
        vocabulary: the distinct token numbers of all rows.
        lines: number of English lines used.
        flagged: number of translations left out because they were flagged.
        natural: number of different natural captions among the rows.
        repeated: number of rows that natural captions take.
        disk: bytes of the stored pairs, without the English features.
        counts: English lines by what cleaning did with them (`xpet.data.cleaning.COUNTS`).
    """

    tokens: Sequence[Sequence[int]]
    frozen: AnchorRows | MixedAnchors
    val_tokens: list[list[int]]
    val_frozen: Tensor
    vocabulary: Sequence[int]
    lines: int
    flagged: int
    natural: int = 0
    repeated: int = 0
    disk: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)


def natural_rows(corpus: int, natural: int, share: float) -> int:
    """Rows of natural captions that make a `share` of all rows beside `corpus` others, but at least `natural`."""
    return max(natural, round(corpus * share / (1 - share))) if share < 1 else natural


@dataclass(frozen=True)
class SplitRows:
    """The rows of a finished store, split into those to train on and those held out for validation."""

    stored: MappedTokenRows
    train: Indices
    held_out: Indices
    line_index: Indices

    def tokens(self) -> SelectedTokens:
        """Token numbers of the training rows."""
        return SelectedTokens(self.stored, self.train)

    def anchors(self, features: Tensor) -> AnchorRows:
        """Features of the training rows' English lines, of those of all lines [lines, d]."""
        return AnchorRows(features, self.line_index[self.train])

    def vocabulary(self) -> list[int]:
        """The distinct token numbers of all rows, ascending."""
        return self.stored.distinct(len(HEAD))

    def val_tokens(self) -> list[list[int]]:
        """Token numbers of the held-out rows."""
        return list(SelectedTokens(self.stored, self.held_out))

    def val_anchors(self, features: Tensor) -> Tensor:
        """Features of the held-out rows' English lines, [held out, d], of those of all lines [lines, d]."""
        return AnchorRows(features, self.line_index)[self.held_out.tolist()]


def split_rows(stored: MappedTokenRows) -> SplitRows:
    """Read which rows of a store are held out, and which English line each belongs to."""
    import numpy as np

    heads = stored.heads(len(HEAD))
    held = heads[:, 1] == 1
    return SplitRows(stored, np.flatnonzero(~held), np.flatnonzero(held), heads[:, 0])
