"""The dual encoder that `xpet.load` gives: texts and pictures to features in one space."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from xpet.core.captions import PIVOT, in_language
from xpet.core.errors import ConfigError, DataError, ModelError
from xpet.core.language_codes import base
from xpet.core.languages import UNDETERMINED, normalise
from xpet.jobs.shared.run_records import method_of
from xpet.jobs.shared.towers import Towers

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from xpet.core.run_record import RunRecord
    from xpet.data.images import FolderPictures
    from xpet.methods.stack import Stack
    from xpet.models.image_tower import LoadedImage

NATURAL = "natural text"
TRANSLATED = "text translated to English"
LISTED = 10
"""Most unreadable pictures, or texts that are none, that an error names."""
_CODE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{1,8})*")  # the shape of a BCP 47 language tag
_T = TypeVar("_T")


class DualEncoder:
    """A text tower and an image tower in one space, with a trained module for some languages.

    Made by `xpet.load`. Features are float32 tensors on the CPU, whatever the device; those of texts and pictures are
    compared by their dot product when normalised, else by their cosine.

    A module trained by routine 3 (or `baseline-translated`) was trained to read *text translated to English*: give it
    translations of the queries, not the queries. `searches_with` and `repr` tell.

    Any number of threads may call one encoder: `encode_text` calls take turns, because they share the tower that
    modules are switched in; `encode_image` calls run beside them. Processes should each load their own.

    Attributes:
        name: what was loaded.
        device: where it computes.
        dimensions: size d of the shared space.
        default_lang: the language that `lang=None` stands for; None: the base, without a module.
        searches_with: language with a module -> `natural text` or `text translated to English`.
        runs: language with a module -> its run directory.
    """

    def __init__(self, name: str, towers: Towers, chosen: Mapping[str, tuple[Path, RunRecord]], device: str) -> None:
        """Attach the modules of the `chosen` runs (by language), which share method and base, to the text tower."""
        self.name, self.device = name, device
        self.dimensions = int(towers.text.tower.dimensions)
        self.default_lang = next(iter(chosen)) if len(chosen) == 1 else None
        self.runs = {lang: str(path) for lang, (path, _) in chosen.items()}
        self.searches_with = {
            lang: TRANSLATED if record.routine.translates_queries else NATURAL for lang, (_, record) in chosen.items()
        }
        self._towers = towers
        self._modules = _Modules(towers, {lang: record for lang, (_, record) in chosen.items()}) if chosen else None
        self._tower = (self._modules.stack.to(device).tower if self._modules else towers.text.tower).to(device)
        self._turn = threading.Lock()

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages that have a module of their own."""
        return tuple(self.runs)

    def __repr__(self) -> str:
        default = "" if self._modules is None else f", default_lang={self.default_lang!r}"
        return (
            f"DualEncoder({self.name!r}, device={self.device!r}, dimensions={self.dimensions}, "
            f"searches_with={self.searches_with}{default})"
        )

    def encode_text(
        self,
        texts: Iterable[str],
        lang: str | None | Sequence[str | None] = None,
        batch_size: int = 256,
        normalize: bool = True,
    ) -> Tensor:
        """Features of texts of one language, or of several in one batch.

        Args:
            texts: any number of texts; longer ones than the tower has positions for are cut.
            lang: the language, which picks the module. `jp` is `ja`, and `de-AT` takes `de` where there is no `de-at`.
                A language without a module is encoded by the base. None: the module where there is just one, else the
                base; NLLB-CLIP, which marks texts by their language, needs one then. A list has a language for
                each text: those with a module share a forward, each text through its own module, and get the features
                they get alone (to float32 rounding).
            batch_size: texts per forward; equal texts are encoded once.
            normalize: whether rows get length 1; else they are as the tower gives them.

        Returns:
            float32 [texts, d] on the CPU, in the order of the texts.

        Raises:
            ConfigError: one text instead of several, a `lang` that is no language code, a list of another length than
                the texts, a batch size below 1.
            DataError: something that is no text.
        """
        rows = _listed("texts", texts, (str, bytes))
        _check_batch_size(batch_size)
        _check_texts(rows)
        modules = self._modules_of(lang, len(rows))
        rows = self._in_languages(rows, lang, modules)
        with self._turn:
            return _as_output(self._encode_texts(rows, modules, batch_size), normalize)

    def _modules_of(self, lang: str | None | Sequence[str | None], texts: int) -> list[str | None]:
        """The language whose module encodes each text, None: the base; raises ConfigError."""
        if lang is None or isinstance(lang, str):
            return [self._module_of(lang)] * texts
        by_code = {code: self._module_of(code) for code in dict.fromkeys(lang)}
        modules = [by_code[code] for code in lang]
        if len(modules) != texts:
            raise ConfigError(f"lang: expected one for each of {texts} texts, found {len(modules)}")
        return modules

    def _in_languages(
        self, texts: list[str], lang: str | None | Sequence[str | None], modules: list[str | None]
    ) -> list[str]:
        """The texts, saying their language: English before a module that was trained on texts translated to English."""
        codes = [lang] * len(texts) if lang is None or isinstance(lang, str) else lang
        found: list[str] = []
        for text, code, module in zip(texts, codes, modules, strict=True):
            is_english = module is not None and self.searches_with[module] == TRANSLATED
            found += in_language([text], PIVOT if is_english else code or self.default_lang)
        return found

    def _encode_texts(self, texts: list[str], modules: list[str | None], batch_size: int) -> Tensor:
        """Features [texts, d], each text by its module; a forward for each group of `_groups`."""
        import torch

        from xpet.models.encode import encode_texts

        features = torch.empty((len(texts), self.dimensions))
        for group in self._groups(modules):
            group_texts, group_modules = [texts[row] for row in group], [modules[row] for row in group]
            tokenizer = self._towers.text.tokenizer
            if self._modules is None or len(set(group_modules)) == 1:
                with self._switched(group_modules[0]):
                    rows = encode_texts(self._tower, tokenizer, group_texts, batch_size)
            else:
                runs = [self._modules.index[str(module)] for module in group_modules]
                each = self._modules.stack.each
                rows = encode_texts(self._tower, tokenizer, group_texts, batch_size, modules=runs, select=each)
            features[torch.tensor(group)] = rows.float()
        return features

    def _groups(self, modules: list[str | None]) -> list[list[int]]:
        """Rows that share a forward: all with a module where modules lie in one stack, else a group per module."""
        together = self._modules is not None and not self._modules.deltas
        groups: dict[object, list[int]] = {}
        for row, module in enumerate(modules):
            groups.setdefault(module is None if together else module, []).append(row)
        return list(groups.values())

    def encode_image(
        self,
        images: Iterable[str | os.PathLike[str] | Image],
        batch_size: int = 64,
        normalize: bool = True,
        precision: str = "auto",
    ) -> Tensor:
        """Features of pictures.

        Pictures may be of any mode with an agreed range: transparency is laid on white, 16 bits are scaled to 8, and
        the orientation noted in EXIF is applied, also to a PIL image that still carries the note.

        Args:
            images: paths and PIL images, also mixed.
            batch_size: pictures per forward, and pictures held in memory at a time.
            normalize: whether rows get length 1; else they are as the tower gives them.
            precision: what the tower computes in: fp32, bf16, fp16, or auto: bf16 on a GPU and fp32 elsewhere.

        Returns:
            float32 [images, d] on the CPU, in the order of the pictures.

        Raises:
            ConfigError: one picture instead of several, a batch size below 1, a precision that is not known or that
                the device does not have.
            DataError: pictures that are missing, broken or of another kind; all are counted, the first ten named.
            ModelError: no image tower is known for this text tower.
        """
        from PIL.Image import Image

        from xpet.models.precision import precision_on

        pictures = _listed("images", images, (str, bytes, os.PathLike, Image))
        _check_batch_size(batch_size)
        used = precision_on(self.device, precision)
        if self._towers.image is None:
            raise ModelError(
                f"{self.name}: no image tower is known for its text tower; expected one by xpet.load(..., "
                "image_model=...), found none"
            )
        return _as_output(self._encode_pictures(self._towers.image, pictures, batch_size, used), normalize)

    def _encode_pictures(self, tower: LoadedImage, pictures: list[Any], batch_size: int, precision: str) -> Tensor:
        """Features [pictures, d]; raises one DataError for all that cannot be read, encoding none after the first."""
        import torch

        problems: list[str] = []
        parts = [torch.empty((0, self.dimensions))]
        missing = any(_is_path(p) and not os.path.isfile(p) for p in pictures)  # seen before any work
        for start in range(0, len(pictures), batch_size):
            opened = _open(pictures[start : start + batch_size], start, problems)
            if not missing and not problems:
                parts.append(tower.encode(opened, self.device, precision))
        if problems:
            raise DataError(f"{len(problems)} of {len(pictures)} pictures cannot be read: {_some(problems)}")
        return torch.cat(parts)

    def _module_of(self, lang: str | None) -> str | None:
        """The language whose module encodes texts of `lang`; None: the base. Subtags are dropped as in RFC 4647."""
        if lang is None:
            return self.default_lang
        code = normalise(lang) if isinstance(lang, str) else ""
        if code not in self.runs and not _CODE.fullmatch(code):
            have = f" or one of the modules {', '.join(self.runs)}" if self.runs else ""
            raise ConfigError(f"lang: expected a language code such as 'tr'{have}, found {lang!r}")
        fallback = self._without_subtags(code)
        while code and normalise(code) not in self.runs:
            code = code.rpartition("-")[0]
        return normalise(code) or fallback

    def _without_subtags(self, code: str) -> str | None:
        """The module of a code without subtags (`tr` for `tur_Latn`), else the module `und`, but none for English."""
        language = base(code)
        if language in self.runs:
            return language
        return UNDETERMINED if UNDETERMINED in self.runs and code.partition("-")[0] != PIVOT else None

    @contextmanager
    def _switched(self, module: str | None) -> Iterator[None]:
        """For the block, the tower with a module, or bare."""
        if self._modules is None:
            yield
            return
        with self._modules.of(module):
            yield


