"""Everything the runs of one `xpet align` share: checked options, captions, features, towers, zero-shot figures."""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from xpet.core.captions import PIVOT, TRANSLATED, Corpus, Split
from xpet.core.config import AlignPlan
from xpet.core.errors import DataError, ModelError
from xpet.core.events import Notice, OnEvent, Progress
from xpet.core.files import setting_aside
from xpet.core.languages import ALL, LONGEST, choose, is_language
from xpet.core.paths import runs_folder
from xpet.core.routines import ROUTINES
from xpet.core.rundir import RunRecord, check_free, write_run
from xpet.jobs.align import resume as start
from xpet.jobs.shared import measure
from xpet.jobs.shared import translated_captions as translations
from xpet.jobs.shared.corpus import Parts, as_corpus, check_lint, cut, read_corpus, restrict, tell_notes
from xpet.jobs.shared.run_records import check_base
from xpet.jobs.shared.towers import Towers, features_of, load_towers

if TYPE_CHECKING:
    from torch import Tensor

    from xpet.jobs.align.text_lines import English
    from xpet.jobs.align.text_pairs import Pairs
    from xpet.methods.stack import Stack
    from xpet.models.text_tower import TextTower
    from xpet.training.device import Engine


@dataclass
class Bench:
    """Everything the runs of one command share.

    `pairs` are what routine `text` learns from, by language, made in `pair_seconds`; `started` the runs that training
    goes on from, by language and seed; `pristine` a text tower with nothing attached, None where runs are trained one
    by one (full fine-tuning).
    """

    config: AlignPlan
    corpus: Corpus
    parts: Parts
    images: dict[str, Tensor]
    towers: Towers
    stack: Stack
    engine: Engine
    total: int
    folder: Path
    zero_shot: dict[tuple[str, str], float]
    pairs: Mapping[str, Pairs] = field(default_factory=dict)
    pair_seconds: float = 0.0
    english: English | None = None
    started: Mapping[tuple[str, int], RunRecord] = field(default_factory=dict)
    pristine: TextTower | None = None
    tokens: dict[tuple[str, str, str], list[list[int]]] = field(default_factory=dict)
    train_images: dict[str, Tensor] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    written: bool = False

    def write(self, path: Path, record: RunRecord) -> None:
        """Write a run; the first of a sweep takes the place of what is to be overwritten, and only when it is there."""
        if path == self.folder:
            write_run(path, record, self.config.overwrite)
        elif self.written or not self.config.overwrite:
            write_run(path, record)
        else:
            with setting_aside(self.folder):
                write_run(path, record)
        self.written = True

    def another_stack(self) -> Stack:
        """A stack like this one's, on a tower of its own that shares the frozen weights' memory."""
        from xpet.methods.build import build_stack
        from xpet.models.text_tower import twin

        assert self.pristine is not None
        return build_stack(twin(self.pristine), self.config.method, [self.config.seeds[0]]).to(self.engine.device)

    @property
    def english_before(self) -> float | None:
        """R@1 of English by the base model; None without English captions."""
        return self.zero_shot.get((PIVOT, "target"))


