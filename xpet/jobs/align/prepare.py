"""Prepares what all runs of one `xpet align` share: captions, image features, towers, the stack, zero-shot figures."""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from xpet.core.captions import PIVOT, TRANSLATED, Corpus, Split, in_language
from xpet.core.collector import importing
from xpet.core.config import AlignPlan
from xpet.core.errors import DataError, ModelError
from xpet.core.events import Notice, OnEvent
from xpet.core.languages import ALL, LONGEST, choose, is_language
from xpet.core.losses import BIASED, PAPER, ImageLoss
from xpet.core.map_score import MapScore
from xpet.core.paths import runs_folder
from xpet.core.processes import here
from xpet.core.run_record import RunRecord
from xpet.jobs.align.resume import check_unseen, choose_starts, read_starts, with_stored_method
from xpet.jobs.align.unfinished import Unfinished
from xpet.jobs.align.untrained import measure_untrained
from xpet.jobs.shared import measure
from xpet.jobs.shared.corpus import Parts, as_corpus, check_lint, cut, read_corpus, report_notes, restrict
from xpet.jobs.shared.run_records import Runs, check_base, check_captions
from xpet.jobs.shared.towers import Towers, features_of, load_towers
from xpet.jobs.shared.translated_captions import data_options, drop_flagged, with_missing, with_stored

if TYPE_CHECKING:
    from torch import Tensor

    from xpet.data.training_pairs import TrainingPairs
    from xpet.jobs.align.text_lines import EnglishLines
    from xpet.methods.stack import Stack
    from xpet.models.text_tower import TextTower
    from xpet.training.device import Engine


@dataclass
class AlignSetup:
    """Everything the runs of one `xpet align` share.

    Attributes:
        config: the checked configuration, with the languages spelled out.
        corpus: the captions of these languages.
        parts: the corpus cut into training, validation and test.
        images: image features by part, [images of the part, d] each.
        towers: both towers.
        stack: the text tower with modules attached.
        engine: the device and precision that training uses.
        total: parameters of the text tower as it was loaded.
        unfinished: what stands beside the output folder until the last run is written.
        zero_shot: R@1 of the base in percent, by language and slot.
        maps: the best closed-form map of what a routine learns from, by language and routine.
        starts: the runs that training goes on from, by language and seed.
        pristine: a text tower with nothing attached; None where runs are trained one by one (full fine-tuning).
        dropped: flagged training captions that were left out, by language.
        english: the English lines of routine `text`.
        pairs: what routine `text` learns from, by language.
        pair_seconds: seconds it took to make the pairs.
        tokens: token numbers of captions by (part, language, slot); filled when runs first need them.
        train_images: image features of every training caption [captions, d], by language; filled when first needed.
        finished: runs that an earlier command wrote, which was stopped.
        diverged: labels of the runs that diverged then.
        goes_on: whether there was such a command.
        image_loss: the image-text loss, with its scale and bias.
    """

    config: AlignPlan
    corpus: Corpus
    parts: Parts
    images: Mapping[str, Tensor]
    towers: Towers
    stack: Stack
    engine: Engine
    total: int
    unfinished: Unfinished
    zero_shot: Mapping[tuple[str, str], float]
    maps: Mapping[tuple[str, str], MapScore]
    starts: Mapping[tuple[str, int], RunRecord]
    pristine: TextTower | None
    dropped: Mapping[str, int]
    english: EnglishLines | None = None
    pairs: Mapping[str, TrainingPairs] = field(default_factory=dict)
    pair_seconds: float = 0.0
    tokens: dict[tuple[str, str, str], list[list[int]]] = field(default_factory=dict)
    train_images: dict[str, Tensor] = field(default_factory=dict)
    finished: Runs = ()
    diverged: Sequence[str] = ()
    goes_on: bool = False
    image_loss: ImageLoss = PAPER

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


