"""Language codes as people and files spell them, turned into the codes of Argos packages."""

from __future__ import annotations

from xpet.core.language_codes import base

ALIASES = {
    "zh-tw": "zt", "zh-hk": "zt", "zh-mo": "zt", "zh-hant": "zt", "pt-br": "pb", "no": "nb", "iw": "he",
}  # fmt: skip
"""Spellings whose Argos code is not their first part; all other regions and scripts are dropped."""


def argos_code(name: str) -> str:
    """The Argos code of a language: `jp` and `jpn_Jpan` are `ja`, `zh-CN` is `zh`, `zh-Hant-TW` `zt`, `de_AT` `de`."""
    first, *rest = name.strip().lower().replace("_", "-").split("-")
    parts = [base(first), *rest]
    for count in range(len(parts), 0, -1):
        spelling = "-".join(parts[:count])
        if spelling in ALIASES:
            return ALIASES[spelling]
    return parts[0]
