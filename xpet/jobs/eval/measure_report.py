"""Makes the report of a measurement: prepares, measures every system, computes intervals, diagnoses, advises."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from xpet.core.config import EvalConfig, to_dict
from xpet.core.events import OnEvent, Progress
from xpet.jobs.eval.gates import gates_of
from xpet.jobs.eval.prepare import EvalSetup, prepare
from xpet.jobs.eval.report_rows import comparison_of, system_of
from xpet.jobs.eval.systems import measure_all
from xpet.jobs.results.report import Advice, Diagnosis, Report, System
from xpet.jobs.shared.corpus import captions_digest
from xpet.jobs.shared.run_records import Runs, read_runs
from xpet.jobs.shared.towers import versions

if TYPE_CHECKING:
    from xpet.core.resampling import Resamples


def measure_report(config: EvalConfig, on_event: OnEvent) -> Report:
    """Measure the base, and the runs if there are any, and report; raises the XpetError family."""
    records: Runs = read_runs(config.runs, config.languages or ()) if config.runs else []
    setup = prepare(config, records, on_event)
    measured, warnings = measure_all(config, setup, records, on_event)
    warnings += _other_precision(setup, records)
    resamples = resamples_of(config, len(setup.test.images))
    trained = [lang for system in measured for lang in system.aligned]
    systems = []
    for done, system in enumerate(measured, start=1):
        systems.append(system_of(system, resamples, config.groups, trained))
        on_event(Progress("statistics", done, len(measured), system.name))
    warnings += _fewer_images(systems, len(setup.test.images))
    compared = [comparison_of(systems[0], system, resamples, config.seed) for system in systems[1:]]
    diagnosis = _diagnosis(config, setup, on_event)
    return Report(
        data=setup.corpus.name, synthetic=setup.corpus.synthetic, images=len(setup.test.images),
        resamples=config.resamples, systems=tuple(systems), comparisons=tuple(compared),
        diagnosis=diagnosis if config.diagnose else {}, advice=_advice(config, setup, diagnosis, on_event),
        gates=tuple(gates_of(config.gate, systems)), warnings=tuple(warnings),
        configuration=_configuration(config, setup), environment=_environment(setup),
        fingerprint=_fingerprint(setup),
    )  # fmt: skip


def _other_precision(setup: EvalSetup, records: Runs) -> list[str]:
    """A warning where image features are computed in another precision than the runs were measured with."""
    here = setup.towers.precision_on(setup.device)
    there = {record.environment.feature_precision for _, record in records} - {None, here}
    if here is None or not there:
        return []
    others = ", ".join(sorted(map(str, there)))
    return [
        f"image features are computed in {here} here, the runs were measured with {others}: "
        "figures may differ by a few captions; --feature-precision chooses"
    ]


def _fewer_images(systems: Sequence[System], images: int) -> list[str]:
    """A warning for languages without captions of some test images, which are measured on those they have."""
    fewer = {
        lang: scores.images
        for system in systems for lang, scores in system.languages.items() if scores.images < images
    }  # fmt: skip
    if not fewer:
        return []
    counts = ", ".join(f"{lang} on {count}" for lang, count in fewer.items())
    return [f"captions of some of the {images} test images are missing, so languages are measured on others: {counts}"]


def resamples_of(config: EvalConfig, images: int) -> Resamples | None:
    """Bootstrap samples of the test images; None where intervals are switched off (0 resamples)."""
    from xpet.core.resampling import Resamples

    return Resamples(images, config.resamples, config.seed) if config.resamples else None


def _diagnosis(config: EvalConfig, setup: EvalSetup, on_event: OnEvent) -> dict[str, Diagnosis]:
    if not (config.diagnose or config.advise):
        return {}
    from xpet.jobs.eval.diagnose import diagnose

    with setup.bare() as encode:
        pictures = setup.corpus.pictures if config.diagnose else None
        return diagnose(
            encode, setup.towers.text.tokenizer, setup.test, setup.images, setup.languages, pictures, on_event=on_event
        )


def _advice(
    config: EvalConfig, setup: EvalSetup, diagnosis: dict[str, Diagnosis], on_event: OnEvent
) -> dict[str, Advice]:
    if not config.advise:
        return {}
    from xpet.jobs.eval.advise import PROMPTS, SHOTS, advise

    with setup.bare() as encode:
        prompts = config.prompts or PROMPTS
        return advise(
            encode, setup.test, setup.images, diagnosis, setup.model, setup.data, min(SHOTS, setup.most_shots),
            prompts, on_event,
        )  # fmt: skip


def _configuration(config: EvalConfig, setup: EvalSetup) -> dict[str, Any]:
    """The configuration as JSON, with languages, model and data as they were used."""
    given = to_dict(config)
    return {**given, "languages": list(setup.languages), "model": asdict(setup.model), "data": asdict(setup.data)}


def _environment(setup: EvalSetup) -> dict[str, Any]:
    captions = {lang: captions_digest(setup.test.captions[lang], ("target",)) for lang in setup.languages}
    return {
        "versions": versions(), "device": setup.device, "towers": dict(setup.towers.names),
        "feature_precision": setup.towers.precision_on(setup.device),
        "fingerprints": dict(setup.towers.fingerprints), "captions": captions,
    }  # fmt: skip


def _fingerprint(setup: EvalSetup) -> str:
    """Digest of the data's name and the test pictures' names in order: figures per image compare only if it agrees."""
    return hashlib.sha256(json.dumps([setup.corpus.name, setup.test.images]).encode()).hexdigest()