class _Modules:
    """Modules of several languages on one tower: side by side in a stack, so that switching copies nothing.

    Runs that cannot be stacked (full fine-tuning) are copied into the tower whenever the language changes.
    """

    def __init__(self, towers: Towers, records: Mapping[str, RunRecord]) -> None:
        from xpet.methods.build import build_stack
        from xpet.methods.table import find_method

        first = next(iter(records.values()))
        method = method_of(first, towers)
        together = find_method(method).stackable
        self.deltas = {} if together else {lang: record.delta for lang, record in records.items()}
        self.loaded: str | None = None
        self.index = {lang: index if together else 0 for index, lang in enumerate(records)}
        self.stack: Stack = build_stack(towers.text.tower, method, [1] * (len(records) if together else 1))
        for lang, record in records.items():
            self.stack.load(self.index[lang], record.delta)
            self.loaded = lang

    @contextmanager
    def of(self, language: str | None) -> Iterator[None]:
        """For the block, the tower with a language's module; None: without any."""
        if language is None:
            with self.stack.bare():
                yield
            return
        if language in self.deltas and language != self.loaded:
            self.stack.load(0, self.deltas[language])
            self.loaded = language
        with self.stack.one(self.index[language]):
            yield


def _listed(what: str, values: Iterable[_T], single: tuple[type, ...]) -> list[_T]:
    """The values as a list; raises ConfigError for a single one, such as a string, which could be iterated over."""
    if isinstance(values, single):
        raise ConfigError(f"{what}: expected a list, found one {type(values).__name__}; put it into a list")
    try:
        return list(values)
    except TypeError:
        raise ConfigError(f"{what}: expected a list, found {type(values).__name__}") from None


