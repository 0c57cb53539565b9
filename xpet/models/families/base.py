"""What a model family is: how its checkpoints are recognised, read, built, tokenised and written.

In memory every text tower is the same: a `xpet.models.text_tower.TextTower` whose modules have one set of names. A
family says what its checkpoints call them, and makes the few choices in which towers differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from xpet.core.errors import ModelError
from xpet.core.events import OnEvent
from xpet.core.json_files import parsed
from xpet.core.known_models import Facts
from xpet.core.regular_files import read_text
from xpet.models.shards import Change, StorageOptions, total_bytes
from xpet.models.text_tower import TextTower
from xpet.models.tokenizer import TextTokenizer
from xpet.models.weights import STEMS, Remapped, check_fit, fingerprint, is_buffer, read_weights

CONFIG = "config.json"
LOGITS = ("logit_scale", "logit_bias")
"""Names, in every family that has them, of the logarithm of the scale of cosines, and of what is added then."""
_MOST = 100
"""Largest absolute value of these that is accepted."""


@dataclass(frozen=True)
class Part:
    """One set of weight files: the folder they lie in, and how their names begin."""

    folder: str = ""
    """Within the checkpoint; names of tensors begin with it and a slash in `DiskLayout.tensors`, unless it is empty."""
    stems: tuple[str, str] = STEMS
    """How names of safetensors files begin, and of PyTorch files."""
    file: str = ""
    """Name of the one file that is read, where it has another name; it is written under `stems`."""

    @property
    def prefix(self) -> str:
        """How names of its tensors begin in `DiskLayout.tensors`."""
        return f"{self.folder}/" if self.folder else ""


@dataclass(frozen=True)
class DiskLayout:
    """A checkpoint's folder as its family reads it: settings, and tensors mapped from the files."""

    folder: Path
    config: Mapping[str, Any]
    """The settings: contents of config.json, or of the file that the family has in its place."""
    parts: tuple[Part, ...] = (Part(),)
    settings: str = CONFIG
    """Name of the file that `config` was read from, within the folder."""
    small_files: tuple[str, ...] | None = None
    """Names of the files that belong to it beside settings and weights; None: all that lie in the folder."""
    buffers: bool = True
    """Whether buffers that older transformers releases wrote are kept when the checkpoint is written again."""
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    """By name on the disk; filled in by `mapped`."""

    def mapped(self) -> dict[str, Tensor]:
        """All tensors by name, mapped from the files anew; raises ModelError."""
        return {part.prefix + name: tensor for part in self.parts for name, tensor in self._of(part).items()}

    def _of(self, part: Part) -> dict[str, Tensor]:
        return read_weights(self.folder / part.folder, part.stems, self.buffers, part.file)

    def size(self, name: str, axis: int = 0) -> int:
        """A size of a matrix on the disk; raises ModelError, naming it, where there is no such matrix."""
        tensor = self.tensors.get(name)
        if tensor is None or tensor.dim() != 2:
            raise ModelError(f"{self.folder}: expected a matrix {name}, found none")
        return int(tensor.shape[axis])


@dataclass(frozen=True)
class OpenImage:
    """An image tower whose checkpoint is checked and whose weights are not loaded."""

    tower: nn.Module
    """On the meta device. Called with `pixel_values`, it returns an object with `image_embeds`; its
    `visual_projection.out_features` is the size of the space."""
    tensors: Mapping[str, Tensor]
    """By their names in the tower, mapped from the files."""
    processing: Mapping[str, Any] | None = None
    """The pre-processing, checked; None: it is read from preprocessor_config.json."""
    shown: Callable[[str], str] = str
    """What an error calls a tensor of a name in the tower."""


Write = Callable[["OpenText", Path, Mapping[str, Change], StorageOptions, Mapping[str, Any], OnEvent], None]
"""(checkpoint, empty folder, changes by name in the tower, how to store, further entries of the settings, on_event)."""


def unchanged(layout: DiskLayout, name: str) -> str:
    """The name on the disk of a family whose checkpoints use the tower's own names."""
    return name


@dataclass(frozen=True)
class Family:
    """One model family: a row of `xpet.models.families.FAMILIES`.

    Attributes:
        name: in errors and reports.
        recognise: whether a folder holds a checkpoint of it; looks at settings alone and raises nothing.
        read: settings and kind of files of a folder; raises ModelError, naming what is missing.
        build: the tower of a layout (with its tensors) on the meta device, for an implementation of attention.
        tokenizer: the layout's tokenizer for the tower: limit, padding, fixed length, whatever is done to texts. Rows
            that it gives are encoded as they are, packed or padded: a family without a mask pads them itself.
        write: a folder in the family's own layout.
        on_disk: the name that a tensor of the tower has in a layout.
        image: the image tower in the same folder; None where the family has none there.
        image_half: how names of tensors begin on the disk that belong to the image half of a checkpoint.
        unread: names of further tensors that may be there and are not read, such as the logit scale.
        files: names of files to fetch from the hub beside those of `xpet.models.hub`.
        parts: what sets of weight files there may be, to fetch from the hub with the small files in their folders.
        settings: names that the file of settings may have.
        signs: how names of tensors begin that every checkpoint of it has, to tell what weights without settings are.
        single_files: endings of names of files that are a whole checkpoint each: `recognise` and `read` are given the
            path of such a file in place of a folder's.
        facts: what is said about it: a row of `xpet.core.known_models`.
    """

    name: str
    recognise: Callable[[Path], bool]
    read: Callable[[Path], DiskLayout]
    build: Callable[[DiskLayout, str], TextTower]
    tokenizer: Callable[[DiskLayout, TextTower], TextTokenizer]
    write: Write
    on_disk: Callable[[DiskLayout, str], str] = unchanged
    image: Callable[[Path], OpenImage] | None = None
    image_half: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    parts: tuple[Part, ...] = (Part(),)
    settings: tuple[str, ...] = (CONFIG,)
    signs: tuple[str, ...] = ()
    single_files: tuple[str, ...] = ()
    facts: Facts = Facts("")