def prepare(config: AlignPlan, on_event: OnEvent, scratch: Path | None = None) -> Bench:
    """Check everything that can be checked, load what is needed, and measure the base model; XpetError on bad input.

    `scratch` is where pairs and translations of routine `text` are kept in place of the cache.
    """
    from xpet.methods.build import build_stack, total_parameters
    from xpet.methods.table import find_method
    from xpet.models.text_tower import twin
    from xpet.training.device import make_engine
    from xpet.training.graphs import check as check_graphs

    folder = Path(config.out) if config.out else new_folder(config)
    check_free(folder, config.overwrite)
    records = start.read(config)
    config = start.continued(config, records)
    find_method(config.method)
    config, corpus, parts, dropped = _captions(config, on_event)
    started = start.chosen(config, records)
    start.check_unseen(config, records, parts)
    english = _english(config, corpus, parts)
    engine = make_engine(config.fit.device, config.fit.precision)
    check_graphs(config.fit, engine)
    towers = load_towers(config.model, config.data.image_features)
    check_base(towers, records)
    total = total_parameters(towers.text.tower)
    images = _images(config, corpus, parts, towers, engine, on_event)
    _start_prompt(config, towers)
    alone = not find_method(config.method).stackable
    towers.text.tower.to(engine.device)  # before others share its memory
    pristine = None if alone else twin(towers.text.tower)
    stack = build_stack(towers.text.tower, config.method, [config.seeds[0]]).to(engine.device)
    bench = Bench(config, corpus, parts, images, towers, stack, engine, total, folder, {}, dropped=dropped)
    bench.started, bench.pristine = started, pristine
    if english is not None:
        before = time.monotonic()
        bench.english, bench.pairs = english, _pairs(bench, replace(english, place=scratch), on_event)
        bench.pair_seconds = time.monotonic() - before
    _measure_zero_shot(bench, on_event)
    return bench


def _images(
    config: AlignPlan,
    corpus: Corpus,
    parts: Parts,
    towers: Towers,
    engine: Engine,
    on_event: OnEvent,
) -> dict[str, Tensor]:
    """Features of the pictures that are used, by part."""
    needed = {"train": config.needs_train_pictures, "validation": config.needs_validation_pictures, "test": True}
    names = [name for name, wanted in needed.items() if wanted]
    pieces = [getattr(parts, name) for name in names]
    features = features_of(corpus, pieces, towers, config.data, str(engine.device), on_event)
    return dict(zip(names, features, strict=True))


def _english(config: AlignPlan, corpus: Corpus, parts: Parts) -> English | None:
    """The English lines of routine `text`; None where no routine needs them. Raises DataError before any work."""
    if not config.text_only:
        return None
    from xpet.jobs.align.text_lines import english_of
    from xpet.jobs.align.text_pairs import check_packages

    english = english_of(config.text, parts, config.languages, corpus)
    check_packages(english, config.languages)
    return english


def _pairs(bench: Bench, english: English, on_event: OnEvent) -> dict[str, Pairs]:
    from xpet.jobs.align.text_pairs import make

    text = bench.towers.text
    encode = measure.encoder(bench.stack.tower, text.tokenizer)
    with bench.stack.bare():
        return make(
            english, bench.config.languages, encode, text.tower.dimensions, text.tokenizer, text.fingerprint,
            bench.config.fit.device, on_event,
        )  # fmt: skip


def _captions(config: AlignPlan, on_event: OnEvent) -> tuple[AlignPlan, Corpus, Parts, dict[str, int]]:
    """The captions of the chosen languages, cut into parts and with every text the routines read.

    Also the configuration with these languages, and how many training captions were dropped in each.
    """
    whole = read_corpus(config.data)
    languages = choose(config.languages, whole.languages, whole.name, with_pivot=False)
    config = replace(config, languages=languages)
    tell_notes(whole, languages, on_event)
    whole = translations.stored(whole, languages, config.data.translations)
    read = dict.fromkeys(slot for name in config.routines for slot in ROUTINES[name].slots)
    brought = ("from_pivot",) if config.text_only and config.text.takes_own_translations else ()
    slots = sorted({"target", "pivot", "to_pivot", *brought, *read})
    corpus = restrict(whole, list(dict.fromkeys((PIVOT, *languages))), slots)
    _check_slots(config, corpus)
    corpus = check_lint(whole, corpus, slots, ("target", *read), on_event)
    parts = cut(corpus, config.data)
    needed = [slot for slot in read if slot in TRANSLATED]
    in_parts = as_corpus(corpus, train=parts.train, validation=parts.validation, test=parts.test)
    command = translations.data_options(config.data)
    parts = Parts(**translations.fill(in_parts, languages, needed, ("to_pivot",), command, on_event).splits)
    dropped: dict[str, int] = {}
    if config.data.drop_flagged:
        train, dropped = translations.drop_flagged(parts.train, languages, needed)
        parts = replace(parts, train=train)
        on_event(Notice(f"dropped flagged training captions: {_counted(dropped) or 'none'}"))
    parts = _complete(parts, languages, read)
    _check_parts(languages, parts)
    return config, corpus, parts, dropped


