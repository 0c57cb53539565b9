"""`xpet align`: captions, split, image features, tower, method, fit, run directories, result: wired together here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from xpet.core.captions import PIVOT, Corpus
from xpet.core.config import AlignConfig, RunConfig, to_dict
from xpet.core.errors import DataError, ModelError, TrainingError
from xpet.core.events import OnEvent, Progress, ignore
from xpet.core.languages import choose
from xpet.core.paths import runs_folder
from xpet.core.routines import ROUTINES
from xpet.core.rundir import RunRecord, check_free, replacing, write_run
from xpet.jobs import measure, summary, wiring
from xpet.jobs.results import AlignResult, RunResult

if TYPE_CHECKING:
    from torch import Tensor

    from xpet.methods.stack import Stack
    from xpet.training.device import Engine
    from xpet.training.fit import Outcome, RunData


def run(config: AlignConfig, on_event: OnEvent = ignore) -> AlignResult:
    """Train the product of everything that varies and measure before and after on the test split.

    Raises the XpetError family for bad input, before any work where that is possible, and leaves nothing behind then.
    """
    started = time.monotonic()
    config = config.check()
    places = {"model": wiring.absolute_model(config.model), "data": wiring.absolute_data(config.data)}
    config = replace(config, **places)  # type: ignore[arg-type]
    bench = _prepare(config, on_event)
    plans = list(bench.config.runs())
    results: list[RunResult] = []
    failed: list[str] = []
    for group in _stackable(bench, plans):
        for outcome, seconds in _train(bench, group, on_event):
            if outcome.diverged_at is not None:
                failed.append(outcome.config.label)
            else:
                results.append(_finish(bench, outcome, seconds, single=len(plans) == 1))
    if not results:
        raise TrainingError(
            f"all {len(failed)} runs diverged: the loss was not finite; try a lower --lr or another --loss"
        )
    return summary.of_align(
        bench.config, results, failed,
        trainable=bench.stack.trainable, total=bench.total, corpus=bench.corpus,
        english_before=bench.english_before, seconds=time.monotonic() - started,
        peak_memory=_peak_memory(bench.engine), folder=str(bench.folder),
    )  # fmt: skip


@dataclass
class _Bench:
    """Everything the runs of one command share."""

    config: AlignConfig
    corpus: Corpus
    parts: wiring.Parts
    images: dict[str, Tensor]
    towers: wiring.Towers
    stack: Stack
    engine: Engine
    total: int
    folder: Path
    zero_shot: dict[tuple[str, str], float]
    tokens: dict[tuple[str, str, str], list[list[int]]]
    written: bool = False

    def write(self, path: Path, record: RunRecord) -> None:
        """Write a run; the first of a sweep takes the place of what is to be overwritten, and only when it is there."""
        if self.written or path == self.folder or not self.config.overwrite:
            write_run(path, record)
        else:
            with replacing(self.folder):
                write_run(path, record)
        self.written = True

    @property
    def english_before(self) -> float | None:
        return self.zero_shot.get((PIVOT, "target"))


def _prepare(config: AlignConfig, on_event: OnEvent) -> _Bench:
    from xpet.methods.stack import build_stack, total_parameters
    from xpet.training.device import make_engine

    folder = Path(config.out) if config.out else _new_folder(config)
    check_free(folder, config.overwrite)
    corpus = wiring.read_corpus(config.data)
    languages = choose(config.languages, corpus.languages, corpus.name, with_pivot=False)
    config = replace(config, languages=languages)
    slots = {"target", "pivot", "to_pivot", *(s for name in config.routines for s in ROUTINES[name].slots)}
    corpus = wiring.restrict(corpus, list(dict.fromkeys((PIVOT, *languages))), sorted(slots))
    _check_slots(config, corpus)
    wiring.check_lint(corpus, on_event)
    parts = wiring.cut(corpus, config.data)
    _check_parts(config.languages, parts)
    engine = make_engine(config.fit.device, config.fit.precision)
    towers = wiring.load_towers(config.model, with_image=config.data.image_features is None)
    total = total_parameters(towers.text.tower)
    pieces = (parts.train, parts.validation, parts.test)
    features = wiring.features_of(corpus, pieces, towers, config.data, str(engine.device), on_event)
    images = dict(zip(("train", "validation", "test"), features, strict=True))
    _start_prompt(config, towers)
    stack = build_stack(towers.text.tower, config.method, [config.seeds[0]]).to(engine.device)
    bench = _Bench(config, corpus, parts, images, towers, stack, engine, total, folder, {}, {})
    _measure_zero_shot(bench, on_event)
    return bench


def _new_folder(config: AlignConfig) -> Path:
    """A new numbered folder in xpet's own cache, for runs whose place the user did not name."""
    languages = "-".join(config.languages[:4])
    base = runs_folder()
    number = 1
    while (path := base / f"{languages}-{config.method.name}-{number:03d}").exists():
        number += 1
    return path


def _check_slots(config: AlignConfig, corpus: Corpus) -> None:
    """Every text a routine reads must be there; all that is missing is named at once."""
    problems = []
    for name in config.routines:
        for language in config.languages:
            for part, split in corpus.splits.items():
                missing = [s for s in ROUTINES[name].slots if s not in split.captions[language].texts]
                if missing:
                    problems.append(f"{name} needs {' and '.join(missing)} texts of {language} in {part}, found none")
                if not split.captions[language].owner:
                    problems.append(f"{corpus.name}/{part}: expected captions of {language}, found none")
    if problems:
        raise DataError(*dict.fromkeys(problems))


