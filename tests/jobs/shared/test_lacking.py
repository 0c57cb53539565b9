"""Captions without an English one: left out where it is needed, used everywhere else, and told."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import torch

from tests.jobs.conftest import IMAGES, SHOTS, World, rows_of, write_table
from tests.naive import recall_at_1
from xpet.core.config import DataConfig, ModelConfig
from xpet.core.events import Event, Notice
from xpet.jobs.align import run as align
from xpet.jobs.align.prepare import _captions
from xpet.jobs.eval import run as evaluate
from xpet.jobs.shared.corpus import cut, read_corpus
from xpet.models.checkpoint import load_text_tower
from xpet.models.encode import encode_texts


def table(tmp_path: Path, lacking: set[str], column: str = "en") -> str:
    """The table less the English captions of some images, or less some cells of a German column."""
    if column == "en":
        rows = [row for row in rows_of() if row["lang"] != "en" or row["image"] not in lacking]
    else:
        rows = [
            {k: v for k, v in row.items() if k != column or row["lang"] != "de" or row["image"] not in lacking}
            for row in rows_of()
        ]
    return str(write_table(tmp_path / "table.jsonl", rows))


def warnings(events: list[Event]) -> list[str]:
    return [e.text for e in events if isinstance(e, Notice) and e.level == "warning"]


def test_rows_without_english_are_not_trained_on_where_it_is_needed(world: World, tmp_path: Path) -> None:
    data = world.data()
    whole = cut(read_corpus(data), data)
    gone = {whole.train.images[1], whole.train.images[4], whole.validation.images[0], whole.test.images[2]}
    data = world.data(root=table(tmp_path, gone))
    events: list[Event] = []
    _, _, parts, _ = _captions(world.config(None, "de", routines=("routine1",), data=data).check(), events.append)
    assert parts.train.images == whole.train.images
    expected = whole.train.captions["de"].take([row for row in range(SHOTS) if row not in (1, 4)])
    assert parts.train.captions["de"].image_index == expected.image_index
    assert parts.train.captions["de"].texts["target"] == expected.texts["target"]
    assert parts.train.captions["de"].texts["pivot"] == expected.texts["pivot"]
    assert len(parts.validation.captions["de"].image_index) == SHOTS - 1
    # found with their own captions all the same
    assert len(parts.test.captions["de"].image_index) == IMAGES - 2 * SHOTS
    assert warnings(events)[0] == (
        f"table.jsonl: 4 of 60 captions of de have no English caption ({', '.join(sorted(gone)[:3])}, ...); what needs "
        "it leaves them out"
    )
    _, _, parts, _ = _captions(
        world.config(None, "de", routines=("baseline-target",), data=data).check(), events.append
    )
    assert len(parts.train.captions["de"].image_index) == SHOTS
    result = align.run(world.config(tmp_path / "run", "de", routines=("1", "2", "3"), data=data))
    assert len(result.runs) == 3


def test_english_text_is_searched_with_where_there_is_some(world: World, tmp_path: Path) -> None:
    gone = {"003.png", "017.png"}
    data = DataConfig("table", table(tmp_path, gone), image_features=str(world.features))
    report = evaluate.run(world.evaluation(
        data=data, model=ModelConfig(str(world.text)), languages=("de",), texts=("pivot",),
    ))  # fmt: skip
    english = {row["image"]: row["caption"] for row in rows_of() if row["lang"] == "en"}
    names = [f"{number:03d}.png" for number in range(IMAGES)]
    kept = [number for number, name in enumerate(names) if name not in gone]
    loaded = load_text_tower(world.text)
    text = encode_texts(loaded.tower, loaded.tokenizer, [english[names[number]] for number in kept]).double()
    image = torch.from_numpy(numpy.load(world.features)).double()
    forth, back = recall_at_1(image.tolist(), text.tolist(), kept)
    score = report.systems[1].languages["de"]
    assert score.text_to_image.r1.value == pytest.approx(100 * numpy.mean(back), abs=1e-6)
    own = encode_texts(loaded.tower, loaded.tokenizer, [r["caption"] for r in rows_of() if r["lang"] == "de"]).double()
    forth, back = recall_at_1(image.tolist(), own[kept].tolist(), kept)  # systems are compared on the same captions
    assert report.systems[0].languages["de"].text_to_image.r1.value == pytest.approx(100 * numpy.mean(back), abs=1e-6)
    alone = evaluate.run(world.evaluation(data=data, model=ModelConfig(str(world.text)), languages=("de",)))
    forth, back = recall_at_1(image.tolist(), own.tolist(), list(range(IMAGES)))
    assert alone.systems[0].languages["de"].text_to_image.r1.value == pytest.approx(100 * numpy.mean(back), abs=1e-6)
    assert not alone.warnings
    both = evaluate.run(world.evaluation(data=data, model=ModelConfig(str(world.text)), languages=("de", "en")))
    assert both.warnings == (
        "captions of some of the 60 test images are missing, so languages are measured on others: en on 58",
    )


def test_a_translation_that_some_lack_is_told_and_not_used(world: World, tmp_path: Path) -> None:
    root = table(tmp_path, {"005.png"}, "to_pivot")
    corpus = read_corpus(DataConfig("table", root))
    assert set(corpus.splits["all"].captions["de"].texts) == {"target", "pivot", "from_pivot"}
    assert corpus.notes["de"] == (
        "table.jsonl: 1 of 60 captions of de have no translation to English (005.png); the others' are not used, "
        "`xpet translate --data` makes them all",
    )
    assert not corpus.notes.get("tr")
