"""What several jobs need wired the same way: a corpus with its split, towers, image features."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpet.core.captions import PIVOT, SLOTS, Corpus, LanguageCaptions, Reader, ReadRequest, Split
from xpet.core.config import DEMO as DEMO
from xpet.core.config import DataConfig, ModelConfig
from xpet.core.errors import ConfigError, DataError, unknown
from xpet.core.events import Notice, OnEvent
from xpet.core.paths import exists, features_folder
from xpet.core.presets import ALL

if TYPE_CHECKING:
    from torch import Tensor

    from xpet.data.lint import Finding
    from xpet.models.checkpoint import LoadedText
    from xpet.models.image_tower import LoadedImage

IMAGE_KEY = "imageModel"
"""Entry of a merged checkpoint's config.json: its image tower."""


def sources() -> dict[str, Reader]:
    """Every data source by name: those of the data room and the embedded world."""
    from xpet.data.sources import SOURCES
    from xpet.demo import reader

    return {DEMO: reader.read, **SOURCES}


def absolute_model(config: ModelConfig) -> ModelConfig:
    """The towers with local folders spelled out in full, so that a run finds them from anywhere."""
    text = config.text if config.text in ("", DEMO) else _absolute(config.text)
    image = config.image if config.image in (None, DEMO) else _absolute(config.image)
    return replace(config, text=text or DEMO, image=image)


def absolute_data(config: DataConfig) -> DataConfig:
    """The data with local files spelled out in full."""
    return replace(
        config, root=_absolute(config.root), image_features=_absolute(config.image_features),
        translations=_absolute(config.translations),
    )  # fmt: skip


def _absolute(name: str | None) -> str | None:
    return str(Path(name).resolve()) if name is not None and exists(name) else name


def read_corpus(config: DataConfig) -> Corpus:
    """The corpus a configuration names, with all its languages; raises ConfigError, DataError."""
    readers, name = sources(), config.name or DEMO
    if name not in readers:
        raise ConfigError(unknown("data set", name, list(readers)))
    return readers[name](ReadRequest(root=config.root, variant=config.variant))


def tell_notes(corpus: Corpus, languages: Sequence[str], on_event: OnEvent) -> None:
    """Warn of what was noted of these languages when the corpus was read."""
    for language in languages:
        for note in corpus.notes.get(language, ()):
            on_event(Notice(note, "warning"))


def check_lint(whole: Corpus, used: Corpus, slots: Sequence[str], needed: Sequence[str], on_event: OnEvent) -> Corpus:
    """Lint what is used before work, beside all other languages of the data; returns what may be used.

    Errors in texts that are `needed` stop (DataError with all of them, and which languages to leave out); those in
    other slots take these texts out, with a warning; warnings become one notice.
    """
    from xpet.data.lint import lint

    findings = lint(used, beside=restrict(whole, whole.languages, slots))
    errors = [f for f in findings if f.severity == "error"]
    stops = [f for f in errors if f.slot in needed]
    if stops:
        raise DataError(_stopped_by(stops, whole.name, used.languages))
    bad = {(language, f.slot) for f in errors for language in f.languages if language in used.languages}
    for language, slot in sorted(bad):
        why = "; ".join(dict.fromkeys(f.message for f in errors if f.slot == slot and language in f.languages))
        on_event(Notice(f"lint: {slot} texts of {language} are left out: {why}", "warning"))
    if len(findings) > len(errors):
        on_event(Notice(f"lint: {len(findings) - len(errors)} warnings in {whole.name}; `xpet eval --lint` lists them"))
    return without(used, bad)


