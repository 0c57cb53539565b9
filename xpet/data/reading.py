"""Code that the readers share: data root, spellings of a language, choice of languages, aligned slots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from xpet.core.captions import PIVOT, SLOTS, LanguageCaptions, ReadRequest
from xpet.core.errors import ConfigError, DataError, short, unknown
from xpet.core.languages import ALIASES, normalise
from xpet.core.paths import exists

LONGEST_PATH = 300
"""Longest path, in characters, that a message gives in full."""


def spellings(language: str) -> tuple[str, ...]:
    """Every code by which a file may name the language, xpet's own first."""
    return (language, *(alias for alias, code in ALIASES.items() if code == language))


def data_root(request: ReadRequest, source: str, expected: str) -> Path:
    """The existing path of `--data-root`; raises ConfigError without one and DataError when nothing is there."""
    if request.root is None:
        raise ConfigError(f"data set {source}: expected --data-root with {expected}, found none")
    try:
        root = Path(request.root).expanduser()
    except RuntimeError:  # ~NAME without such a user
        root = Path(request.root)
    if not exists(root):
        printable = len(str(root)) <= LONGEST_PATH and str(root).isprintable()
        path = root if printable else short(str(root))
        raise DataError(f"data set {source}: expected {expected} at {path}, found nothing there; check --data-root")
    return root


def choose_languages(request: ReadRequest, present: Iterable[str], where: str, problems: list[str]) -> tuple[str, ...]:
    """The requested languages, or all present (English first, then by name); absent ones are added to `problems`.

    Raises:
        DataError: no language is present.
    """
    have = sorted(set(present), key=lambda code: (code != PIVOT, code))
    if not have:
        raise DataError(f"{where}: expected caption files, found none with a caption in it; check --data-root")
    if request.languages is None:
        return tuple(have)
    requested = tuple(dict.fromkeys(normalise(text) for text in request.languages))
    problems += [f"{where}: {unknown('language', code, have)}" for code in requested if code not in have]
    return tuple(code for code in requested if code in have)


def aligned(
    language: str, image_index: Sequence[int], texts: dict[str, Sequence[str | None] | None]
) -> LanguageCaptions:
    """The captions of one language from the texts of its slots; row k describes image `image_index[k]`.

    None stands for an absent slot, and for a row without a text. All slots of English hold its `target` texts.
    """
    if language == PIVOT:
        texts = dict.fromkeys(SLOTS, texts["target"])
    present = {slot: rows for slot in SLOTS if (rows := texts.get(slot)) is not None}
    lacking = {slot: frozenset(n for n, text in enumerate(rows) if text is None) for slot, rows in present.items()}
    return LanguageCaptions(
        language, tuple(image_index), {slot: tuple(text or "" for text in rows) for slot, rows in present.items()},
        lacking={slot: rows for slot, rows in lacking.items() if rows},
    )  # fmt: skip