def _check_batch_size(size: object) -> None:
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ConfigError(f"batch_size: expected a whole number from 1 on, found {size!r}")


def _check_texts(texts: list[Any]) -> None:
    kinds = [(number, type(text).__name__) for number, text in enumerate(texts) if not isinstance(text, str)]
    if kinds:
        raise DataError(_some([f"text {number}: expected a string, found {kind}" for number, kind in kinds]))


def _is_path(value: object) -> TypeGuard[str | os.PathLike[str]]:
    return isinstance(value, (str, os.PathLike))


def _some(problems: list[str]) -> str:
    """The first problems in words, and the number of the others."""
    more = len(problems) - LISTED
    return "; ".join(problems[:LISTED]) + (f"; and {more} more" if more > 0 else "")


def _open(pictures: list[Any], start: int, problems: list[str]) -> list[Image]:
    """The pictures as RGB; what cannot be read goes to `problems`. `start` is the index of the first."""
    from xpet.data.images import FolderPictures

    folder = FolderPictures((Path(),))
    opened = []
    for number, picture in enumerate(pictures, start):
        try:
            opened.append(_open_one(folder, picture, number))
        except DataError as error:
            problems.extend(error.problems)
    return opened


def _open_one(folder: FolderPictures, picture: Any, number: int) -> Image:
    """One picture as RGB; `number` names it where it has no path. Raises DataError."""
    from PIL import Image

    from xpet.core.pictures import rgb

    if _is_path(picture):
        if not os.path.isfile(picture):
            raise DataError(f"picture {os.fsdecode(picture)}: expected a file, found none")
        return folder.open(os.fsdecode(picture))
    if not isinstance(picture, Image.Image):
        raise DataError(f"picture {number}: expected a path or a PIL image, found {type(picture).__name__}")
    return rgb(picture, number)


def _as_output(features: Tensor, normalize: bool) -> Tensor:
    """Features [rows, d] in float32, of length 1 if `normalize`."""
    from torch.nn import functional

    return functional.normalize(features.float(), dim=-1) if normalize else features.float()
