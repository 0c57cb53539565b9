"""Scripts by language code, in every spelling of codes that captions come with."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from xpet.core import scripts
from xpet.core.groups import FAMILIES
from xpet.core.language_codes import CODES, base
from xpet.core.scripts import expected_scripts, letters, required_scripts

JAPANESE, HAN = {"HIRAGANA", "KATAKANA", "CJK"}, {"CJK", "BOPOMOFO"}
FLORES = {
    "ARABIC": "ace_Arab acm_Arab arb_Arab azb_Arab bjn_Arab ckb_Arab kas_Arab knc_Arab min_Arab pbt_Arab pes_Arab "
    "prs_Arab snd_Arab uig_Arab urd_Arab",
    "LATIN": "ace_Latn afr_Latn arb_Latn azj_Latn deu_Latn knc_Latn lvs_Latn min_Latn quy_Latn taq_Latn uzn_Latn "
    "zsm_Latn",
    "CYRILLIC": "bak_Cyrl bel_Cyrl bul_Cyrl kaz_Cyrl khk_Cyrl kir_Cyrl mkd_Cyrl rus_Cyrl srp_Cyrl tat_Cyrl tgk_Cyrl",
    "DEVANAGARI": "awa_Deva bho_Deva hin_Deva kas_Deva mai_Deva mar_Deva npi_Deva san_Deva", "ORIYA": "ory_Orya",
    "BENGALI": "asm_Beng ben_Beng mni_Beng", "TIBETAN": "bod_Tibt dzo_Tibt", "GREEK": "ell_Grek", "OL": "sat_Olck",
    "HEBREW": "heb_Hebr ydd_Hebr", "ETHIOPIC": "amh_Ethi tir_Ethi", "TIFINAGH": "taq_Tfng tzm_Tfng",
    "ARMENIAN": "hye_Armn", "GUJARATI": "guj_Gujr", "GEORGIAN": "kat_Geor", "KANNADA": "kan_Knda", "LAO": "lao_Laoo",
    "KHMER": "khm_Khmr", "MALAYALAM": "mal_Mlym", "MYANMAR": "mya_Mymr shn_Mymr", "GURMUKHI": "pan_Guru",
    "SINHALA": "sin_Sinh", "TAMIL": "tam_Taml", "TELUGU": "tel_Telu", "THAI": "tha_Thai",
}  # fmt: skip


@pytest.mark.parametrize(("script", "codes"), FLORES.items())
def test_the_codes_of_flores(script, codes):
    for code in codes.split():
        assert expected_scripts(code) == expected_scripts(code.lower().replace("_", "-")) == (script,)


@pytest.mark.parametrize(("codes", "expected"), [
    ("ja jpn jp ja-JP jpn_Jpan ja-Jpan-JP JA", JAPANESE), ("ko kor kr ko_KR kor_Hang ko-Kore", {"HANGUL", "CJK"}),
    ("zh zho chi cn cmn zt yue zh-TW zh_TW zh-Hant zho_Hans zh-Hant-TW zh-cmn-Hans-CN yue_Hant", HAN),
    ("de deu ger de-AT deu_Latn pt-BR pt_BR por es-419 sr-Latn srp-latn-RS uz-Latn ja-Latn zh-Latn-pinyin "
     "tlh-Latn sl-rozaj de-1996 id ms zsm fil sw swh swa pb vi vie tr tur", {"LATIN"}),
    ("sr srp sr-RS uz uzb uz-UZ", {"LATIN", "CYRILLIC"}),
    ("ru rus ru-RU uz-Cyrl uz_Cyrl_UZ sr-Cyrl az-RU de-Cyrl", {"CYRILLIC"}),
    ("ar ara arb ar-EG fa fas per pes ur pa-PK uz-AF kk_CN", {"ARABIC"}), ("pa pan pa-IN", {"GURMUKHI"}),
    ("ja-Hira", {"HIRAGANA"}), ("de-x-cyrl de-u-co-phonebk", {"LATIN"}),
    ("xx tlh und mul german ja-Zxxx zh-orig de-Qaaa x-latn - qaa", set()), ("", set()),
])  # fmt: skip
def test_scripts_of_every_spelling(codes, expected):
    for code in codes.split() or [""]:
        assert set(expected_scripts(code)) == expected, code


def test_scripts_that_text_must_have():
    for code in ("ja", "jpn_Jpan", "ja-JP"):
        assert required_scripts(code) == ("HIRAGANA", "KATAKANA")
    assert (required_scripts("ko-KR"), required_scripts("kor_Hang")) == (("HANGUL",), ("HANGUL",))
    for code in ("ja-Latn", "zh", "de", "xx", "ja-Hani"):
        assert required_scripts(code) == ()


def test_every_script_is_one_that_unicode_names_letters_of():
    known = set(
        letters("".join(chr(code) for code in range(sys.maxunicode) if unicodedata.category(chr(code))[0] == "L"))
    )
    named = {
        name
        for table in (scripts.SCRIPTS, scripts.BY_SUBTAG, scripts.BY_REGION)
        for names in table.values()
        for name in names
    }
    assert named - known == set()


def test_codes_stand_for_one_language_each():
    codes = [code for group in CODES.split() for code in group.split("=")]
    assert len(codes) == len(set(codes))
    listed = [code for members in scripts.BY_LANGUAGE.values() for code in members.split()]
    assert len(listed) == len(set(listed))
    assert [code for code in listed if base(code) != code] == []
    members = [code for codes in FAMILIES.values() for code in codes.split()]
    assert [code for code in members if not expected_scripts(code)] == []
    two = {group.split("=")[0] for group in CODES.split()}
    assert all(expected_scripts(code) for code in two - {"oj"})
