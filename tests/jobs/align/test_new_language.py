"""A language needs no code: one that no table knows is trained and measured as it stands in the data."""

from __future__ import annotations

from pathlib import Path

from tests.jobs.conftest import World, rows_of, write_table
from xpet.core.config import DataConfig
from xpet.jobs.align import run as align
from xpet.jobs.eval import run as evaluate
from xpet.jobs.results.report import Report


def test_a_language_is_data(world: World, tmp_path: Path) -> None:
    rows = [{**row, "lang": row["lang"].replace("tr", "tlh")} for row in rows_of()]  # Klingon
    data = world.data(root=str(write_table(tmp_path / "table.jsonl", rows)))
    align.run(world.config(tmp_path / "run", "tlh", data=data))
    report = evaluate.run(world.evaluation(tmp_path / "run", languages=("tlh",), data=DataConfig()))
    assert isinstance(report, Report)
    assert report.systems[-1].aligned == ("tlh",)
