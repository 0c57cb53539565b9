"""Translates many texts through a chain of translators: each distinct line once, through cache and checks."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xpet.core.processes import ALONE, Processes
from xpet.translation import quality
from xpet.translation.cache import Cache, Entry
from xpet.translation.engine import Translator
from xpet.translation.lines import has_words, pieces
from xpet.translation.quality import FOREIGN

MIN_BATCH, MAX_BATCH = 128, 8192  # lines per call of a translator, after which they are stored
MAX_SECONDS = 4.0  # a call that takes longer halves the batch


@dataclass
class LineCounts:
    """Counts of lines over all hops: from the cache, translated now, and replaced by another hypothesis."""

    cached: int = 0
    translated: int = 0
    retried: int = 0


class Bulk:
    """Translates lists of texts through `chain`; the result does not depend on how texts are grouped.

    Several `processes` translate the same lists: each a share of what is not in the cache, where all read the others'.

    Attributes:
        counts: counts of lines so far.
    """

    def __init__(self, chain: Sequence[Translator], cache: Cache, processes: Processes = ALONE) -> None:
        self.chain = chain
        self.cache = cache
        self.processes = processes
        self.counts = LineCounts()
        self._batch = MIN_BATCH

    def translate(self, texts: Sequence[str], on_done: Callable[[int], None] = lambda count: None) -> list[Entry]:
        """The translation of each text, in the order of the texts; line breaks stay as they are.

        Lines without words are copied, as are those in a script that the source language does not use (flagged).

        `on_done` gets the approximate number of finished texts after each call of a translator.
        """
        parts_of = {text: pieces(text) for text in texts if not text.isprintable()}  # no line break is printable
        lines = itertools.chain((t for t in texts if t not in parts_of), *(parts[::2] for parts in parts_of.values()))
        sources = [line for line in dict.fromkeys(lines) if has_words(line)]
        entries: dict[str, Entry] = {}
        share = len(texts) / max(1, len(sources) * len(self.chain))
        for hop, translator in enumerate(self.chain):
            start = hop * len(sources)

            def on_call(count: int, start: int = start) -> None:
                on_done(min(len(texts), int((start + count) * share)))

            if hop == 0:
                entries = self._hop(translator, sources, on_call)
            else:
                between = dict.fromkeys(entries[line].text for line in sources if _is_translatable(entries[line]))
                done = self._hop(translator, list(between), on_call)
                entries = {line: _with_next_hop(entry, done) for line, entry in entries.items()}
        entries |= {text: _join(parts, entries) for text, parts in parts_of.items()}
        return [entries.get(text) or Entry(text) for text in texts]

    def _hop(self, translator: Translator, sources: Sequence[str], on_call: Callable[[int], None]) -> dict[str, Entry]:
        """The translations by one translator of distinct lines, each with words."""
        world = self.processes.world
        done = self.cache.get(_scope(translator), sources)
        missing = sorted(self._agreed([text for text in sources if text not in done], sources), key=len)
        stored = len(sources) - len(missing)
        self.counts.cached += stored
        self.counts.translated += len(missing)

        def on_done(count: int) -> None:
            on_call(min(stored + count * world, len(sources)))

        done |= self._translated(translator, self.processes.share(missing), on_done)
        self.processes.barrier("the translations of all processes")
        others = [text for text in missing if text not in done]
        done |= self.cache.get(_scope(translator), others) if others else {}
        rest = [text for text in others if text not in done]  # of a process whose cache, or device, is another
        done |= self._translated(translator, rest, lambda count: None)
        self.counts.retried += sum(entry.retried for entry in done.values())
        return done

    def _agreed(self, missing: Sequence[str], sources: Sequence[str]) -> list[str]:
        """The lines that the cache lacks for process 0, the same in all processes."""
        if self.processes.world == 1:
            return list(missing)
        lacking = set(missing) if self.processes.is_first else set()
        numbers = [number for number, text in enumerate(sources) if text in lacking]
        return [sources[number] for number in self.processes.gather("the lines to translate", numbers)[0]]

    def _translated(
        self, translator: Translator, missing: Sequence[str], on_done: Callable[[int], None]
    ) -> dict[str, Entry]:
        """Translate and store lines, a batch at a time; `on_done` gets the number of finished ones.

        A translator may come to be another by its first lines (one that has to leave the GPU): they are stored as its.
        """
        done: dict[str, Entry] = {}
        while len(done) < len(missing):
            part = missing[len(done) : len(done) + self._batch]
            started = time.monotonic()
            entries = self._translate_new(translator, part)
            self.cache.put(_scope(translator), entries.items())
            done |= entries
            self._resize(time.monotonic() - started)
            on_done(len(done))
        return done

    def _resize(self, seconds: float) -> None:
        """Choose the size of the next call from the seconds that the last one took."""
        if seconds < MAX_SECONDS / 4:
            self._batch = min(self._batch * 2, MAX_BATCH)
        elif seconds > MAX_SECONDS:
            self._batch = max(self._batch // 2, MIN_BATCH)

    @staticmethod
    def _translate_new(translator: Translator, sources: Sequence[str]) -> dict[str, Entry]:
        """Translate and check lines; flagged ones get the best of several hypotheses, foreign ones are copied."""
        entries = {text: Entry(text, (FOREIGN,)) for text in sources if quality.is_foreign(text, translator.source)}
        texts = [text for text in sources if text not in entries]
        if not texts:
            return entries
        languages = (translator.source, translator.target)
        first = dict(zip(texts, translator.best(texts), strict=True))
        flags = {text: quality.flags(text, hypothesis, languages) for text, hypothesis in first.items()}
        flagged = [text for text in texts if flags[text]]
        others = dict(zip(flagged, translator.alternatives(flagged), strict=True)) if flagged else {}
        for text, hypothesis in first.items():
            chosen, names = hypothesis, flags[text]
            if names:
                chosen, names = quality.choose(text, hypothesis, others[text], languages)
            entries[text] = Entry(chosen.text, names, chosen.text != hypothesis.text)
        return entries


def _scope(translator: Translator) -> str:
    """The cache's key but for the text: a digest of translator, options and version of the checks."""
    return hashlib.sha256(json.dumps([translator.identity, quality.VERSION]).encode()).hexdigest()


def _is_translatable(entry: Entry) -> bool:
    """Whether the next hop can translate the text: it has words and is no copy of a foreign line."""
    return FOREIGN not in entry.flags and has_words(entry.text)


def _with_next_hop(entry: Entry, done: dict[str, Entry]) -> Entry:
    """The entry of a line after the next hop, whose results are `done`; it has the flags of both hops."""
    if not _is_translatable(entry):
        return entry
    new = done[entry.text]
    if not entry.flags and not entry.retried:
        return new
    return Entry(new.text, tuple(dict.fromkeys((*entry.flags, *new.flags))), entry.retried or new.retried)


def _join(parts: list[str], translations: dict[str, Entry]) -> Entry:
    """The entry of a text of several lines, from those of its lines."""
    entries = [translations.get(part, Entry(part)) for part in parts]
    names = dict.fromkeys(name for entry in entries for name in entry.flags)
    return Entry("".join(e.text for e in entries), tuple(names), any(e.retried for e in entries))
