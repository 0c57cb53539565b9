"""Languages by script, family and training."""

from __future__ import annotations

import pytest

from xpet.core.captions import PIVOT
from xpet.core.errors import ConfigError
from xpet.core.groups import FAMILIES, GROUPINGS, OTHER, group
from xpet.core.languages import normalise

XTD = ("en", "de", "fr", "es", "it", "ja", "ko", "pl", "ru", "tr", "zh")
XM3600 = (
    "ar bn cs da de el en es fa fi fil fr he hi hr hu id it ja ko mi nl no pl pt quz ro ru sv sw te th tr uk vi zh"
).split()


def test_xtd_by_script_and_by_family():
    assert group("script", XTD) == {
        "latin": ("en", "de", "fr", "es", "it", "pl", "tr"), "cjk": ("ja", "ko", "zh"), "cyrillic": ("ru",),
    }  # fmt: skip
    assert group("family", XTD) == {
        "Germanic": ("en", "de"), "Romance": ("fr", "es", "it"), "Japonic": ("ja",), "Koreanic": ("ko",),
        "Slavic": ("pl", "ru"), "Turkic": ("tr",), "Sino-Tibetan": ("zh",),
    }  # fmt: skip


def test_seen_is_what_the_runs_were_trained_on():
    assert group("seen", ("en", "de", "xx"), {"de"}) == {"unseen": ("en", "xx"), "seen": ("de",)}


def test_every_language_of_xm3600_is_known():
    assert len(XM3600) == 36
    for by in ("script", "family"):
        assert OTHER not in group(by, XM3600)
    assert group("script", XM3600)["arabic"] == ("ar", "fa")
    assert group("family", XM3600)["Semitic"] == ("ar", "he")
    assert group("family", XM3600)["Slavic"] == ("cs", "hr", "pl", "ru", "uk")


def test_no_code_is_of_two_families():
    codes = [code for members in FAMILIES.values() for code in members.split()]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize(("spelling", "script", "family"), [
    ("zh-CN", "cjk", "Sino-Tibetan"), ("pt_BR", "latin", "Romance"), ("sr", "cyrillic", "Slavic"),
    ("tlh", OTHER, OTHER), ("tlh-Latn", "latin", OTHER), ("sr-Latn", "latin", "Slavic"), ("jpn_Jpan", "cjk", "Japonic"),
    ("deu", "latin", "Germanic"), ("uz_Cyrl", "cyrillic", "Turkic"), ("zho_Hant", "cjk", "Sino-Tibetan"),
    ("arb_Arab", "arabic", "Semitic"), ("fil_Latn", "latin", "Austronesian"),
])  # fmt: skip
def test_variants_of_codes_and_unknown_ones(spelling, script, family):
    assert (GROUPINGS["script"](spelling, ()), GROUPINGS["family"](spelling, ())) == (script, family)


def test_unknown_grouping():
    message = "unknown grouping 'famly': expected one of script, family, seen; did you mean 'family'?"
    with pytest.raises(ConfigError) as caught:
        group("famly", XTD)
    assert str(caught.value) == message


@pytest.mark.parametrize("spelling", ["en", "EN", "eng", "eng_Latn", "en-Latn", "en_US", "English", " en "])
def test_english_is_the_pivot_under_any_of_its_codes(spelling: str) -> None:
    assert normalise(spelling) == PIVOT