def _stopped_by(errors: Sequence[Finding], name: str, used: Sequence[str]) -> str:
    """Lint's errors in words, and how to go on without the languages they are of."""
    where = "; ".join(f"{name} {f.split}/{f.slot} {'+'.join(f.languages)}: {f.message}" for f in errors)
    blocked = [language for language in used if any(language in f.languages for f in errors)]
    rest = [language for language in used if language not in (*blocked, PIVOT)]
    remedy = f", or leave out {', '.join(blocked)}: --lang {','.join(rest)}" if rest and PIVOT not in blocked else ""
    return f"lint found {len(errors)} errors: {where}; mend the files (see them by `xpet eval --lint`){remedy}"


def without(corpus: Corpus, slots: Collection[tuple[str, str]]) -> Corpus:
    """The corpus less some slots, each of a language."""

    def rest(captions: LanguageCaptions) -> LanguageCaptions:
        return captions.only([s for s in captions.texts if (captions.language, s) not in slots])

    splits = {
        name: Split(split.images, {lang: rest(captions) for lang, captions in split.captions.items()})
        for name, split in corpus.splits.items()
    }
    return replace(corpus, splits=splits)


def captions_digest(captions: LanguageCaptions, slots: Sequence[str]) -> str:
    """SHA-256 of what one language is searched with: its image indices, and the texts of some slots."""
    import hashlib
    import json

    content = [captions.language, captions.image_index, [captions.texts.get(slot) for slot in sorted(set(slots))]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def restrict(corpus: Corpus, languages: Sequence[str], slots: Sequence[str] = SLOTS) -> Corpus:
    """The corpus with only some languages and texts, so that lint and errors speak of what is used."""
    splits = {
        name: Split(
            split.images, {lang: split.captions[lang].only(slots) for lang in languages if lang in split.captions}
        )
        for name, split in corpus.splits.items()
    }
    return replace(corpus, splits=splits)


def as_corpus(corpus: Corpus, **splits: Split) -> Corpus:
    """A corpus of parts that were cut from another."""
    return replace(corpus, splits=splits)


@dataclass(frozen=True)
class Parts:
    """A corpus cut into train, validation and test, with the image names of each for the record."""

    train: Split
    validation: Split
    test: Split

    def names(self) -> dict[str, list[str]]:
        """Image names per part."""
        return {part: list(getattr(self, part).images) for part in ("train", "validation", "test")}


def cut(corpus: Corpus, config: DataConfig) -> Parts:
    """The seeded split of a configuration, or the user's split file; raises ConfigError, DataError."""
    from xpet.data.splits import SplitPlan, apply, few_shot

    if config.split_file is not None:
        try:
            text = Path(config.split_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read the split file {config.split_file}: {error}") from error
        plan = SplitPlan.from_json(text, corpus)
    else:
        shots = ALL if config.shots is None else config.shots
        plan = few_shot(corpus, shots, config.val_shots, config.split_seed)
    return Parts(**apply(corpus, plan))


@dataclass(frozen=True)
class Towers:
    """Both towers; `image` is None when the user brought image features, `fingerprints` then tells that file's.

    `precision` is what image features are to be computed in: see `ModelConfig.feature_precision`.
    """

    text: LoadedText
    image: LoadedImage | None
    names: Mapping[str, str | None]
    fingerprints: Mapping[str, str | None]
    precision: str = "auto"

    def precision_on(self, device: str) -> str | None:
        """What image features are really computed in on a device; None for the user's own."""
        from xpet.models.precision import precision_on

        return None if self.image is None else precision_on(device, self.precision)


def load_towers(config: ModelConfig, features: str | None) -> Towers:
    """Both towers, checked to fit together before any work; raises ModelError.

    `features` is a file of the user's own image features, in place of an image tower.
    """
    from xpet.models.checkpoint import load_text_tower

    return with_images(load_text_tower(text_path(config.text)), config, features)


def with_images(text: LoadedText, config: ModelConfig, features: str | None) -> Towers:
    """A loaded text tower with the image tower of a configuration; see `load_towers`."""
    from xpet.models.encode import check_dimensions

    if features is not None:
        names = {"text": config.text, "image": features}
        return Towers(text, None, names, {"text": text.fingerprint, "image": _file_digest(features)})
    from xpet.models.image_tower import load_image_tower

    name = config.image or image_of(config.text, text.config)
    image = load_image_tower(_image_path(name))
    check_dimensions(text.tower, image)
    prints = {"text": text.fingerprint, "image": image.fingerprint}
    return Towers(text, image, {"text": config.text, "image": name}, prints, config.feature_precision)


def text_alone(text: LoadedText, config: ModelConfig) -> Towers:
    """A loaded text tower where no image tower is at hand."""
    return Towers(text, None, {"text": config.text, "image": None}, {"text": text.fingerprint, "image": None})


def _file_digest(path: str) -> str | None:
    """SHA-256 of a file; None when it cannot be read, which its reader reports better."""
    import hashlib

    try:
        with open(path, "rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
    except OSError:
        return None


def text_path(name: str) -> str | Path:
    """Where a text tower is; `demo` is the shipped one."""
    from xpet.demo import assets

    return assets.TEXT_TOWER if name == DEMO else name


def english_path(name: str) -> str | Path:
    """Where a mono-lingual English text tower is; `demo` is the one the demo's was distilled from."""
    from xpet.demo import assets

    return assets.ENGLISH_TOWER if name == DEMO else name


def _image_path(name: str) -> str | Path:
    from xpet.demo import assets

    return assets.IMAGE_TOWER if name == DEMO else name


def image_of(text_name: str, document: Mapping[str, Any]) -> str:
    """The image tower of a text tower: the one its config.json names (`xpet merge` writes it), else the known partner.

    Raises ModelError when there is none.
    """
    from xpet.models.encode import image_tower_of

    named = document.get(IMAGE_KEY)
    if isinstance(named, str) and named:
        return named
    return DEMO if text_name == DEMO else image_tower_of(text_name)


def features_of(
    corpus: Corpus, parts: Sequence[Split], towers: Towers, config: DataConfig, device: str, on_event: OnEvent
) -> list[Tensor]:
    """Image features of each part, float32 [images, d]: the user's own, or the stored ones, computed where missing.

    A file of the user's own features has one row per image of the corpus, in the order of its splits. Stored features
    of another precision than the towers are to compute in are not used.
    """
    names = [name for part in parts for name in part.images]
    if config.image_features is not None:
        return _own_features(corpus, parts, towers, config.image_features)
    if corpus.pictures is None:
        raise DataError(
            f"{corpus.name}: expected pictures below {config.root}, or --image-features FILE with one row per image; "
            "found neither"
        )
    from xpet.data.features import image_features

    tower, precision = towers.image, towers.precision
    assert tower is not None
    rows = image_features(
        names, corpus.pictures, lambda images: tower.encode(images, device, precision), tower.key_on(device, precision),
        features_folder(), on_event=on_event, prepare=tower.prepare,
    )  # fmt: skip
    return list(rows.split([len(part.images) for part in parts]))


def _own_features(corpus: Corpus, parts: Sequence[Split], towers: Towers, path: str) -> list[Tensor]:
    from xpet.data.features import read_features
    from xpet.models.encode import check_dimensions

    images = [name for split in corpus.splits.values() for name in split.images]
    rows = read_features(Path(path), len(images))
    check_dimensions(towers.text.tower, Width(rows.shape[1]))
    place = {name: i for i, name in enumerate(images)}
    return [rows[[place[name] for name in part.images]] for part in parts]


@dataclass(frozen=True)
class Width:
    """Features of which only the size is known."""

    dimensions: int


def versions() -> dict[str, str]:
    """Versions of xpet and of what its numbers depend on."""
    import platform
    from importlib.metadata import version

    from xpet.version import VERSION

    packages = ("torch", "transformers", "opendelta", "accelerate", "tokenizers", "numpy")
    return {"xpet": VERSION, "python": platform.python_version(), **{name: version(name) for name in packages}}
