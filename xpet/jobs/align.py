"""`xpet align`: captions, split, image features, tower, method, fit, run directories, result: wired together here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from xpet.core.captions import PIVOT
from xpet.core.config import AlignConfig, RunConfig, to_dict
from xpet.core.errors import DataError, TrainingError
from xpet.core.events import OnEvent, ignore
from xpet.core.routines import ROUTINES
from xpet.core.rundir import RunRecord
from xpet.jobs import measure, summary, wiring
from xpet.jobs.bench import Bench, prepare
from xpet.jobs.results import AlignResult, RunResult
from xpet.jobs.runs import stored_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from xpet.training.device import Engine
    from xpet.training.fit import RunData
    from xpet.training.selection import Outcome


def run(config: AlignConfig, on_event: OnEvent = ignore) -> AlignResult:
    """Train the product of everything that varies and measure before and after on the test split.

    Raises the XpetError family for bad input, before any work where that is possible, and leaves nothing behind then.
    """
    started = time.monotonic()
    config = config.check()
    places = {"model": wiring.absolute_model(config.model), "data": wiring.absolute_data(config.data)}
    config = replace(config, **places)  # type: ignore[arg-type]
    bench = prepare(config, on_event)
    plans = list(bench.config.runs())
    results: list[RunResult] = []
    failed: list[str] = []
    for group in stackable(bench, plans):
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
        bench.config, results, failed, shots=len(bench.parts.train.images),
        trainable=max(r.trainable for r in results), stored=max(r.stored for r in results), total=bench.total,
        corpus=bench.corpus, text=_text_facts(bench),
        english_before=bench.english_before, seconds=time.monotonic() - started,
        peak_memory=_peak_memory(bench.engine), folder=str(bench.folder),
    )  # fmt: skip


def _data(bench: Bench, plan: RunConfig) -> RunData:
    import torch

    from xpet.training.fit import RunData

    routine = ROUTINES[plan.routine]
    if routine.text_only:
        return _text_data(bench, plan)
    validation = bench.parts.validation
    return RunData(
        student=_tokens(bench, "train", plan.language, routine.student),
        anchor=_tokens(bench, "train", plan.language, routine.anchor) if routine.anchor else None,
        image=_train_images(bench, plan.language),
        val_text=_tokens(bench, "validation", plan.language, routine.evaluation),
        val_image=bench.images["validation"],
        val_owner=torch.tensor(validation.captions[plan.language].owner),
    )


def _text_data(bench: Bench, plan: RunConfig) -> RunData:
    """What a run of routine `text` learns from, and is validated on: held-out lines, or pictures."""
    import torch

    from xpet.training.fit import RunData

    pairs = bench.pairs[plan.language]
    least = bench.config.fit.batch_size
    if len(pairs.tokens) < least:
        raise DataError(
            f"{plan.language}: expected at least a batch of {least} translated lines to train on, "
            f"found {len(pairs.tokens)}; give more lines or a smaller --batch-size"
        )
    count = min(len(each.val_tokens) for each in bench.pairs.values())  # runs of a stack have equally many
    text, images, owner = pairs.val_tokens[:count], pairs.val_frozen[:count], torch.arange(count)
    if not bench.config.text.validates_on_text:
        text = _tokens(bench, "validation", plan.language, ROUTINES[plan.routine].evaluation)
        images = bench.images["validation"]
        owner = torch.tensor(bench.parts.validation.captions[plan.language].owner)
    return RunData(
        student=pairs.tokens, anchor=None, image=None, frozen=pairs.frozen, whole=True,
        val_text=text, val_image=images, val_owner=owner,
    )  # fmt: skip


def _train_images(bench: Bench, language: str) -> Tensor:
    """Image features of every training caption of a language, shared by all its runs."""
    import torch

    if language not in bench.train_images:
        owner = torch.tensor(bench.parts.train.captions[language].owner)
        bench.train_images[language] = bench.images["train"][owner]
    return bench.train_images[language]


def _tokens(bench: Bench, part: str, language: str, slot: str) -> list[list[int]]:
    key = (part, language, slot)
    if key not in bench.tokens:
        texts = getattr(bench.parts, part).captions[language].slot(slot)
        bench.tokens[key] = bench.towers.text.tokenizer.encode(texts)
    return bench.tokens[key]


Planned = tuple[RunConfig, "RunData"]


def stackable(bench: Bench, plans: Sequence[RunConfig]) -> list[list[Planned]]:
    """Runs of one shape, in as many stacks as memory allows."""
    from xpet.methods.table import find_method
    from xpet.training.memory import runs_per_stack

    by_shape: dict[object, list[Planned]] = {}
    for plan in plans:
        data = _data(bench, plan)
        by_shape.setdefault(data.shape, []).append((plan, data))
    stacks = []
    alone = not find_method(bench.config.method).stackable or bench.config.fit.dropout == "model"
    pad = bench.towers.text.tokenizer.pad
    for runs in by_shape.values():
        size = 1 if alone else runs_per_stack(bench.stack, runs, bench.config.fit, pad, bench.engine)
        stacks += [runs[start : start + size] for start in range(0, len(runs), size)]
    return stacks


def _train(bench: Bench, group: Sequence[Planned], on_event: OnEvent) -> list[tuple[Outcome, float]]:
    """Outcomes of one stack, each with its share of the time."""
    import torch

    from xpet.training.fit import fit

    start(bench, group)
    torch.manual_seed(group[0][0].seed)  # dropout, where it is on
    started = time.monotonic()
    outcomes = fit(bench.stack, group, bench.config.fit, bench.towers.text.tokenizer.pad, bench.engine, on_event)
    seconds = (time.monotonic() - started) / len(group)
    return [(outcome, seconds) for outcome in outcomes]


def start(bench: Bench, group: Sequence[Planned]) -> None:
    """Fresh parameters for every run of the stack, or those of the runs that training goes on from."""
    from xpet.jobs.start import widened

    stack = bench.stack
    stack.reset([plan.seed for plan, _ in group], [_own_tokens(bench, plan, data) for plan, data in group])
    for place, (plan, _) in enumerate(group):
        record = bench.started.get((plan.language, plan.seed))
        if record is not None:
            stack.load(place, widened(record.delta, stack.state(place)))


def _own_tokens(bench: Bench, plan: RunConfig, data: RunData) -> Sequence[int]:
    """The tokens of what a run's student reads, whose embeddings it may train."""
    if ROUTINES[plan.routine].text_only:
        return bench.pairs[plan.language].own
    return sorted({token for row in data.student for token in row})


