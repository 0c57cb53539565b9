"""Flags translations that look wrong in one of the known ways, and chooses among hypotheses by their flags.

A flag is a reason to look at a translation, not a proof that it is wrong.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from xpet.core.scripts import expected_scripts, letters
from xpet.translation.engine import Hypothesis

VERSION = 2  # part of the cache's key: raise it whenever a flag changes its meaning
FOREIGN = "foreign"  # flag of a source text in a script that its language does not use
FLAGS = ("repetition", "length", "copied", "script", "numbers", "truncated", FOREIGN)
MARGIN = 4.0  # nats below the best of the n-best list within which a hypothesis competes
MAX_RATIO = 3.0  # of the lengths of source and target, either way
SLACK = 12.0  # characters added to both lengths, so that short captions may differ more
DENSE = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL")
DENSITY = 2.2  # a Han character, kana or Hangul syllable says about as much as so many letters
RUNS = {"words": 3, "characters": 4}  # times in a row from which a repetition counts
LONGEST = {"words": 4, "characters": 8}  # units of a repeated sequence, at most
COPIED = 0.8  # share of the target's words that are words of the source
WRONG_SCRIPT = 0.3  # share of the target's letters in other scripts, above which it is flagged
MIN_SCRIPT_SHARE = 0.1  # share of the source's letters in its own scripts, below which it is foreign
NUMBER_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip
NUMBER = re.compile(r"\d+(?:[.,:\u066b\u066c]\d+)*")
WORD = re.compile(r"[^\W\d_]+")


def flags(source: str, hypothesis: Hypothesis, languages: tuple[str, str]) -> tuple[str, ...]:
    """The FLAGS that apply to a translation; `languages` are the codes of source and target."""
    target = hypothesis.text
    checks = (
        (repeats := _repeats(target)) > 1 and repeats > _repeats(source),
        _length_differs(source, target),
        _is_copied(source, target, languages),
        _is_wrong_script(source, target, languages[1]),
        _loses_numbers(source, target, languages[1]),
        hypothesis.cut,
        is_foreign(source, languages[0]),
    )
    return tuple(name for name, wrong in zip(FLAGS, checks, strict=True) if wrong)


def choose(
    source: str, first: Hypothesis, others: Sequence[Hypothesis], languages: tuple[str, str]
) -> tuple[Hypothesis, tuple[str, ...]]:
    """The hypothesis with the fewest flags, the earlier one on a tie, and its flags.

    Of the n-best list `others` only those nearly as likely as its first are considered: an unlikely one may just be
    wrong in a way that no flag detects.
    """
    likely = [other for other in others if other.score >= others[0].score - MARGIN]
    judged = [(hypothesis, flags(source, hypothesis, languages)) for hypothesis in (first, *likely)]
    return min(judged, key=lambda pair: len(pair[1]))


def _units(text: str) -> tuple[list[str], str]:
    """The units of a text, and their kind: words, or characters where most of it has no spaces."""
    counts = Counter[str]() if text.isascii() else letters(text)
    dense = sum(counts[script] for script in ("CJK", "HIRAGANA", "KATAKANA", "THAI", "KHMER", "LAO"))
    return (list(text), "characters") if 2 * dense > len(text) else (text.lower().split(), "words")


def _repeats(text: str) -> int:
    """How many times in a row a sequence of words (or characters) is repeated at most; 1 if below RUNS."""
    units, kind = _units(text)
    if len(set(units)) == len(units):
        return 1
    worst = 1
    for size in range(1, LONGEST[kind] + 1):
        run = 0
        for index in range(size, len(units)):
            run = run + 1 if units[index] == units[index - size] else 0
            worst = max(worst, run // size + 1)
    return worst if worst >= RUNS[kind] else 1


def _weight(text: str) -> float:
    """The length of a text in characters of an alphabet; a character of a DENSE script counts as DENSITY."""
    if text.isascii():
        return len(text)
    counts = letters(text)
    return len(text) + (DENSITY - 1) * sum(counts[script] for script in DENSE)


def _length_differs(source: str, target: str) -> bool:
    """Whether the target is blank, or much longer or shorter than the source."""
    if not target.strip():
        return True
    ratio = (_weight(target) + SLACK) / (_weight(source) + SLACK)
    return not 1 / MAX_RATIO <= ratio <= MAX_RATIO


def is_foreign(source: str, language: str) -> bool:
    """Whether a text has letters, but hardly any in the scripts of its language; False where these are not known.

    Mathematical letters, ligatures and the micro sign count as the letters they stand for, a letter of a DENSE script
    as several.
    """
    scripts = expected_scripts(language)
    if not scripts or (source.isascii() and "LATIN" in scripts):
        return False
    counts = letters(unicodedata.normalize("NFKC", source))
    weights = {script: count * (DENSITY if script in DENSE else 1.0) for script, count in counts.items()}
    weights.pop("MODIFIER", None)  # apostrophes and the like, of no script
    return sum(weights.get(script, 0.0) for script in scripts) < MIN_SCRIPT_SHARE * sum(weights.values())


def _is_copied(source: str, target: str, languages: tuple[str, str]) -> bool:
    """Whether the target has the source's words: all of at least two, or a share of COPIED of at least four.

    Between languages of different scripts a single word is enough.
    """
    if languages[0] == languages[1]:
        return False
    source_words, target_words = WORD.findall(source.lower()), WORD.findall(target.lower())
    if not target_words or not source_words:
        return False
    if source_words == target_words:
        scripts = [expected_scripts(language) for language in languages]
        return len(target_words) >= 2 or (all(scripts) and scripts[0] != scripts[1])
    in_source = set(source_words)
    return len(target_words) >= 4 and sum(word in in_source for word in target_words) >= COPIED * len(target_words)


def _is_wrong_script(source: str, target: str, language: str) -> bool:
    """Whether many letters are in scripts that the language does not use; Latin words of the source do not count."""
    expected = expected_scripts(language)
    if not expected or (target.isascii() and "LATIN" in expected):
        return False
    source_words = set(WORD.findall(source.lower()))
    counts: Counter[str] = Counter()
    for word in WORD.findall(target):
        scripts = letters(word)
        if word.lower() not in source_words or set(scripts) != {"LATIN"}:
            counts.update(scripts)
    right = sum(counts[script] for script in expected)
    wrong = sum(counts.values()) - right
    return wrong > WRONG_SCRIPT * (right + wrong)


def _numbers(text: str) -> Counter[str]:
    """The numbers of a text in ASCII digits, without separators and leading zeros."""
    numbers = (re.sub(r"\D", "", match) for match in NUMBER.findall(text))
    return Counter("".join(str(unicodedata.digit(c)) for c in number).lstrip("0") or "0" for number in numbers)


def _loses_numbers(source: str, target: str, language: str) -> bool:
    """Whether the target lacks a number of the source; up to twelve it may be a word, which is checked in English."""
    if not NUMBER.search(source):
        return False
    lost = _numbers(source) - _numbers(target)
    if not lost:
        return False
    words = Counter(WORD.findall(target.lower()))
    small = {str(value): word for value, word in enumerate(NUMBER_WORDS)}
    if language != "en":
        return any(number not in small for number in lost)
    return any(number not in small or words[small[number]] < count for number, count in lost.items())
