"""Lint finds planted defects, the published one, and nothing else."""

from __future__ import annotations

import pytest

from xpet.core.captions import Corpus, LanguageCaptions, ReadRequest, Split
from xpet.core.scripts import expected_scripts, letters
from xpet.data.lint import lint
from xpet.data.sources import SOURCES

ENGLISH = tuple(f"the cat number {n} sits on a mat" for n in range(20))
GERMAN = tuple(f"die Katze Nummer {n} sitzt auf einer Matte" for n in range(20))
FRENCH = tuple(f"le chat {n} est assis sur un tapis" for n in range(20))
ITALIAN = tuple(f"il gatto {n} è seduto su un tappeto" for n in range(20))
JAPANESE = tuple(f"猫{n}がマットの上に座っている" for n in range(20))
CHINESE = tuple(f"猫{n}坐在地毯上面看着窗外" for n in range(20))


def corpus(owner=tuple(range(20)), **languages):
    captions = {}
    for language, texts in languages.items():
        slots = texts if isinstance(texts, dict) else {"target": texts}
        captions[language] = LanguageCaptions(language, owner[: len(slots["target"])], slots)
    return Corpus("tiny", {"all": Split(tuple(f"{n}.jpg" for n in range(20)), captions)})


def found(corpus):
    return [(f.severity, f.check, f.languages, f.slot) for f in lint(corpus)]


def test_a_sound_corpus_is_clean():
    assert lint(corpus(en=ENGLISH, de=GERMAN, fr=FRENCH, ja=JAPANESE, zh=CHINESE)) == []


def test_two_languages_with_one_text():
    texts = {"target": FRENCH, "from_pivot": GERMAN}
    (finding,) = lint(corpus(de={"target": GERMAN, "from_pivot": GERMAN}, fr=texts))
    assert (finding.severity, finding.check, finding.split) == ("error", "identical", "all")
    assert (finding.languages, finding.slot, finding.rows) == (("fr",), "from_pivot", (0, 1, 2))
    assert finding.message == ("20 of 20 texts of de and fr are identical; they are not fr: the file of fr is wrong")


def test_of_two_languages_with_one_text_the_innocent_is_not_blamed():
    pairs = {"fr": FRENCH, "de": GERMAN, "ja": JAPANESE}
    for right, texts in pairs.items():
        for wrong in {*pairs, "ko", "ru", "tr"} - {right}:
            blamed = [f for f in lint(corpus(**{right: texts, wrong: texts})) if f.check == "identical"]
            assert [f.languages for f in blamed] == [(wrong,)], (right, wrong)


@pytest.mark.parametrize(("one", "other", "texts"), [
    ("pt", "gl", FRENCH), ("de", "fr", tuple(f"Taxi Hotel Restaurant {n}" for n in range(20))), ("zh", "zt", CHINESE),
])  # fmt: skip
def test_both_are_blamed_where_texts_do_not_tell(one, other, texts):
    (finding,) = [f for f in lint(corpus(**{one: texts, other: texts})) if f.check == "identical"]
    assert finding.languages == (one, other)
    assert finding.message.endswith("one of the files is wrong: take it away, and leave its language out")


def test_what_is_not_used_blocks_nobody():
    whole = corpus(it={"target": ITALIAN}, ko={"target": ITALIAN})
    used = Corpus("tiny", {"all": Split(whole.splits["all"].images, {"it": whole.splits["all"].captions["it"]})})
    assert lint(used, compared=whole) == []
    used = Corpus("tiny", {"all": Split(whole.splits["all"].images, {"ko": whole.splits["all"].captions["ko"]})})
    assert [(f.check, f.languages) for f in lint(used, compared=whole)] == [("identical", ("ko",)), ("script", ("ko",))]


def test_partial_overlap_counts_from_half_of_the_long_lines():
    mixed = GERMAN[:11] + FRENCH[11:]
    assert found(corpus(de=GERMAN, fr=mixed)) == [("error", "identical", ("fr",), "target")]
    assert found(corpus(de=GERMAN, fr=GERMAN[:9] + FRENCH[9:])) == []
    short = ("Taxi",) + ("Hotel",) * 19
    assert "identical" not in {check for _, check, *_ in found(corpus(de=short, fr=short))}


def test_translations_to_english_may_overlap_but_not_coincide():
    german = {"target": GERMAN, "to_pivot": ENGLISH}
    french = {"target": FRENCH, "to_pivot": (*ENGLISH[:19], "another one")}
    assert found(corpus(de=german, fr=french)) == []
    coinciding = {"target": FRENCH, "to_pivot": ENGLISH}
    assert found(corpus(de=german, fr=coinciding)) == [("error", "identical", ("de", "fr"), "to_pivot")]


