"""What routine `text` learns from: English lines cleaned, translated and tokenised, beside their frozen features.

Everything goes through stores on disk, a chunk at a time, so that memory does not grow with the corpus and an
interrupted command goes on where it stopped. The English features are computed once for all languages.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from xpet.core.captions import PIVOT, Corpus, Split
from xpet.core.config import TextConfig
from xpet.core.errors import DataError
from xpet.core.events import OnEvent, Progress
from xpet.core.paths import cache_folder
from xpet.data.cleaning import Cleaner, Line, is_held_out, text_hash
from xpet.data.pairs import PairStore
from xpet.data.text_corpus import STDIN, read_texts
from xpet.jobs.packages import packages_place
from xpet.jobs.wiring import DEMO
from xpet.translation.bulk import Bulk
from xpet.translation.cache import Cache
from xpet.translation.chain import make_chain, ranked
from xpet.translation.codes import argos_code
from xpet.translation.noise import degrade
from xpet.translation.packages import need_chain

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from xpet.jobs.measure import Encode
    from xpet.models.tokenizer import TextTokenizer

SCHEMA = 1
CHUNK = 4096
"""Lines held in memory."""
AT_ONCE = 512
"""Lines translated at a time when several translations of each are wanted."""
HELD_OUT_SHARE = 0.1
MOST_HELD_OUT = 500
"""Of the lines that are held out so many are used for validation; the others are trained on."""
ITS_OWN = "its own English training captions"


@dataclass(frozen=True)
class English:
    """The English lines and what they must not hold. `texts` stands for files where the data's own captions are used.

    `natural` are natural captions by English line (`text_hash`), for every language that has some. `place` is where
    pairs and translations are kept; None: the cache.
    """

    config: TextConfig
    texts: Sequence[str] | None
    forbidden: Sequence[str]
    natural: Mapping[str, Mapping[int, str]]
    synthetic: bool
    place: Path | None = None

    @property
    def name(self) -> str:
        """What the lines are, for messages."""
        return ", ".join(self.config.corpus) if self.config.corpus is not None else ITS_OWN

    def read(self, counts: dict[str, int], after: int = 0) -> Iterator[tuple[int, Line]]:
        """Kept lines behind the `after`-th text of the source, each with its place among all kept ones.

        `counts` gets the cleaner's own while lines are read.
        """
        cleaner = Cleaner(self.forbidden)
        source = (
            iter(self.texts) if self.texts is not None else read_texts(self.config.corpus or (), self.config.column)
        )
        most = self.config.lines
        for line in cleaner.clean(source):
            place = cleaner.counts["kept"] - 1
            if most is not None and place >= most:
                cleaner.counts["kept"] -= 1
                break
            if line.number > after:
                counts.update(cleaner.counts)
                yield place, line
        counts.update(cleaner.counts)

    def identity(self) -> list[object]:
        """What decides the lines: contents of captions; names, sizes and times of files."""
        own = hashlib.sha256(json.dumps(self.texts).encode()).hexdigest() if self.texts is not None else None
        files = []
        for path in self.config.corpus or ():
            state = Path(path).stat() if Path(path).exists() else None
            files.append([str(Path(path).resolve()), state and state.st_size, state and state.st_mtime_ns])
        forbidden = hashlib.sha256(json.dumps(sorted(map(text_hash, self.forbidden))).encode()).hexdigest()
        return [SCHEMA, own, files, self.config.column, self.config.lines, forbidden]


@dataclass(frozen=True)
class Pairs:
    """Training pairs of one language, and its held-out pairs for validation.

    `tokens` and `frozen` are read from disk row by row; `place[row]` is the English line of a row. Of `lines` so many
    were used, `flagged` translations left out. `own` are the distinct tokens of all rows.
    """

    tokens: Sequence[Sequence[int]]
    frozen: Anchors
    val_tokens: list[list[int]]
    val_frozen: Tensor
    own: Sequence[int]
    lines: int
    flagged: int
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
class _Tokens(Sequence[list[int]]):
    """Some rows of a store, without what stands before their tokens."""

    stored: Sequence[list[int]]
    rows: np.ndarray[tuple[int], np.dtype[np.int64]]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> list[int]:  # type: ignore[override]
        return self.stored[int(self.rows[index])][len(_HEAD) :]


_HEAD = ("place", "held out")
"""What stands before a row's tokens: its English line's place among the kept ones, and 1 when it is held out."""


def english_of(config: TextConfig, test: Split, train: Split, languages: Sequence[str], corpus: Corpus) -> English:
    """The English lines of a configuration; `train` are captions that may be trained on, those of `test` are not.

    Raises DataError when there is neither a corpus nor English captions, and for files that are not English.
    """
    forbidden = [*test.captions[PIVOT].slot("target")] if PIVOT in test.captions else []
    for language in languages:
        forbidden += test.captions[language].texts.get("pivot", ())
    natural = {language: _natural(train, language) for language in languages} if config.natural_share else {}
    texts = None
    if config.corpus is None:
        texts = _own_english(train, languages)
        if not texts:
            raise DataError(f"{corpus.name}: expected English training captions, or --corpus FILE; found neither")
    elif STDIN not in config.corpus:
        read_texts(config.corpus, config.column)  # looks at the beginning of every file before anything is loaded
    return English(config, texts, list(dict.fromkeys(forbidden)), natural, corpus.synthetic)


def _own_english(train: Split, languages: Sequence[str]) -> list[str]:
    """The English captions of the data, each once."""
    texts: dict[str, None] = {}
    if PIVOT in train.captions:
        texts.update(dict.fromkeys(train.captions[PIVOT].slot("target")))
    else:
        for language in languages:
            texts.update(dict.fromkeys(train.captions[language].texts.get("pivot", ())))
    return list(texts)


def _natural(train: Split, language: str) -> dict[int, str]:
    texts = train.captions[language].texts
    rows = zip(texts.get("pivot", ()), texts.get("target", ()), strict=False)
    return {text_hash(english): target for english, target in rows}


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
    with _spooled(english) as source:
        base = [*source.identity(), tower]
        counts: dict[str, int] = {}
        features = _features(source, base, encode, width, counts, on_event)
        _check_lines(source, counts)
        found = {}
        with Cache(english.place) as cache:
            for number, language in enumerate(languages):
                work = _Language(source, language, place, cache, tokenizer, device)
                where = (number, len(languages), counts["kept"])
                found[language] = work.pairs(base, features, counts, where, on_event)
    return found


def check_packages(english: English, languages: Sequence[str]) -> Path:
    """The folder of the packages; raises ModelError where one is missing, naming the command that installs it."""
    place = packages_place(english.config.packages or (DEMO if english.synthetic else None))
    for language in languages:
        need_chain(place, PIVOT, argos_code(language))
    return place


def read_once(paths: Sequence[str]) -> list[str]:
    """Those of some paths that can be read only once: standard input and pipes."""
    return [path for path in paths if path == STDIN or (Path(path).exists() and not Path(path).is_file())]


@contextmanager
def _spooled(english: English) -> Iterator[English]:
    """The same lines as often as they are needed: what can be read once only is kept in a file for the time."""
    import sys
    from dataclasses import replace

    paths = english.config.corpus or ()
    once = read_once(paths)
    if not once:
        yield english
        return
    with tempfile.TemporaryDirectory(prefix="xpet-corpus-") as folder:
        names = {path: str(Path(folder) / f"{number}.txt") for number, path in enumerate(once)}
        for path, name in names.items():
            with open(name, "wb") as copy:
                if path == STDIN:
                    shutil.copyfileobj(sys.stdin.buffer, copy)
                else:
                    with open(path, "rb") as file:
                        shutil.copyfileobj(file, copy)
        yield replace(english, config=replace(english.config, corpus=tuple(names.get(path, path) for path in paths)))


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


def _check_lines(english: English, counts: Mapping[str, int]) -> None:
    """There must be something to train on; raises DataError saying what became of the lines."""
    if counts.get("kept", 0) >= 2:
        return
    if not counts.get("read"):
        raise DataError(f"{english.name}: expected English lines, found none")
    left_out = ", ".join(f"{count} {name}" for name, count in counts.items() if count and name not in ("read", "kept"))
    why = "in_test: they are test captions" if counts.get("in_test", 0) > counts["read"] / 2 else left_out
    raise DataError(
        f"{english.name}: expected at least 2 English lines to train on, found {counts.get('kept', 0)} of "
        f"{counts['read']} ({why}); give another --corpus"
    )


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
        chain = make_chain(self.place, PIVOT, argos_code(self.language), self.cache, config.fast, self.device)
        natural = self.english.natural.get(self.language, {})
        digest = _key(sorted(natural.items()))
        key = _key(
            "language", base, self.language, [hop.identity for hop in chain], config.n_best, config.natural_share,
            config.max_tokens, config.validates_on_text, config.noise, digest,
        )  # fmt: skip
        bulks = [Bulk(ranked(chain, rank), self.cache) for rank in range(config.n_best)]
        with PairStore(_folder(self.english, key), key, 0, on_event) as store:
            if not store.finished:
                self._fill(store, bulks, natural, where, on_event)
            return _pairs_of(store, self, features, counts)

    def _fill(
        self,
        store: PairStore,
        bulks: Sequence[Bulk],
        natural: Mapping[int, str],
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

            rows = self._rows(part, self._translated(texts, bulks, natural, tally, on_done), tally)
            tally["lines"] += len(part)
            store.append(rows, no_features(len(rows), 0), part[-1][1].number, tally)
        store.append([], no_features(0, 0), store.consumed, tally, finished=True)

    def _translated(
        self,
        texts: Sequence[str],
        bulks: Sequence[Bulk],
        natural: Mapping[int, str],
        tally: dict[str, int],
        on_done: object,
    ) -> list[list[str]]:
        """What stands for each text in the language: natural captions for a share of them, else good translations."""
        share, noise = self.english.config.natural_share, self.english.config.noise
        given = {
            text: natural[text_hash(text)]
            for text in texts
            if share and text_hash(text) in natural and is_held_out(f"natural {text}", share)
        }
        wanted = [text for text in texts if text not in given]
        found: dict[str, dict[str, None]] = {text: {} for text in wanted}
        for bulk in bulks:
            for text, entry in zip(wanted, bulk.translate(wanted, on_done), strict=True):  # type: ignore[arg-type]
                tally["flagged"] += bool(entry.flags)
                if not entry.flags and entry.text.strip():
                    found[text][degrade(entry.text, noise) if noise else entry.text] = None
        return [[given[text]] if text in given else list(found[text]) for text in texts]

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
            wanted = config.validates_on_text and tally["held_out"] < MOST_HELD_OUT and bool(short)
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
    if len(train) < 2 or (work.english.config.validates_on_text and not held.any()):
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
        own=store.tokens.distinct(len(_HEAD)), lines=tally["lines"], flagged=tally["flagged"], counts=counts,
    )  # fmt: skip
