"""A process that evaluates with others; run by test_shared_work."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.conftest import World
from xpet.cli.reports import render
from xpet.cli.reports.look import Look
from xpet.core.config import EvalConfig
from xpet.core.config.evaluate import GateConfig
from xpet.core.events import Progress
from xpet.core.processes import connected
from xpet.jobs.eval import run
from xpet.jobs.results.lint import LintResult
from xpet.jobs.results.report import Report
from xpet.jobs.shared import measure


def configurations(folder: Path, result: Path) -> dict[str, EvalConfig]:
    """Every kind of evaluation of the small world in a folder, which has runs in `sweep` and `other`."""
    world = World(folder / "text", folder / "table.jsonl", folder / "features.npy")
    sweep, other = folder / "sweep", folder / "other"
    base = world.evaluation(data=replace(world.data(), shots=None, val_shots=None))
    base = replace(base, model=replace(base.model, text=str(world.text)), resamples=40)
    gate = GateConfig(under=99.0, drop=5.0)
    return {
        "base": replace(
            base, texts=("to_pivot", "from_pivot"), prompts=("a photo of {}", "native"), groups=("script",)
        ),
        "sweep": world.evaluation(sweep, resamples=40, diagnose=True, advise=True, latency=True),
        "one language": world.evaluation(other, languages=("de",), gate=gate),
        "compared": world.evaluation(sweep, other, result, compare=True, resamples=40, gate=gate),
        "stored": EvalConfig((str(result),), gate=gate),
        "lint": replace(base, lint_only=True),
    }


def evaluate(folder: Path, result: Path) -> dict[str, Any]:
    """What each evaluation gives, shown in two formats without the latency, with what was measured in this process."""
    seen: dict[str, Any] = {}
    original = measure.retrieval
    for name, config in configurations(folder, result).items():
        events: list[Any] = []
        measured: list[str] = []

        def count(encode: Any, captions: Any, *more: Any, measured: list[str] = measured) -> Any:
            measured.append(captions.language)
            return original(encode, captions, *more)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(measure, "retrieval", count)
            made = run.run(config, events.append)
        stages = [event.stage for event in events if isinstance(event, Progress)]
        seen[name] = {"shown": shown(made), "measured": len(measured), "stages": stages}
    return seen


def shown(made: Report | LintResult) -> list[str]:
    """A report as JSON and in every table, without the latency."""
    if isinstance(made, LintResult):
        return [json.dumps(made.to_dict())]
    costs = [None if s.cost is None else replace(s.cost, latency=None) for s in made.systems]
    systems = tuple(replace(s, cost=cost) for s, cost in zip(made.systems, costs, strict=True))
    return [render(replace(made, systems=systems), name, Look(full=True)) for name in ("json", "markdown")]


def main(folder: Path, result: Path) -> None:
    """Print one JSON object: what this process saw."""
    with connected(60) as processes:
        print(json.dumps({"rank": processes.rank, **evaluate(folder, result)}))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
