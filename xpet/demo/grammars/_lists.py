"""How the European grammars list several things in one phrase."""

from __future__ import annotations

from collections.abc import Sequence


def listing(phrases: Sequence[str], conjunction: str) -> str:
    """The phrases as a list: "A", "A and B" or "A, B and C"."""
    if len(phrases) == 1:
        return phrases[0]
    return f"{', '.join(phrases[:-1])} {conjunction} {phrases[-1]}"
