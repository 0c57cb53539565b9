"""Checks of a corpus before it is trained or measured on.

Each check looks at one split; it yields findings with rows to look at. Thresholds were set on the published XTD and
Multi30K files, where the one real error (SPEC section 9.1) lies far above and everything else far below them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from xpet.core.captions import PIVOT, Corpus, LanguageCaptions, Split
from xpet.core.language_codes import base
from xpet.core.scripts import expected_scripts, letters, required_scripts
from xpet.data.english import NAMES, clear_language

OWN_SLOTS = ("target", "from_pivot")
"""Slots in the language itself; the others are English."""
TEXT_SLOTS = (*OWN_SLOTS, "to_pivot")
MIN_ROWS = 10
"""Below so many rows a share says little: what would be an error is a warning."""
LONG_LINE = 12
"""Characters from which equal lines in two languages are no coincidence."""
OVERLAP_ERROR = 0.5
"""Share of long lines equal in two languages."""
LINE_SCRIPT_SHARE = 0.5
"""Share of a line's letters that must be of the language's scripts."""
SCRIPT_ERROR = 0.1
"""Share of lines in another script."""
REQUIRED_SHARE = 0.1
"""Share of all letters that must be of a script no text of the language goes without (kana)."""
MIN_LETTERS = 4
"""Letters from which a line's script is judged."""
COPY_ERROR = 0.2
"""Share of lines equal to the English one."""
EMPTY_ERROR = 0.01
"""Share of empty lines."""
SAMPLE = 3


@dataclass(frozen=True)
class Finding:
    """One thing lint found; `rows` are a few row numbers (from 0) of the first language to look at."""

    severity: str
    check: str
    split: str
    languages: tuple[str, ...]
    slot: str
    message: str
    rows: tuple[int, ...] = ()


def lint(corpus: Corpus, beside: Corpus | None = None) -> list[Finding]:
    """All findings of a corpus, errors first.

    `beside` is the corpus with more languages than the one of interest: texts are compared with those as well, since
    a file may only be seen to be wrong beside another language's.
    """
    pairs = (f for name, split in (beside or corpus).splits.items() for f in _identical(name, split))
    found = [f for f in pairs if set(f.languages) & set(corpus.languages)]
    found += [f for name, split in corpus.splits.items() for check in CHECKS for f in check(name, split)]
    return sorted(found, key=lambda finding: finding.severity != "error")


def _identical(name: str, split: Split) -> Iterator[Finding]:
    """Two languages with the same text for the same images."""
    others = [language for language in split.captions if language != PIVOT]
    for slot in TEXT_SLOTS:
        columns = {language: _pairs(split.captions[language], slot) for language in others}
        for one, other in combinations(others, 2):
            mine, theirs = columns[one], columns[other]
            if slot in OWN_SLOTS:
                mine, theirs = ({pair for pair in side if len(pair[1]) >= LONG_LINE} for side in (mine, theirs))
            same = mine & theirs
            size = min(len(mine), len(theirs))
            if not same or len(same) < size * (OVERLAP_ERROR if slot in OWN_SLOTS else 1):
                continue
            captions = split.captions[one]
            pairs = zip(captions.image_index, captions.texts[slot], strict=True)
            rows = [row for row, pair in enumerate(pairs) if pair in same]
            texts = [captions.texts[slot][row] for row in rows]
            strangers = tuple(code for code in (one, other) if slot in OWN_SLOTS and _is_foreign(code, texts))
            message = f"{len(same)} of {size} texts of {one} and {other} are identical; "
            if len(strangers) == 1:  # the other one's file is right, and that language may be used
                message += f"they are not {strangers[0]}: the file of {strangers[0]} is wrong"
                yield Finding(_severity(size), "identical", name, strangers, slot, message, _few(rows))
            else:
                message += "one of the files is wrong: take it away, and leave its language out"
                yield Finding(_severity(size), "identical", name, (one, other), slot, message, _few(rows))


def _is_foreign(code: str, texts: Sequence[str]) -> bool:
    """Whether texts are clearly not in a language: by their script, or as another language that is told apart."""
    counted = sum((letters(text) for text in texts), Counter[str]())
    scripts, required = expected_scripts(code), required_scripts(code)
    if scripts and sum(counted[script] for script in scripts) < LINE_SCRIPT_SHARE * counted.total():
        return True
    if required and sum(counted[script] for script in required) < REQUIRED_SHARE * counted.total():
        return True
    found = clear_language(texts)
    return found is not None and base(code) in NAMES and found[0] != base(code)


