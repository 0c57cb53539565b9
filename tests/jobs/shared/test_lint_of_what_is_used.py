"""Lint stops what it concerns and nothing else: other languages and texts go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.jobs.conftest import World, rows_of, write_table
from xpet.core.config import DataConfig
from xpet.core.errors import DataError
from xpet.core.events import Event, Notice
from xpet.jobs.align import run as align
from xpet.jobs.align.prepare import _captions
from xpet.jobs.eval import run as evaluate

Rows = list[dict[str, str]]


def copied(rows: Rows, column: str, language: str, origin: str) -> Rows:
    """Rows where a column of a language holds the captions of another (or its own) for the same images."""
    german = {row["image"]: row["caption"] for row in rows if row["lang"] == origin}
    return [{**row, column: german[row["image"]]} if row["lang"] == language else row for row in rows]


def told(events: list[Event]) -> list[str]:
    return [e.text for e in events if isinstance(e, Notice) and e.level == "warning"]


@pytest.fixture
def bad(tmp_path: Path) -> Callable[[str, str, str], DataConfig]:
    """A table in which a column of a language is a file of captions again."""

    def make(column: str, language: str, origin: str) -> DataConfig:
        rows = copied(rows_of(), column, language, origin)
        return DataConfig("table", str(write_table(tmp_path / "table.jsonl", rows)))

    return make


def test_a_bad_file_blocks_its_own_language_alone(world: World, bad: Callable[..., DataConfig], tmp_path: Path) -> None:
    data = world.data(root=bad("caption", "tr", "de").root)
    align.run(world.config(tmp_path / "de", "de", routines=("routine2",), data=data))
    for languages in (("tr",), ("de", "tr")):
        with pytest.raises(DataError) as caught:
            align.run(world.config(tmp_path / "tr", *languages, routines=("routine2",), data=data))
        assert "60 of 60 texts of de and tr are identical; they are not tr: the file of tr is wrong" in str(
            caught.value
        )
        assert str(caught.value).endswith(", or leave out tr: --lang de") is ("de" in languages)
    evaluate.run(world.evaluation(data=data, model=world.config(None).model, languages=("en", "de")))
    with pytest.raises(DataError, match="the file of tr is wrong.*, or leave out tr: --lang de"):
        evaluate.run(world.evaluation(data=data, model=world.config(None).model))


def test_texts_that_no_routine_reads_are_left_out(world: World, bad: Callable[..., DataConfig]) -> None:
    data = world.data(root=bad("to_pivot", "tr", "tr").root)
    events: list[Event] = []
    plan = world.config(None, "de", "tr", routines=("routine1",), data=data).check()
    _, corpus, parts, _ = _captions(plan, events.append)
    assert "to_pivot" not in parts.test.captions["tr"].texts
    assert "to_pivot" in parts.test.captions["de"].texts
    (text,) = told(events)
    assert text.startswith("lint: to_pivot texts of tr are left out: 60 of 60 texts equal their target")
    with pytest.raises(DataError, match="to_pivot tr: .*or leave out tr: --lang de"):
        _captions(world.config(None, "de", "tr", routines=("routine3",), data=data).check(), events.append)
    report = evaluate.run(world.evaluation(data=data, model=plan.model), events.append)
    assert set(report.systems[1].languages) == {"en", "de"}
    with pytest.raises(DataError, match="to_pivot tr"):
        evaluate.run(world.evaluation(data=data, model=plan.model, texts=("to-pivot",)))
