"""Many texts through a chain of translators: cut into lines, duplicates once, cache, quality control, joined again."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xpet.translation import quality
from xpet.translation.cache import Cache, Entry
from xpet.translation.engine import Translator
from xpet.translation.lines import has_words, pieces
from xpet.translation.quality import FOREIGN

SMALLEST, LARGEST = 128, 8192  # lines a call; what is done is stored after each
SECONDS = 4.0  # what a call should take at most


@dataclass
class Tally:
    """Lines counted over all hops: found in the cache, translated now, changed by a retry."""

    cached: int = 0
    translated: int = 0
    retried: int = 0


class Bulk:
    """Translates lists of texts; the result does not depend on how they are grouped.

    Attributes:
        tally: what was done so far.
    """

    def __init__(self, chain: Sequence[Translator], cache: Cache) -> None:
        self.chain = chain
        self.cache = cache
        self.tally = Tally()
        self._size = SMALLEST

    def translate(self, texts: Sequence[str], on_done: Callable[[int], None] = lambda count: None) -> list[Entry]:
        """As many results as texts, in their order, with as many line breaks as each text has.

        Lines without words are copied, as are those in a script that the source language does not use (flagged).

        `on_done` gets the number of texts that are about done, after each call of a translator.
        """
        cut = {text: pieces(text) for text in texts if not text.isprintable()}  # no line break is printable
        lines = itertools.chain((t for t in texts if t not in cut), *(parts[::2] for parts in cut.values()))
        wanted = [line for line in dict.fromkeys(lines) if has_words(line)]
        known: dict[str, Entry] = {}
        share = len(texts) / max(1, len(wanted) * len(self.chain))
        for hop, translator in enumerate(self.chain):
            start = hop * len(wanted)

            def on_call(count: int, start: int = start) -> None:
                on_done(min(len(texts), int((start + count) * share)))

            if hop == 0:
                known = self._hop(translator, wanted, on_call)
            else:
                between = dict.fromkeys(entry.text for entry in known.values() if _goes_on(entry))
                done = self._hop(translator, list(between), on_call)
                known = {line: _after(entry, done) for line, entry in known.items()}
        known |= {text: _joined(parts, known) for text, parts in cut.items()}
        return [known.get(text) or Entry(text) for text in texts]

    def _hop(self, translator: Translator, sources: Sequence[str], on_call: Callable[[int], None]) -> dict[str, Entry]:
        """Distinct lines, each with words, by one translator."""
        scope = _scope(translator)
        done = self.cache.get(scope, sources)
        missing = sorted((text for text in sources if text not in done), key=len)
        self.tally.cached += len(done)
        self.tally.translated += len(missing)
        place = 0
        while place < len(missing):
            part = missing[place : place + self._size]
            started = time.monotonic()
            entries = self._fresh(translator, part)
            self.cache.put(scope, entries.items())
            done |= entries
            place += len(part)
            self._resize(time.monotonic() - started)
            on_call(len(done))
        self.tally.retried += sum(entry.retried for entry in done.values())
        return done

    def _resize(self, seconds: float) -> None:
        if seconds < SECONDS / 4:
            self._size = min(self._size * 2, LARGEST)
        elif seconds > SECONDS:
            self._size = max(self._size // 2, SMALLEST)

    @staticmethod
    def _fresh(translator: Translator, sources: Sequence[str]) -> dict[str, Entry]:
        entries = {text: Entry(text, (FOREIGN,)) for text in sources if quality.is_foreign(text, translator.source)}
        texts = [text for text in sources if text not in entries]
        if not texts:
            return entries
        languages = (translator.source, translator.target)
        first = dict(zip(texts, translator.best(texts), strict=True))
        found = {text: quality.flags(text, hypothesis, languages) for text, hypothesis in first.items()}
        bad = [text for text in texts if found[text]]
        others = dict(zip(bad, translator.alternatives(bad), strict=True)) if bad else {}
        for text, hypothesis in first.items():
            chosen, names = hypothesis, found[text]
            if names:
                chosen, names = quality.choose(text, hypothesis, others[text], languages)
            entries[text] = Entry(chosen.text, names, chosen.text != hypothesis.text)
        return entries


def _scope(translator: Translator) -> str:
    return hashlib.sha256(json.dumps([translator.identity, quality.VERSION]).encode()).hexdigest()


def _goes_on(entry: Entry) -> bool:
    """Whether the next hop has something to translate: words, and not the copy of a text that is of no use to it."""
    return FOREIGN not in entry.flags and has_words(entry.text)


def _after(entry: Entry, done: dict[str, Entry]) -> Entry:
    """The next hop's result with the flags of both."""
    if not _goes_on(entry):
        return entry
    new = done[entry.text]
    if not entry.flags and not entry.retried:
        return new
    return Entry(new.text, tuple(dict.fromkeys((*entry.flags, *new.flags))), entry.retried or new.retried)


def _joined(parts: list[str], known: dict[str, Entry]) -> Entry:
    entries = [known.get(part, Entry(part)) for part in parts]
    names = dict.fromkeys(name for entry in entries for name in entry.flags)
    return Entry("".join(e.text for e in entries), tuple(names), any(e.retried for e in entries))
