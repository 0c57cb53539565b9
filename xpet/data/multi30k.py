"""Multi30K (Elliott et al. 2016), plain or gzip, in the layout of its repository.

Task 1: one caption per image in en, de, fr, cs; splits train, validation (`val`) and test (`test_2016_flickr`), with
translations `translated_from_en/`, `translated_to_en/`. Task 2 (variant `task2`): five independent captions per
image in en, de; rows stand image by image; it has no train part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os.path import lexists
from pathlib import Path

from xpet.core.captions import PIVOT, Corpus, ReadRequest, Split
from xpet.core.errors import ConfigError, unknown
from xpet.core.languages import normalise
from xpet.data.images import FolderPictures, ImageNames, find_pictures, merge_aliases
from xpet.data.reading import aligned, choose_languages, data_root, spellings
from xpet.data.text_files import CaptionFiles

TRANSLATIONS = {"from_pivot": "translated_from_en", "to_pivot": "translated_to_en"}
PICTURE_FOLDERS = ("images", "flickr30k-images", "flickr30k_images", ".")


@dataclass(frozen=True)
class TaskFiles:
    """Names of one task's files."""

    stems: Mapping[str, str]
    """How the names of a split's caption files begin."""
    image_lists: Mapping[str, str]
    """A split's list of image names."""
    sets: int
    """Captions per image and language; of several, each is in a file of its own."""


TASKS = {
    "task1": TaskFiles(
        {"train": "train", "validation": "val", "test": "test_2016_flickr"},
        {"train": "train.txt", "validation": "val.txt", "test": "test_2016_flickr.txt"},
        sets=1,
    ),
    "task2": TaskFiles(
        {"validation": "val", "test": "test_2016"},
        {"validation": "val_images.txt", "test": "test_2016_images.txt"},
        sets=5,
    ),
}


def read(request: ReadRequest) -> Corpus:
    """The Multi30K corpus of a task; `request.root` is the folder of the tasks or of the task.

    Splits of which no caption file is there are left out.

    Raises:
        ConfigError: no root, or a variant other than task1 and task2.
        DataError: everything missing, damaged or of unequal length, at once.
    """
    variant = request.variant or "task1"
    if variant not in TASKS:
        raise ConfigError(unknown("variant", variant, list(TASKS)))
    task = TASKS[variant]
    root = data_root(request, "multi30k", f"the folder of {variant}/ or its raw/ and image_splits/")
    candidates = (root / variant, root / "data" / variant)
    root = next((folder for folder in candidates if folder.is_dir()), root)
    raw = root / "raw" if (root / "raw").is_dir() else root
    present = {split: _languages(raw, stem) for split, stem in task.stems.items()}
    files = CaptionFiles(root)
    languages = choose_languages(
        request, set().union(*present.values()), f"multi30k {variant} in {root}", files.problems
    )
    used = [split for split, codes in present.items() if codes & {*languages}]
    splits = {split: _split(files, raw, task, split, languages) for split in used}
    images = [name for split in splits.values() for name in split.images]
    folders = [parent / folder for parent in (root, root.parent) for folder in PICTURE_FOLDERS]
    aliases: dict[str, str] = {}
    pictures = find_pictures(folders, images, files.problems, aliases)
    files.problems += _in_two(splits, aliases)
    files.check()
    splits = {name: merge_aliases(split, aliases) for name, split in splits.items()}
    return Corpus(f"multi30k-{variant}", splits, pictures, fingerprints=files.fingerprints)


def _languages(raw: Path, stem: str) -> set[str]:
    """The languages that have a caption file of a stem."""
    names = (path.name.removesuffix(".gz").removeprefix(f"{stem}.") for path in raw.glob(f"{stem}.*"))
    codes = (name.lstrip("0123456789").removeprefix(".") for name in names)
    return {normalise(code) for code in codes if code.isalpha() and len(code) <= 3}


def _split(files: CaptionFiles, raw: Path, task: TaskFiles, split: str, languages: tuple[str, ...]) -> Split:
    """One split; with problems in `files` it has no captions."""
    stem = task.stems[split]
    images = files.image_names(files.root / "image_splits" / task.image_lists[split])
    english = _column(files, raw, stem, PIVOT, task.sets, len(images), required=PIVOT in languages)
    texts = {}
    for language in languages:
        slots = {"pivot": english, "target": english}
        if language != PIVOT:
            slots["target"] = _column(files, raw, stem, language, task.sets, len(images), required=True)
            for slot, folder in TRANSLATIONS.items():
                slots[slot] = _column(files, files.root / folder, stem, language, task.sets, len(images))
        texts[language] = slots
    if files.problems:
        return Split(images, {})
    image_index = [image for image in range(len(images)) for _ in range(task.sets)]
    return Split(images, {language: aligned(language, image_index, dict(slots)) for language, slots in texts.items()})


def _in_two(splits: Mapping[str, Split], aliases: Mapping[str, str]) -> list[str]:
    """The problem of each image that is in two splits; `aliases` maps later names of a file to the first."""
    names, seen = ImageNames(FolderPictures(())), dict[str, tuple[str, str]]()
    problems = []
    for name, split in splits.items():
        for image in split.images:
            earlier, first = seen.setdefault(names.first_spelling(aliases.get(image, image)), (name, image))
            if earlier != name:
                other = "" if first == image else f", as {image},"
                problems.append(f"image_splits: image {first} is in split {earlier} and{other} in {name}")
    return problems


def _column(
    files: CaptionFiles, folder: Path, stem: str, language: str, sets: int, count: int, required: bool = False
) -> tuple[str, ...] | None:
    """The captions of a language, image by image, count * sets of them; None when it has no file and needs none."""
    stems = [stem] if sets == 1 else [f"{stem}.{number}" for number in range(1, sets + 1)]
    paths = [_existing(folder, name, language) for name in stems]
    if not required and not any(lexists(path) for path in paths):
        return None
    columns = [files.lines(path, count) for path in paths]
    return tuple(text for captions in zip(*columns, strict=False) for text in captions)


def _existing(folder: Path, stem: str, language: str) -> Path:
    """The caption file of a language, or the path where it is expected."""
    paths = [folder / f"{stem}.{code}{ending}" for code in spellings(language) for ending in ("", ".gz")]
    return next((path for path in paths if lexists(path)), paths[0])
