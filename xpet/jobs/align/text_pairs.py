"""What routine `text` learns from: English lines cleaned, translated and tokenised, beside their frozen features.

Everything goes through stores on disk, a chunk at a time, so that memory does not grow with the corpus and an
interrupted command goes on where it stopped. The English features are computed once for all languages.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from xpet.core.captions import PIVOT
from xpet.core.config import DEMO, TextConfig
from xpet.core.errors import DataError
from xpet.core.events import OnEvent, Progress
from xpet.core.paths import cache_folder
from xpet.data.cleaning import Line, is_held_out
from xpet.data.pair_files import RowSequence
from xpet.data.pairs import PairStore
from xpet.jobs.align.text_lines import English, check_lines, spooled
from xpet.jobs.align.text_natural import MixedRows, MixedTokens, Natural, extra_rows
from xpet.jobs.shared.package_folder import package_folder
from xpet.translation.bulk import Bulk
from xpet.translation.cache import Cache, Entry
from xpet.translation.chain import make_chain, ranked
from xpet.translation.codes import argos_code
from xpet.translation.engine import ArgosTranslator
from xpet.translation.noise import degrade
from xpet.translation.packages import need_chain
from xpet.translation.quality import VERSION

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from xpet.jobs.shared.measure import Encode
    from xpet.models.tokenizer import TextTokenizer
    from xpet.training.queue import Rows

CHUNK = 4096
"""Lines held in memory."""
AT_ONCE = 512
"""Lines translated at a time when several translations of each are wanted."""
HELD_OUT_SHARE = 0.1
MOST_HELD_OUT = 500
"""Of the lines that are held out so many are used for validation; the others are trained on."""


@dataclass(frozen=True)
class Pairs:
    """Training pairs of one language, and its held-out pairs for validation.

    `tokens` and `frozen` are read from disk row by row; `place[row]` is the English line of a row. Of `lines` so many
    were used, `flagged` translations left out; `natural` natural captions make
    up `repeated` of the rows. `disk` is what the
    pairs take, in bytes, the English features not counted. `own` are the distinct tokens of all rows.
    """

    tokens: Sequence[Sequence[int]]
    frozen: Rows
    val_tokens: list[list[int]]
    val_frozen: Tensor
    own: Sequence[int]
    lines: int
    flagged: int
    natural: int = 0
    repeated: int = 0
    disk: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Anchors:
    """Frozen English features of training rows; only the rows asked for are read."""

    features: Tensor
    place: np.ndarray[tuple[int], np.dtype[np.int64]]

    def __getitem__(self, rows: Sequence[int], /) -> Tensor:
        """Features [len(rows), d]."""
        import torch

        return self.features[torch.from_numpy(self.place[list(rows)])]


@dataclass(frozen=True)
class _Tokens(RowSequence):
    """Some rows of a store, without what stands before their tokens."""

    stored: Sequence[list[int]]
    rows: np.ndarray[tuple[int], np.dtype[np.int64]]

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, row: int) -> list[int]:
        """Row 0, 1, ..."""
        return self.stored[int(self.rows[row])][len(_HEAD) :]


_HEAD = ("place", "held out")
"""What stands before a row's tokens: its English line's place among the kept ones, and 1 when it is held out."""


def make(
    english: English,
    languages: Sequence[str],
    encode: Encode,
    width: int,
    tokenizer: TextTokenizer,
    tower: str,
    device: str,
    on_event: OnEvent,
) -> dict[str, Pairs]:
    """The training pairs of every language. `encode` is the bare tower's, `tower` its fingerprint, `width` its size d.

    Raises DataError for a corpus that is empty, nothing but test captions, or whose translations all look wrong;
    ModelError where a package is missing, naming the command that installs it.
    """
    place = check_packages(english, languages)
    with spooled(english) as source:
        base = [*source.identity(), tower]
        counts: dict[str, int] = {}
        features = _features(source, base, encode, width, counts, on_event)
        check_lines(source, counts)
        found = {}
        encode_once = lru_cache(maxsize=2)(encode)  # languages often share their English captions
        with Cache(english.place) as cache:
            for number, language in enumerate(languages):
                work = _Language(source, language, place, cache, tokenizer, device)
                where = (number, len(languages), counts["kept"])
                pairs = work.pairs(base, features, counts, where, on_event)
                natural = english.natural.get(language)
                found[language] = (
                    pairs if natural is None else _mixed(pairs, natural, english.config, encode_once, tokenizer)
                )
    return found


def _mixed(pairs: Pairs, natural: Natural, config: TextConfig, encode: Encode, tokenizer: TextTokenizer) -> Pairs:
    """The pairs with natural captions among them; text to validate with is natural then as well."""
    rows = tokenizer.encode([own for _, own in natural.train])
    extra = extra_rows(len(pairs.tokens), len(rows), config.natural_share)
    features = encode(tuple(english for english, _ in natural.train)).float().cpu()
    chosen = natural.validation[:MOST_HELD_OUT]
    val_tokens = tokenizer.encode([own for _, own in chosen])
    mixed = replace(
        pairs, tokens=MixedTokens(pairs.tokens, rows, extra),
        frozen=MixedRows(pairs.frozen, len(pairs.tokens), features),
        own=sorted({*pairs.own, *itertools.chain.from_iterable([*rows, *val_tokens])}),
        natural=len(rows), repeated=extra,
    )  # fmt: skip
    if not config.validates_on_text:
        return mixed
    return replace(
        mixed, val_tokens=val_tokens, val_frozen=encode(tuple(english for english, _ in chosen)).float().cpu()
    )


def check_packages(english: English, languages: Sequence[str]) -> Path:
    """The folder of the packages; raises ModelError where one is missing, naming the command that installs it.

    Languages of whose lines the data brings every translation need none.
    """
    place = package_folder(english.config.packages or (DEMO if english.synthetic else None))
    for language in languages:
        if english.lacks(language):
            need_chain(place, PIVOT, argos_code(language))
    return place


def _folder(english: English, key: str) -> Path:
    return (english.place or cache_folder()) / "pairs" / key[:24]


def _key(*facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _features(
    english: English, base: list[object], encode: Encode, width: int, counts: dict[str, int], on_event: OnEvent
) -> Tensor:
    """Features [lines, d] of the kept lines by the frozen base, from the store where they are there already."""
    key = _key("english", base)
    with PairStore(_folder(english, key), key, width, on_event) as store:
        if store.finished:
            counts.update(store.counts)
        else:
            lines = english.read(counts, store.consumed)
            while part := list(itertools.islice(lines, CHUNK)):
                rows = encode([line.text for _, line in part])
                store.append([[]] * len(part), rows, part[-1][1].number, counts)
                on_event(Progress("English lines", len(store), max(len(store), english.config.lines or 0)))
            store.append([], no_features(0, width), max(counts.get("read", 0), store.consumed), counts, finished=True)
        return store.features


def no_features(rows: int, width: int) -> Tensor:
    """Feature rows without any number in them."""
    import torch

    return torch.empty(rows, width)


@dataclass
class _Language:
    """One language's part of the work."""

    english: English
    language: str
    place: Path
    cache: Cache
    tokenizer: TextTokenizer
    device: str

    def pairs(
        self,
        base: list[object],
        features: Tensor,
        counts: Mapping[str, int],
        where: tuple[int, int, int],
        on_event: OnEvent,
    ) -> Pairs:
        """All pairs of the language, made now as far as they are not in the store; `where` is for progress."""
        config = self.english.config
        chain: list[ArgosTranslator] = []
        if self.english.lacks(self.language):
            chain = make_chain(self.place, PIVOT, argos_code(self.language), self.cache, config.fast, self.device)
        own = [_key(sorted(self.own.items()))] if self.own else []
        key = _key(
            "language", base, self.language, [hop.identity for hop in chain], config.n_best, config.max_tokens,
            self.holds_out, config.noise, VERSION, *own,
        )  # fmt: skip
        bulks = [Bulk(ranked(chain, rank), self.cache) for rank in range(config.n_best if chain else 0)]
        with PairStore(_folder(self.english, key), key, 0, on_event) as store:
            if not store.finished:
                self._fill(store, bulks, where, on_event)
            return _pairs_of(store, self, features, counts)

    @property
    def own(self) -> Mapping[str, Entry]:
        """The data's own translations, by line."""
        return self.english.translations.get(self.language, {})

    @property
    def holds_out(self) -> bool:
        """Whether lines are kept for validation; natural captions, where there are some, do it better."""
        return self.english.config.validates_on_text and self.language not in self.english.natural

    def _fill(
        self,
        store: PairStore,
        bulks: Sequence[Bulk],
        where: tuple[int, int, int],
        on_event: OnEvent,
    ) -> None:
        number, languages, total = where
        tally = {"held_out": 0, "flagged": 0, "long": 0, "lines": 0, **store.counts}
        lines = self.english.read({}, store.consumed)
        size = CHUNK if len(bulks) == 1 else AT_ONCE
        while part := list(itertools.islice(lines, size)):
            texts = [line.text for _, line in part]

            def on_done(count: int) -> None:
                done = number * total + tally["lines"] + count
                on_event(Progress("translating", min(done, total * languages), total * languages, self.language))

            rows = self._rows(part, self._translated(texts, bulks, tally, on_done), tally)
            tally["lines"] += len(part)
            store.append(rows, no_features(len(rows), 0), part[-1][1].number, tally)
        store.append([], no_features(0, 0), store.consumed, tally, finished=True)

    def _translated(
        self,
        texts: Sequence[str],
        bulks: Sequence[Bulk],
        tally: dict[str, int],
        on_done: object,
    ) -> list[list[str]]:
        """What stands for each text in the language: its good translations, the data's own before others."""
        noise = self.english.config.noise
        found: dict[str, dict[str, None]] = {text: {} for text in texts}
        made = [(text, self.own[text]) for text in texts if text in self.own]
        rest = [text for text in texts if text not in self.own]
        for bulk in bulks if rest else ():
            made += zip(rest, bulk.translate(rest, on_done), strict=True)  # type: ignore[arg-type]
        for text, entry in made:
            tally["flagged"] += bool(entry.flags)
            if not entry.flags and entry.text.strip():
                found[text][degrade(entry.text, noise) if noise else entry.text] = None
        return [list(found[text]) for text in texts]

    def _rows(
        self, part: Sequence[tuple[int, Line]], translated: Sequence[Sequence[str]], tally: dict[str, int]
    ) -> list[list[int]]:
        """Rows of the store for a chunk of lines."""
        config = self.english.config
        rows = []
        tokens = iter(self.tokenizer.encode(list(itertools.chain.from_iterable(translated))))
        for (place, line), texts in zip(part, translated, strict=True):
            own = [next(tokens) for _ in texts]
            short = [row for row in own if len(row) <= config.max_tokens]
            tally["long"] += len(own) - len(short)
            wanted = self.holds_out and tally["held_out"] < MOST_HELD_OUT and bool(short)
            held = wanted and is_held_out(line.text, HELD_OUT_SHARE)
            tally["held_out"] += held
            rows += [[place, int(held), *row] for row in (short[:1] if held else short)]
        return rows


