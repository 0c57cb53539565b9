"""`xpet eval`: decides what was asked for, a measurement, a comparison, a stored result or lint. Read this first."""

from __future__ import annotations

from dataclasses import asdict, replace

from xpet.core.config import DEMO, EvalConfig
from xpet.core.errors import DataError
from xpet.core.events import OnEvent, ignore
from xpet.core.languages import choose
from xpet.core.processes import connected
from xpet.jobs.eval.compare import compare
from xpet.jobs.eval.gates import gates_of
from xpet.jobs.eval.measure_report import measure_report
from xpet.jobs.eval.stored_result import is_result, read_result
from xpet.jobs.results.lint import LintResult
from xpet.jobs.results.report import Report
from xpet.jobs.shared.corpus import read_corpus


def run(config: EvalConfig, on_event: OnEvent = ignore) -> Report | LintResult:
    """Measure the base, or the base and runs, or compare systems; or read a result again; or lint alone.

    Raises the XpetError family: unknown data or language, a folder that is no run, runs of different data or base, a
    base that changed since the run was trained, results that do not fit together. Several processes share the work.
    """
    config = config.check()
    with connected(60 * config.timeout) as processes:
        return _run(config, processes.listener(on_event))


def _run(config: EvalConfig, on_event: OnEvent) -> Report | LintResult:
    if config.lint_only:
        return _lint(config)
    if config.compare:
        return compare(config, on_event)
    stored = [name for name in config.runs if is_result(name)]
    if stored and len(config.runs) > 1:
        raise DataError(f"{stored[0]}: expected run folders, or one result file alone, found both; see --compare")
    if stored:
        return _again(read_result(stored[0]), config)
    return measure_report(config, on_event)


def _again(report: Report, config: EvalConfig) -> Report:
    """A stored report, judged by the limits given now; without any, its own gates stay."""
    gates = gates_of(config.gate, report.systems)
    return replace(report, gates=tuple(gates)) if gates else report


def _lint(config: EvalConfig) -> LintResult:
    from xpet.data.lint import lint

    corpus = read_corpus(replace(config.data, name=config.data.name or DEMO))
    findings = [asdict(finding) for finding in lint(corpus)]
    if config.languages:
        languages = set(choose(config.languages, corpus.languages, corpus.name, with_pivot=True))
        findings = [f for f in findings if languages & set(f["languages"])]
    return LintResult(corpus.name, tuple(findings))
