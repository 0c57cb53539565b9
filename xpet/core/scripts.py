"""Which scripts a language is written in, and which script a letter is of (from its Unicode name)."""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import lru_cache

LATIN = ("LATIN",)
CYRILLIC = ("CYRILLIC",)
ARABIC = ("ARABIC",)
DEVANAGARI = ("DEVANAGARI",)
SCRIPTS = {
    "ja": ("HIRAGANA", "KATAKANA", "CJK"), "ko": ("HANGUL", "CJK"), "zh": ("CJK", "BOPOMOFO"),
    "zt": ("CJK", "BOPOMOFO"), "ru": CYRILLIC, "uk": CYRILLIC, "bg": CYRILLIC, "be": CYRILLIC, "mk": CYRILLIC,
    "kk": CYRILLIC, "ky": CYRILLIC, "mn": CYRILLIC, "sr": ("CYRILLIC", "LATIN"), "el": ("GREEK",),
    "ar": ARABIC, "fa": ARABIC, "ur": ARABIC, "he": ("HEBREW",), "hi": DEVANAGARI, "mr": DEVANAGARI,
    "ne": DEVANAGARI, "bn": ("BENGALI",), "ta": ("TAMIL",), "te": ("TELUGU",), "kn": ("KANNADA",),
    "ml": ("MALAYALAM",), "gu": ("GUJARATI",), "pa": ("GURMUKHI",), "si": ("SINHALA",), "th": ("THAI",),
    "lo": ("LAO",), "km": ("KHMER",), "my": ("MYANMAR",), "ka": ("GEORGIAN",), "hy": ("ARMENIAN",),
    "am": ("ETHIOPIC",),
}  # fmt: skip
"""Scripts by language code; languages that are not here are written in Latin letters."""
REQUIRED_SCRIPTS = {"ja": ("HIRAGANA", "KATAKANA"), "ko": ("HANGUL",)}
"""Scripts of which no longer text of the language is free."""
NAME_OF = {"IDEOGRAPHIC": "CJK", "KATAKANA-HIRAGANA": "KATAKANA"}


def expected_scripts(language: str) -> tuple[str, ...]:
    """The scripts of a language code (`zh-cn` and `zh_cn` count as `zh`)."""
    return SCRIPTS.get(language.replace("_", "-").split("-")[0], LATIN)


def letters(text: str) -> Counter[str]:
    """How many letters of each script a text has."""
    if text.isascii():
        count = sum(map(str.isalpha, text))
        return Counter(LATIN=count) if count else Counter()
    counts: Counter[str] = Counter()
    for char, count in Counter(text).items():
        if script := _script(char):
            counts[script] += count
    return counts


@lru_cache(maxsize=1 << 16)
def _script(char: str) -> str:
    if not char.isalpha():
        return ""
    words = unicodedata.name(char, "UNKNOWN").split()
    first = words[1] if words[0] in ("FULLWIDTH", "HALFWIDTH") and len(words) > 1 else words[0]
    return NAME_OF.get(first, first)