def _check_parts(languages: Sequence[str], parts: wiring.Parts) -> None:
    """Where not every image is captioned in every language, a part of the split may have too few."""
    counts = [
        (language, part, len(getattr(parts, part).captions[language].owner), least)
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


def _start_prompt(config: AlignConfig, towers: wiring.Towers) -> None:
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


def _measure_zero_shot(bench: _Bench, on_event: OnEvent) -> None:
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


def _data(bench: _Bench, plan: RunConfig) -> RunData:
    import torch

    from xpet.training.fit import RunData

    routine = ROUTINES[plan.routine]
    train, validation = bench.parts.train, bench.parts.validation
    owner = torch.tensor(train.captions[plan.language].owner)
    return RunData(
        student=_tokens(bench, "train", plan.language, routine.student),
        anchor=_tokens(bench, "train", plan.language, routine.anchor) if routine.anchor else None,
        image=bench.images["train"][owner],
        val_text=_tokens(bench, "validation", plan.language, routine.evaluation),
        val_image=bench.images["validation"],
        val_owner=torch.tensor(validation.captions[plan.language].owner),
    )


def _tokens(bench: _Bench, part: str, language: str, slot: str) -> list[list[int]]:
    key = (part, language, slot)
    if key not in bench.tokens:
        texts = getattr(bench.parts, part).captions[language].slot(slot)
        bench.tokens[key] = bench.towers.text.tokenizer.encode(texts)
    return bench.tokens[key]


Planned = tuple[RunConfig, "RunData"]


def _stackable(bench: _Bench, plans: Sequence[RunConfig]) -> list[list[Planned]]:
    """Runs of one shape, in as many stacks as memory allows."""
    from xpet.methods.table import find_method
    from xpet.training.memory import runs_per_stack

    by_shape: dict[object, list[Planned]] = {}
    for plan in plans:
        data = _data(bench, plan)
        by_shape.setdefault(data.shape, []).append((plan, data))
    stacks = []
    alone = not find_method(bench.config.method).stackable or bench.config.fit.dropout == "model"
    for runs in by_shape.values():
        size = 1 if alone else runs_per_stack(bench.towers.text.tower, runs, bench.config.fit, bench.engine)
        stacks += [runs[start : start + size] for start in range(0, len(runs), size)]
    return stacks


def _train(bench: _Bench, group: Sequence[Planned], on_event: OnEvent) -> list[tuple[Outcome, float]]:
    """Outcomes of one stack, each with its share of the time."""
    import torch

    from xpet.training.fit import fit

    bench.stack.reset([plan.seed for plan, _ in group])
    torch.manual_seed(group[0][0].seed)  # dropout, where it is on
    started = time.monotonic()
    outcomes = fit(bench.stack, group, bench.config.fit, bench.towers.text.tokenizer.pad, bench.engine, on_event)
    seconds = (time.monotonic() - started) / len(group)
    return [(outcome, seconds) for outcome in outcomes]


def _finish(bench: _Bench, outcome: Outcome, seconds: float, single: bool) -> RunResult:
    """Measure one run on the test split and write its directory."""
    plan = outcome.config
    stack = bench.stack
    stack.reset([plan.seed])
    stack.load(0, outcome.state)
    encode = measure.encoder(stack.tower, bench.towers.text.tokenizer)
    captions, images = bench.parts.test.captions, bench.images["test"]
    with stack.one(0):
        aligned = measure.recall(encode, captions[plan.language], ROUTINES[plan.routine].evaluation, images)
        english = measure.recall(encode, captions[PIVOT], "target", images) if PIVOT in captions else None
    chosen = next((h for h in outcome.history if h["step"] == outcome.chosen_step), {})
    path = bench.folder if single else bench.folder / plan.label
    result = RunResult(
        **{k: v for k, v in asdict(plan).items()},
        status="ok",
        chosen_step=outcome.chosen_step,
        validation={k: v for k, v in chosen.items() if k.startswith("val_")},
        target_before=bench.zero_shot[plan.language, "target"],
        translated_before=bench.zero_shot.get((plan.language, "to_pivot")),
        aligned=aligned,
        english_before=bench.english_before,
        english_after=english,
        seconds=seconds,
        folder=str(path),
    )
    bench.write(path, _record(bench, outcome, result))
    return result


def _record(bench: _Bench, outcome: Outcome, result: RunResult) -> RunRecord:
    config = bench.config
    shared = {name: to_dict(getattr(config, name)) for name in ("model", "data", "method", "fit")}
    return RunRecord(
        config={"run": asdict(outcome.config), **shared},
        delta=outcome.state,
        history=outcome.history,
        metrics={
            **asdict(result), "trainable": bench.stack.trainable, "total": bench.total,
            "share": 100 * bench.stack.trainable / bench.total, "peak_memory": _peak_memory(bench.engine),
            "synthetic": bench.corpus.synthetic,
        },
        environment={
            "versions": wiring.versions(), "device": str(bench.engine.device), "precision": bench.engine.precision,
            "towers": bench.towers.names, "fingerprints": bench.towers.fingerprints,
            "data": dict(bench.corpus.fingerprints),
        },
        split=bench.parts.names(),
    )  # fmt: skip


def _peak_memory(engine: Engine) -> float:
    """Peak memory so far in MiB: of the GPU when there is one, else of the process."""
    from xpet.training.memory import peak_mebibytes

    return peak_mebibytes(engine)