def prepare(
    config: AlignPlan, on_event: OnEvent, scratch: Path | None = None, held: ExitStack | None = None
) -> AlignSetup:
    """Check everything that can be checked, load what is needed, and measure the base model.

    `scratch` is a folder for pairs and translations of routine `text`, in place of the cache. `held` gets the lock of
    unfinished work, which goes on; without it that is only checked. Raises the XpetError family on bad input.
    """
    with importing():
        from xpet.methods.build import total_parameters
        from xpet.methods.table import find_method
        from xpet.training.device import make_engine
        from xpet.training.graphs import check as check_graphs

    processes = here()
    out = processes.first("the output folder", lambda: config.out or str(new_folder(config)))
    unfinished = Unfinished(Path(out))
    unfinished.check(config.overwrite)
    records = read_starts(config)
    config = with_stored_method(config, records)
    find_method(config.method)
    config, corpus, parts, dropped = _captions(config, on_event)
    is_begun = held is not None and processes.first("unfinished work", lambda: unfinished.is_begun)
    goes_on = is_begun and not config.overwrite
    if is_begun and held is not None:
        unfinished.hold(held, anew=not goes_on)
    finished = unfinished.finished(config) if goes_on else []
    starts = choose_starts(config, records)
    check_unseen(config, records, parts)
    english = _english(config, corpus, parts)
    engine = make_engine(config.fit.device, config.fit.precision)
    check_graphs(config.fit, engine)
    towers = load_towers(config.model, config.data.image_features)
    image_loss = _image_loss(config, towers)
    check_base(towers, [*records, *finished])
    check_captions(parts.test, finished)
    total = total_parameters(towers.text.tower)
    images = _images(config, corpus, parts, towers, engine, on_event)
    stack, pristine = _stack(config, towers, engine)
    started = time.monotonic()
    pairs = {} if english is None else _pairs(config, replace(english, folder=scratch), towers, stack, on_event)
    seconds = time.monotonic() - started if english is not None else 0.0
    zero_shot, maps = measure_untrained(config, parts, images, pairs, towers.text.tokenizer, stack, on_event)
    return AlignSetup(
        config, corpus, parts, images, towers, stack, engine, total, unfinished, zero_shot, maps, starts, pristine,
        dropped, english, pairs, seconds, finished=finished, diverged=unfinished.diverged(config) if goes_on else (),
        goes_on=goes_on, image_loss=image_loss,
    )  # fmt: skip


def _image_loss(config: AlignPlan, towers: Towers) -> ImageLoss:
    """The image-text loss; raises ModelError where the model's own scale or bias is asked for and it has none."""
    name, text = config.fit.image_loss or PAPER.name, towers.text
    if not config.fit.takes_model_scale or not config.needs_train_pictures:
        return ImageLoss(name)
    source = config.model.text
    if text.logit_scale is None:
        raise ModelError(
            f"{source}: expected a logit_scale in the checkpoint, which the image-text loss is to take, found none; "
            "use --image-loss softmax --logit-scale 100"
        )
    if text.logit_bias is None and name in BIASED:
        raise ModelError(
            f"{source}: expected a logit_bias in the checkpoint, as a model that was trained with the {name} loss has "
            "it, found none; use --image-loss softmax"
        )
    return ImageLoss(name, text.logit_scale, text.logit_bias or 0.0 if name in BIASED else 0.0, of_model=True)


def _stack(config: AlignPlan, towers: Towers, engine: Engine) -> tuple[Stack, TextTower | None]:
    """The tower with modules attached, and a twin without any (None where runs cannot share a stack)."""
    from xpet.methods.build import build_stack
    from xpet.methods.table import find_method
    from xpet.models.text_tower import twin

    _start_prompt(config, towers)
    towers.text.tower.to(engine.device)  # before others share its memory
    pristine = twin(towers.text.tower) if find_method(config.method).stackable else None
    return build_stack(towers.text.tower, config.method, [config.seeds[0]]).to(engine.device), pristine


def _images(
    config: AlignPlan,
    corpus: Corpus,
    parts: Parts,
    towers: Towers,
    engine: Engine,
    on_event: OnEvent,
) -> dict[str, Tensor]:
    """Features of the pictures that are used, by part, [images of the part, d] each."""
    needed = {"train": config.needs_train_pictures, "validation": config.needs_validation_pictures, "test": True}
    names = [name for name, is_needed in needed.items() if is_needed]
    splits = [getattr(parts, name) for name in names]
    features = features_of(corpus, splits, towers, config.data, str(engine.device), on_event)
    return dict(zip(names, features, strict=True))


def _english(config: AlignPlan, corpus: Corpus, parts: Parts) -> EnglishLines | None:
    """The English lines of routine `text`; None where no routine needs them. Raises DataError before any work."""
    if not config.text_only:
        return None
    from xpet.jobs.align.text_lines import english_lines
    from xpet.jobs.align.text_pairs import check_packages

    english = english_lines(config.text, parts, config.languages, corpus)
    check_packages(english, config.languages)
    return english


def _pairs(
    config: AlignPlan, english: EnglishLines, towers: Towers, stack: Stack, on_event: OnEvent
) -> dict[str, TrainingPairs]:
    from xpet.jobs.align.text_pairs import make_pairs

    text = towers.text
    encode = measure.encoder(stack.tower, text.tokenizer)
    with stack.bare():
        return make_pairs(
            english, config.languages, encode, text.tower.dimensions, text.tokenizer, text.fingerprint,
            config.fit.device, on_event,
        )  # fmt: skip


