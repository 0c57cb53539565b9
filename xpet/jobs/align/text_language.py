"""Makes the training pairs of one language for routine `text`: translates, tokenises and stores them on disk."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from xpet.core.argos_codes import argos_code
from xpet.core.captions import PIVOT, in_language
from xpet.core.errors import DataError
from xpet.core.events import OnEvent, Progress, ignore
from xpet.core.processes import here
from xpet.data.cleaning import Line, is_held_out
from xpet.data.pair_files import StoredPairs, read_finished
from xpet.data.pairs import PairStore
from xpet.data.training_pairs import TrainingPairs, split_rows
from xpet.jobs.align.text_lines import EnglishLines
from xpet.jobs.align.text_store import CHUNK, common, no_features, store_folder, store_key
from xpet.translation.bulk import Bulk
from xpet.translation.cache import Cache, Entry
from xpet.translation.chain import make_chain, ranked
from xpet.translation.degrade import degrade
from xpet.translation.engine import ArgosTranslator
from xpet.translation.quality import VERSION

if TYPE_CHECKING:
    from torch import Tensor

    from xpet.models.tokenizer import TextTokenizer

AT_ONCE = 512
"""Lines handled at a time, unless each gets exactly one new translation (then CHUNK)."""
HELD_OUT_SHARE = 0.1
"""Share of the lines that may be held out, chosen by the hash of their text."""
MOST_HELD_OUT = 500
"""Most lines that are held out for validation; further ones are trained on."""
COUNTED = ("held_out", "flagged", "long", "lines")
"""What is counted while pairs are made: lines, held-out ones, flagged and too long translations."""


@dataclass(frozen=True)
class Turn:
    """Position of a language in a stage of the work: index `number` of `languages`, each of `lines` lines."""

    number: int
    languages: int
    lines: int
    stage: str = "translating"

    def progress(self, done: int, language: str) -> Progress:
        """Progress after `done` lines of this language."""
        total = self.lines * self.languages
        return Progress(self.stage, min(self.number * self.lines + done, total), total, language)


@dataclass
class LanguagePairs:
    """Makes the pairs of one language from English lines.

    `packages` is the folder of translation packages; `facts` (JSON-ready) decide the English lines; `on_event` gets the
    notices of the translators.
    """

    english: EnglishLines
    language: str
    packages: Path
    cache: Cache
    tokenizer: TextTokenizer
    device: str
    facts: list[object]
    on_event: OnEvent = ignore

    def pairs(
        self, features: Tensor, counts: Mapping[str, int], turn: Turn, on_event: OnEvent
    ) -> TrainingPairs:  # fmt: skip
        """All pairs of the language; one process makes those that are not in the store now, several have made them.

        `counts` say how the lines were cleaned, and `features` [lines, d] are theirs. Raises DataError where too few
        pairs are left.
        """
        if here().world == 1:
            self.make(turn, on_event)
        return self._read(common(read_finished(self.folder, self.key, 0), self.folder), features, counts)

    def make(self, turn: Turn, on_event: OnEvent) -> None:
        """Make and store the pairs that are not in the store."""
        with PairStore(self.folder, self.key, 0, on_event) as store:
            if not store.finished:
                self._fill(store, self._bulks(), turn, on_event)

    def translate_share(self, turn: Turn, on_event: OnEvent) -> None:
        """Translate this process's share of the lines, of a language whose pairs are not finished, into the cache."""
        bulks, world, done = self._bulks(), here().world, 0
        if not bulks or read_finished(self.folder, self.key, 0) is not None:
            return
        lines = self.english.read({})
        while part := list(itertools.islice(lines, world * _at_once(bulks))):

            def on_done(count: int) -> None:
                on_event(turn.progress(done + min(world * count, len(part)), self.language))  # noqa: B023 - called at once

            share = [line.text for _, line in here().share(part) if line.text not in self.brought]
            for bulk in bulks:
                bulk.translate(share, on_done)
            done += len(part)
            on_event(turn.progress(done, self.language))

    @cached_property
    def chain(self) -> list[ArgosTranslator]:
        """The translators; none where every line has a translation that comes with the data."""
        if not self.english.lacks(self.language):
            return []
        fast = self.english.config.fast
        return make_chain(self.packages, PIVOT, argos_code(self.language), self.cache, fast, self.device, self.on_event)

    @cached_property
    def key(self) -> str:
        """The key of the store: a hash of everything the pairs depend on."""
        config = self.english.config
        brought = [store_key(sorted(self.brought.items()))] if self.brought else []
        return store_key(
            "language", self.facts, self.language, [hop.identity for hop in self.chain], config.n_best,
            config.max_tokens, self.holds_out, config.noise, VERSION, *brought,
        )  # fmt: skip

    @property
    def folder(self) -> Path:
        """The folder of the store."""
        return store_folder(self.english, self.key)

    def _bulks(self) -> list[Bulk]:
        """A translator of lines for each of the n best translations; none where the data brings all."""
        ranks = range(self.english.config.n_best if self.chain else 0)
        return [Bulk(ranked(self.chain, rank), self.cache) for rank in ranks]

    @property
    def brought(self) -> Mapping[str, Entry]:
        """Translations that the data brings, by English line."""
        return self.english.translations.get(self.language, {})

    @property
    def holds_out(self) -> bool:
        """Whether lines are held out: where validation is on text, and no natural captions are used for it."""
        return self.english.config.validates_on_text and self.language not in self.english.natural

    def _fill(self, store: PairStore, bulks: Sequence[Bulk], turn: Turn, on_event: OnEvent) -> None:
        """Translate and store the lines that are not in the store yet, a chunk at a time."""
        tally = {**dict.fromkeys(COUNTED, 0), **store.counts}
        lines = self.english.read({}, store.consumed)
        while part := list(itertools.islice(lines, _at_once(bulks))):

            def on_done(count: int) -> None:
                on_event(turn.progress(tally["lines"] + count, self.language))

            translated = self._translated([line.text for _, line in part], bulks, tally, on_done)
            rows = self._rows(part, translated, tally)
            tally["lines"] += len(part)
            store.append(rows, no_features(len(rows), 0), part[-1][1].number, tally)
        store.append([], no_features(0, 0), store.consumed, tally, finished=True)

    def _translated(
        self, texts: Sequence[str], bulks: Sequence[Bulk], tally: dict[str, int], on_done: Callable[[int], None]
    ) -> list[list[str]]:
        """Each text's translations without flags, each different one once; those that come with the data first."""
        noise = self.english.config.noise
        good: dict[str, dict[str, None]] = {text: {} for text in texts}
        entries = [(text, self.brought[text]) for text in texts if text in self.brought]
        untranslated = [text for text in texts if text not in self.brought]
        for bulk in bulks if untranslated else ():
            entries += zip(untranslated, bulk.translate(untranslated, on_done), strict=True)
        for text, entry in entries:
            tally["flagged"] += bool(entry.flags)
            if not entry.flags and entry.text.strip():
                good[text][degrade(entry.text, noise) if noise else entry.text] = None
        return [list(good[text]) for text in texts]

    def _rows(
        self, part: Sequence[tuple[int, Line]], translated: Sequence[Sequence[str]], tally: dict[str, int]
    ) -> list[list[int]]:
        """Rows of the store for a chunk of lines: the line's index, whether it is held out, then token numbers."""
        most, rows = self.english.config.max_tokens, []
        tokens = iter(self.tokenizer.encode(in_language(itertools.chain.from_iterable(translated), self.language)))
        for (index, line), texts in zip(part, translated, strict=True):
            every = [next(tokens) for _ in texts]
            short = [row for row in every if len(row) <= most]
            tally["long"] += len(every) - len(short)
            room = self.holds_out and tally["held_out"] < MOST_HELD_OUT and bool(short)
            held_out = room and is_held_out(line.text, HELD_OUT_SHARE)
            tally["held_out"] += held_out
            rows += [[index, int(held_out), *row] for row in (short[:1] if held_out else short)]
        return rows

    def _read(self, found: StoredPairs, features: Tensor, counts: Mapping[str, int]) -> TrainingPairs:
        """A finished store as training pairs; raises DataError where too little is left."""
        tally, stored = found.state.counts, split_rows(found.tokens)
        if len(stored.train) < 2 or (self.holds_out and not len(stored.held_out)):
            raise DataError(
                f"{self.english.name}: expected lines whose translations to {self.language} are good enough to train "
                f"and validate on, found {len(stored.train)} and {len(stored.held_out)} of {tally['lines']} "
                f"({tally['flagged']} flagged, {tally['long']} too long); give more lines, or another translation "
                "package"
            )
        return TrainingPairs(
            tokens=stored.tokens(), frozen=stored.anchors(features), val_tokens=stored.val_tokens(),
            val_frozen=stored.val_anchors(features), vocabulary=stored.vocabulary(), lines=tally["lines"],
            flagged=tally["flagged"], disk=sum(path.stat().st_size for path in self.folder.iterdir()), counts=counts,
        )  # fmt: skip


def _at_once(bulks: Sequence[Bulk]) -> int:
    """Lines handled at a time."""
    return CHUNK if len(bulks) == 1 else AT_ONCE
