"""`xpet align`: captions, split, image features, tower, method, fit, run directories, result: wired together here."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from xpet.core.captions import PIVOT
from xpet.core.config import AlignConfig, to_dict
from xpet.core.errors import TrainingError
from xpet.core.events import OnEvent, ignore
from xpet.core.routines import ROUTINES
from xpet.core.rundir import RunRecord
from xpet.jobs.align import stacks as groups
from xpet.jobs.align import summary
from xpet.jobs.align.prepare import Bench, prepare
from xpet.jobs.results.align import AlignResult, RunResult
from xpet.jobs.shared import measure
from xpet.jobs.shared.corpus import absolute_data, captions_digest
from xpet.jobs.shared.run_records import stored_bytes
from xpet.jobs.shared.towers import absolute_model, versions

if TYPE_CHECKING:
    from xpet.training.device import Engine
    from xpet.training.selection import Outcome


def run(config: AlignConfig, on_event: OnEvent = ignore) -> AlignResult:
    """Train the product of everything that varies and measure before and after on the test split.

    Raises the XpetError family for bad input, before any work where that is possible, and leaves nothing behind then.
    """
    started = time.monotonic()
    plan = config.check()
    plan = replace(plan, model=absolute_model(plan.model), data=absolute_data(plan.data))
    bench = prepare(plan, on_event)
    plans = list(bench.config.runs())
    order = {plan.label: number for number, plan in enumerate(plans)}  # runs end in any order
    finished: dict[int, RunResult] = {}
    failed: list[str] = []
    for outcome in groups.trained(bench, plans, on_event):
        if outcome.diverged_at is not None:
            failed.append(outcome.config.label)
        else:
            finished[order[outcome.config.label]] = _finish(bench, outcome, single=len(plans) == 1)
    results = [finished[number] for number in sorted(finished)]
    failed.sort(key=order.__getitem__)
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


def _finish(bench: Bench, outcome: Outcome, single: bool) -> RunResult:
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
        seconds=outcome.seconds,
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
            "versions": versions(), "device": str(bench.engine.device), "precision": bench.engine.precision,
            "feature_precision": bench.towers.precision_on(str(bench.engine.device)),
            "towers": bench.towers.names, "fingerprints": bench.towers.fingerprints,
            "data": dict(bench.corpus.fingerprints),
            "test_captions": captions_digest(
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
