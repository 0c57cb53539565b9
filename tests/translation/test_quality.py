"""Flags on made-up failures, none on sound captions; the choice among hypotheses."""

from __future__ import annotations

import pytest

from xpet.translation.engine import Hypothesis
from xpet.translation.quality import choose, flags, is_foreign

DE_EN, EN_DE, EN_JA, JA_EN, EN_RU = ("de", "en"), ("en", "de"), ("en", "ja"), ("ja", "en"), ("en", "ru")


@pytest.mark.parametrize(
    ("source", "target", "languages", "expected"),
    [
        ("Ein Hund l\u00e4uft", "A dog dog dog dog runs", DE_EN, ("repetition",)),
        ("Ein Hund l\u00e4uft \u00fcber die Wiese", "A dog, a dog, a dog, a dog,", DE_EN, ("repetition",)),
        ("a dog", "\u3044\u306c\u3044\u306c\u3044\u306c\u3044\u306c", EN_JA, ("repetition",)),
        ("Ein Hund l\u00e4uft \u00fcber eine gr\u00fcne Wiese am Fluss", "A", DE_EN, ("length",)),
        ("Ein Hund", "", DE_EN, ("length",)),
        ("Ein Hund", "A dog that runs over the green meadow by the river while others look", DE_EN, ("length",)),
        ("ein kaputtes Fahrrad", "Ein kaputtes Fahrrad", DE_EN, ("copied",)),
        ("ein roter Hund am Wasser", "ein roter Hund am water", DE_EN, ("copied",)),
        ("a dog", "a dog", EN_JA, ("copied",)),
        ("a red dog", "\u0441\u043e\u0431\u0430\u043a\u0430", EN_DE, ("script",)),
        ("a red dog runs", "ein roter Hund", EN_RU, ("script",)),
        ("a red dog runs", "ein roter Hund", ("en", "rus_Cyrl"), ("script",)),
        ("a red dog runs", "\u0441\u043e\u0431\u0430\u043a\u0430", ("en", "rus_Cyrl"), ()),
        ("a red dog runs", "\u0441\u043e\u0431\u0430\u043a\u0430", ("en", "tlh"), ()),
        ("pizza", "pizza", ("en", "tlh"), ()),
        ("pizza", "pizza", ("eng_Latn", "jpn_Jpan"), ("copied",)),
        ("\u72ac\u304c\u8d70\u308b", "\u72ac run", JA_EN, ()),
        ("\u72ac\u304c\u8d70\u308b", "\u72ac\u304c run", JA_EN, ("script",)),
        ("Zug 4711 steht", "train stands", DE_EN, ("numbers",)),
        ("3 Hunde", "dogs", DE_EN, ("numbers",)),
        ("3 Hunde", "three dogs", DE_EN, ()),
        ("3 dogs", "drei Hunde", EN_DE, ()),
        ("1.000 Hunde", "1,000 dogs", DE_EN, ()),
        ("\u0663 dogs", "3 Hunde", EN_DE, ()),
        ("Pizza", "Pizza", DE_EN, ()),
        ("sehr sehr sehr gut", "very very very good", DE_EN, ()),
        ("A man rides a bike in Paris", "Ein Mann f\u00e4hrt Rad in Paris", EN_DE, ()),
        ("a small dog on a table", "\u30c6\u30fc\u30d6\u30eb\u306e\u4e0a\u306e\u5c0f\u3055\u306a\u72ac", EN_JA, ()),
        ("\u5c0f\u3055\u306a\u72ac\u304c\u30c6\u30fc\u30d6\u30eb\u306b\u3044\u308b", "a small dog is on the table", JA_EN, ()),  # noqa: E501
        ("a dog with an NBA shirt", "\u0441\u043e\u0431\u0430\u043a\u0430 \u0432 \u043c\u0430\u0439\u043a\u0435 NBA", EN_RU, ()),  # noqa: E501
    ],
)  # fmt: skip
def test_flags(source: str, target: str, languages: tuple[str, str], expected: tuple[str, ...]) -> None:
    assert flags(source, Hypothesis(target), languages) == expected


@pytest.mark.parametrize(
    ("text", "language", "foreign"),
    [
        ("\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645", "de", True),
        ("a) \u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645", "de", True),
        ("\u732b", "de", True),
        ("\u05e9\u05dc\u05d5\u05dd", "ar", True),
        ("a dog runs", "ja", True),
        ("a dog runs", "ru", True),
        ("\u306d\u3053", "zh", True),
        ("\u732b", "ja", False),
        ("\u732b", "ko", False),
        ("\u732b", "zt", False),
        ("SONY PlayStation Vita \u306e\u7bb1", "ja", False),
        ("Ein Schild: \u51fa\u53e3", "de", False),
        ("\u00dcber \u00f8l \u0142 \u1ed9 \u0259", "de", False),
        ("5 \u00b5m", "de", False),
        ("3\u00aa", "es", False),
        ("\ufb01n", "de", False),
        ("\U0001d407\U0001d42e\U0001d427\U0001d41d", "de", False),
        ("\uff28\uff55\uff4e\uff44", "de", False),
        ("123 \U0001f600 ...", "de", False),
        ("123 \U0001f600 ...", "ru", False),
        ("", "de", False),
    ],
)  # fmt: skip
def test_foreign_is_what_has_hardly_a_letter_of_the_language(text: str, language: str, foreign: bool) -> None:
    assert is_foreign(text, language) is foreign


def test_scripts_that_are_not_known_are_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpet.translation.quality.expected_scripts", lambda code: () if code == "xx" else ("LATIN",))
    text = "\u10d0\u10d1\u10d2"
    assert not is_foreign(text, "xx")
    assert flags("a dog", Hypothesis(text), ("en", "xx")) == ()
    assert flags("dog", Hypothesis("dog"), ("en", "xx")) == ()
    assert flags("a dog", Hypothesis(text), ("en", "yy")) == ("script",)


def test_cut_is_truncated() -> None:
    assert flags("ein Hund", Hypothesis("a dog", cut=True), DE_EN) == ("truncated",)


def test_choice_takes_the_fewest_flags_and_the_first_of_equals() -> None:
    first, copy = Hypothesis("ein roter Hund"), Hypothesis("ein roter Hund")
    good, better = Hypothesis("a red dog"), Hypothesis("one red dog")
    assert choose("ein roter Hund", first, [copy, good, better], DE_EN) == (good, ())
    assert choose("ein roter Hund", first, [copy], DE_EN)[0] is first
    noise = Hypothesis("a red man", score=-9.0)
    assert choose("ein roter Hund", first, [copy, noise], DE_EN) == (first, ("copied",))


def test_long_lines_are_judged_in_linear_time() -> None:
    text = "ab " * 20_000
    assert flags(text, Hypothesis(text + "x"), DE_EN)[0] == "copied"
