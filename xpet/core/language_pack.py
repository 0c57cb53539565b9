"""The language pack: the run records of many languages in one safetensors file.

Tensors are named `NUMBER/NAME`, the number of the module and the tensor's name in it. Everything else of the records
is one JSON document in the header: `runs` hold for each record its name, the number of its module, and for each of its
documents the index in `shared`, where equal ones (split, environment, ...) stand once. Languages with the very same
module (a combination) share its tensors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpet.core.errors import DataError
from xpet.core.json_files import parsed
from xpet.core.languages import is_language
from xpet.core.run_record import DOCUMENTS, RunRecord, documents_of, record_of
from xpet.core.tensors import check_finite, check_kinds, read_metadata

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = 1
KEY = "xpet_pack"
"""Entry of the file's metadata that holds the document."""


@dataclass(frozen=True)
class PackEntry:
    """A run in a pack; `name` is its language."""

    name: str
    record: RunRecord


def is_pack(path: Path) -> bool:
    """Whether a file is a pack, be it a damaged or a newer one."""
    if not path.is_file():
        return False
    try:
        return KEY in read_metadata(path)
    except (OSError, ValueError):
        return False


def pack_bytes(entries: Sequence[PackEntry]) -> bytes:
    """The bytes of a pack's file."""
    from safetensors.torch import save

    modules: list[Mapping[str, Tensor]] = []  # each once, though languages may share it
    shared: list[Any] = []
    runs = []
    for entry in entries:
        number = _module_number(modules, entry.record.delta)
        documents = {name: _shared_index(shared, value) for name, value in documents_of(entry.record).items()}
        runs.append({"name": entry.name, "delta": number, **documents})
    tensors = {
        f"{number}/{name}": value.contiguous() for number, delta in enumerate(modules) for name, value in delta.items()
    }
    document = json.dumps({"schema": SCHEMA, "runs": runs, "shared": shared}, ensure_ascii=False)
    content: bytes = save(tensors, metadata={KEY: document})
    return content


def read_pack(path: Path) -> list[PackEntry]:
    """The runs of a pack, all checked; raises DataError for what is none, is damaged or of a newer schema."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not is_pack(path):
        raise DataError(f"{path}: expected a run folder or a language pack of `xpet merge --pack`, found another file")
    try:
        document = parsed(read_metadata(path)[KEY])
        if document["schema"] != SCHEMA:
            raise DataError(f"{path}: expected a pack of schema {SCHEMA}, found {document['schema']}; update xpet")
        entries = _entries(document, load_file(path))
        modules = {entry.module: entry for entry in entries}
    except (OSError, ValueError, KeyError, TypeError, IndexError, SafetensorError) as error:
        raise DataError(
            f"{path}: expected a language pack of `xpet merge --pack`, found a damaged one ({error}); make it again"
        ) from error
    for entry in modules.values():
        check_kinds(entry.delta, path / entry.name)
        check_finite(entry.delta, path / entry.name, "train the run again and make the pack of it")
    return [PackEntry(e.name, record_of(path / e.name, e.documents, e.delta)) for e in entries]


@dataclass(frozen=True)
class _StoredEntry:
    """One entry as the file holds it: the number of its module, that module's tensors, and its documents by name."""

    name: str
    module: int
    delta: Mapping[str, Tensor]
    documents: Mapping[str, Any]


def _entries(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> list[_StoredEntry]:
    """The entries of a pack's document; raises ValueError, KeyError, TypeError or IndexError for a damaged one."""
    entries = [_entry(run, document["shared"], tensors) for run in document["runs"]]
    if not entries:
        raise ValueError("it holds no run")
    return entries


def _entry(run: Mapping[str, Any], shared: Sequence[Any], tensors: Mapping[str, Tensor]) -> _StoredEntry:
    if not isinstance(run["name"], str):
        raise ValueError(f"a name that is no text: {run['name']!r:.60}")
    if not is_language(run["name"]):
        raise ValueError(f"a name that is no language's: {run['name']!r:.60}")
    start = f"{run['delta']}/"
    delta = {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
    if not delta:
        raise ValueError(f"no module for {run['name']}")
    return _StoredEntry(run["name"], run["delta"], delta, {name: shared[run[name]] for name in DOCUMENTS})


def _module_number(modules: list[Mapping[str, Tensor]], delta: Mapping[str, Tensor]) -> int:
    """The index of a module among those that are stored; it is appended when it is new."""
    for number, other in enumerate(modules):
        if _same(other, delta):
            return number
    modules.append(delta)
    return len(modules) - 1


def _shared_index(shared: list[Any], value: Any) -> int:
    """The index of a value among the shared ones; it is appended, as JSON holds it, when it is new."""
    plain = json.loads(json.dumps(value))
    for index, other in enumerate(shared):
        if other == plain:
            return index
    shared.append(plain)
    return len(shared) - 1


def _same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    """Whether two modules have the same tensors with the same numbers."""
    if left.keys() != right.keys():
        return False
    return all(left[name].shape == right[name].shape and bool((left[name] == right[name]).all()) for name in left)
