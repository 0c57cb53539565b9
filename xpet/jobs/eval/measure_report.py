"""Measuring systems and turning them into a report: prepare, measure, resample, diagnose, advise."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from xpet.core.config import EvalConfig, to_dict
from xpet.core.events import OnEvent, Progress
from xpet.jobs.eval.gates import gates_of
from xpet.jobs.eval.prepare import Bench, prepare
from xpet.jobs.eval.report_rows import comparison_of, system_of
from xpet.jobs.eval.systems import measure_all
from xpet.jobs.results.report import Advice, Diagnosis, Report, System
from xpet.jobs.shared.corpus import captions_digest
from xpet.jobs.shared.run_records import Runs, read_runs
from xpet.jobs.shared.towers import versions

if TYPE_CHECKING:
    from xpet.core.resampling import Resamples


def measure_report(config: EvalConfig, on_event: OnEvent) -> Report:
    """The report of the base, or of the base and runs; raises the XpetError family."""
    records: Runs = read_runs(config.runs, config.languages or ()) if config.runs else []
    bench = prepare(config, records, on_event)
    measured, warnings = measure_all(config, bench, records, on_event)
    warnings += _other_precision(bench, records)
    resamples = resamples_of(config, len(bench.test.images))
    trained = [lang for system in measured for lang in system.aligned]
    systems = []
    for done, system in enumerate(measured, start=1):
        systems.append(system_of(system, resamples, config.groups, trained))
        on_event(Progress("statistics", done, len(measured), system.name))
    warnings += _fewer_images(systems, len(bench.test.images))
    compared = [comparison_of(systems[0], system, resamples, config.seed) for system in systems[1:]]
    diagnosis = _diagnosis(config, bench, on_event)
    return Report(
        data=bench.corpus.name, synthetic=bench.corpus.synthetic, images=len(bench.test.images),
        resamples=config.resamples, systems=tuple(systems), comparisons=tuple(compared),
        diagnosis=diagnosis if config.diagnose else {}, advice=_advice(config, bench, diagnosis, on_event),
        gates=tuple(gates_of(config.gate, systems)), warnings=tuple(warnings),
        configuration=_configuration(config, bench), environment=_environment(bench),
        fingerprint=_fingerprint(bench),
    )  # fmt: skip


def _other_precision(bench: Bench, records: Runs) -> list[str]:
    """A warning where image features are computed in another precision than the runs were measured with."""
    here = bench.towers.precision_on(bench.device)
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
    told = ", ".join(f"{lang} on {count}" for lang, count in fewer.items())
    return [f"captions of some of the {images} test images are missing, so languages are measured on others: {told}"]


def resamples_of(config: EvalConfig, images: int) -> Resamples | None:
    """Bootstrap samples of the test images; None where intervals are switched off (0 resamples)."""
    from xpet.core.resampling import Resamples

    return Resamples(images, config.resamples, config.seed) if config.resamples else None


def _diagnosis(config: EvalConfig, bench: Bench, on_event: OnEvent) -> dict[str, Diagnosis]:
    if not (config.diagnose or config.advise):
        return {}
    from xpet.jobs.eval.diagnose import diagnose

    with bench.bare() as encode:
        pictures = bench.corpus.pictures if config.diagnose else None
        return diagnose(
            encode, bench.towers.text.tokenizer, bench.test, bench.images, bench.languages, pictures, on_event=on_event
        )


def _advice(config: EvalConfig, bench: Bench, diagnosis: dict[str, Diagnosis], on_event: OnEvent) -> dict[str, Advice]:
    if not config.advise:
        return {}
    from xpet.jobs.eval.advise import PROMPTS, SHOTS, advise

    with bench.bare() as encode:
        prompts = config.prompts or PROMPTS
        return advise(
            encode, bench.test, bench.images, diagnosis, bench.model, bench.data, min(SHOTS, bench.most_shots),
            prompts, on_event,
        )  # fmt: skip


def _configuration(config: EvalConfig, bench: Bench) -> dict[str, Any]:
    asked = to_dict(config)
    return {**asked, "languages": list(bench.languages), "model": asdict(bench.model), "data": asdict(bench.data)}


def _environment(bench: Bench) -> dict[str, Any]:
    captions = {lang: captions_digest(bench.test.captions[lang], ("target",)) for lang in bench.languages}
    return {
        "versions": versions(), "device": bench.device, "towers": dict(bench.towers.names),
        "feature_precision": bench.towers.precision_on(bench.device),
        "fingerprints": dict(bench.towers.fingerprints), "captions": captions,
    }  # fmt: skip


def _fingerprint(bench: Bench) -> str:
    """Digest of the test pictures' names and order: what must agree for figures per image to be compared."""
    return hashlib.sha256(json.dumps([bench.corpus.name, bench.test.images]).encode()).hexdigest()
