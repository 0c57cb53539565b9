"""The files of a store of training pairs, and how they are read; `pairs` writes them.

A store is a folder (numbers are little-endian):

pairs.json     the State: key, width and how much of the other files counts; written last, so a chunk counts or not
tokens.bin     uint32, the token rows end to end
offsets.bin    uint64, where each row ends
features.bin   float32 [rows, width]
lock           held by the one process that may write
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from xpet.core.errors import DataError
from xpet.core.json_files import parsed
from xpet.core.regular_files import read_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

SCHEMA = 1
STATE = "pairs.json"
LOCK = "lock"
BLOCK = 1 << 16
"""Rows read at a time."""
TOKENS, OFFSETS, FEATURES = FILES = ("tokens.bin", "offsets.bin", "features.bin")


@dataclass(frozen=True)
class State:
    """What a store holds: the contents of `pairs.json`.

    Attributes:
        key: fingerprint of everything the pairs depend on.
        width: dimensions of a feature row.
        rows: number of pairs.
        tokens: number of tokens in all rows.
        consumed: texts of the source that are done; streaming continues after them.
        finished: whether the source has no more texts.
        counts: counts that the writer keeps.
    """

    key: str
    width: int
    rows: int = 0
    tokens: int = 0
    consumed: int = 0
    finished: bool = False
    counts: Mapping[str, int] = field(default_factory=dict)
    schema: int = SCHEMA

    def sizes(self) -> dict[str, int]:
        """Bytes of each file."""
        return {TOKENS: 4 * self.tokens, OFFSETS: 8 * self.rows, FEATURES: 4 * self.width * self.rows}


class RowSequence(Sequence[list[int]], ABC):
    """A sequence of token rows, each made only when it is read."""

    @abstractmethod
    def row(self, row: int) -> list[int]:
        """The tokens of a row, 0 <= row < len(self)."""

    @overload
    def __getitem__(self, index: int) -> list[int]: ...

    @overload
    def __getitem__(self, index: slice) -> list[list[int]]: ...

    def __getitem__(self, index: int | slice) -> list[int] | list[list[int]]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        row = index + len(self) if index < 0 else index
        if not 0 <= row < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return self.row(row)


class MappedTokenRows(RowSequence):
    """Token rows read from disk one by one."""

    def __init__(self, tokens: NDArray[Any], ends: NDArray[Any]) -> None:
        """Keep the maps of `tokens.bin` [tokens] and `offsets.bin` [rows], whose entries say where each row ends."""
        self._tokens = tokens
        self._ends = ends

    def __len__(self) -> int:
        return len(self._ends)

    def row(self, row: int) -> list[int]:
        """The tokens of row 0, 1, ..."""
        start = int(self._ends[row - 1]) if row else 0
        tokens: list[int] = self._tokens[start : int(self._ends[row])].tolist()
        return tokens

    def heads(self, count: int) -> NDArray[Any]:
        """The first `count` tokens of every row, int64 [rows, count]; rows must have as many."""
        import numpy

        ends = self._ends.astype("i8")
        starts = numpy.concatenate([ends[:0], [0], ends[:-1]]) if len(ends) else ends
        return numpy.stack([self._tokens[starts + position].astype("i8") for position in range(count)], axis=1)

    def distinct(self, skip: int) -> list[int]:
        """The distinct tokens of all rows, ascending; the first `skip` of each row do not count."""
        import numpy

        distinct = numpy.empty(0, dtype="u4")
        for start in range(0, len(self), BLOCK):
            ends = self._ends[start : start + BLOCK].astype("i8")
            first = int(self._ends[start - 1]) if start else 0
            block = numpy.asarray(self._tokens[first : int(ends[-1])])
            counted = numpy.ones(len(block), dtype=bool)
            starts = numpy.concatenate([[0], ends[:-1] - first])
            for position in range(skip):
                counted[starts + position] = False
            distinct = numpy.union1d(distinct, block[counted])
        return [int(token) for token in distinct]


@dataclass(frozen=True)
class StoredPairs:
    """The pairs of a store as they stood when it was read.

    Attributes:
        tokens: rows of token numbers.
        features: [rows, width] float32 over a map of the file: `features[index]` reads only these rows. Writing to it
            changes nothing on disk.
    """

    tokens: MappedTokenRows
    features: Tensor
    state: State


def read_state(folder: Path) -> State:
    """The state in `pairs.json`; raises DataError when it is missing or the files do not agree with it."""
    path = folder / STATE
    try:
        state = _checked(parsed(read_bytes(path)))
    except FileNotFoundError:
        raise DataError(f"{folder}: expected a store of pairs, found no {STATE} in it") from None
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: expected the state of a pair store, found {error}") from error
    for name, size in state.sizes().items():
        actual = (folder / name).stat().st_size if (folder / name).is_file() else 0
        if actual < size:
            raise DataError(f"{folder / name}: expected {size:,} bytes, found {actual:,}; the store is damaged")
    last = int(_map(folder / OFFSETS, "<u8", state.rows)[-1]) if state.rows else 0
    if last != state.tokens:
        raise DataError(f"{folder / OFFSETS}: expected {state.tokens:,} tokens, found {last:,}; the store is damaged")
    _check_offsets(folder / OFFSETS, state.rows)
    return state


def _check_offsets(path: Path, rows: int) -> None:
    """Raise DataError unless every row ends where it begins, or behind that."""
    offsets, before = _map(path, "<u8", rows), 0
    for start in range(0, rows, BLOCK):
        ends = offsets[start : start + BLOCK].astype("i8")
        if int(ends[0]) < before or (ends[1:] < ends[:-1]).any():
            raise DataError(f"{path}: expected rows one behind the other, found others; the store is damaged")
        before = int(ends[-1])


def read_finished(folder: Path, key: str, width: int) -> StoredPairs | None:
    """The pairs of a finished store of this key and width; None where there is none, or a damaged one.

    Needs no lock: a finished store does not change, and one that takes its place has files of its own.
    """
    try:
        state = read_state(folder)
        return map_pairs(folder, state) if (state.key, state.width, state.finished) == (key, width, True) else None
    except (DataError, OSError):
        return None


def _checked(document: Any) -> State:
    """The state in a JSON document; raises ValueError or TypeError."""
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ValueError(f"no JSON object of schema {SCHEMA}")
    state = State(**document)
    for name in ("width", "rows", "tokens", "consumed"):
        value = getattr(state, name)
        if type(value) is not int or value < 0:  # true is an int to Python
            raise ValueError(f"{name} {value!r}")
    return state


def map_pairs(folder: Path, state: State) -> StoredPairs:
    """The pairs of a state: tokens and features [rows, width] as maps of the files, which are read when used."""
    import torch

    tokens = MappedTokenRows(_map(folder / TOKENS, "<u4", state.tokens), _map(folder / OFFSETS, "<u8", state.rows))
    features = torch.from_numpy(_map(folder / FEATURES, "<f4", state.rows * state.width))
    return StoredPairs(tokens, features.view(state.rows, state.width), state)


def _map(path: Path, kind: str, count: int) -> NDArray[Any]:
    """The first `count` numbers of a file [count]; private (copy on write), because torch takes no read-only arrays."""
    import numpy

    if not count:
        return numpy.empty(0, dtype=kind)
    return numpy.asarray(numpy.memmap(path, dtype=kind, mode="c", shape=(count,)))