def _pairs_of(store: PairStore, work: _Language, features: Tensor, counts: Mapping[str, int]) -> Pairs:
    """A finished store as training pairs; raises DataError where too little is left."""
    import numpy as np

    tally = store.counts
    heads = store.tokens.heads(len(_HEAD))
    held = heads[:, 1] == 1
    train = np.flatnonzero(~held)
    if len(train) < 2 or (work.holds_out and not held.any()):
        raise DataError(
            f"{work.english.name}: expected lines whose translations to {work.language} are good enough to train and "
            f"validate on, found {len(train)} and {int(held.sum())} of {tally['lines']} ({tally['flagged']} flagged, "
            f"{tally['long']} too long); give more lines, or another translation package"
        )
    tokens = _Tokens(store.tokens, train)
    chosen = np.flatnonzero(held)
    return Pairs(
        tokens=tokens, frozen=Anchors(features, heads[train, 0]),
        val_tokens=list(_Tokens(store.tokens, chosen)), val_frozen=Anchors(features, heads[:, 0])[chosen.tolist()],
        own=store.tokens.distinct(len(_HEAD)), lines=tally["lines"],
        flagged=tally["flagged"], disk=sum(path.stat().st_size for path in store.folder.iterdir()), counts=counts,
    )  # fmt: skip