def _captions(config: AlignPlan, on_event: OnEvent) -> tuple[AlignPlan, Corpus, Parts, dict[str, int]]:
    """Configuration with the languages spelled out, their corpus, its parts, and dropped training captions by language.

    The captions of the parts have every text that the routines read. Raises ConfigError and DataError.
    """
    whole = read_corpus(config.data)
    languages = choose(config.languages, whole.languages, whole.name, with_pivot=False)
    config = replace(config, languages=languages)
    report_notes(whole, languages, on_event)
    whole = with_stored(whole, languages, config.data.translations)
    read = dict.fromkeys(slot for name in config.routines for slot in config.slots_of(name))
    brought = ("from_pivot",) if config.text_only and config.text.takes_own_translations else ()
    slots = sorted({"target", "pivot", "to_pivot", *brought, *read})
    corpus = restrict(whole, list(dict.fromkeys((PIVOT, *languages))), slots)
    _check_slots(config, corpus)
    corpus = check_lint(whole, corpus, slots, ("target", *read), on_event)
    parts = cut(corpus, config.data)
    needed = [slot for slot in read if slot in TRANSLATED]
    in_parts = as_corpus(corpus, train=parts.train, validation=parts.validation, test=parts.test)
    command = data_options(config.data)
    device = config.fit.device
    parts = Parts(**with_missing(in_parts, languages, needed, ("to_pivot",), command, on_event, device).splits)
    dropped: dict[str, int] = {}
    if config.data.drop_flagged:
        train, dropped = drop_flagged(parts.train, languages, needed)
        parts = replace(parts, train=train)
        on_event(Notice(f"dropped flagged training captions: {_counted(dropped) or 'none'}"))
    parts = _complete(parts, languages, read)
    _check_parts(languages, parts)
    return config, corpus, parts, dropped


def _complete(parts: Parts, languages: Sequence[str], read: Collection[str]) -> Parts:
    """The parts, with only those training and validation captions that have every text the routines read."""
    shorter = {}
    for name in ("train", "validation"):
        split = getattr(parts, name)
        captions = {lang: c.complete(tuple(read)) if lang in languages else c for lang, c in split.captions.items()}
        shorter[name] = Split(split.images, captions)
    return replace(parts, **shorter)


def _counted(dropped: dict[str, int]) -> str:
    return ", ".join(f"{language} {count}" for language, count in dropped.items() if count)


def new_folder(config: AlignPlan) -> Path:
    """A new folder in xpet's own cache, for runs whose folder the user did not name; no two commands get the same."""
    codes = [name for name in config.languages if is_language(name)]  # other names raise an error later
    languages = "-".join(codes[:4])[:LONGEST] or ALL
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return runs_folder() / f"{languages}-{config.method.name}-{stamp}-{secrets.token_hex(2)}"


def _check_slots(config: AlignPlan, corpus: Corpus) -> None:
    """Raise one DataError for all texts a routine reads that are neither there nor can be translated."""
    problems = []
    for name in config.routines:
        for language in config.languages:
            for part, split in corpus.splits.items():
                texts = split.captions[language].texts
                missing = [s for s in config.slots_of(name) if s not in texts and TRANSLATED.get(s) not in texts]
                if missing:
                    problems.append(f"{name} needs {' and '.join(missing)} texts of {language} in {part}, found none")
                if not split.captions[language].image_index:
                    problems.append(f"{corpus.name}/{part}: expected captions of {language}, found none")
    if problems:
        raise DataError(*dict.fromkeys(problems))


def _check_parts(languages: Sequence[str], parts: Parts) -> None:
    """Raise DataError for parts with too few captions: not every image need have one in every language."""
    counts = [
        (language, part, len(getattr(parts, part).captions[language].image_index), least)
        for language in languages
        for part, least in (("train", 2), ("validation", 1), ("test", 1))
    ]
    problems = [
        f"expected at least {least} captions of {language} in the {part} images, found {count}"
        for language, part, count, least in counts
        if count < least
    ]
    if problems:
        raise DataError(*problems)


def _start_prompt(config: AlignPlan, towers: Towers) -> None:
    """Give a soft prompt the embeddings of `--prompt` to start from, and have the tokenizer leave room for it."""
    method = config.method
    tower, tokenizer = towers.text.tower, towers.text.tokenizer
    if method.name != "soft-prompt":
        return
    if method.prompt is not None:
        import torch

        ids = tokenizer.encode(in_language([method.prompt], PIVOT))[0][1:-1]
        if not ids:
            raise ModelError("the soft prompt's text has no tokens: expected at least one word after --prompt")
        tower.prompt_initial = tower.transformer.get_input_embeddings()(torch.tensor(ids))  # type: ignore[operator]
    tokenizer.reserve(len(tower.prompt_initial) if tower.prompt_initial is not None else method.tokens)