@pytest.mark.parametrize(
    ("language", "texts"),
    [
        ("ko", FRENCH),
        ("ru", GERMAN),
        ("de", JAPANESE),
        ("ja", CHINESE),
        ("zh", JAPANESE),
        ("deu_Latn", CHINESE),
        ("zh-latn", CHINESE),
        ("jpn_jpan", CHINESE),
    ],
)
def test_text_in_the_wrong_script(language, texts):
    assert found(corpus(**{language: texts})) == [("error", "script", (language,), "target")]


def test_a_few_foreign_lines_are_a_warning():
    (finding,) = lint(corpus(ja=(*JAPANESE[:19], "Wikipedia")))
    assert (finding.severity, finding.rows) == ("warning", (19,))
    assert finding.message == "1 of 20 texts are not in hiragana/katakana/cjk script"
    assert lint(corpus(ja=(*JAPANESE[:19], "TV"))) == []


def test_to_pivot_must_be_english():
    assert found(corpus(ru={"target": ("кот сидит на коврике",) * 20, "to_pivot": JAPANESE}))[0] == (
        "error", "script", ("ru",), "to_pivot",
    )  # fmt: skip


def test_untranslated_copies():
    copied = {"target": GERMAN, "pivot": ENGLISH, "from_pivot": ENGLISH, "to_pivot": (*GERMAN[:1], *ENGLISH[1:])}
    assert found(corpus(de=copied)) == [
        ("error", "untranslated", ("de",), "from_pivot"),
        ("warning", "untranslated", ("de",), "to_pivot"),
    ]


def test_duplicates_are_counted_across_images_only():
    owner = tuple(n // 2 for n in range(20))
    same_image = (*GERMAN[:18], "zwei gleiche", "zwei gleiche")
    kinds = {check for _, check, *_ in found(corpus(owner=owner, de=same_image))}
    assert kinds == {"unequal"}
    (finding,) = lint(corpus(de=same_image))
    assert (finding.severity, finding.check, finding.rows) == ("warning", "duplicates", (18, 19))
    assert finding.message == "2 captions describe more than one image"


def test_empty_lines():
    assert found(corpus(de=("", " ", *GERMAN[2:]))) == [("error", "empty", ("de",), "target")]


def test_unequal_counts():
    (finding,) = lint(corpus(en=ENGLISH, de=GERMAN, fr=FRENCH[:15]))
    assert (finding.severity, finding.check, finding.languages) == ("warning", "unequal", ("fr",))
    assert finding.message == "15 captions (most languages: 20); 5 images have none"


def test_few_rows_are_no_error():
    assert {severity for severity, *_ in found(corpus(de=GERMAN[:3], fr=GERMAN[:3], ko=GERMAN[:3]))} == {"warning"}


def test_english_is_looked_at_once():
    slots = dict.fromkeys(("target", "pivot", "from_pivot", "to_pivot"), JAPANESE)
    assert found(corpus(en=slots)) == [("error", "script", ("en",), "target")]


def test_scripts():
    assert letters("ｱＡ々ー犬 a1") == {"KATAKANA": 2, "LATIN": 2, "CJK": 2}
    assert expected_scripts("zh_cn") == expected_scripts("zh")
    assert expected_scripts("sw") == ("LATIN",)


@pytest.mark.parametrize(
    "language", ["jpn-jpan", "jpn_Jpan", "jpn", "ja-JP", "ja-Jpan-JP", "jp", "tlh", "xx", "ja-zxxx"]
)
def test_text_in_the_scripts_a_code_means_is_right_and_of_unknown_ones_nothing_is_judged(language):
    assert found(corpus(**{language: JAPANESE})) == []


def test_the_published_files(shared_data):
    """Their only real defect: translated_from_en/ko.txt is it.txt."""
    errors = [f for f in lint(SOURCES["xtd"](ReadRequest(str(shared_data / "xtd10")))) if f.severity == "error"]
    assert [(f.check, f.languages, f.slot) for f in errors] == [
        ("identical", ("ko",), "from_pivot"),
        ("script", ("ko",), "from_pivot"),
    ]
    for variant in ("task1", "task2"):
        request = ReadRequest(str(shared_data / "multi30k"), variant=variant)
        assert not [f for f in lint(SOURCES["multi30k"](request)) if f.severity == "error"]


def test_the_duplicate_russian_captions(shared_data):
    request = ReadRequest(str(shared_data / "xtd10"), ("ru",))
    (finding,) = [f for f in lint(SOURCES["xtd"](request)) if f.check == "duplicates" and f.slot == "target"]
    assert finding.message == "10 captions describe more than one image"