def _script(name: str, split: Split) -> Iterator[Finding]:
    """Text in a script the language is not written in."""
    for language, slot, texts in _columns(split):
        code = language if slot in OWN_SLOTS else PIVOT
        scripts = expected_scripts(code)
        if not scripts:  # nobody knows what would be wrong
            continue
        counted = [letters(text) for text in texts]
        judged = [row for row, count in enumerate(counted) if count.total() >= MIN_LETTERS]
        wrong = [
            row for row in judged if sum(counted[row][s] for s in scripts) < LINE_SCRIPT_SHARE * counted[row].total()
        ]
        if wrong:
            bad = len(judged) >= MIN_ROWS and len(wrong) > SCRIPT_ERROR * len(judged)
            message = f"{len(wrong)} of {len(texts)} texts are not in {'/'.join(scripts).lower()} script"
            yield Finding("error" if bad else "warning", "script", name, (language,), slot, message, _few(wrong))
        total = sum((counted[row] for row in judged), Counter[str]())
        required = required_scripts(code)
        if judged and not wrong and required and sum(total[s] for s in required) < REQUIRED_SHARE * total.total():
            message = f"almost no {'/'.join(required).lower()} letters: this is not {code}"
            yield Finding(_severity(len(judged)), "script", name, (language,), slot, message, _few(judged))


def _untranslated(name: str, split: Split) -> Iterator[Finding]:
    """Copies where a translation should be: own-language text equal to English, or `to_pivot` equal to its source."""
    for language, slot, texts in _columns(split):
        source = "pivot" if slot in OWN_SLOTS else "target"
        if language == PIVOT or source not in split.captions[language].texts:
            continue
        origin = split.captions[language].texts[source]
        plain = [(_plain(text), _plain(other)) for text, other in zip(texts, origin, strict=True)]
        same = [row for row, (text, other) in enumerate(plain) if text and text == other]
        if same:
            bad = len(texts) >= MIN_ROWS and len(same) > COPY_ERROR * len(texts)
            message = f"{len(same)} of {len(texts)} texts equal their {source}: not translated"
            yield Finding("error" if bad else "warning", "untranslated", name, (language,), slot, message, _few(same))


def _duplicates(name: str, split: Split) -> Iterator[Finding]:
    """The same caption for different images: false negatives in a batch, and ties in retrieval."""
    for language, slot, texts in _columns(split):
        captions = split.captions[language]
        images_of: dict[str, set[int]] = defaultdict(set)
        for image_index, text in zip(captions.image_index, texts, strict=True):
            images_of[text].add(image_index)
        rows = [row for row, text in enumerate(texts) if text.strip() and len(images_of[text]) > 1]
        if rows:
            message = f"{len(rows)} captions describe more than one image"
            yield Finding("warning", "duplicates", name, (language,), slot, message, _few(rows))


def _empty(name: str, split: Split) -> Iterator[Finding]:
    """Rows without text."""
    for language, slot, texts in _columns(split):
        empty = [row for row, text in enumerate(texts) if not text.strip()]
        if empty:
            severity = "error" if len(empty) > EMPTY_ERROR * len(texts) else "warning"
            message = f"{len(empty)} of {len(texts)} texts are empty"
            yield Finding(severity, "empty", name, (language,), slot, message, _few(empty))


def _unequal(name: str, split: Split) -> Iterator[Finding]:
    """Languages with other numbers of captions than most, or images without any caption."""
    counts = {language: len(captions.image_index) for language, captions in split.captions.items()}
    usual = Counter(counts.values()).most_common(1)[0][0] if counts else 0
    for language, captions in split.captions.items():
        bare = len(split.images) - len(set(captions.image_index))
        if counts[language] != usual or bare:
            message = f"{counts[language]} captions (most languages: {usual}); {bare} images have none"
            yield Finding("warning", "unequal", name, (language,), "target", message)


CHECKS: tuple[Callable[[str, Split], Iterator[Finding]], ...] = (
    _script,
    _untranslated,
    _duplicates,
    _empty,
    _unequal,
)


def _columns(split: Split) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Language, slot and texts of every column to look at; all slots of English are one."""
    for language, captions in split.captions.items():
        for slot in TEXT_SLOTS if language != PIVOT else ("target",):
            if slot in captions.texts:
                yield language, slot, captions.texts[slot]


def _pairs(captions: LanguageCaptions, slot: str) -> set[tuple[int, str]]:
    rows = zip(captions.image_index, captions.texts.get(slot, ()), strict=False)
    return {(image_index, text) for image_index, text in rows if text.strip()}


def _plain(text: str) -> str:
    return text.casefold().strip(" .")


def _severity(rows: int) -> str:
    return "error" if rows >= MIN_ROWS else "warning"


def _few(rows: Sequence[int]) -> tuple[int, ...]:
    return tuple(rows[:SAMPLE])
