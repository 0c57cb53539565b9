"""Reads and cleans the English lines of routine `text`: from files, standard input, or the data's own captions."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from xpet.core.argos_codes import argos_code
from xpet.core.captions import PIVOT, Corpus, Split
from xpet.core.config import TextConfig
from xpet.core.errors import DataError
from xpet.core.processes import here
from xpet.data.cleaning import Cleaner, Line, text_hash
from xpet.data.text_corpus import STDIN, STDIN_NAME, read_texts
from xpet.jobs.align.text_natural import NaturalCaptions, natural_of
from xpet.translation.cache import Entry
from xpet.translation.engine import Hypothesis
from xpet.translation.quality import flags

if TYPE_CHECKING:
    from xpet.jobs.shared.corpus import Parts

SCHEMA = 2
"""Version of what is stored: raise it when other lines come out of the same files."""
STORED = ("stored",)
"""Flags of a stored translation that was flagged when it was made; the file does not say here why."""
OWN_CAPTIONS = "its own English training captions"
BLOCK = 1 << 20
"""Bytes copied at a time."""


@dataclass(frozen=True)
class SpooledCopy:
    """A copy of standard input or of a pipe, which can be read only once; `digest` is its SHA-256 (hex)."""

    path: str
    digest: str


@dataclass(frozen=True)
class EnglishLines:
    """Where the English lines come from, and what goes with them.

    Attributes:
        config: the settings of routine `text`, with the corpus files.
        texts: the data's own English captions; None where corpus files are read instead.
        forbidden: test captions, which are left out.
        natural: natural captions to mix in, by language.
        synthetic: whether the data is the demo's.
        folder: where pairs and translations are stored; None: the cache.
        copies: copies of corpus files that can be read only once, by path.
        translations: translations that come with the data, by language and cleaned line.
    """

    config: TextConfig
    texts: Sequence[str] | None
    forbidden: Sequence[str]
    natural: Mapping[str, NaturalCaptions]
    synthetic: bool
    folder: Path | None = None
    copies: Mapping[str, SpooledCopy] = field(default_factory=dict)
    translations: Mapping[str, Mapping[str, Entry]] = field(default_factory=dict)

    def lacks(self, language: str) -> bool:
        """Whether there is a line that the data brings no translation of."""
        translated = self.translations.get(language, {})
        return not translated or any(line.text not in translated for _, line in self.read({}))

    @property
    def name(self) -> str:
        """The source of the lines, for messages."""
        paths = self.config.corpus
        return OWN_CAPTIONS if paths is None else ", ".join(STDIN_NAME if path == STDIN else path for path in paths)

    def read(self, counts: dict[str, int], after: int = 0) -> Iterator[tuple[int, Line]]:
        """The kept lines after the first `after` texts of the source, each with its index among all kept lines.

        `counts` is updated with the cleaner's counts while lines are read.
        """
        cleaner = Cleaner(self.forbidden)
        source = iter(self.texts) if self.texts is not None else self._files()
        most = self.config.lines
        for line in cleaner.clean(source):
            kept = cleaner.counts["kept"]
            if line.number > after:
                counts.update(cleaner.counts)
                yield kept - 1, line
            if kept == most:
                break
        counts.update(cleaner.counts)

    def _files(self) -> Iterator[str]:
        files = self.config.corpus or ()
        paths = [self.copies[path].path if path in self.copies else path for path in files]
        names = {copy: STDIN_NAME if path == STDIN else path for copy, path in zip(paths, files, strict=True)}
        return read_texts(paths, self.config.column, names=names)

    def identity(self) -> list[object]:
        """JSON-ready facts that decide the lines: hashes of captions and copies; path, size and time of other files."""
        captions = hashlib.sha256(json.dumps(self.texts).encode()).hexdigest() if self.texts is not None else None
        files: list[object] = []
        for path in self.config.corpus or ():
            if path in self.copies:
                files.append([self.copies[path].digest])
                continue
            state = Path(path).stat() if Path(path).exists() else None
            files.append([str(Path(path).resolve()), state and state.st_size, state and state.st_mtime_ns])
        forbidden = hashlib.sha256(json.dumps(sorted(map(text_hash, self.forbidden))).encode()).hexdigest()
        return [SCHEMA, captions, files, self.config.column, self.config.lines, forbidden]


def english_lines(config: TextConfig, parts: Parts, languages: Sequence[str], corpus: Corpus) -> EnglishLines:
    """The English lines of a configuration: its corpus, or the captions of the official training split or the shots.

    Test captions are left out.

    Natural captions are those of the shots and of the validation pictures only, as every few-shot routine has them.
    Raises DataError when there is neither a corpus nor English captions, and for files that are not English.
    """
    train, test = corpus.splits.get("train", parts.train), parts.test
    forbidden = [*test.captions[PIVOT].slot("target")] if PIVOT in test.captions else []
    for language in languages:
        forbidden += filter(None, test.captions[language].texts.get("pivot", ()))
    natural = {}
    if config.natural_share:
        seen = {text_hash(text) for text in forbidden}
        natural = {language: natural_of(parts, language, seen) for language in languages}
    texts = None
    if config.corpus is None:
        texts = _english_captions(train, languages)
        if not texts:
            raise DataError(f"{corpus.name}: expected English training captions, or --corpus FILE; found neither")
    else:
        _check_files(config.corpus, config.column)
    translated = {lang: _translations(train, lang) for lang in languages} if config.takes_own_translations else {}
    return EnglishLines(
        config, texts, list(dict.fromkeys(forbidden)), natural, corpus.synthetic,
        translations={lang: entries for lang, entries in translated.items() if entries},
    )  # fmt: skip


def _translations(train: Split, language: str) -> dict[str, Entry]:
    """The data's own translations by English caption: of several the first without a flag, else the first.

    Flags of stored translations are kept, since some (`truncated`) cannot be seen in the text.
    """
    captions = train.captions[language].complete(("pivot", "from_pivot"))
    flagged = captions.flagged.get("from_pivot", frozenset())
    pair = (PIVOT, argos_code(language))
    entries: dict[str, Entry] = {}
    pairs = zip(captions.texts.get("pivot", ()), captions.texts.get("from_pivot", ()), strict=False)
    for row, (english, text) in enumerate(pairs):
        line = " ".join(english.split())
        if text.strip() and (line not in entries or entries[line].flags):
            entry = Entry(text, STORED if row in flagged else flags(line, Hypothesis(text), pair))
            if line not in entries or not entry.flags:
                entries[line] = entry
    return entries


def _check_files(paths: Sequence[str], column: str | None) -> None:
    """Read the beginning of every file, before anything is loaded; raises DataError."""
    if STDIN in paths and (sys.stdin is None or sys.stdin.isatty()):
        raise DataError(f"--corpus {STDIN}: expected English text piped to standard input, found none")
    files = [path for path in paths if path != STDIN]
    if files:
        read_texts(files, column)


def _english_captions(train: Split, languages: Sequence[str]) -> list[str]:
    """The English captions of the data, each once."""
    texts: dict[str, None] = {}
    if PIVOT in train.captions:
        texts.update(dict.fromkeys(train.captions[PIVOT].slot("target")))
    else:
        for language in languages:
            texts.update(dict.fromkeys(filter(None, train.captions[language].texts.get("pivot", ()))))
    return list(texts)


def read_once(paths: Sequence[str]) -> list[str]:
    """The paths among these that can be read only once: standard input and pipes."""
    return [path for path in paths if path == STDIN or _is_pipe(Path(path))]


def _is_pipe(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


@contextmanager
def spooled(english: EnglishLines) -> Iterator[EnglishLines]:
    """For the block, the lines with standard input and pipes copied to files, so that they can be read again.

    Of several processes the first one copies, for all of them.
    """
    pipes = read_once(english.config.corpus or ())
    if not pipes:
        yield english
        return
    with ExitStack() as stack:

        def copy() -> list[list[str]]:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="xpet-corpus-"))
            copied = [_copied(path, Path(folder) / str(number)) for number, path in enumerate(pipes)]
            return [[each.path, each.digest] for each in copied]

        copies = here().first("the copy of the corpus", copy)
        yield replace(english, copies={path: SpooledCopy(*each) for path, each in zip(pipes, copies, strict=True)})


def _copied(path: str, to: Path) -> SpooledCopy:
    """Copy standard input or a pipe to a file whose name has the same ending."""
    to = to.with_name(to.name + "".join(Path(path).suffixes))
    digest = hashlib.sha256()
    with to.open("wb") as copy, _opened(path) as source:
        while block := source.read(BLOCK):
            digest.update(block)
            copy.write(block)
    return SpooledCopy(str(to), digest.hexdigest())


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    """The bytes of a pipe; standard input stays open afterwards."""
    if path == STDIN:
        yield sys.stdin.buffer
    else:
        with open(path, "rb") as file:
            yield file


def check_lines(english: EnglishLines, counts: Mapping[str, int]) -> None:
    """Raise DataError, saying what became of the lines, unless two are left to train on."""
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
