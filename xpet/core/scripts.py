"""Which scripts a language is written in, and which script a letter is of (from its Unicode name)."""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import lru_cache

from xpet.core.language_codes import base, region, script_subtag

LATIN = ("LATIN",)
CYRILLIC = ("CYRILLIC",)
ARABIC = ("ARABIC",)
DEVANAGARI = ("DEVANAGARI",)
HAN = ("CJK", "BOPOMOFO")
JAPANESE = ("HIRAGANA", "KATAKANA", "CJK")
KOREAN = ("HANGUL", "CJK")
BY_LANGUAGE = {
    LATIN:
    "aa af ak an ay az bi bm br bs ca ch co cs cy da de ee en eo es et eu ff fi fj fo fr fy ga gd gl gn gv ha "
    "ho hr ht hu hz ia id ie ig ik io is it jv kg ki kj kl kw la lb lg li ln lt lu lv mg mh mi ms mt na nb nd "
    "ng nl nn no nr nv ny oc om pb pl pt qu rm rn ro rw sc se sg sk sl sm sn so sq ss st su sv sw tl tn to tr "
    "ts tw ty ve vi vo wa wo xh yo za zu ast ban bar bcl bem bug ceb cjk crh csb dsb dyu fil fon frp fur gsw "
    "haw hil hmn hsb ilo jam kab kam kbp kea kmb lij lmo ltg lua luo lus min mos nap nds nso nus pag pam pap "
    "pcm pms quy quz scn sco srn szl tpi tum umb vec vls war yua zea",
    ("LATIN", "CYRILLIC"): "sh tk uz", ("CYRILLIC", "LATIN"): "sr", ("LATIN", "ARABIC"): "ku",
    CYRILLIC: "ab av ba be bg ce cu cv kk kv ky mk mn os ru tg tt uk sah tyv udm mhr xal",
    ARABIC: "ar fa ps ug ur acm acq aeb ajp apc ars ary arz azb ckb glk lrc mzn pnb skr",
    ("ARABIC", "DEVANAGARI"): "ks sd", DEVANAGARI: "hi mr ne sa awa bho hne kok mag mai",
    JAPANESE: "ja", KOREAN: "ko", HAN: "zh zt yue wuu gan hak lzh", ("GREEK",): "el", ("HEBREW",): "he yi",
    ("BENGALI",): "as bn", ("TAMIL",): "ta", ("TELUGU",): "te", ("KANNADA",): "kn", ("MALAYALAM",): "ml",
    ("GUJARATI",): "gu", ("GURMUKHI",): "pa", ("ORIYA",): "or", ("SINHALA",): "si", ("THAI",): "th", ("LAO",): "lo",
    ("KHMER",): "km", ("MYANMAR",): "my shn", ("GEORGIAN",): "ka xmf", ("ARMENIAN",): "hy", ("ETHIOPIC",): "am ti",
    ("TIBETAN",): "bo dz", ("THAANA",): "dv", ("YI",): "ii", ("CANADIAN", "LATIN"): "cr iu", ("OL",): "sat",
    ("SYRIAC",): "syr", ("CHEROKEE",): "chr",
}  # fmt: skip
"""Languages by the scripts they are written in, the usual one first; of a language that is not here nothing is known.

`zt` and `pb` are Argos' codes of traditional Chinese and of the Portuguese of Brazil. Codes of three letters stand here
for languages that have no shorter one.
"""
SCRIPTS = {code: scripts for scripts, codes in BY_LANGUAGE.items() for code in codes.split()}
"""Language code -> its scripts, the usual one first."""
BY_REGION = {
    ("az", "IR"): ARABIC, ("az", "IQ"): ARABIC, ("az", "RU"): CYRILLIC, ("ha", "CM"): ARABIC, ("ha", "SD"): ARABIC,
    ("kk", "CN"): ARABIC, ("ky", "CN"): ARABIC, ("mn", "CN"): ("MONGOLIAN",), ("ms", "CC"): ARABIC,
    ("pa", "PK"): ARABIC, ("tg", "PK"): ARABIC, ("ug", "KZ"): CYRILLIC, ("ug", "MN"): CYRILLIC, ("uz", "AF"): ARABIC,
}  # fmt: skip
"""Languages that are written otherwise in a region (the likely subtags of Unicode's CLDR)."""
BY_SUBTAG = {
    "Latn": LATIN, "Latf": LATIN, "Latg": LATIN, "Cyrl": CYRILLIC, "Cyrs": CYRILLIC, "Arab": ARABIC, "Aran": ARABIC,
    "Deva": DEVANAGARI, "Hans": HAN, "Hant": HAN, "Hani": HAN, "Hanb": HAN, "Bopo": ("BOPOMOFO",), "Jpan": JAPANESE,
    "Hrkt": ("HIRAGANA", "KATAKANA"), "Hira": ("HIRAGANA",), "Kana": ("KATAKANA",), "Kore": KOREAN, "Hang": KOREAN,
    "Grek": ("GREEK",), "Hebr": ("HEBREW",), "Beng": ("BENGALI",), "Taml": ("TAMIL",), "Telu": ("TELUGU",),
    "Knda": ("KANNADA",), "Mlym": ("MALAYALAM",), "Gujr": ("GUJARATI",), "Guru": ("GURMUKHI",), "Orya": ("ORIYA",),
    "Sinh": ("SINHALA",), "Thai": ("THAI",), "Laoo": ("LAO",), "Khmr": ("KHMER",), "Mymr": ("MYANMAR",),
    "Geor": ("GEORGIAN",), "Geok": ("GEORGIAN",), "Armn": ("ARMENIAN",), "Ethi": ("ETHIOPIC",), "Tibt": ("TIBETAN",),
    "Thaa": ("THAANA",), "Syrc": ("SYRIAC",), "Mong": ("MONGOLIAN",), "Yiii": ("YI",), "Cans": ("CANADIAN",),
    "Cher": ("CHEROKEE",), "Olck": ("OL",), "Tfng": ("TIFINAGH",), "Nkoo": ("NKO",), "Vaii": ("VAI",),
    "Adlm": ("ADLAM",), "Mtei": ("MEETEI",), "Java": ("JAVANESE",), "Bali": ("BALINESE",), "Sund": ("SUNDANESE",),
    "Bugi": ("BUGINESE",), "Cham": ("CHAM",), "Lana": ("TAI",), "Tale": ("TAI",), "Limb": ("LIMBU",),
    "Lepc": ("LEPCHA",), "Copt": ("COPTIC",), "Goth": ("GOTHIC",), "Glag": ("GLAGOLITIC",), "Rohg": ("HANIFI",),
}  # fmt: skip
"""Scripts of a code that names one, by its ISO 15924 subtag."""
REQUIRED_SCRIPTS = {"ja": ("HIRAGANA", "KATAKANA"), "ko": ("HANGUL",)}
"""Languages whose longer texts always have letters of one of these scripts."""
NAME_OF = {"IDEOGRAPHIC": "CJK", "KATAKANA-HIRAGANA": "KATAKANA"}
"""First words of Unicode names that do not name the script -> the script."""


@lru_cache(maxsize=1 << 10)
def expected_scripts(language: str) -> tuple[str, ...]:
    """The scripts of a language code, as Unicode names begin; none where they are not known.

    The script that a code names (`sr-Latn`, `jpn_Jpan`) decides, else the language does, in few cases with its region.
    """
    if subtag := script_subtag(language):
        return BY_SUBTAG.get(subtag, ())
    code = base(language)
    return BY_REGION.get((code, region(language))) or SCRIPTS.get(code, ())


def required_scripts(language: str) -> tuple[str, ...]:
    """Scripts of a language code of which every longer text has letters of at least one; of most codes none."""
    scripts = expected_scripts(language)
    return tuple(script for script in REQUIRED_SCRIPTS.get(base(language), ()) if script in scripts)


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
    """The script of a letter, as its Unicode name begins; nothing for other characters."""
    if not char.isalpha():
        return ""
    words = unicodedata.name(char, "UNKNOWN").split()
    first = words[1] if words[0] in ("FULLWIDTH", "HALFWIDTH") and len(words) > 1 else words[0]
    return NAME_OF.get(first, first)
