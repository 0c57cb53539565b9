"""`xpet eval`: run directories -> captions and features -> towers and deltas -> retrieval -> statistics -> report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpet.core.config import RESULT, EvalConfig, to_dict
from xpet.core.errors import DataError
from xpet.core.events import OnEvent, Progress, ignore
from xpet.core.languages import choose
from xpet.jobs.eval import report_rows as figures
from xpet.jobs.eval.prepare import Bench, prepare
from xpet.jobs.eval.systems import measure_all
from xpet.jobs.results.report import Advice, Diagnosis, Report, System, from_dict
from xpet.jobs.results.results import LintResult
from xpet.jobs.shared import wiring
from xpet.jobs.shared.run_records import Runs, read_runs

if TYPE_CHECKING:
    from xpet.core.resampling import Resamples


def run(config: EvalConfig, on_event: OnEvent = ignore) -> Report | LintResult:
    """Measure the base, or the base and runs, or compare systems; or read a result again; or lint alone.

    Raises the XpetError family: unknown data or language, a folder that is no run, runs of different data or base, a
    base that changed since the run was trained, results that do not fit together.
    """
    config = config.check()
    if config.lint_only:
        return _lint(config)
    if config.compare:
        return _compare(config, on_event)
    stored = [name for name in config.runs if _is_result(name)]
    if stored and len(config.runs) > 1:
        raise DataError(f"{stored[0]}: expected run folders, or one result file alone, found both; see --compare")
    if stored:
        return _again(read_result(stored[0]), config)
    return _measure(config, on_event)


def read_result(path: str) -> Report:
    """The report in a result file of `xpet eval --format json`; raises DataError."""
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected a result of `xpet eval --json`, found {error}") from error
    return from_dict(document, path)


def _is_result(name: str) -> bool:
    return name.endswith(RESULT) and not Path(name).is_dir()


def _again(report: Report, config: EvalConfig) -> Report:
    """A stored report, judged by the limits given now."""
    gates = figures.gates_of(config.gate, report.systems)
    return replace(report, gates=tuple(gates)) if gates else report


def _lint(config: EvalConfig) -> LintResult:
    from xpet.data.lint import lint

    corpus = wiring.read_corpus(replace(config.data, name=config.data.name or wiring.DEMO))
    findings = [asdict(finding) for finding in lint(corpus)]
    if config.languages:
        languages = set(choose(config.languages, corpus.languages, corpus.name, with_pivot=True))
        findings = [f for f in findings if languages & set(f["languages"])]
    return LintResult(corpus.name, tuple(findings))


def _measure(config: EvalConfig, on_event: OnEvent) -> Report:
    records: Runs = read_runs(config.runs, config.languages or ()) if config.runs else []
    bench = prepare(config, records, on_event)
    measured, warnings = measure_all(config, bench, records, on_event)
    warnings += _other_precision(bench, records)
    resamples = _resamples(config, len(bench.test.images))
    trained = [lang for system in measured for lang in system.aligned]
    systems = []
    for done, system in enumerate(measured, start=1):
        systems.append(figures.system_of(system, resamples, config.groups, trained))
        on_event(Progress("statistics", done, len(measured), system.name))
    warnings += _fewer_images(systems, len(bench.test.images))
    compared = [figures.comparison_of(systems[0], system, resamples, config.seed) for system in systems[1:]]
    diagnosis = _diagnosis(config, bench, on_event)
    return Report(
        data=bench.corpus.name, synthetic=bench.corpus.synthetic, images=len(bench.test.images),
        resamples=config.resamples, systems=tuple(systems), comparisons=tuple(compared),
        diagnosis=diagnosis if config.diagnose else {}, advice=_advice(config, bench, diagnosis, on_event),
        gates=tuple(figures.gates_of(config.gate, systems)), warnings=tuple(warnings),
        configuration=_configuration(config, bench), environment=_environment(bench),
        fingerprint=_fingerprint(bench),
    )  # fmt: skip


def _other_precision(bench: Bench, records: Runs) -> list[str]:
    """A warning where image features are computed in another precision than the runs were measured with."""
    here = bench.towers.precision_on(bench.device)
    there = {record.environment.get("feature_precision") for _, record in records} - {None, here}
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


def _resamples(config: EvalConfig, images: int) -> Resamples | None:
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
    captions = {lang: wiring.captions_digest(bench.test.captions[lang], ("target",)) for lang in bench.languages}
    return {
        "versions": wiring.versions(), "device": bench.device, "towers": dict(bench.towers.names),
        "feature_precision": bench.towers.precision_on(bench.device),
        "fingerprints": dict(bench.towers.fingerprints), "captions": captions,
    }  # fmt: skip


def _fingerprint(bench: Bench) -> str:
    """Digest of the test pictures' names and order: what must agree for figures per image to be compared."""
    return hashlib.sha256(json.dumps([bench.corpus.name, bench.test.images]).encode()).hexdigest()


def _compare(config: EvalConfig, on_event: OnEvent) -> Report:
    """Every path a system of its own (its runs, or its base): the first is the reference of the others."""
    reports = []
    for name in config.runs:
        stored = _is_result(name)
        alone = replace(config, runs=(name,), compare=False, resamples=config.resamples)
        reports.append(read_result(name) if stored else _measure(alone, on_event))
    _check_comparable(config.runs, reports)
    names = _short(config.runs)
    systems = [
        replace(figures.primary(report.systems), name=name, english=report.systems[0].english)
        for report, name in zip(reports, names, strict=True)
    ]
    resamples = _resamples(config, reports[0].images)
    compared = [figures.comparison_of(systems[0], system, resamples, config.seed) for system in systems[1:]]
    return replace(
        reports[0], resamples=config.resamples, systems=tuple(systems), comparisons=tuple(compared),
        gates=tuple(figures.gates_of(config.gate, systems, compared=True)),
        warnings=tuple(_differing(names, systems)), configuration=to_dict(config),
    )  # fmt: skip


def _check_comparable(names: Sequence[str], reports: Sequence[Report]) -> None:
    first = reports[0]
    for name, report in zip(names[1:], reports[1:], strict=True):
        where = f"{name} and {names[0]}"
        if report.fingerprint != first.fingerprint:
            raise DataError(f"{where} were measured on different test images: expected the same data and split")
        mine, theirs = first.environment.get("captions", {}), report.environment.get("captions", {})
        changed = [lang for lang in mine if lang in theirs and mine[lang] != theirs[lang]]
        if changed:
            raise DataError(f"{where} were measured on different captions of {', '.join(changed)}: expected the same")
        if not set(figures.primary(first.systems).languages) & set(figures.primary(report.systems).languages):
            raise DataError(f"{where} have no language in common: expected at least one")
        for what, found in first.environment.get("fingerprints", {}).items():
            other = report.environment.get("fingerprints", {}).get(what)
            if None not in (found, other) and found != other:
                raise DataError(f"{where} were measured with different {what} towers: expected the same base")


def _differing(names: Sequence[str], systems: Sequence[System]) -> list[str]:
    every = [set(system.languages) for system in systems]
    if all(one == every[0] for one in every):
        return []
    return ["systems have different languages; differences are over those in common, disparity over each one's own"]


def _short(paths: Sequence[str]) -> list[str]:
    """Names that tell paths apart: their last parts, as many as it takes."""
    parts = [Path(path).parts for path in paths]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise DataError(f"expected different runs to compare, found {paths[0]} twice")
