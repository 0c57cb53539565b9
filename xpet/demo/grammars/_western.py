"""Small helpers shared by the German, French, Spanish and Italian grammars."""

from __future__ import annotations

from collections.abc import Sequence

Forms = tuple[str, str, str, str]
"""An adjective: masculine and feminine singular, masculine and feminine plural."""


def agree(forms: Forms, feminine: bool, plural: bool) -> str:
    """The form of an adjective that agrees with its noun."""
    return forms[2 * plural + feminine]


def listing(phrases: Sequence[str], conjunction: str) -> str:
    """The phrases as a list: "A", "A and B" or "A, B and C"."""
    if len(phrases) == 1:
        return phrases[0]
    return f"{', '.join(phrases[:-1])} {conjunction} {phrases[-1]}"
