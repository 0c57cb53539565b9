"""What may be where after a command was killed, and what the files of a folder hold, but for times and memory."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from xpet.core.files import is_temporary
from xpet.core.tensors import from_safetensors

CACHE = (
    "cache/", "cache/translations.sqlite", "cache/translations.sqlite-journal", "cache/features/",
    "cache/features/*/", "cache/features/*/part-*.safetensors", "cache/pairs/", "cache/pairs/*/",
    "cache/pairs/*/pairs.json", "cache/pairs/*/tokens.bin", "cache/pairs/*/offsets.bin",
    "cache/pairs/*/features.bin", "cache/pairs/*/lock", "cache/argos/", "cache/argos/**",
)  # fmt: skip
"""What commands keep in the cache; the repeated command may leave it, too."""
UNFINISHED = (
    "out/", "out.unfinished/", "out.unfinished/sweep.json", "out.unfinished/.sweep.lock",
    *(f"out.unfinished/{name}/{inside}" for name in ("checkpoints", "history", "diverged") for inside in ("", "*")),
    *(f"out.unfinished/{name}/{inside}" for name in ("new", "replaced") for inside in ("", "**")),
)  # fmt: skip
"""What a killed command may leave beside its finished results, until it is repeated."""
SYSTEM = ("tmp/", "tmp/**")
"""The system's folder of temporary files, which the system cleans."""
VOLATILE = ("seconds", "peak_memory", "cached", "translated", "retried")
"""Values of JSON files that differ from one run of a command to the next: times, memory, what the cache had."""
Tree = dict[str, str]
"""What each file holds, as a digest, by its path; a folder's path ends with a slash and it holds nothing."""


def tree(folder: Path, exact: bool = True) -> Tree:
    """Every file and folder below a folder; not `exact`: numbers that are not whole count as alike."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() and not path.is_symlink():
            found[f"{name}/"] = ""
        else:
            found[name] = _digest(path, exact)
    return found


def _digest(path: Path, exact: bool) -> str:
    if path.suffix in (".json", ".jsonl") and not is_temporary(path):
        text = path.read_text(encoding="utf-8")
        try:
            documents = [json.loads(each) for each in (text.splitlines() if path.suffix == ".jsonl" else [text])]
        except ValueError:
            return "damaged JSON"
        return json.dumps(_steady(documents, exact), sort_keys=True)
    if not exact and path.suffix == ".safetensors" and not is_temporary(path):
        return str({name: list(tensor.shape) for name, tensor in from_safetensors(path).items()})
    if path.is_file() and os.access(path, os.R_OK):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return "no file"


def _steady(value: Any, exact: bool) -> Any:
    """A JSON value without times and memory; not `exact`: without numbers that training brings."""
    if isinstance(value, dict):
        return {name: _steady(inner, exact) for name, inner in value.items() if name not in VOLATILE}
    if isinstance(value, float) or value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value if exact else 0
    return [_steady(inner, exact) for inner in value] if isinstance(value, list) else value


def fits(name: str, patterns: Iterable[str]) -> bool:
    """Whether a path fits one of some patterns; a `*` stands for part of one name, `**` at the end for anything."""
    return any(_fits(name, pattern) for pattern in patterns)


def _fits(name: str, pattern: str) -> bool:
    if pattern.endswith("/**"):
        return name.startswith(pattern[:-2])
    parts, wanted = name.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def temporary(name: str) -> bool:
    """Whether a path is a temporary sibling, or inside of one."""
    return any(is_temporary(Path(part)) for part in PurePosixPath(name).parts)


def astray(found: Tree, whole: Tree, allowed: Iterable[str]) -> list[str]:
    """Paths that are neither results of the uninterrupted command, nor allowed, nor temporary siblings."""
    places = (*allowed, *SYSTEM)
    return [name for name in found if name not in whole and not fits(name, places) and not temporary(name)]


def results(found: Tree, patterns: Iterable[str]) -> dict[str, Tree]:
    """The finished results in a tree by their paths, each with all that is in it; temporary siblings are none."""
    names = {name.rstrip("/") for name in found if not temporary(name)}
    wanted = tuple(patterns)
    return {
        name: {path: held for path, held in found.items() if path == name or path.startswith(f"{name}/")}
        for name in sorted(names)
        if fits(name, wanted)
    }


def difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """In words, where two trees differ; nothing when they do not."""
    missing, more = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    other = sorted(name for name in set(found) & set(expected) if found[name] != expected[name])
    words = (("missing", missing), ("more", more), ("other", other))
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in words if names)
