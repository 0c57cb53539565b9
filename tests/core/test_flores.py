"""The codes of FLORES-200 and NLLB: every one is known, and text in its script is right."""

from __future__ import annotations

from xpet.core.scripts import expected_scripts, letters

FLORES_LATIN = (
    "ace afr aka als arb ast ayr azj bam ban bem bjn bos bug cat ceb ces cjk crh cym dan deu dik dyu eng epo est "
    "eus ewe fao fij fin fon fra fur fuv gaz gla gle glg grn hat hau hrv hun ibo ilo ind isl ita jav kab kac kam "
    "kbp kea kik kin kmb kmr knc kon lij lim lin lit lmo ltg ltz lua lug luo lus lvs min mlt mos mri nld nno nob "
    "nso nus nya oci pag pap plt pol por quy ron run sag scn slk slv smo sna som sot spa srd ssw sun swe swh szl "
    "taq tgl tpi tsn tso tuk tum tur twi umb uzn vec vie war wol xho yor zsm zul"
)
FLORES_OTHERS = (
    "ace_Arab acm_Arab acq_Arab aeb_Arab ajp_Arab apc_Arab arb_Arab ars_Arab ary_Arab arz_Arab azb_Arab bjn_Arab "
    "ckb_Arab kas_Arab knc_Arab min_Arab pbt_Arab pes_Arab prs_Arab snd_Arab uig_Arab urd_Arab amh_Ethi tir_Ethi "
    "asm_Beng ben_Beng mni_Beng awa_Deva bho_Deva hin_Deva hne_Deva kas_Deva mag_Deva mai_Deva mar_Deva npi_Deva "
    "san_Deva bak_Cyrl bel_Cyrl bul_Cyrl kaz_Cyrl khk_Cyrl kir_Cyrl mkd_Cyrl rus_Cyrl srp_Cyrl tat_Cyrl tgk_Cyrl "
    "ukr_Cyrl bod_Tibt dzo_Tibt ell_Grek guj_Gujr heb_Hebr ydd_Hebr hye_Armn jpn_Jpan kan_Knda kat_Geor khm_Khmr "
    "kor_Hang lao_Laoo mal_Mlym mya_Mymr shn_Mymr ory_Orya pan_Guru sat_Olck sin_Sinh tam_Taml taq_Tfng tzm_Tfng "
    "tel_Telu tha_Thai yue_Hant zho_Hant zho_Hans"
)
"""The 204 codes of FLORES-200 and NLLB, those written in Latin letters without their `_Latn`."""
SAMPLES = {
    "Arab": "سلام", "Ethi": "ሰላም", "Beng": "শান্তি", "Deva": "शान्ति", "Cyrl": "мир", "Tibt": "ཞི་བདེ", "Grek": "ειρήνη",
    "Gujr": "શાંતિ", "Hebr": "שלום", "Armn": "խաղաղություն", "Jpan": "平和カタかな", "Knda": "ಶಾಂತಿ", "Geor": "მშვიდობა",
    "Khmr": "សន្តិភាព", "Hang": "평화", "Laoo": "ສັນຕິພາບ", "Mlym": "സമാധാനം", "Mymr": "ငြိမ်း", "Orya": "ଶାନ୍ତି",
    "Guru": "ਸ਼ਾਂਤੀ", "Olck": "ᱥᱟᱱᱛᱤ", "Sinh": "සාමය", "Taml": "அமைதி", "Tfng": "ⵜⴰⵍⵡⵉⵜ", "Telu": "శాంతి", "Thai": "สันติภาพ",
    "Hant": "和平", "Hans": "和平", "Latn": "peace",
}  # fmt: skip
"""Peace in every script of FLORES-200."""

RARE = ("arb_Latn", "min_Arab")
"""Languages in a script that they are rarely written in."""


def test_codes_of_flores():
    codes = {f"{code}_Latn" for code in FLORES_LATIN.split()} | set(FLORES_OTHERS.split())
    assert len(codes) == 204
    for code in codes:
        language, script = code.split("_")
        found = letters(SAMPLES[script])
        for spelling in (code, code.lower(), code.replace("_", "-")):
            expected = expected_scripts(spelling)
            assert sum(found[name] for name in expected) == found.total() > 0, spelling
        alone = expected_scripts(language)  # not all are known without their script
        if alone and code not in RARE:
            assert sum(found[name] for name in alone) == found.total(), language
