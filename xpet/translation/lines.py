"""Splits texts at every character that some reader takes for the end of a line, so that no line is gained or lost."""

from __future__ import annotations

import re

BREAKS = re.compile("([\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]+)")
"""The characters at which `str.splitlines` and text editors break lines."""


def pieces(text: str) -> list[str]:
    """Split a text at line breaks: lines have even indices, breaks odd ones; joined they are the text again."""
    return BREAKS.split(text)


def without_breaks(text: str) -> str:
    """The text with a space for each run of line breaks, which a model may have put into it."""
    return BREAKS.sub(" ", text)


def has_words(text: str) -> bool:
    """Whether there is something to translate: a letter of any script (Unicode's categories L*).

    Digits, signs, emoji and white space are the same in every language, and models invent words for them.
    """
    return text[:1].isalpha() or any(map(str.isalpha, text))
