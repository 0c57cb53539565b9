"""`xpet eval --compare`: compares runs and stored results with the first of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from xpet.core.config import EvalConfig, to_dict
from xpet.core.errors import DataError
from xpet.core.events import OnEvent
from xpet.jobs.eval.gates import gates_of
from xpet.jobs.eval.measure_report import made_by_first, measure_report, resamples_of
from xpet.jobs.eval.report_rows import comparison_of, primary
from xpet.jobs.eval.stored_result import is_result, read_result
from xpet.jobs.results.report import Report, System


def compare(config: EvalConfig, on_event: OnEvent) -> Report:
    """The report of several paths, each one system (its runs, or its base); the first is the others' reference.

    Raises DataError where they were measured on other images, captions or towers, or share no language.
    """
    reports = []
    for name in config.runs:
        stored = is_result(name)
        alone = replace(config, runs=(name,), compare=False)
        reports.append(read_result(name) if stored else measure_report(alone, on_event))
    return made_by_first(lambda: _compared(config, reports))


def _compared(config: EvalConfig, reports: Sequence[Report]) -> Report:
    _check_comparable(config.runs, reports)
    names = _short(config.runs)
    systems = [
        replace(primary(report.systems), name=name, english=report.systems[0].english)
        for report, name in zip(reports, names, strict=True)
    ]
    resamples = resamples_of(config, reports[0].images)
    compared = [comparison_of(systems[0], system, resamples, config.seed) for system in systems[1:]]
    return replace(
        reports[0], resamples=config.resamples, systems=tuple(systems), comparisons=tuple(compared),
        gates=tuple(gates_of(config.gate, systems, compared=True)),
        warnings=tuple(_differing(systems)), configuration=to_dict(config),
    )  # fmt: skip


def _check_comparable(names: Sequence[str], reports: Sequence[Report]) -> None:
    """Raise DataError unless all were measured on the images, captions and towers of the first."""
    first = reports[0]
    for name, report in zip(names[1:], reports[1:], strict=True):
        where = f"{name} and {names[0]}"
        if report.fingerprint != first.fingerprint:
            raise DataError(f"{where} were measured on different test images: expected the same data and split")
        before, after = first.environment.get("captions", {}), report.environment.get("captions", {})
        changed = [lang for lang in before if lang in after and before[lang] != after[lang]]
        if changed:
            raise DataError(f"{where} were measured on different captions of {', '.join(changed)}: expected the same")
        if not set(primary(first.systems).languages) & set(primary(report.systems).languages):
            raise DataError(f"{where} have no language in common: expected at least one")
        for what, weights in first.environment.get("fingerprints", {}).items():
            other = report.environment.get("fingerprints", {}).get(what)
            if None not in (weights, other) and weights != other:
                raise DataError(f"{where} were measured with different {what} towers: expected the same base")


def _differing(systems: Sequence[System]) -> list[str]:
    """A warning where systems have different languages."""
    every = [set(system.languages) for system in systems]
    if all(languages == every[0] for languages in every):
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
