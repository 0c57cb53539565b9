"""`xpet translate` for texts: reads records, translates them, writes them and a report of flagged ones."""

from __future__ import annotations

import gc
import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from xpet.core.config import TranslateConfig
from xpet.core.errors import ConfigError, DataError
from xpet.core.events import Notice, OnEvent, Progress, ignore
from xpet.core.files import cannot_write, replacing_file
from xpet.core.processes import connected, here
from xpet.core.typed import build
from xpet.jobs.results.translate import TranslateResult, describe_scores
from xpet.jobs.shared.package_folder import package_folder
from xpet.jobs.translate.postprocess import Postprocessor
from xpet.translation.bulk import Bulk
from xpet.translation.cache import Cache, Entry
from xpet.translation.chain import make_chain
from xpet.translation.documents import bounded_lines, count_records, read_records
from xpet.translation.packages import Installed, need_chain
from xpet.translation.records import Record

CHUNK = 8192  # records held in memory
REPORT = ".flagged.jsonl"  # added to the name of the output
STAGE = "translate"
TEXTS, RESULT = "the texts to translate", "the result of the translation"
"""What the first of several processes hands to the others."""
AGAIN = "run the same command again when that is solved: what is translated so far is kept"


def run(
    config: TranslateConfig, on_event: OnEvent = ignore, stdin: BinaryIO | None = None, stdout: BinaryIO | None = None
) -> TranslateResult:
    """Translate a file or standard input, record by record; as many come out as go in.

    A file is read through once before any work, so that bad bytes or rows cost no time. The output is written whole or
    not at all (not so on standard output). `stdin` and `stdout` stand for what `file` and `out` do not name. Of several
    processes the first one reads and writes, and all translate.

    Raises the XpetError family; what was translated before an error or a crash is in the cache and not done again.
    """
    config = config.check()
    with connected(60 * config.timeout) as processes:
        on_event = processes.listener(on_event)
        if processes.is_first:
            result = _run(config, on_event, stdin, stdout)
            processes.first(RESULT, lambda: asdict(result))
            return result
        _help(config)
        return build(TranslateResult, processes.first(RESULT, dict))  # type: ignore[no-any-return]


def _help(config: TranslateConfig) -> None:
    """Translate this process's share of the texts that the first one reads, chunk by chunk, into the cache."""
    processes, folder = here(), package_folder(config.packages)
    with Cache() as cache:
        hops = make_chain(folder, config.source, config.target, cache, config.fast, config.device)
        bulk = Bulk(hops, cache, processes)
        texts: list[str]
        while texts := processes.first(TEXTS, list):
            bulk.translate(texts, lambda count: processes.sign())


def _run(
    config: TranslateConfig, on_event: OnEvent, stdin: BinaryIO | None, stdout: BinaryIO | None
) -> TranslateResult:
    started = time.monotonic()
    folder = package_folder(config.packages)
    chain = need_chain(folder, config.source, config.target)
    total = _count(config) if config.file and os.path.isfile(config.file) else None  # a pipe is read only once
    postprocessor = Postprocessor.prepare(config, total)
    with ExitStack() as stack:
        sink, report = _open_outputs(config, stdout, stack)
        cache = stack.enter_context(Cache())
        hops = make_chain(folder, config.source, config.target, cache, config.fast, config.device, on_event)
        translator = _RecordTranslator(Bulk(hops, cache, here()), postprocessor, sink, report, total or 0, on_event)
        source = stack.enter_context(_open_source(config, stdin))
        with _without_garbage_collector():
            translator.translate_all(_records(config, source))
            if total is not None and translator.lines != total:
                changed = f"expected {total} lines as at first, found {translator.lines}: it changed"
                raise DataError(f"{config.file}: {changed}")
        scores = postprocessor.scores()
    return _result(config, chain, translator, scores, time.monotonic() - started, on_event)


