"""A training routine is one row of ROUTINES: it is trained, measured and advised on without another edit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jobs.conftest import World
from xpet.core.routines import ROUTINES, Routine
from xpet.core.rundir import read_run
from xpet.jobs.align import run as align
from xpet.jobs.eval import run as evaluate
from xpet.jobs.results.report import Report


def test_a_row_is_trained_and_evaluated(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = Routine("mixed", "target", "to_pivot", "target", "natural target aligned with its translation to English")
    monkeypatch.setitem(ROUTINES, "mixed", mixed)
    result = align.run(world.config(tmp_path / "runs", "de", routines=("mixed",)))
    assert [language.routine for language in result.languages] == ["mixed"]
    (run,) = result.runs
    record = read_run(Path(run.folder))
    assert record.run.routine == "mixed"
    assert [entry["step"] for entry in record.history] == [0, 2, 4]
    report = evaluate.run(world.evaluation(tmp_path / "runs"))
    assert isinstance(report, Report)
    assert (report.systems[-1].routine, report.systems[-1].text) == ("mixed", "target")
    assert report.systems[-1].languages["de"].mean.r1.value == pytest.approx(run.aligned)
