"""Loads the text and image towers of a model, and computes or reads its image features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from xpet.core.captions import Corpus, Split
from xpet.core.config import DEMO, DataConfig, ModelConfig
from xpet.core.errors import DataError
from xpet.core.events import OnEvent
from xpet.core.files import sha256_of
from xpet.core.paths import absolute, exists, features_folder
from xpet.core.processes import here
from xpet.core.regular_files import open_regular

if TYPE_CHECKING:
    from torch import Tensor

    from xpet.models.checkpoint import LoadedText, OpenText
    from xpet.models.image_tower import LoadedImage


IMAGE_KEY = "imageModel"
"""Key in a merged checkpoint's config.json under which its image tower is named."""


def absolute_model(config: ModelConfig) -> ModelConfig:
    """The configuration with absolute paths of local folders, so that a run finds them from anywhere."""
    text = config.text if config.text in ("", DEMO) else _absolute(config.text)
    image = config.image if config.image in (None, DEMO) else _absolute(config.image)
    return replace(config, text=text or DEMO, image=image)


def _absolute(path: str | None) -> str | None:
    """An absolute path; a file is not followed to where it lies in the hub's cache, without a name and its settings."""
    return str(Path(path).absolute()) if path is not None and exists(path) and Path(path).is_file() else absolute(path)


@dataclass(frozen=True)
class Towers:
    """Both towers of a model."""

    text: LoadedText
    image: LoadedImage | None
    """None where the user brought image features, or no image tower is at hand."""
    names: Mapping[str, str | None]
    """Names or paths of the `text` and the `image` tower, or of the file of image features."""
    fingerprints: Mapping[str, str | None]
    """SHA-256 of the weights of the `text` and the `image` tower, or of the file of image features."""
    precision: str = "auto"
    """Precision that was asked for image features: see `ModelConfig.feature_precision`."""

    def precision_on(self, device: str) -> str | None:
        """Precision that image features have on a device, `auto` resolved; None for the user's own features."""
        from xpet.models.precision import precision_on

        return None if self.image is None else precision_on(device, self.precision)


def load_towers(config: ModelConfig, features: str | None) -> Towers:
    """Both towers, checked to fit together before any work; raises ModelError.

    `features` is a file of the user's own image features, in place of an image tower.
    """
    from xpet.models.checkpoint import load_text_tower
    from xpet.models.modelling import import_modelling

    import_modelling()
    return with_images(load_text_tower(text_path(config.text)), config, features)


def with_images(text: LoadedText, config: ModelConfig, features: str | None) -> Towers:
    """A loaded text tower with the image tower of a configuration; see `load_towers`."""
    from xpet.models.encode import check_dimensions

    if features is not None:
        names = {"text": config.text, "image": features}
        return Towers(text, None, names, {"text": text.fingerprint, "image": _file_digest(features)})
    from xpet.models.image_tower import load_image_tower

    name = config.image or image_of(config.text, text)
    image = load_image_tower(_image_path(name))
    check_dimensions(text.tower, image)
    prints = {"text": text.fingerprint, "image": image.fingerprint}
    return Towers(text, image, {"text": config.text, "image": name}, prints, config.feature_precision)


def text_alone(text: LoadedText, config: ModelConfig) -> Towers:
    """A loaded text tower where no image tower is at hand."""
    return Towers(text, None, {"text": config.text, "image": None}, {"text": text.fingerprint, "image": None})


def _file_digest(path: str) -> str | None:
    """SHA-256 of a file; None when it cannot be read, which its reader reports better."""
    try:
        with open_regular(path) as file:
            return sha256_of(file)
    except OSError:
        return None


def text_path(name: str) -> str | Path:
    """The path or hub name of a text tower; for `demo` the path of the shipped one."""
    from xpet.demo import assets

    return assets.TEXT_TOWER if name == DEMO else name


def english_path(name: str) -> str | Path:
    """The path or hub name of an English text tower; for `demo` that of the one the demo's was distilled from."""
    from xpet.demo import assets

    return assets.ENGLISH_TOWER if name == DEMO else name


def _image_path(name: str) -> str | Path:
    from xpet.demo import assets

    return assets.IMAGE_TOWER if name == DEMO else name


def image_of(text_name: str, text: LoadedText | OpenText, known_as: str | None = None) -> str:
    """The image tower of a text tower: what its config.json names (`xpet merge` writes it), its own, or a known one.

    Its own is the one in the same checkpoint; `known_as` is the name it is known by, where that is another than where
    it lies. Raises ModelError when there is none.
    """
    from xpet.models.encode import image_tower_of

    named = text.config.get(IMAGE_KEY)
    if isinstance(named, str) and named:
        return named
    name = known_as or text_name
    return DEMO if name == DEMO else text_name if text.has_image else image_tower_of(name)


def features_of(
    corpus: Corpus, parts: Sequence[Split], towers: Towers, config: DataConfig, device: str, on_event: OnEvent
) -> list[Tensor]:
    """Image features of each part, float32 [images, d]: the user's own, or the stored ones, computed where missing.

    A file of the user's own features has one row per image of the corpus, in the order of its splits. Stored features
    of another precision than the towers are to compute in are not used. All processes of the command compute them.
    """
    names = [name for part in parts for name in part.images]
    if config.image_features is not None:
        return _given_features(corpus, parts, towers, config.image_features)
    if corpus.pictures is None:
        raise DataError(
            f"{corpus.name}: expected pictures below {config.root}, or --image-features FILE with one row per image; "
            "found neither"
        )
    from xpet.data.features import BATCH, BATCH_ON_GPU, image_features

    tower, precision = towers.image, towers.precision
    assert tower is not None
    on_gpu = device.startswith("cuda")
    rows = image_features(
        names, corpus.pictures, lambda images: (tower.start if on_gpu else tower.encode)(images, device, precision),
        tower.key_on(device, precision), features_folder(), BATCH_ON_GPU if on_gpu else BATCH, on_event, tower.prepare,
        here(),
    )  # fmt: skip
    tower.release()
    return list(rows.split([len(part.images) for part in parts]))


def _given_features(corpus: Corpus, parts: Sequence[Split], towers: Towers, path: str) -> list[Tensor]:
    """Features [images, d] of each part, of a file of the user's; raises DataError, ModelError for another width."""
    from xpet.data.features import read_features
    from xpet.models.encode import check_dimensions

    images = [name for split in corpus.splits.values() for name in split.images]
    rows = read_features(Path(path), len(images))
    check_dimensions(towers.text.tower, Width(rows.shape[1]))
    index = {name: i for i, name in enumerate(images)}
    return [rows[[index[name] for name in part.images]] for part in parts]


@dataclass(frozen=True)
class Width:
    """An image side of which only the size of its features is known, for `check_dimensions`."""

    dimensions: int


def versions() -> dict[str, str]:
    """Versions of xpet and of what its numbers depend on."""
    import platform
    from importlib.metadata import version

    from xpet.version import VERSION

    packages = ("torch", "transformers", "opendelta", "accelerate", "tokenizers", "numpy")
    return {"xpet": VERSION, "python": platform.python_version(), **{name: version(name) for name in packages}}