@dataclass
class _RecordTranslator:
    """Translates records and writes them, with a report of what is flagged.

    Attributes:
        bulk: the chain of translators.
        postprocessor: what is done with translations.
        sink: where the records go.
        report: where the flagged lines go; None for nowhere.
        total: lines to translate; 0 where that is not known.
        on_event: gets the progress.
        lines: texts written so far.
        flagged: records with a flag so far.
        flags: lines by flag.
    """

    bulk: Bulk
    postprocessor: Postprocessor
    sink: BinaryIO
    report: BinaryIO | None
    total: int
    on_event: OnEvent
    lines: int = 0
    flagged: int = 0
    flags: Counter[str] = field(default_factory=Counter)

    def translate_all(self, records: Iterator[Record]) -> None:
        """Translate and write everything, a chunk at a time."""
        while chunk := list(itertools.islice(records, CHUNK)):
            sources = [record.text for record in chunk]
            self.bulk.processes.first(TEXTS, lambda: sources)  # noqa: B023 - called at once
            entries = self.bulk.translate(sources, self._progress)
            texts = self.postprocessor.texts([entry.text for entry in entries], [record.counts for record in chunk])
            _write(self.sink, b"".join(record.write(text) for record, text in zip(chunk, texts, strict=True)))
            self.lines += sum(record.counts for record in chunk)
            for record, entry in zip(chunk, entries, strict=True):
                if entry.flags:
                    self._report(record, entry)
            self._progress(0)
        self.bulk.processes.first(TEXTS, list)

    def _progress(self, more: int) -> None:
        """Tell that `more` lines of the chunk at hand are done."""
        done = self.lines + more
        self.on_event(Progress(STAGE, done, max(self.total, done)))

    def _report(self, record: Record, entry: Entry) -> None:
        self.flagged += 1
        self.flags.update(entry.flags)
        if self.report is not None:
            facts = {"line": record.line, "flags": entry.flags, "source": record.text, "translation": entry.text}
            self.report.write((json.dumps(facts, ensure_ascii=False) + "\n").encode("utf-8"))


@contextmanager
def _open_source(config: TranslateConfig, stdin: BinaryIO | None) -> Iterator[BinaryIO]:
    """The bytes to translate. Raises ConfigError, DataError."""
    if config.file is None:
        if stdin is None:
            raise ConfigError("expected a file or standard input to translate, found neither")
        yield stdin
        return
    try:
        file = open(config.file, "rb")
    except OSError as error:
        raise DataError(
            f"{config.file}: expected a file to translate, found none to read ({error.strerror})"
        ) from error
    with file:
        yield file


def _records(config: TranslateConfig, file: BinaryIO) -> Iterator[Record]:
    name = config.file or "standard input"
    return read_records(_lines(file, name), name, config.column, config.into or "")


def _lines(file: BinaryIO, name: str) -> Iterator[bytes]:
    try:
        yield from bounded_lines(file, name)
    except OSError as error:
        raise DataError(f"{name}: expected lines to translate, found none to read ({error.strerror})") from error


def _count(config: TranslateConfig) -> int:
    """Count the texts, which reads the whole file once. Raises DataError for what cannot be read."""
    with _open_source(config, None) as file:
        name = str(config.file)
        return count_records(_lines(file, name), name, config.column)


def _open_outputs(
    config: TranslateConfig, stdout: BinaryIO | None, stack: ExitStack
) -> tuple[BinaryIO, BinaryIO | None]:
    """The streams for translations and for the report (None for standard output), closed by `stack`."""
    if config.out is None:
        if stdout is None:
            raise ConfigError("expected --out or standard output, found neither")
        return stdout, None
    report = stack.enter_context(replacing_file(_report_path(config.out), AGAIN))
    return stack.enter_context(replacing_file(Path(config.out), AGAIN)), report


def _report_path(out: str) -> Path:
    return Path(out + REPORT)


@contextmanager
def _without_garbage_collector() -> Iterator[None]:
    """Switch garbage collection off for the block: lines make no cycles, and cached lines would take twice as long."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _write(sink: BinaryIO, data: bytes) -> None:
    """Write to the output. Raises OutputError, but BrokenPipeError where the reader of standard output left."""
    try:
        sink.write(data)
        sink.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise cannot_write("standard output", error, AGAIN) from error


def _result(
    config: TranslateConfig,
    chain: tuple[Installed, ...],
    translator: _RecordTranslator,
    scores: Mapping[str, Any] | None,
    seconds: float,
    on_event: OnEvent,
) -> TranslateResult:
    """The result of the command; removes the report of an earlier one where nothing was flagged now."""
    report = None
    if config.out is not None and translator.flagged:
        report = str(_report_path(config.out))
    elif config.out is not None:
        _report_path(config.out).unlink(missing_ok=True)  # nothing was flagged
    if config.out is None and translator.flagged:
        flagged = f"{translator.flagged} of {translator.lines} lines are flagged"
        on_event(Notice(f"{flagged}; --out FILE writes a report of them"))
    if config.out is None and scores is not None:
        on_event(Notice(describe_scores(scores)))
    counts = translator.bulk.counts
    return TranslateResult(
        source=config.source, target=config.target, chain=tuple(p.pair for p in chain), out=config.out, report=report,
        lines=translator.lines, cached=counts.cached, translated=counts.translated, retried=counts.retried,
        flagged_lines=translator.flagged, flags=dict(translator.flags), seconds=seconds,
        scores=scores, noise=translator.postprocessor.noise(),
    )  # fmt: skip
