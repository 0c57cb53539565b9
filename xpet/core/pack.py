"""The language pack: the run records of many languages in one safetensors file.

Tensors are named `NUMBER/NAME IN THE DELTA`; everything else of the records is one JSON document in the header, where
what records share (split, environment, ...) stands once. Languages with the very same module (a combination) share its
tensors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpet.core.errors import DataError
from xpet.core.rundir import RunRecord
from xpet.core.tensors import check_finite, check_kinds

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = 1
KEY = "xpet_pack"
"""Entry of the file's metadata that holds the document."""
PARTS = ("config", "history", "metrics", "environment", "split")
MOST_HEADER = 100_000_000
"""Bytes of a header, as the safetensors format bounds it."""


@dataclass(frozen=True)
class Packed:
    """A run as it stands in a pack; `name` is its language."""

    name: str
    record: RunRecord


def is_pack(path: Path) -> bool:
    """Whether a file is a pack, be it a damaged or a newer one."""
    if not path.is_file():
        return False
    try:
        return KEY in _metadata(path)
    except (OSError, ValueError):
        return False


def pack_bytes(packed: Sequence[Packed]) -> bytes:
    """The contents of the file of a pack."""
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    places: list[tuple[Mapping[str, Tensor], int]] = []
    shared: list[Any] = []
    runs = []
    for one in packed:
        number = next((n for delta, n in places if _same(delta, one.record.delta)), None)
        if number is None:
            number = len(places)
            places.append((one.record.delta, number))
            tensors |= {f"{number}/{name}": value.contiguous() for name, value in one.record.delta.items()}
        parts = {part: _index(shared, getattr(one.record, part)) for part in PARTS}
        runs.append({"name": one.name, "delta": number, **parts})
    document = json.dumps({"schema": SCHEMA, "runs": runs, "shared": shared}, ensure_ascii=False)
    content: bytes = save(tensors, metadata={KEY: document})
    return content


def read_pack(path: Path) -> list[Packed]:
    """The runs of a pack; raises DataError for what is none, is damaged or of a newer schema."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not is_pack(path):
        raise DataError(f"{path}: expected a run folder or a language pack of `xpet merge --pack`, found another file")
    try:
        document = json.loads(_metadata(path)[KEY])
        if document["schema"] != SCHEMA:
            raise DataError(f"{path}: expected a pack of schema {SCHEMA}, found {document['schema']}; update xpet")
        tensors = load_file(path)
        packed = [_packed(run, document["shared"], tensors) for run in document["runs"]]
        if not packed:
            raise ValueError("it holds no run")
        own = {run["delta"]: one for run, one in zip(document["runs"], packed, strict=True)}
    except (OSError, ValueError, KeyError, TypeError, IndexError, SafetensorError) as error:
        raise DataError(
            f"{path}: expected a language pack of `xpet merge --pack`, found a damaged one ({error}); make it again"
        ) from error
    for one in own.values():  # languages that share a module are looked at once
        check_kinds(one.record.delta, path / one.name)
        check_finite(one.record.delta, path / one.name, "train the run again and make the pack of it")
    return packed


def _packed(run: Mapping[str, Any], shared: Sequence[Any], tensors: Mapping[str, Tensor]) -> Packed:
    if not isinstance(run["name"], str):
        raise ValueError(f"a name that is no text: {run['name']!r:.60}")
    start = f"{run['delta']}/"
    delta = {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
    if not delta:
        raise ValueError(f"no module for {run['name']}")
    return Packed(run["name"], RunRecord(delta=delta, **{part: shared[run[part]] for part in PARTS}))


def _index(shared: list[Any], value: Any) -> int:
    """The place of a value among the shared ones, put there when it is new."""
    plain = json.loads(json.dumps(value))
    for place, other in enumerate(shared):
        if other == plain:
            return place
    shared.append(plain)
    return len(shared) - 1


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    if one.keys() != other.keys():
        return False
    return all(one[name].shape == other[name].shape and bool((one[name] == other[name]).all()) for name in one)


def _metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; raises OSError, ValueError for other files."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if not 0 < size <= min(MOST_HEADER, path.stat().st_size):
            raise ValueError("no safetensors file")
        header = json.loads(file.read(size))
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else {}
    if not isinstance(metadata, dict):
        raise ValueError("no metadata")
    return metadata
