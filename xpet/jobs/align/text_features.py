"""The frozen features of the English lines of routine `text`: stored, computed once, by several processes in parts.

A chunk of lines is encoded by one process, always together, so that features do not depend on how many there are.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xpet.core.captions import PIVOT, LanguageText, in_language
from xpet.core.events import OnEvent, Progress
from xpet.core.processes import here
from xpet.data.cleaning import Line
from xpet.data.pair_files import StoredPairs, read_finished
from xpet.data.pairs import PairStore
from xpet.jobs.align.text_lines import EnglishLines
from xpet.jobs.align.text_store import CHUNK, common, no_features, store_folder, store_key

if TYPE_CHECKING:
    from torch import Tensor

    from xpet.jobs.shared.measure import Encode

STAGE = "English lines"
Chunk = list[tuple[int, Line]]
"""Up to CHUNK lines, each with its index among all."""


def english_features(
    english: EnglishLines, facts: list[object], encode: Encode, width: int, counts: dict[str, int], on_event: OnEvent
) -> Tensor:
    """Features [lines, d] of the kept lines by the frozen base; those that are not in the store are computed.

    `counts` is updated with how the lines were cleaned. Of several processes each encodes its chunks, and the first one
    puts them into the store, which all read.
    """
    key, processes = store_key("english", facts), here()
    folder = store_folder(english, key)
    with ExitStack() as held:
        parts: list[_Part] = []
        if processes.is_first:
            store = held.enter_context(PairStore(folder, key, width, on_event))
        if processes.world > 1:
            consumed, finished = processes.first("the stored English lines", lambda: [store.consumed, store.finished])
            parts = [] if finished else [_Part(english, key, width, consumed, rank) for rank in range(processes.world)]
        if parts:
            parts[processes.rank].fill(encode, on_event)
            processes.barrier("the features of English lines")
        if processes.is_first and not store.finished:
            _fill(store, english, _joined(parts, encode), counts, on_event)
    processes.barrier("the store of English lines")
    for part in parts if processes.is_first else ():
        shutil.rmtree(part.folder, ignore_errors=True)
    stored = common(read_finished(folder, key, width), folder)
    counts.update(stored.state.counts)
    return stored.features


def _chunks(lines: Iterator[tuple[int, Line]]) -> Iterator[Chunk]:
    """The lines, CHUNK at a time."""
    while chunk := list(itertools.islice(lines, CHUNK)):
        yield chunk


def _fill(
    store: PairStore,
    english: EnglishLines,
    features: Callable[[int, Chunk], Tensor],
    counts: dict[str, int],
    on_event: OnEvent,
) -> None:
    """Append the features [lines, d] of each chunk of lines that the store lacks."""
    for number, chunk in enumerate(_chunks(english.read(counts, store.consumed))):
        store.append([[]] * len(chunk), features(number, chunk), chunk[-1][1].number, counts)
        on_event(Progress(STAGE, len(store), max(len(store), english.config.lines or 0)))
    last = max(counts.get("read", 0), store.consumed)
    store.append([], no_features(0, store.features.shape[1]), last, counts, finished=True)


@dataclass(frozen=True)
class _Part:
    """The chunks that one process encodes, in a store of their own: every world-th one after `consumed` texts."""

    english: EnglishLines
    key: str
    width: int
    consumed: int
    rank: int

    @property
    def own_key(self) -> str:
        """The key of the part's store."""
        return store_key("part", self.key, self.consumed, self.rank, here().world)

    @property
    def folder(self) -> Path:
        """The folder of the part's store."""
        return store_folder(self.english, self.own_key)

    def fill(self, encode: Encode, on_event: OnEvent) -> None:
        """Encode the chunks that are not in the part yet."""
        world = here().world
        with PairStore(self.folder, self.own_key, self.width, on_event) as store:
            done = -(-len(store) // CHUNK)  # only the last chunk is shorter
            lines = self.english.read({}, self.consumed) if not store.finished else iter(())
            for number, chunk in enumerate(_chunks(lines)):
                if number % world == self.rank and number // world >= done:
                    store.append([[]] * len(chunk), encode(_english(chunk)), chunk[-1][1].number)
                so_far = number * CHUNK + len(chunk)
                on_event(Progress(STAGE, so_far, max(so_far, self.english.config.lines or 0)))
            store.append([], no_features(0, self.width), store.consumed, finished=True)

    def stored(self) -> StoredPairs | None:
        """The finished part; None where this process does not find it."""
        return read_finished(self.folder, self.own_key, self.width)


def _english(chunk: Chunk) -> tuple[LanguageText, ...]:
    """The texts of a chunk of English lines."""
    return in_language((line.text for _, line in chunk), PIVOT)


def _joined(parts: list[_Part], encode: Encode) -> Callable[[int, Chunk], Tensor]:
    """What gives the features [lines, d] of the chunk of a number: those of its part, else computed ones."""
    stored = [part.stored() for part in parts]

    def features(number: int, chunk: Chunk) -> Tensor:
        part = stored[number % len(stored)] if stored else None
        if part is None:
            return encode(_english(chunk))
        start = number // len(stored) * CHUNK
        return part.features[start : start + len(chunk)]

    return features