@dataclass(frozen=True)
class OpenText:
    """A text tower whose checkpoint is checked and whose weights are not loaded."""

    family: Family
    layout: DiskLayout
    tensors: Mapping[str, Tensor]
    """By name in the tower, mapped from the files."""
    tower: TextTower
    """On the meta device."""
    tokenizer: TextTokenizer

    @property
    def folder(self) -> Path:
        """Where the checkpoint lies."""
        return self.layout.folder

    @property
    def config(self) -> Mapping[str, Any]:
        """Contents of the file of settings."""
        return self.layout.config

    @property
    def has_image(self) -> bool:
        """Whether the image tower is in the same checkpoint."""
        half = self.family.image_half
        return self.family.image is not None and any(name.startswith(half) for name in self.layout.tensors)

    @property
    def logits(self) -> tuple[float | None, float | None]:
        """What the model's cosines are multiplied by and what is added then; None where the checkpoint does not say.

        Raises ModelError for a value that is no finite number.
        """
        scale, bias = (self._number(name) for name in LOGITS)
        return None if scale is None else math.exp(scale), bias

    def _number(self, name: str) -> float | None:
        """The number in a tensor of one value that the family leaves unread; None where there is none."""
        tensor = self.layout.tensors.get(name)
        if tensor is None or name not in self.family.unread:
            return None
        value = float(tensor) if tensor.numel() == 1 else math.nan
        if not abs(value) <= _MOST:
            raise ModelError(
                f"{self.folder}: expected one number of at most {_MOST:g} as {name}, found {value:g} in a tensor "
                f"{tuple(tensor.shape)}; fetch the checkpoint again"
            )
        return value

    def stored_bytes(self, storage: StorageOptions) -> int:
        """Bytes of all tensors of the checkpoint, those that are not the text tower's as they are."""
        text = {self.on_disk(name) for name in self.tensors}
        kept = frozenset(name for name in self.layout.tensors if name not in text)
        return total_bytes(self.layout.tensors, replace(storage, kept=kept))

    def streamed(self) -> Mapping[str, Tensor]:
        """The tensors by name in the tower, for one pass over them that does not leave them all in memory."""
        return Remapped(lambda: self._named(self.layout.mapped()))

    def _named(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors by their names in the tower of those on the disk."""
        return {name: tensors[self.on_disk(name)] for name in self.tensors}

    def fingerprint(self, is_in_use: bool = False) -> str:
        """Fingerprint (SHA-256, hex) of the stored weights by their names on the disk; reads them all.

        `is_in_use`: the mapped weights are the tower's own, so that reading these takes no more memory.
        """
        tensors = self.tensors if is_in_use else self.streamed()
        return fingerprint(Renamed(tensors, {self.on_disk(name): name for name in self.tensors}))

    def on_disk(self, name: str) -> str:
        """The name that a tensor of the tower has on the disk, as in `DiskLayout.tensors`."""
        return self.family.on_disk(self.layout, name)


class Renamed(Mapping[str, Tensor]):
    """Tensors under other names, each taken when it is asked for; `names` is new name -> old name."""

    def __init__(self, tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
        self._tensors, self._names = tensors, names

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[self._names[name]]

    def __iter__(self) -> Any:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def text_tensors(tower: TextTower, family: Family, layout: DiskLayout) -> dict[str, Tensor]:
    """The text tower's tensors of a layout by their names in the tower.

    Raises ModelError, naming them as on the disk, for tensors that are missing, misshapen or left over. Those of the
    image half, those that the family does not read, and buffers are not left over.
    """
    not_text = (*family.image_half, *family.unread)
    found = {
        name: tensor
        for name, tensor in layout.tensors.items()
        if not name.startswith(not_text) and not is_buffer(name)
    }  # fmt: skip
    on_disk = {name: family.on_disk(layout, name) for name in tower.state_dict()}
    check_fit({on_disk[name]: tensor for name, tensor in tower.state_dict().items()}, found, layout.folder)
    return {name: layout.tensors[disk] for name, disk in on_disk.items()}


def replaced(name: str, pairs: Iterable[tuple[str, str]]) -> str:
    """A name with every first part of a pair that it holds replaced by the second, one pair after the other."""
    for old, new in pairs:
        name = name.replace(old, new)
    return name


def document(folder: Path, name: str = CONFIG) -> Mapping[str, Any]:
    """The JSON object in a file, for recognising a folder; empty where there is none."""
    try:
        found = parsed(read_text(folder / name))
    except (OSError, ValueError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def json_list(folder: Path, name: str) -> list[Any]:
    """The JSON array in a file, for recognising a folder; empty where there is none."""
    try:
        found = parsed(read_text(folder / name))
    except (OSError, ValueError, TypeError):
        return []
    return found if isinstance(found, list) else []
