"""Language names: how they are spelled, which are valid, and which ones `--lang` chooses."""

from __future__ import annotations

import re
from collections.abc import Sequence

from xpet.core.captions import PIVOT
from xpet.core.errors import DataError, unknown

ALL = "all"
"""The name in `--lang` that stands for every language of the data."""
UNDETERMINED = "und"
"""The language of a module that does not say which it is for (ISO 639-2)."""
LONGEST = 60
"""Characters of a language's name; a code with script, country and variants has room in it."""
NAME = re.compile(r"""[^\W_][^/\\,:*?"<>|]*""")
"""What names a language may have: they become names of folders and files, and `--lang` separates them by commas."""
ALIASES = {
    "jp": "ja", "zh-cn": "zh", "cn": "zh", "kr": "ko",
    **dict.fromkeys(("eng", "eng-latn", "en-latn", "en-us", "en-gb", "english"), PIVOT),
}  # fmt: skip
"""Published spellings; English under any of its codes is the pivot."""


def normalise(name: str) -> str:
    """A language name in lower case, with published spellings such as `jp` turned into the ISO code."""
    lower = name.strip().lower().replace("_", "-")
    return ALIASES.get(lower, lower)


def is_language(name: str) -> bool:
    """Whether a name can be a language's: one that folders can be called by and that `--lang` can choose.

    It begins with a letter or digit; `all` is none, since it stands for every language.
    """
    plain = normalise(name)
    return plain != ALL and len(plain) <= LONGEST and plain.isprintable() and NAME.fullmatch(plain) is not None


def choose(requested: Sequence[str], present: Sequence[str], source: str, with_pivot: bool) -> tuple[str, ...]:
    """The languages meant by `--lang`; `all` is every language present, the pivot only if `with_pivot`.

    Raises DataError naming every language the data does not have, and those it has.
    """
    names = list(dict.fromkeys(normalise(name) for name in requested))
    if ALL in names:
        rest = [n for n in names if n not in (ALL, *present)]
        names = [n for n in present if with_pivot or n != PIVOT or PIVOT in names] + rest
    missing = [n for n in names if n not in present]
    if missing:
        raise DataError(*(unknown(f"language of {source}", n, sorted(present)) for n in missing))
    return tuple(names)
