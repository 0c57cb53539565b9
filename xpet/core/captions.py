"""Aligned captions: what every data source delivers and every other room consumes.

Texts of one language are aligned row by row over four slots:
`pivot` (natural English), `target` (natural caption in the language), `from_pivot` (machine translation English ->
language) and `to_pivot` (machine translation language -> English). A slot may be absent. For English all present
slots hold the English captions. `image_index[row]` is the index of the image that a row describes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from xpet.core.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

PIVOT = "en"
"""English, the language that translations go from and to."""
SLOTS = ("pivot", "target", "from_pivot", "to_pivot")
"""The texts that a caption may have, see above."""
TRANSLATED = {"to_pivot": "target", "from_pivot": "pivot"}
"""The machine-translated slots, each with the slot it is translated from."""
ENGLISH_SLOTS = ("pivot", "to_pivot")
"""The slots whose texts are English, whatever the language."""


class LanguageText(str):
    """A text that says which language it is in, for the towers whose tokenizer has to know; else a text like others."""

    language: str = ""
    """Its code; empty where it is not known."""


def in_language(texts: Iterable[str], language: str | None) -> tuple[LanguageText, ...]:
    """The texts, saying that they are in a language; None: it is not known."""
    found = tuple(LanguageText(text) for text in texts)
    for text in found:
        text.language = language or ""
    return found


@dataclass(frozen=True)
class LanguageCaptions:
    """Captions of one language in one split."""

    language: str
    image_index: tuple[int, ...]
    """Per row, the index of the image it describes, in `Split.images`."""
    texts: Mapping[str, tuple[str, ...]]
    """Per slot, the text of each row; empty where it is lacking."""
    flagged: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Per slot, the rows whose machine translation looks wrong, where that was checked."""
    lacking: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Per slot, the rows without a text: they are neither trained on nor searched with by that slot."""

    def __post_init__(self) -> None:
        for slot, rows in self.texts.items():
            if slot not in SLOTS or len(rows) != len(self.image_index):
                raise ValueError(f"slot {slot}: {len(rows)} rows for {len(self.image_index)} image indices")

    def slot(self, name: str) -> tuple[str, ...]:
        """The texts of a slot, which say their language; raises DataError naming the missing translation."""
        if name not in self.texts:
            present = ", ".join(self.texts) or "nothing"
            raise DataError(
                f"{self.language}: expected {name} texts, found only {present}; provide the translation file"
            )
        return in_language(self.texts[name], PIVOT if name in ENGLISH_SLOTS else self.language)

    def only(self, slots: Sequence[str]) -> LanguageCaptions:
        """The same rows with the texts of these slots alone; slots that are absent are passed over."""
        return replace(
            self,
            texts={s: t for s, t in self.texts.items() if s in slots},
            flagged={s: f for s, f in self.flagged.items() if s in slots},
            lacking={s: f for s, f in self.lacking.items() if s in slots},
        )

    def complete(self, slots: Sequence[str]) -> LanguageCaptions:
        """The rows that have a text in each of the slots."""
        lacking = frozenset().union(*(self.lacking.get(slot, frozenset()) for slot in slots))
        return self.take([row for row in range(len(self.image_index)) if row not in lacking]) if lacking else self

    def take(self, rows: Sequence[int]) -> LanguageCaptions:
        """The given rows, in that order, with their image indices unchanged."""
        texts = {slot: tuple(column[r] for r in rows) for slot, column in self.texts.items()}
        flagged, lacking = (
            {s: frozenset(new for new, r in enumerate(rows) if r in marks) for s, marks in marked.items()}
            for marked in (self.flagged, self.lacking)
        )
        return LanguageCaptions(self.language, tuple(self.image_index[r] for r in rows), texts, flagged, lacking)

    def with_texts(self, slot: str, texts: Sequence[str], flagged: frozenset[int] = frozenset()) -> LanguageCaptions:
        """The captions with these texts in one slot, which replace earlier ones.

        A translation lacks the rows that its source lacks.
        """
        lacking = {s: rows for s, rows in self.lacking.items() if s != slot}
        if (source := TRANSLATED.get(slot)) in lacking:
            lacking[slot] = lacking[str(source)]
        marks = {**self.flagged, slot: flagged}
        return LanguageCaptions(self.language, self.image_index, {**self.texts, slot: tuple(texts)}, marks, lacking)


@dataclass(frozen=True)
class Split:
    """Images (names) of one split and their captions per language."""

    images: tuple[str, ...]
    captions: Mapping[str, LanguageCaptions]

    def take(self, images: Sequence[int]) -> Split:
        """The split restricted to the given image indices, in that order; image indices are renumbered."""
        new_index = {image: new for new, image in enumerate(images)}
        captions = {}
        for language, whole in self.captions.items():
            by_image: dict[int, list[int]] = {}
            for row, image in enumerate(whole.image_index):
                by_image.setdefault(image, []).append(row)
            rows = [row for image in images for row in by_image.get(image, [])]
            taken = whole.take(rows)
            captions[language] = replace(taken, image_index=tuple(new_index[image] for image in taken.image_index))
        return Split(tuple(self.images[i] for i in images), captions)


class ImageSource(Protocol):
    """Where the pixels of a corpus come from."""

    def digest(self, name: str) -> str:
        """Hex digest of the contents of the image (not of its name); raises DataError when missing."""
        ...

    def open(self, name: str) -> Image:
        """The RGB image."""
        ...


@dataclass(frozen=True)
class Corpus:
    """A data set."""

    name: str
    splits: Mapping[str, Split]
    """Either the official `train`, `validation`, `test`, or a single `all` that is cut into these later."""
    pictures: ImageSource | None = None
    """None when there are no pictures: image features must then come from a file."""
    synthetic: bool = False
    """Whether the data is made up, so that its numbers must be labelled."""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 (hex) of each file read, by its path below the data root."""
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Per language, what its users should know of how its captions were read."""

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages present in every split, in the order of the first split."""
        first, *rest = self.splits.values()
        return tuple(lang for lang in first.captions if all(lang in split.captions for split in rest))


Reader = Callable[["ReadRequest"], Corpus]
"""Reads a data set; raises ConfigError for a request it cannot serve and DataError naming all that is wrong."""


@dataclass(frozen=True)
class ReadRequest:
    """What a reader is to read."""

    root: str | None = None
    """`--data-root`."""
    languages: tuple[str, ...] | None = None
    """None: all that the data set has."""
    variant: str | None = None
    """`--data-variant`, for data sets that have several."""
