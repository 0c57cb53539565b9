"""Splits a text at everything that any reader may take for the end of a line: no line is ever gained or lost."""

from __future__ import annotations

import re

BREAKS = re.compile("([\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]+)")
"""The characters at which `str.splitlines` and text editors break lines."""


def pieces(text: str) -> list[str]:
    """Split at breaks: texts have even indices, breaks odd ones; joined they are the text again."""
    return BREAKS.split(text)


def without_breaks(text: str) -> str:
    """The text with a space for every line break that a model may have put into it."""
    return BREAKS.sub(" ", text)


def has_words(text: str) -> bool:
    """Whether there is something to translate: a letter of any script (Unicode's categories L*).

    Digits, signs, emoji and white space are the same in every language; a model asked for them makes something up.
    """
    return text[:1].isalpha() or any(map(str.isalpha, text))