def _complete(parts: Parts, languages: Sequence[str], read: Collection[str]) -> Parts:
    """The parts with those training and validation captions alone that have every text the routines read."""
    shorter = {}
    for name in ("train", "validation"):
        split = getattr(parts, name)
        own = {lang: c.complete(tuple(read)) if lang in languages else c for lang, c in split.captions.items()}
        shorter[name] = Split(split.images, own)
    return replace(parts, **shorter)


def _counted(dropped: dict[str, int]) -> str:
    return ", ".join(f"{language} {count}" for language, count in dropped.items() if count)


def new_folder(config: AlignPlan) -> Path:
    """A new folder in xpet's own cache, for runs whose place the user did not name; no two commands get the same."""
    named = [name for name in config.languages if is_language(name)]  # what is no language stops later
    languages = "-".join(named[:4])[:LONGEST] or ALL
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return runs_folder() / f"{languages}-{config.method.name}-{stamp}-{secrets.token_hex(2)}"


def _check_slots(config: AlignPlan, corpus: Corpus) -> None:
    """Every text a routine reads must be there or be had by translation; all that is missing is named at once."""
    problems = []
    for name in config.routines:
        for language in config.languages:
            for part, split in corpus.splits.items():
                texts = split.captions[language].texts
                missing = [s for s in ROUTINES[name].slots if s not in texts and TRANSLATED.get(s) not in texts]
                if missing:
                    problems.append(f"{name} needs {' and '.join(missing)} texts of {language} in {part}, found none")
                if not split.captions[language].image_index:
                    problems.append(f"{corpus.name}/{part}: expected captions of {language}, found none")
    if problems:
        raise DataError(*dict.fromkeys(problems))


def _check_parts(languages: Sequence[str], parts: Parts) -> None:
    """Where not every image is captioned in every language, a part of the split may have too few."""
    counts = [
        (language, part, len(getattr(parts, part).captions[language].image_index), least)
        for language in languages
        for part, least in (("train", 2), ("validation", 1), ("test", 1))
    ]
    problems = [
        f"expected at least {least} captions of {language} in the {part} images, found {found}"
        for language, part, found, least in counts
        if found < least
    ]
    if problems:
        raise DataError(*problems)


def _start_prompt(config: AlignPlan, towers: Towers) -> None:
    """Let a soft prompt start from the embeddings of a text, and leave room for it in the position table."""
    method = config.method
    tower, tokenizer = towers.text.tower, towers.text.tokenizer
    if method.name != "soft-prompt":
        return
    if method.prompt is not None:
        import torch

        ids = tokenizer.encode([method.prompt])[0][1:-1]
        if not ids:
            raise ModelError("the soft prompt's text has no tokens: expected at least one word after --prompt")
        tower.prompt_initial = tower.transformer.get_input_embeddings()(torch.tensor(ids))  # type: ignore[operator]
    tokenizer.reserve(len(tower.prompt_initial) if tower.prompt_initial is not None else method.tokens)


def _measure_zero_shot(bench: Bench, on_event: OnEvent) -> None:
    encode = measure.encoder(bench.stack.tower, bench.towers.text.tokenizer)
    test, images = bench.parts.test, bench.images["test"]
    wanted = [(PIVOT, "target")] if PIVOT in test.captions else []
    for language in bench.config.languages:
        wanted += [(language, slot) for slot in ("target", "to_pivot") if slot in test.captions[language].texts]
    wanted = list(dict.fromkeys(wanted))
    with bench.stack.bare():
        for done, (language, slot) in enumerate(wanted, start=1):
            bench.zero_shot[language, slot] = measure.recall(encode, test.captions[language], slot, images)
            on_event(Progress("zero-shot", done, len(wanted), language))
