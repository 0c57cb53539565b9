"""Degrades translations reproducibly, to measure how much the quality of translation matters (option `--noise`).

A line's result depends on the line, the rate and the seed alone, not on its neighbours, file or process. So the random
numbers come from a hash of seed and line, and a word is replaced by another word of the same line (a vocabulary of the
file would tie each line to all others). Equal lines are degraded alike. A higher rate changes the words that a lower
one changes, and more.
"""

from __future__ import annotations

import hashlib
import random
import re
import unicodedata

from xpet.translation.lines import pieces

MARKED = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF))  # Thai and Lao, Burmese, Khmer
PLAIN = (
    (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3041, 0x30FF), (0x3100, 0x312F), (0x31F0, 0x31FF), (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x20000, 0x3FFFF),
)  # fmt: skip
"""Han, kana and bopomofo: with MARKED, the scripts without spaces between words."""
DENSE = "".join(f"{chr(first)}-{chr(last)}" for first, last in (*MARKED, *PLAIN))
MARKS = "\u3099\u309a\uff9e\uff9f" + "".join(
    chr(code) for span in MARKED for code in range(span[0], span[1] + 1) if unicodedata.category(chr(code))[0] == "M"
)
WORD = re.compile(rf"[{DENSE}][{MARKS}]*|[^\s{DENSE}]+")
KINDS = ("drop", "swap", "replace")


def degrade(text: str, rate: float, seed: int = 1) -> str:
    """The text with each word, with probability `rate`, dropped, swapped with its neighbour or replaced.

    A word is what stands between spaces, or one character (with its marks) where a script has no spaces. The three
    kinds are equally likely. A swap needs a different neighbour, neither of both swapped before; else the word is
    replaced. A replacement needs another word in the line; else the word is dropped. The last word left is never
    dropped, so a line of one word stays as it is. At rate 1 every other line changes. Line breaks stay.

    Args:
        text: any; the parts between line breaks are degraded each by itself.
        rate: from 0 (nothing changes) to 1.
        seed: any number; another seed degrades other words.
    """
    parts = pieces(text)
    return "".join(part if index % 2 else _line(part, rate, seed) for index, part in enumerate(parts))


def _line(text: str, rate: float, seed: int) -> str:
    matches = list(WORD.finditer(text))
    if len(matches) < 2:
        return text
    chance = _chance(text, seed)
    edited = _Edited([match[0] for match in matches])
    for index in range(len(matches)):
        touched, kind, choice = chance.random() < rate, chance.random(), chance.random()
        if touched:
            edited.edit(index, KINDS[int(kind * len(KINDS))], choice)
    ends = [0, *(match.end() for match in matches)]
    gaps = [text[end : match.start()] for end, match in zip(ends, matches, strict=False)]
    remaining = [(gap, word) for gap, word in zip(gaps, edited.words, strict=True) if word is not None]
    remaining[0] = (gaps[0], remaining[0][1])  # the line's first gap stays, whichever word is first now
    return "".join(gap + word for gap, word in remaining) + text[ends[-1] :]


def _chance(text: str, seed: int) -> random.Random:
    """The random generator of a line. Only its `random()` is used: Python gives the same values in all versions."""
    return random.Random(int.from_bytes(hashlib.blake2b(f"{seed}\n{text}".encode(), digest_size=16).digest(), "big"))


class _Edited:
    """The words of a line while they are edited; None where one is dropped."""

    def __init__(self, words: list[str]) -> None:
        self.words: list[str | None] = list(words)
        self._source = words
        self._different = list(dict.fromkeys(words))
        self._left = len(words)
        self._swapped: set[int] = set()

    def edit(self, index: int, kind: str, choice: float) -> None:
        """Apply the kind of edit drawn for a word, or the next kind that changes something."""
        if kind == "swap" and self._swap(index):
            return
        if kind != "drop" and self._replace(index, choice):
            return
        if self._left > 1:
            self.words[index] = None
            self._left -= 1

    def _swap(self, index: int) -> bool:
        """Swap a word with a different neighbour; returns whether there was one."""
        for other in (index + 1, index - 1):
            if not 0 <= other < len(self.words) or {index, other} & self._swapped:
                continue
            if self.words[other] not in (None, self.words[index]):
                self.words[index], self.words[other] = self.words[other], self.words[index]
                self._swapped |= {index, other}
                return True
        return False

    def _replace(self, index: int, choice: float) -> bool:
        """Replace a word by another of the line, chosen by `choice` (0 to 1); returns whether there was one."""
        present, start = {self.words[index], self._source[index]}, int(choice * len(self._different))
        for step in range(min(3, len(self._different))):  # at most two of them are the word itself
            word = self._different[(start + step) % len(self._different)]
            if word not in present:
                self.words[index] = word
                return True
        return False
