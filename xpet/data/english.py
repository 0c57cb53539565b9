"""Tells whether a corpus is English, by script and by function words, which nearly every sentence has.

A line votes for the language whose function words it has most of. Short captions often have none, or as many of several
languages, and do not vote. A corpus is called foreign only when half of its lines or more vote for one other language.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from xpet.core.captions import PIVOT
from xpet.core.errors import DataError
from xpet.core.scripts import letters
from xpet.data.cleaning import is_latin

SAMPLE = 2000
"""Texts at the beginning of a corpus that are judged."""
MIN_LINES = 10
"""With fewer distinct texts than this a corpus is not judged."""
MAJORITY = 0.5
"""Share of the texts that must look like one other language for a corpus to be foreign.

Of real captions in any of these languages at least 81 % look like it, of real English ones at most 0.2 % do.
"""
NAMES = {
    "en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "pl": "Polish", "cs": "Czech",
    "tr": "Turkish", "ru": "Russian", "ja": "Japanese", "ko": "Korean", "zh": "Chinese", "ar": "Arabic",
    "el": "Greek", "he": "Hebrew", "hi": "Hindi", "th": "Thai",
}  # fmt: skip
WORDS = {
    PIVOT: "a an the of with is are and in on at to by from for his her its their that this there while some near into",
    "de": "ein eine einen einem einer eines der die das den dem des und mit auf im ist sind zum zur vor von neben am "
    "über unter hinter beim zwei wird sich",
    "fr": "un une le la les des du de et avec dans sur est sont aux au en qui devant dessus deux à sous il se d l",
    "es": "un una el la los las del de y con en es está están al sobre que por su sus junto dos delante hay",
    "it": "un una il lo la gli le di del della dei delle e con su sul sulla sullo nel nella che è ci due al alla sono "
    "davanti da uno in",
    "pl": "z ze na w we i obok przed przy pod nad jest są się który która oraz do po za dwa dwie od stoi siedzi",
    "cs": "s se na v ve i u před vedle pod nad je jsou který která po za dva dvě do od ze stojí sedí při si",
    "tr": "bir ve ile bu üzerinde yanında olan önünde içinde iki için da de adam duran tane var yer alıyor",
}  # fmt: skip
"""Function words by language. Words common in English captions are in no other list, whatever they mean there."""
LETTERS = {"de": "äöüß", "pl": "ąćęłńśźż", "cs": "čěřšůž", "tr": "çğışöü"}
"""Letters that tell languages with similar or short function words apart; each occurrence counts as a word."""
SCRIPT_OF = {
    "CYRILLIC": "ru", "HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko", "CJK": "zh", "ARABIC": "ar", "GREEK": "el",
    "HEBREW": "he", "DEVANAGARI": "hi", "THAI": "th",
}  # fmt: skip
"""The likely language of a text in a script; of several scripts the first of these counts (kana before Han)."""
WORD = re.compile(r"[^\W\d_]+")


def _by_word() -> dict[str, tuple[str, ...]]:
    """The languages of each function word and letter; English words are taken out of all other languages."""
    english = set(WORDS[PIVOT].split())
    table: dict[str, tuple[str, ...]] = {}
    for language, words in WORDS.items():
        for word in {*words.split(), *LETTERS.get(language, "")} - (english if language != PIVOT else set()):
            table[word] = (*table.get(word, ()), language)
    return table


LANGUAGES_OF = _by_word()
"""The languages that have a function word (or a letter)."""


def likely_language(text: str) -> str | None:
    """The code of the language a text looks like; None where that is not clear."""
    if not is_latin(text):
        counted = letters(text)
        return next((language for script, language in SCRIPT_OF.items() if counted[script]), None)
    lower = text.lower()  # casefold would turn the German sharp s into ss
    marks = WORD.findall(lower) + [letter for letter in lower if letter > "\x7f"]
    votes = Counter(language for mark in marks for language in LANGUAGES_OF.get(mark, ())).most_common(2)
    if not votes or (len(votes) > 1 and votes[0][1] == votes[1][1]):
        return None
    return votes[0][0]


def foreign(texts: Sequence[str]) -> tuple[str, int] | None:
    """As `clear_language`, but None for English, too."""
    language = clear_language(texts)
    return None if language is None or language[0] == PIVOT else language


def clear_language(texts: Sequence[str]) -> tuple[str, int] | None:
    """The language that at least half of the texts look like, and how many do; None where there is no such language."""
    votes = Counter(filter(None, map(likely_language, texts)))
    if len(texts) < MIN_LINES or not votes:
        return None
    language, count = votes.most_common(1)[0]
    return (language, count) if count >= MAJORITY * len(texts) else None


def expect_english(texts: Iterable[str], name: str) -> Iterator[str]:
    """The texts, unchanged, once the first 2,000 of them (distinct, not blank) were checked.

    Raises:
        DataError: they look like another language; the message says which, and `name`.
    """
    texts = iter(texts)
    seen: list[str] = []
    distinct: dict[str, None] = {}
    for text in texts:
        seen.append(text)
        if text.strip():
            distinct[text] = None
        if len(distinct) == SAMPLE or len(seen) == 10 * SAMPLE:
            break
    if verdict := foreign(list(distinct)):
        language, count = verdict
        raise DataError(
            f"{name}: expected English text, found lines that look {NAMES[language]} ({count:,} of {len(distinct):,}); "
            "pass English captions"
        )
    return chain(seen, texts)
