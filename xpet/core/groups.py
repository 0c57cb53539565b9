"""Groups of languages by script, by family, or by whether they were trained on: `--group script|family|seen`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from xpet.core.errors import ConfigError, unknown
from xpet.core.language_codes import base
from xpet.core.scripts import expected_scripts

OTHER = "other"
"""The group of a language that is in no table."""
FAMILIES = {
    "Germanic": "en de nl da no nb nn sv is af",
    "Romance": "fr es it pt ro ca gl",
    "Slavic": "ru pl cs uk be hr sr bs sl sk bg mk",
    "Baltic": "lt lv",
    "Greek": "el",
    "Armenian": "hy",
    "Indo-Iranian": "hi bn ur mr ne gu pa si fa",
    "Uralic": "fi hu et",
    "Turkic": "tr az kk ky uz",
    "Mongolic": "mn",
    "Kartvelian": "ka",
    "Semitic": "ar he am",
    "Sino-Tibetan": "zh zt my",
    "Japonic": "ja",
    "Koreanic": "ko",
    "Austroasiatic": "vi km",
    "Kra-Dai": "th lo",
    "Austronesian": "id ms fil tl jv mi",
    "Dravidian": "ta te kn ml",
    "Niger-Congo": "sw yo zu",
    "Quechuan": "quz qu",
}
"""Language codes per family; Indo-European, the only family with many members here, by its branches.

Covers XTD-11, Multi30K and the 36 languages of XM3600 (Crossmodal-3600).
"""
_FAMILY_OF = {code: family for family, codes in FAMILIES.items() for code in codes.split()}
"""Language code -> family."""


def script(language: str, trained: Collection[str] = ()) -> str:
    """The script in lower case, `latin`, `cyrillic`, ...; `cjk` for Chinese, Japanese and Korean."""
    scripts = expected_scripts(language)
    if not scripts:
        return OTHER
    return "cjk" if "CJK" in scripts else scripts[0].lower()


def family(language: str, trained: Collection[str] = ()) -> str:
    """The language family (of Indo-European: the branch), by its usual name."""
    return _FAMILY_OF.get(base(language), OTHER)


def seen(language: str, trained: Collection[str] = ()) -> str:
    """`seen` for a language the runs were trained on, else `unseen`."""
    return "seen" if language in trained else "unseen"


GROUPINGS: dict[str, Callable[[str, Collection[str]], str]] = {"script": script, "family": family, "seen": seen}
"""What `--group` offers: (language, languages trained on) -> group."""


def group(by: str, languages: Sequence[str], trained: Collection[str] = ()) -> dict[str, tuple[str, ...]]:
    """Languages by group, both in the order given; raises ConfigError for an unknown grouping."""
    if by not in GROUPINGS:
        raise ConfigError(unknown("grouping", by, list(GROUPINGS)))
    groups: dict[str, list[str]] = {}
    for language in languages:
        groups.setdefault(GROUPINGS[by](language, trained), []).append(language)
    return {name: tuple(members) for name, members in groups.items()}
