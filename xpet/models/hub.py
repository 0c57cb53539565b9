"""Finds the folder of a checkpoint: a local folder, one in the hub's cache, or a download from the hub."""

from __future__ import annotations

import re
from pathlib import Path

from xpet.core.errors import ModelError, one_line
from xpet.models.families import FAMILIES, family_of, is_checkpoint
from xpet.models.families.base import Part
from xpet.models.weights import LONG

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_SMALL_FILES = (
    "config.json", "preprocessor_config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "sentencepiece.bpe.model", "vocab.txt", "vocab.json", "merges.txt",
)  # fmt: skip
"""Files of a checkpoint, besides the weights, that are fetched, whatever folder of it they lie in."""
_TIME_OUT = 15.0
"""Seconds within which the hub must answer."""


def checkpoint_folder(name_or_path: str | Path, allow_download: bool = True) -> Path:
    """The folder of a checkpoint, or the file that is one; a hub name is looked up and, where allowed, downloaded.

    Only configuration, tokenizer and weights are fetched, and PyTorch weights only where there is no safetensors file.
    Raises ModelError when nothing of that name is found.
    """
    name, path = str(name_or_path), Path(name_or_path)
    if path.is_dir():
        return path
    if path.exists():
        if path.name.endswith(tuple(ending for family in FAMILIES for ending in family.single_files)):
            return path
        remedy = f"; give the folder that it lies in: {path.parent}" if is_checkpoint(path.parent) else ""
        raise ModelError(f"{path}: expected a checkpoint folder, found a file{remedy}")
    if isinstance(name_or_path, Path) or not _HUB_NAME.fullmatch(name):
        raise ModelError(f"{name}: expected a checkpoint folder or a hub name (owner/name), found no such folder")
    return _fetch(name, allow_download)


def _fetch(name: str, allow_download: bool) -> Path:
    """The folder of a hub name, from the hub if it can be reached, else from the cache; raises ModelError."""
    from huggingface_hub import constants

    online, problem = allow_download and not constants.HF_HUB_OFFLINE, None
    if online:
        try:
            return _download(name)
        except Exception as error:  # the hub's client raises its own, httpx's and the operating system's errors
            problem = error
    folder = _cached(name)
    if folder is None or (family_of(folder).parts and not _has_weights(folder)):
        raise ModelError(f"'{name}': {_absent(name, problem, folder)}")
    return folder


def _cached(name: str) -> Path | None:
    """The folder of a hub name in the local cache, None where there is none; it need not have all files."""
    try:
        return _snapshot(name, (), online=False)
    except Exception as error:
        incomplete = getattr(error, "snapshot_path", None)  # files that were never fetched may be ones not needed
        return Path(incomplete) if incomplete is not None else None


def _has_weights(folder: Path) -> bool:
    patterns = (pattern for part in _parts() for pattern in (*_safe(part), *_pytorch(part)))
    return any(path.is_file() for pattern in patterns for path in folder.glob(pattern))


def _absent(name: str, problem: Exception | None, folder: Path | None) -> str:
    """Why a hub name could not be had, and the command that fetches it; `folder` is an incomplete one in the cache."""
    from huggingface_hub.errors import GatedRepoError

    fetch = f"hf download {name}"
    if isinstance(problem, GatedRepoError) or isinstance(getattr(problem, "__cause__", None), GatedRepoError):
        return (
            "the hub gives it to those alone who accepted its conditions: accept them on "
            f"https://huggingface.co/{name}, then: hf auth login && {fetch}"
        )
    if problem is not None:
        return (
            "expected a local folder or a model on the hub, found neither: "
            f"{one_line(problem, LONG, first_only=True)}; check the name and the connection, or give a folder; to "
            f"fetch it: {fetch}"
        )
    if folder is not None:
        return f"expected weights in the local cache, found none in {folder}; with downloads switched on: {fetch}"
    return (
        "expected a local folder or a model in the local cache (downloads are switched off), found neither; check the "
        f"name, or where there is a connection: {fetch}"
    )


def _parts() -> tuple[Part, ...]:
    """The sets of weight files of all families."""
    return tuple(dict.fromkeys(part for family in FAMILIES for part in family.parts))


def _safe(part: Part) -> tuple[str, ...]:
    """Patterns of the names of safetensors files."""
    start = part.prefix + part.stems[0]
    return f"{start}.safetensors", f"{start}-*.safetensors", f"{start}.safetensors.index.json"


def _pytorch(part: Part) -> tuple[str, ...]:
    """Patterns of the names of PyTorch files."""
    start = part.prefix + part.stems[1]
    return f"{start}.bin", f"{start}-*.bin", f"{start}.bin.index.json"


def _snapshot(name: str, weights: tuple[str, ...], online: bool) -> Path:
    """The files of a repository, from the cache or downloaded."""
    import huggingface_hub

    small = (*_SMALL_FILES, *(file for family in FAMILIES for file in family.files))
    starts = dict.fromkeys(part.prefix for part in _parts())
    folder = huggingface_hub.snapshot_download(
        name, allow_patterns=[*(start + file for start in starts for file in small), *weights],
        local_files_only=not online,
    )  # fmt: skip
    return Path(folder)


def _download(name: str) -> Path:
    """A repository's small files, and then the weights that the family which recognises them reads.

    The hub is asked for a list of files first, so that being offline shows at once, not after retries.
    """
    import huggingface_hub

    info = huggingface_hub.HfApi().model_info(name, timeout=_TIME_OUT)
    files = {sibling.rfilename for sibling in info.siblings or ()}
    parts = family_of(_snapshot(name, (), online=True)).parts
    if not parts:  # a kind that is not read
        return _snapshot(name, (), online=True)
    chosen = _patterns(parts, files) or _patterns(_parts(), files)  # weights may be all that tells the family
    return _snapshot(name, chosen, online=True)


def _patterns(parts: tuple[Part, ...], files: set[str]) -> tuple[str, ...]:
    """Patterns of the weights to fetch of those that there are: PyTorch files where there is no safetensors file."""
    chosen = (_safe(part) if {*_safe(part)} & files else _pytorch(part) for part in parts)
    return tuple(pattern for patterns in chosen if {*patterns} & files for pattern in patterns)
