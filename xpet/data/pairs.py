"""Writes training pairs (token rows and anchor features) to disk, so that memory does not grow with their number.

A chunk is written, then counted in `pairs.json`. What a killed process wrote beyond that count is cut off when the
store is opened again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from itertools import accumulate, chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from xpet.core.errors import DataError
from xpet.core.events import Notice, OnEvent, ignore
from xpet.core.files import write_file, writing
from xpet.data.locking import locked
from xpet.data.pair_files import (
    FEATURES,
    FILES,
    LOCK,
    OFFSETS,
    STATE,
    TOKENS,
    MappedTokenRows,
    State,
    StoredPairs,
    map_pairs,
    read_state,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

MAX_TOKEN = (1 << 32) - 1
KEPT = "what is stored so far is kept"
"""What the error for a full disk says of the pairs."""


class PairStore:
    """The one writer of a store, a context manager; also reads it.

    A store of the same key and width is continued behind its last whole chunk; any other is deleted, and the new one
    begins empty. A damaged store is deleted as well, with a warning to `on_event`.
    """

    def __init__(self, folder: Path, key: str, width: int, on_event: OnEvent = ignore) -> None:
        """Open or create the store; `width` is that of a feature row.

        Raises:
            OutputError: another process writes to it, or the folder cannot be written.
        """
        self.folder = folder
        self._files: dict[str, BinaryIO] = {}
        self._mapped: StoredPairs | None = None
        with writing(f"the pair store {folder}", KEPT), ExitStack() as stack:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder / LOCK, f"pair store {folder}"))
            self._state = _resumed(folder, State(key, width), on_event)
            for name, size in self._state.sizes().items():
                file = stack.enter_context((folder / name).open("r+b", buffering=0))
                file.truncate(size)
                self._files[name] = file
            self._stack = stack.pop_all()

    def __enter__(self) -> PairStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock; what was appended stays."""
        self._stack.close()

    def __len__(self) -> int:
        return self._state.rows

    @property
    def consumed(self) -> int:
        """Texts of the source that are done."""
        return self._state.consumed

    @property
    def finished(self) -> bool:
        """Whether the source has no more texts."""
        return self._state.finished

    @property
    def counts(self) -> dict[str, int]:
        """The counts that were stored with the last chunk."""
        return dict(self._state.counts)

    @property
    def tokens(self) -> MappedTokenRows:
        """All token rows so far."""
        return self._pairs().tokens

    @property
    def features(self) -> Tensor:
        """All feature rows so far, [rows, width] float32; a row is read from disk when it is used."""
        return self._pairs().features

    def append(
        self,
        rows: Sequence[Sequence[int]],
        features: Tensor,
        consumed: int,
        counts: Mapping[str, int] | None = None,
        finished: bool = False,
    ) -> None:
        """Append a chunk, whole or not at all; it is on disk when this returns.

        Args:
            rows: token numbers below 2^32, a row for each pair; without rows only progress is stored.
            features: [rows, width], stored as float32.
            consumed: texts of the source that are done after this chunk.
            counts: replace the stored counts; None leaves them.
            finished: whether this was the last chunk.

        Raises:
            DataError: shapes that do not fit, numbers that are not finite, tokens out of range, or `consumed` running
                backwards.
            OutputError: the disk refuses; the chunk may be appended again.
        """
        state = self._state
        block = _feature_block(features, len(rows), state.width)
        tokens, ends = _token_block(rows, state.tokens)
        if consumed < state.consumed:
            raise DataError(f"pair store: expected at least {state.consumed} texts consumed, found {consumed}")
        new = replace(
            state, rows=state.rows + len(rows), tokens=state.tokens + len(tokens), consumed=consumed,
            finished=finished, counts=dict(state.counts if counts is None else counts),
        )  # fmt: skip
        with writing(f"the pair store {self.folder}", KEPT):
            if rows:
                sizes = state.sizes()
                for name, data in ((TOKENS, tokens), (OFFSETS, ends), (FEATURES, block)):
                    _write(self._files[name], sizes[name], data)
            _write_state(self.folder, new)
        self._state, self._mapped = new, None

    def _pairs(self) -> StoredPairs:
        """The pairs so far, mapped again after every chunk."""
        if self._mapped is None:
            self._mapped = map_pairs(self.folder, self._state)
        return self._mapped


def _feature_block(features: Tensor, rows: int, width: int) -> NDArray[Any]:
    """The features [rows, width] as little-endian float32; raises DataError for another shape or other numbers."""
    if tuple(features.shape) != (rows, width):
        raise DataError(f"pair store: expected features [{rows}, {width}], found {list(features.shape)}")
    features = features.detach().float().cpu().contiguous()
    if not features.isfinite().all():
        raise DataError("pair store: expected finite features, found others")
    return features.numpy().astype("<f4", copy=False)


def _token_block(rows: Sequence[Sequence[int]], before: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The tokens of all rows [tokens] uint32, and where each row ends [rows] uint64, `before` tokens included."""
    import numpy

    lengths = list(map(len, rows))
    tokens = numpy.fromiter(chain.from_iterable(rows), dtype=numpy.int64, count=sum(lengths))
    if len(tokens) and not (0 <= int(tokens.min()) and int(tokens.max()) <= MAX_TOKEN):
        raise DataError(f"pair store: expected tokens from 0 to {MAX_TOKEN}, found {tokens.min()} to {tokens.max()}")
    ends = list(accumulate(lengths, initial=before))[1:]
    return tokens.astype("<u4"), numpy.array(ends, dtype="<u8")


def _write(file: BinaryIO, offset: int, data: NDArray[Any]) -> None:
    """Write an array of any shape at an offset (in bytes) of an unbuffered file; on disk when this returns."""
    file.seek(offset)
    left = memoryview(cast(Any, data.reshape(-1).view("u1")))
    while left:
        left = left[file.write(left) :]
    os.fsync(file.fileno())


def _resumed(folder: Path, fresh: State, on_event: OnEvent) -> State:
    """The state to continue from: the stored one, if sound and of the same key and width, else `fresh`, now stored."""
    for leftover in folder.glob(f".{STATE}.*.tmp"):
        leftover.unlink(missing_ok=True)
    if (folder / STATE).exists():
        try:
            state = read_state(folder)
            if (state.key, state.width) == (fresh.key, fresh.width):
                return state
            on_event(Notice(f"{folder}: holds the pairs of other settings; making them again"))
        except DataError as error:
            on_event(Notice(f"{error}; making these pairs again", "warning"))
    for name in (STATE, *FILES):  # deleted, not emptied: another process may still have the old ones mapped
        (folder / name).unlink(missing_ok=True)
    for name in FILES:
        (folder / name).touch()
    _write_state(folder, fresh)
    return fresh


def _write_state(folder: Path, state: State) -> None:
    """Replace `pairs.json`; on disk when this returns."""
    write_file(folder / STATE, json.dumps(asdict(state), indent=2, ensure_ascii=False) + "\n", KEPT, durable=True)
