"""Selects, from a stream of English texts, those worth training on: no duplicates, odd lines or test captions."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from xpet.core.scripts import letters

COUNTS = ("read", "empty", "short", "long", "script", "in_test", "duplicate", "kept")
"""What a Cleaner counts; all but `read` sum up to it."""
WORD = re.compile(r"\w+")
LATIN_SHARE = 0.5
"""Share of a text's letters that must be Latin."""
SMALLEST = 1 << 12
"""Slots of an empty set of Hashes."""
SCALE = 1 << 64
"""Hashes are below this."""


class Line(NamedTuple):
    """A kept text, the `number`-th text of its source (from 1), so that a stream can be continued after it."""

    number: int
    text: str


@dataclass(frozen=True)
class Limits:
    """The shortest and longest texts that are kept, in words (between blanks) and in characters."""

    min_words: int = 2
    max_words: int = 60
    min_characters: int = 5
    max_characters: int = 400


def normalised(text: str) -> str:
    """The form of a text in which duplicates are equal: its words in NFC, case folded, without punctuation.

    Published captions differ in punctuation: COCO's end in a full stop that XTD's copies lack.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return " ".join(WORD.findall(text.casefold()))


def text_hash(text: str, purpose: bytes = b"") -> int:
    """A hash of the normalised text below 2^64, the same on every machine; another `purpose` gives another hash."""
    digest = hashlib.blake2b(normalised(text).encode(), digest_size=8, person=purpose).digest()
    return int.from_bytes(digest, "little")


class Hashes:
    """A growing set of numbers below 2^64 in 12 to 24 bytes each (open addressing with linear probing).

    Python's own set takes 60 to 100. For text hashes the chance that any of n distinct texts is taken for another is
    about n^2 / 2^65: 3e-8 for a million, 3e-4 for a hundred million; the text would then only be left out.
    """

    def __init__(self) -> None:
        """Make an empty set."""
        self._slots = array("Q", bytes(8 * SMALLEST))
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def add(self, number: int) -> bool:
        """Add a number; returns whether it was new."""
        number = number or 1  # zero marks a free slot
        slots = self._slots
        mask = len(slots) - 1
        position = number & mask
        while entry := slots[position]:
            if entry == number:
                return False
            position = (position + 1) & mask
        slots[position] = number
        self._used += 1
        if 3 * self._used > 2 * len(slots):
            self._grow()
        return True

    def _grow(self) -> None:
        """Double the slots."""
        slots = array("Q", bytes(16 * len(self._slots)))
        mask = len(slots) - 1
        for number in self._slots:
            if number:
                position = number & mask
                while slots[position]:
                    position = (position + 1) & mask
                slots[position] = number
        self._slots = slots


class Cleaner:
    """Yields the texts worth training on, with single blanks between words; counts the others by the reason.

    The same texts in the same order always give the same lines. So an interrupted stream is continued by cleaning it
    again from its start, with the last `number` that was used as `after`.

    Attributes:
        counts: texts so far, by COUNTS. Forbidden texts count as `in_test`, texts in another script than Latin or
            without a letter as `script`.
    """

    def __init__(self, forbidden: Iterable[str] = (), limits: Limits | None = None) -> None:
        """Take the texts to leave out (test captions) and the limits of length."""
        self.limits = limits or Limits()
        self.counts = dict.fromkeys(COUNTS, 0)
        self._forbidden = {text_hash(text) for text in forbidden}
        self._seen = Hashes()

    def clean(self, texts: Iterable[str], after: int = 0) -> Iterator[Line]:
        """The kept lines with numbers above `after`; those before are counted as well.

        May be called again with more texts: counts, numbers and what was seen go on.
        """
        counts = self.counts
        for text in texts:
            line = " ".join(text.split())
            reason = self._reason(line)
            counts["read"] += 1
            counts[reason] += 1
            if reason == "kept" and counts["read"] > after:
                yield Line(counts["read"], line)

    def _reason(self, line: str) -> str:
        """The first of COUNTS that is true of a text; `kept` if no reason against it is."""
        if not line:
            return "empty"
        if length := self._length(line):
            return length
        if not is_latin(line):
            return "script"
        number = text_hash(line)
        if number in self._forbidden:
            return "in_test"
        return "kept" if self._seen.add(number) else "duplicate"

    def _length(self, line: str) -> str:
        """`short`, `long`, or nothing when a line is neither."""
        limits = self.limits
        words = line.count(" ") + 1
        if words < limits.min_words or len(line) < limits.min_characters:
            return "short"
        return "long" if words > limits.max_words or len(line) > limits.max_characters else ""


def is_latin(text: str) -> bool:
    """Whether at least half of a text's letters are Latin; False for a text without letters."""
    if text.isascii():  # most texts are, and counting letters takes as long as all other checks
        return any(map(str.isalpha, text))
    counted = letters(text)
    return bool(counted) and counted["LATIN"] >= LATIN_SHARE * counted.total()


def is_held_out(text: str, share: float) -> bool:
    """Whether a text is among the `share` (0 to 1) held out for validation, decided by its normalised words alone.

    So a line is held out whatever the order and size of the corpus, and a larger share holds out all that a smaller
    one does.
    """
    return text_hash(text, b"held out") < share * SCALE
