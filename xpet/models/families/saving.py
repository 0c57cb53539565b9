"""Writes a checkpoint again as it was read: its text tower changed, everything else byte for byte."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from xpet.core.events import OnEvent
from xpet.models.families.base import OpenText
from xpet.models.shards import Change, StorageOptions, write_weights
from xpet.models.weights import write_json

FILES_KEY = "xpetFiles"
"""Entry of the settings that lists what lies in the folder, so that it may be overwritten."""
WEIGHTS = (
    ".safetensors", ".bin", ".h5", ".msgpack", ".onnx", ".ot", ".pt", ".pth", ".ckpt", ".tflite", ".mlmodel",
    ".index.json",
)  # fmt: skip
"""Endings of files of weights in any format, which would contradict the new ones and are not copied."""
_OURS = ("README.md",)
"""Files that are written anew."""
_HIDDEN = "."
"""How names begin of files that belong to a tool, such as git, and not to the checkpoint."""


def write_as_read(
    base: OpenText, stage: Path, changes: Mapping[str, Change], storage: StorageOptions, entries: Mapping[str, Any],
    on_event: OnEvent,
) -> None:  # fmt: skip
    """Write a checkpoint into an empty folder in the layout, names and parts that it was read in.

    `changes` are made to the text tower's tensors of these names; these are stored as `storage` says, all others as
    they are. Files that are no weights are copied; `entries` come into the file of settings, and under FILES_KEY the
    names of all that was written. Raises ModelError as `write_weights` does.
    """
    _copy(base.layout.folder, stage, base.layout.small_files)
    on_disk = base.on_disk
    text = {on_disk(name) for name in base.tensors}
    changed = {on_disk(name): change for name, change in changes.items()}
    tensors = base.layout.mapped()
    for part in base.layout.parts:
        names = [name for name in tensors if name.rpartition("/")[0] == part.folder]
        short = {name: name.removeprefix(part.prefix) for name in names}
        kept = frozenset(short[name] for name in names if name not in text)
        (stage / part.folder).mkdir(exist_ok=True)
        write_weights(
            stage / part.folder, {short[name]: tensors[name] for name in names},
            {short[name]: changed[name] for name in names if name in changed},
            replace(storage, kept=kept, stems=part.stems), on_event,
        )  # fmt: skip
    names = sorted({*(path.name for path in stage.iterdir()), Path(base.layout.settings).parts[0]})
    write_json(stage / base.layout.settings, {**base.config, **entries, FILES_KEY: names})


def _copy(folder: Path, stage: Path, belonging: tuple[str, ...] | None) -> None:
    """Copy the files of a checkpoint that are no weights, and those in its folders; or only the `belonging` ones."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if not path.is_file() or path.name.endswith(WEIGHTS) or any(p.startswith(_HIDDEN) for p in inside.parts):
            continue
        if inside.as_posix() not in _OURS and (belonging is None or inside.as_posix() in belonging):
            (stage / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, stage / inside)
