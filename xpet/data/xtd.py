"""XTD: 1,000 COCO captions in 11 languages (Aggarwal and Kale 2020), in the layout of its repository.

`XTD10/test_1kcaptions_{lang}.txt` (de, fr under `MIC/`; `jp` under `STAIR/`), `XTD10/test_image_names.txt`, and
translations `translated_from_en/{lang}.txt`, `translated_to_en/{lang}.txt`. One split, `all`.
"""

from __future__ import annotations

from os.path import lexists
from pathlib import Path

from xpet.core.captions import PIVOT, Corpus, ReadRequest, Split
from xpet.core.errors import ConfigError
from xpet.core.languages import is_language, normalise
from xpet.data.images import find_pictures, merge_aliases
from xpet.data.reading import aligned, choose_languages, data_root, spellings
from xpet.data.text_files import CaptionFiles

CAPTION_FOLDERS = ("XTD10", "MIC", "STAIR", ".")
PREFIX = "test_1kcaptions_"
NAMES = "test_image_names.txt"
TRANSLATIONS = {"from_pivot": "translated_from_en", "to_pivot": "translated_to_en"}
PICTURE_FOLDERS = ("images", "images/train2014", "images/val2014", "train2014", "val2014", ".")


def read(request: ReadRequest) -> Corpus:
    """The XTD corpus below `request.root`.

    Raises:
        ConfigError: no root, or a variant is given.
        DataError: everything missing, damaged or of unequal length, at once.
    """
    if request.variant is not None:
        raise ConfigError(f"data set xtd: expected no variant, found '{request.variant}'")
    root = data_root(request, "xtd", "the folder of XTD10/, MIC/ and STAIR/")
    captions = _caption_files(root)
    files = CaptionFiles(root)
    languages = choose_languages(request, captions, f"xtd in {root}", files.problems)
    images = files.image_names(_first(root, [f"{folder}/{NAMES}" for folder in CAPTION_FOLDERS]))
    english = files.lines(captions[PIVOT], len(images)) if PIVOT in captions else None
    texts = {}
    for language in languages:
        target = english if language == PIVOT else files.lines(captions[language], len(images))
        texts[language] = {"target": target, "pivot": english}
        for slot, folder in TRANSLATIONS.items():
            path = _first(root, [f"{folder}/{code}.txt" for code in spellings(language)])
            if language != PIVOT and lexists(path):
                texts[language][slot] = files.lines(path, len(images))
    aliases: dict[str, str] = {}
    pictures = find_pictures([root / folder for folder in PICTURE_FOLDERS], images, files.problems, aliases)
    files.check()
    image_index = range(len(images))
    columns = {language: aligned(language, image_index, dict(slots)) for language, slots in texts.items()}
    split = merge_aliases(Split(images, columns), aliases)
    return Corpus("xtd", {"all": split}, pictures, fingerprints=files.fingerprints)


def _caption_files(root: Path) -> dict[str, Path]:
    """The caption file of every language that has one."""
    files: dict[str, Path] = {}
    for folder in CAPTION_FOLDERS:
        for path in sorted((root / folder).glob(f"{PREFIX}*.txt")):
            if is_language(name := path.stem.removeprefix(PREFIX)):
                files.setdefault(normalise(name), path)
    return files


def _first(root: Path, candidates: list[str]) -> Path:
    """The first candidate below the root that exists, else the first of all, which is then reported as missing."""
    paths = [root / candidate for candidate in candidates]
    return next((path for path in paths if lexists(path)), paths[0])
