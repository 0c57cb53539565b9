"""Which language a corpus is in, told from its small words."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from xpet.core.errors import DataError
from xpet.data.english import expect_english, foreign, likely_language
from xpet.demo import assets, world

FOREIGN = [language for language in world.LANGUAGES if language != "en"]


def demo(language: str) -> list[tuple[str, ...]]:
    """Columns target, to_pivot and from_pivot of some of the demo's captions."""
    columns = assets.columns_of(assets.read_content(assets.captions_path(language)))
    return [tuple(column[:300]) for column in columns]


@pytest.mark.parametrize("language", FOREIGN)
def test_the_demos_languages_are_recognised(language):
    natural, to_english, from_english = demo(language)
    for texts in (natural, from_english):
        found = foreign(texts)
        assert found is not None
        assert found[0] == language
        assert found[1] > 0.85 * len(texts)
    assert foreign(to_english) is None  # clumsy English without articles


def test_the_demos_english_passes():
    texts = demo("en")[0]
    assert foreign(texts) is None
    assert list(expect_english(texts, "f")) == list(texts)


@pytest.mark.parametrize("language", ["de", "es", "fr", "it", "jp", "ko", "pl", "ru", "tr", "zh"])
def test_real_captions_are_recognised(language, shared_data: Path):
    folder = {"de": "MIC", "fr": "MIC", "jp": "STAIR"}.get(language, "XTD10")
    texts = (shared_data / "xtd10" / folder / f"test_1kcaptions_{language}.txt").read_text("utf-8").split("\n")[:1000]
    found = foreign(texts)
    assert found is not None
    assert found[0] == language.replace("jp", "ja")
    assert found[1] > 800
    translated = (shared_data / "xtd10" / "translated_to_en" / f"{language}.txt").read_text("utf-8").split("\n")[:1000]
    assert foreign(translated) is None


def test_real_english_and_czech(shared_data: Path):
    for language, expected in (("en", None), ("cs", "cs")):
        raw = gzip.decompress((shared_data / "multi30k" / "task1" / "raw" / f"val.{language}.gz").read_bytes())
        found = foreign(raw.decode().split("\n"))
        assert (found and found[0]) == expected


@pytest.mark.parametrize(
    "text",
    ["red ball", "a red ball", "Pizza", "a café", "the die", "12", "", "A man on a horse", "man in Berlin",
     "sushi, ramen", "a sign that says 東京", "tableau de bord of the car in the garage"],
)  # fmt: skip
def test_short_and_odd_english_is_not_called_foreign(text):
    assert likely_language(text) in (None, "en")


def test_a_clear_majority_is_needed_and_said():
    english = [f"a dog number {n}" for n in range(50)]
    german = [f"der Hund Nummer {n}" for n in range(50)]
    assert foreign(english + german[:49]) is None
    assert foreign(german[:9]) is None  # too few to say
    assert foreign([f"ball {n}" for n in range(99)]) is None
    texts = german[:40] + english[:20] + ["der Hund Nummer 1", " ", ""] * 9
    with pytest.raises(DataError) as error:
        expect_english(texts, "corpus.txt")
    assert str(error.value) == (
        "corpus.txt: expected English text, found lines that look German (40 of 60); pass English captions"
    )


def test_only_the_beginning_is_looked_at_and_nothing_is_lost():
    texts = [f"a dog number {n}" for n in range(2000)] + [f"der Hund Nummer {n}" for n in range(9000)]
    stream = iter(texts)
    checked = expect_english(stream, "f")
    assert next(stream) == "der Hund Nummer 0"  # this many were taken
    assert list(checked) == texts[:2000] + texts[2001:]
