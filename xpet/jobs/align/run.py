"""`xpet align`, one phase: prepare, train the runs, measure and write each, and summarise. Read this first."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, nullcontext
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from xpet.core.captions import PIVOT
from xpet.core.config import AlignConfig, AlignPlan, RunConfig, to_dict
from xpet.core.errors import PeerError, ProcessError, TrainingError, XpetError, listing
from xpet.core.events import Notice, OnEvent, ignore
from xpet.core.losses import PAPER
from xpet.core.paths import absolute
from xpet.core.processes import here
from xpet.core.routines import ROUTINES
from xpet.core.run_record import RunEnvironment, RunMetrics, RunRecord, RunResult, SplitNames
from xpet.core.stopping import Stopped, catching, caught_signals
from xpet.core.tensors import tensor_bytes
from xpet.data.text_corpus import STDIN
from xpet.jobs.align import stacks, summary
from xpet.jobs.align.prepare import AlignSetup, prepare
from xpet.jobs.align.watching import Watching, check_trackers, watching
from xpet.jobs.results.align import AlignResult
from xpet.jobs.shared import measure
from xpet.jobs.shared.corpus import absolute_data, captions_digest
from xpet.jobs.shared.towers import absolute_model, versions

if TYPE_CHECKING:
    from xpet.training.device import Engine
    from xpet.training.selection import TrainedRun

Config = TypeVar("Config", AlignConfig, AlignPlan)


def run(config: AlignConfig, on_event: OnEvent = ignore, is_phase: bool = False) -> AlignResult:
    """Train the product of everything that varies and measure before and after on the test split.

    What was stopped goes on; a chain removes what stands for that of its phases (`is_phase`) itself. Raises the
    XpetError family for bad input, before any work where that is possible, and leaves nothing behind then; Stopped
    where a signal ends it, in training after the checkpoints are written.
    """
    plan = config.check()
    check_trackers(plan.track)
    with catching(), ExitStack() as held:
        return _run(plan, held, on_event, is_phase)


def _run(plan: AlignPlan, held: ExitStack, on_event: OnEvent, is_phase: bool) -> AlignResult:
    started = time.monotonic()
    plan = absolute_paths(plan)
    setup = prepare(plan, on_event, held=held)
    runs = list(setup.config.runs())
    order = {run.label: number for number, run in enumerate(runs)}  # stacks finish in any order
    finished = {order[record.run.label]: _stored_result(path, record) for path, record in setup.finished}
    failed = list(setup.diverged)
    missing = [run for number, run in enumerate(runs) if number not in finished and run.label not in failed]
    if setup.goes_on:
        ended = len(runs) - len(missing)
        on_event(Notice(f"{setup.unfinished.out}: {ended} of {len(runs)} runs are finished, the others are trained"))
    training = stacks.plan_stacks(setup, runs) if missing else None  # of all runs, so that stacks are as before
    if not setup.goes_on:
        setup.unfinished.begin(to_dict(setup.config), plan.overwrite, held)
    watch = held.enter_context(watching(setup.config, setup.unfinished, on_event))
    for label, trained in _trained(setup, training, watch, on_event) if training else ():
        if trained is None:
            failed.append(label)
        else:
            finished[order[label]] = trained
    if here().world > 1:
        _add_others(setup, order, finished)
        failed = setup.unfinished.diverged(setup.config)
    results = [finished[number] for number in sorted(finished)]
    failed.sort(key=order.__getitem__)
    if not results:
        setup.unfinished.finish()
        raise TrainingError(
            f"all {len(failed)} runs diverged: the loss was not finite; try a lower --lr or another --loss"
        )
    summarised = summary.summarise(
        setup.config, results, failed, shots=len(setup.parts.train.images),
        trainable=max(r.trainable for r in results), stored=max(r.stored for r in results), total=setup.total,
        corpus=setup.corpus, text=_text_facts(setup),
        english_before=setup.english_before, images=len(setup.parts.test.images), seconds=time.monotonic() - started,
        peak_memory=max(here().gather("memory", _peak_memory(setup.engine))), folder=str(setup.unfinished.out),
    )  # fmt: skip
    if not is_phase:
        setup.unfinished.finish()
    return summarised


def absolute_paths(config: Config) -> Config:
    """The configuration with absolute paths of local files, so that what is stored is found from anywhere."""
    files = config.text.corpus  # those named in full may be pipes, which have no other name
    corpus = files and tuple(
        path if path == STDIN or Path(path).is_absolute() else str(absolute(path)) for path in files
    )
    return replace(
        config, model=absolute_model(config.model), data=absolute_data(config.data), start=absolute(config.start),
        text=replace(config.text, corpus=corpus),
    )  # fmt: skip


def _trained(
    setup: AlignSetup, plan: stacks.TrainingPlan, watch: Watching, on_event: OnEvent
) -> Iterator[tuple[str, RunResult | None]]:
    """Train, measure and write the runs of a plan; yields the label and the result of each, None where it diverged.

    Where all processes train them together, the first one does the rest.
    """
    listen = watch.event if plan.is_reported_here else on_event
    checkpoints = stacks.checkpoints_of(setup, plan, listen)
    try:
        beside = stacks.goes_on_beside(setup, plan)
        with closing(stacks.train(setup, plan, checkpoints, listen, beside)) as outcomes:
            for outcome in caught_signals().each(outcomes):
                label = outcome.config.label
                if not plan.is_reported_here or checkpoints.is_settled(label):  # that went on beside others
                    continue
                with setup.engine.aside() if beside else nullcontext():
                    result = None if outcome.diverged_at is not None else _measure_and_write(setup, outcome)
                if result is None:
                    setup.unfinished.note_divergence(label)
                watch.ended(outcome, result)
                yield label, result
    except BaseException as error:
        checkpoints.settle()  # what left its stack, and is not yet written
        if isinstance(error, Stopped):
            error.go_on = f"xpet align --resume {shlex.quote(str(setup.unfinished.out))}"
        raise


def _add_others(setup: AlignSetup, order: Mapping[str, int], finished: dict[int, RunResult]) -> None:
    """Add what the other processes trained, when all are here.

    Raises TrainingError, naming the runs that are missing, in the first process where another one was lost.
    """
    lost: XpetError | None = None
    try:
        here().barrier("the end of training")
    except (PeerError, ProcessError) as error:
        if not here().is_first:
            raise
        lost = error
    for path, record in setup.unfinished.finished(setup.config):
        finished.setdefault(order[record.run.label], _stored_result(path, record))
    missing = [label for label, number in order.items() if number not in finished]
    missing = [label for label in missing if label not in setup.unfinished.diverged(setup.config)]
    if lost is not None:
        raise TrainingError(
            f"{lost}; {len(missing)} of {len(order)} runs are missing ({listing(missing, 5) or 'none'}): the same "
            "command goes on"
        )


def _stored_result(path: Path, record: RunRecord) -> RunResult:
    """The result of a run that an earlier command wrote."""
    values = {field.name: getattr(record.metrics, field.name) for field in fields(RunResult)}
    return RunResult(**{**values, "folder": str(path)})


def _measure_and_write(setup: AlignSetup, outcome: TrainedRun) -> RunResult:
    """Measure one run on the test split and write its directory."""
    run = outcome.config
    stack = setup.stack
    stack.reset([run.seed])
    stack.load(0, outcome.state)
    encode = measure.encoder(stack.tower, setup.towers.text.tokenizer)
    captions, images = setup.parts.test.captions, setup.images["test"]
    with stack.one(0):
        aligned = measure.recall(encode, captions[run.language], ROUTINES[run.routine].evaluation, images)
        english = measure.recall(encode, captions[PIVOT], "target", images) if PIVOT in captions else None
    chosen = next((h for h in outcome.history if h["step"] == outcome.chosen_step), {})
    path = setup.unfinished.run_folder(setup.config, run.label)
    result = RunResult(
        **asdict(run),
        status="ok",
        chosen_step=outcome.chosen_step,
        validation={k: v for k, v in chosen.items() if k.startswith("val_")},
        target_before=setup.zero_shot[run.language, "target"],
        translated_before=setup.zero_shot.get((run.language, "to_pivot")),
        aligned=aligned,
        english_before=setup.english_before,
        english_after=english,
        seconds=outcome.seconds,
        folder=str(path),
        trainable=sum(v.numel() for v in outcome.state.values() if v.is_floating_point()),
        stored=tensor_bytes(outcome.state),
        map=setup.maps.get((run.language, run.routine)),
        candidate=chosen.get("candidate"),
        image_loss=setup.image_loss if run.image_weight and setup.image_loss != PAPER else None,
    )
    setup.unfinished.write(path, _record(setup, outcome, result))
    return result


def _record(setup: AlignSetup, outcome: TrainedRun, result: RunResult) -> RunRecord:
    """The record of a run that is written to its folder."""
    config, run = setup.config, outcome.config
    return RunRecord(
        run=run, model=config.model, data=config.data, method=config.method, fit=config.fit,
        delta=outcome.state, history=outcome.history,
        metrics=RunMetrics(
            **vars(result), total=setup.total, share=100 * result.trainable / setup.total,
            peak_memory=_peak_memory(setup.engine), synthetic=setup.corpus.synthetic,
            dropped=setup.dropped.get(run.language, 0), text=_text_facts(setup).get(run.language),
        ),
        environment=_environment(setup, run), split=SplitNames(**setup.parts.names()),
        text=config.text if ROUTINES[run.routine].text_only else None, start=config.start or None,
    )  # fmt: skip


def _environment(setup: AlignSetup, run: RunConfig) -> RunEnvironment:
    captions = setup.parts.test.captions[run.language]
    return RunEnvironment(
        versions=versions(), device=str(setup.engine.device), precision=setup.engine.precision,
        feature_precision=setup.towers.precision_on(str(setup.engine.device)),
        towers=setup.towers.names, fingerprints=setup.towers.fingerprints, data=dict(setup.corpus.fingerprints),
        test_captions=captions_digest(captions, ("target", ROUTINES[run.routine].evaluation)),
    )  # fmt: skip


def _text_facts(setup: AlignSetup) -> dict[str, dict[str, int]]:
    """Counts of English lines and training pairs, by language; empty where no routine reads lines."""
    on_pictures = int(not setup.config.text.validates_on_text)
    return {
        language: {
            **pairs.counts, "translated": pairs.lines, "flagged": pairs.flagged,
            "pairs": len(pairs.tokens) - pairs.repeated, "natural": pairs.natural,
            "held_out": len(pairs.val_tokens), "validated_on_pictures": on_pictures,
        }
        for language, pairs in setup.pairs.items()
    }  # fmt: skip


def _peak_memory(engine: Engine) -> float:
    """Peak memory so far in MiB: of the GPU when there is one, else of the process."""
    from xpet.training.memory import peak_mebibytes

    return peak_mebibytes(engine)
