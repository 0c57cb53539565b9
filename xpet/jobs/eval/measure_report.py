"""Makes the report of a measurement: prepares, measures every system, computes intervals, diagnoses, advises."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from xpet.core.config import EvalConfig, to_dict
from xpet.core.events import OnEvent, Progress
from xpet.core.processes import here
from xpet.jobs.eval.gates import gates_of
from xpet.jobs.eval.prepare import EvalSetup, prepare
from xpet.jobs.eval.report_rows import comparison_of, system_of
from xpet.jobs.eval.systems import Measured, measure_all, with_latency
from xpet.jobs.results.from_json import from_dict
from xpet.jobs.results.report import Advice, Comparison, Diagnosis, Report, System
from xpet.jobs.shared.corpus import captions_digest
from xpet.jobs.shared.run_records import Runs, read_runs
from xpet.jobs.shared.towers import versions

if TYPE_CHECKING:
    from xpet.core.metrics import Retrieval
    from xpet.core.resampling import Resamples


def measure_report(config: EvalConfig, on_event: OnEvent) -> Report:
    """Measure the base, and the runs if there are any, and report; raises the XpetError family.

    Several processes share the measuring; the first one makes the report, which all get.
    """
    records: Runs = read_runs(config.runs, config.languages or ()) if config.runs else []
    setup = prepare(config, records, on_event)
    measured, warnings = measure_all(config, setup, records, on_event)
    diagnosis = _diagnosis(config, setup, on_event)
    advice = _advice(config, setup, diagnosis, on_event)

    def report() -> Report:
        systems, compared = _systems(config, setup, records, measured, on_event)
        return Report(
            data=setup.corpus.name, synthetic=setup.corpus.synthetic, images=len(setup.test.images),
            resamples=config.resamples, systems=tuple(systems), comparisons=tuple(compared),
            diagnosis=diagnosis if config.diagnose else {}, advice=advice, gates=tuple(gates_of(config.gate, systems)),
            warnings=(*warnings, *_other_precision(setup, records), *_fewer_images(systems, len(setup.test.images))),
            configuration=_configuration(config, setup), environment=_environment(setup),
            fingerprint=_fingerprint(setup),
        )  # fmt: skip

    return made_by_first(report)


def made_by_first(make: Callable[[], Report]) -> Report:
    """The report that the first process makes, in all processes."""
    processes = here()
    if processes.world == 1:
        return make()
    made: list[Report] = []

    def document() -> dict[str, Any]:
        with processes.with_every_thread():
            made.append(make())
        return made[0].to_dict()

    received = processes.first("the report", document)
    return made[0] if made else from_dict(received, "the report of the first process")


def _systems(
    config: EvalConfig, setup: EvalSetup, records: Runs, measured: Sequence[Measured[Retrieval]], on_event: OnEvent
) -> tuple[list[System], list[Comparison]]:
    """Figures and intervals of what was measured, and how each system differs from the first."""
    if config.latency and measured[-1].aligned:
        measured[-1].cost = with_latency(setup, records, measured[-1])
    resamples = resamples_of(config, len(setup.test.images))
    trained = [lang for system in measured for lang in system.aligned]
    systems = []
    for done, system in enumerate(measured, start=1):
        systems.append(system_of(system, resamples, config.groups, trained))
        on_event(Progress("statistics", done, len(measured), system.name))
    return systems, [comparison_of(systems[0], system, resamples, config.seed) for system in systems[1:]]


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
            encode, setup.towers.text.tokenizer, setup.test, setup.images, setup.languages, pictures,
            resamples=config.resamples, seed=config.seed, on_event=on_event,
        )  # fmt: skip


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
        "versions": versions(), "device": setup.kind_of_device, "towers": dict(setup.towers.names),
        "feature_precision": setup.towers.precision_on(setup.device),
        "fingerprints": dict(setup.towers.fingerprints), "captions": captions,
    }  # fmt: skip


def _fingerprint(setup: EvalSetup) -> str:
    """Digest of the data's name and the test pictures' names in order: figures per image compare only if it agrees."""
    return hashlib.sha256(json.dumps([setup.corpus.name, setup.test.images]).encode()).hexdigest()