def _finish(bench: Bench, outcome: Outcome, seconds: float, single: bool) -> RunResult:
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
        trainable=sum(v.numel() for v in outcome.state.values() if v.is_floating_point()),
        stored=stored_bytes(outcome.state),
    )
    bench.write(path, _record(bench, outcome, result))
    return result


def _record(bench: Bench, outcome: Outcome, result: RunResult) -> RunRecord:
    config = bench.config
    shared = {name: to_dict(getattr(config, name)) for name in ("model", "data", "method", "fit")}
    if ROUTINES[outcome.config.routine].text_only:
        shared["text"] = to_dict(config.text)
    return RunRecord(
        config={"run": asdict(outcome.config), **shared, **({"from": config.start} if config.start else {})},
        delta=outcome.state,
        history=outcome.history,
        metrics={
            **asdict(result), "total": bench.total, "share": 100 * result.trainable / bench.total,
            "peak_memory": _peak_memory(bench.engine), "synthetic": bench.corpus.synthetic,
            "dropped": bench.dropped.get(outcome.config.language, 0),
            "text": _text_facts(bench).get(outcome.config.language),
        },
        environment={
            "versions": wiring.versions(), "device": str(bench.engine.device), "precision": bench.engine.precision,
            "towers": bench.towers.names, "fingerprints": bench.towers.fingerprints,
            "data": dict(bench.corpus.fingerprints),
            "test_captions": wiring.captions_digest(
                bench.parts.test.captions[outcome.config.language],
                ("target", ROUTINES[outcome.config.routine].evaluation),
            ),
        },
        split=bench.parts.names(),
    )  # fmt: skip


def _text_facts(bench: Bench) -> dict[str, dict[str, int]]:
    """What became of the English lines, by language; empty where no routine reads them."""
    on_pictures = int(not bench.config.text.validates_on_text)
    return {
        language: {
            **pairs.counts, "translated": pairs.lines, "flagged": pairs.flagged,
            "pairs": len(pairs.tokens) - pairs.repeated, "natural": pairs.natural,
            "held_out": len(pairs.val_tokens), "validated_on_pictures": on_pictures,
        }
        for language, pairs in bench.pairs.items()
    }  # fmt: skip


def _peak_memory(engine: Engine) -> float:
    """Peak memory so far in MiB: of the GPU when there is one, else of the process."""
    from xpet.training.memory import peak_mebibytes

    return peak_mebibytes(engine)
