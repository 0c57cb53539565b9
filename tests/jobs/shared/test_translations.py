"""Translations of whole data sets: made by `xpet translate --data`, found by align and eval, dropped when flagged."""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote
from typing import Any

import pytest
import torch

from tests.jobs.conftest import Row, World, rows_of, shown, write_table
from tests.translation import toy
from xpet.core.captions import Corpus, LanguageCaptions, Split
from xpet.core.config import DataConfig, TranslateDataConfig
from xpet.core.errors import ConfigError, DataError, ModelError
from xpet.core.events import Event, Notice
from xpet.core.rundir import read_run
from xpet.jobs.align import run as align
from xpet.jobs.eval import run as evaluate
from xpet.jobs.shared.translated_captions import drop_flagged, with_translations
from xpet.jobs.shared.translation_files import Translation, caption_columns
from xpet.jobs.translate import data_set

GERMAN: toy.Words = {
    "ein": ["a"], "zwei": ["two"], "drei": ["three"], "grosser": ["big"], "kleiner": ["small"], "roter": ["red"],
    "blauer": ["blue"], "gruener": ["green"], "Hund": ["dog"], "Kater": ["cat"], "Mann": ["man"], "Onkel": ["uncle"],
}  # fmt: skip
ENGLISH: toy.Words = {word: ["zwei"] for word in "a two three big small red blue green dog cat man woman".split()}


def bare(row: Row) -> Row:
    """A row without machine translations."""
    return {key: value for key, value in row.items() if key not in ("to_pivot", "from_pivot")}


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    """The small world's table without translations."""
    return write_table(tmp_path / "bare.jsonl", [bare(row) for row in rows_of() if row["lang"] != "tr"])


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.setenv("ARGOS_PACKAGES_DIR", str(folder))
    for source, target, words in (("de", "en", GERMAN), ("en", "de", ENGLISH)):
        members = toy.files(source, target, words, tmp_path / f"scratch-{source}")
        toy.unpack(folder, f"translate-{source}_{target}-1_0", members)
    return folder


@pytest.fixture
def no_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARGOS_PACKAGES_DIR", str(tmp_path / "none"))
    return tmp_path / "none"


def asked(table: Path, **changes: Any) -> TranslateDataConfig:
    data = DataConfig(name="table", root=str(table))
    return TranslateDataConfig(**{"languages": ("de",), "data": data, "device": "cpu", **changes})


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_files_hold_every_caption_in_order(captions: Path, packages: Path, cache: Path) -> None:
    result = data_set.run(asked(captions, direction="to-pivot"))
    (column,) = result.columns
    assert (column.language, column.slot, column.split, column.rows) == ("de", "to_pivot", "all", 60)
    assert column.chain == ("de-en",)
    assert result.found
    assert Path(result.folder) == cache / "translations"
    assert names(cache / "translations") == {Path(column.file).name}
    header, *lines = [json.loads(line) for line in Path(column.file).read_text(encoding="utf-8").splitlines()]
    assert header["from"], header["to"] == ("de", "en")
    german = [row["caption"] for row in rows_of() if row["lang"] == "de"]
    assert [line["source"] for line in lines] == german
    words = {word: options[0] for word, options in GERMAN.items()}
    assert [line["translation"] for line in lines] == [" ".join(words[w] for w in text.split()) for text in german]


def test_both_directions_and_again_from_the_cache(captions: Path, packages: Path, cache: Path) -> None:
    first = data_set.run(asked(captions))
    before = {path.name: path.read_bytes() for path in (cache / "translations").iterdir()}
    again = data_set.run(asked(captions))
    assert [c.slot for c in first.columns] == ["to_pivot", "from_pivot"]
    assert all(c.translated > 0 and c.cached == 0 for c in first.columns)
    assert all(c.translated == 0 and c.cached > 0 for c in again.columns)
    texts = [[json.loads(line) for line in data.decode().splitlines()][1:] for data in before.values()]
    after = {path.name: path.read_bytes() for path in (cache / "translations").iterdir()}
    assert set(after) == set(before)
    assert [[json.loads(line) for line in data.decode().splitlines()][1:] for data in after.values()] == texts


def test_align_and_eval_find_them(
    world: World, captions: Path, packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_set.run(asked(captions))
    monkeypatch.setenv("ARGOS_PACKAGES_DIR", str(tmp_path / "none"))
    data = world.data(root=str(captions))
    result = align.run(world.config(tmp_path / "run", data=data, routines=("routine3", "routine2")))
    assert {run.routine for run in result.runs} == {"routine2", "routine3"}
    found = evaluate.run(world.evaluation(tmp_path / "run"))
    (after,) = [s.after for s in shown(found) if s.language == "de"]
    assert after == pytest.approx(result.languages[0].aligned)


def test_align_translates_what_is_missing(world: World, captions: Path, packages: Path, tmp_path: Path) -> None:
    data = world.data(root=str(captions))
    made = align.run(world.config(tmp_path / "made", data=data, routines=("routine3",)))
    data_set.run(asked(captions))
    found = align.run(world.config(tmp_path / "found", data=data, routines=("routine3",)))
    assert made.languages[0].aligned == pytest.approx(found.languages[0].aligned)
    delta, other = (read_run(tmp_path / name).delta for name in ("made", "found"))
    for name, value in other.items():  # two trainings: equal but for rounding (see tests/rounding.py)
        torch.testing.assert_close(delta[name], value, atol=5e-5, rtol=0)


def test_without_packages_the_commands_are_named(
    world: World, captions: Path, no_packages: Path, tmp_path: Path
) -> None:
    data = world.data(root=str(captions))
    command = f"--data table --data-root {quote(str(captions))} --lang de --direction to-pivot"
    with pytest.raises(DataError) as caught:
        align.run(world.config(tmp_path / "run", data=data, routines=("routine3",)))
    assert str(caught.value) == (
        "expected to_pivot texts of de, found neither them nor Argos packages for de-en; "
        f"run: xpet translate --install de-en && xpet translate {command}"
    )
    assert not (tmp_path / "run").exists()
    events: list[Event] = []
    align.run(world.config(tmp_path / "run", data=data, routines=("routine1",)), events.append)
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert any("no to_pivot texts of de, left out; to have them: xpet translate --install de-en" in n for n in notices)


def test_a_named_folder_comes_before_the_data(world: World, packages: Path, tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "mine"
    result = data_set.run(asked(world.table, direction="to-pivot", out=str(folder)))
    assert not result.found
    assert result.own == ("to_pivot",)
    assert not (cache / "translations").exists()
    own = align.run(world.config(tmp_path / "own", routines=("routine3",)))
    config = world.config(tmp_path / "named", routines=("routine3",), data=world.data(translations=str(folder)))
    named = align.run(config)
    assert own.languages[0].translated_before != named.languages[0].translated_before
    found = evaluate.run(world.evaluation(tmp_path / "named"))
    (translated,) = [s.translated for s in shown(found) if s.language == "de"]
    assert translated == pytest.approx(named.languages[0].translated_before)


def test_a_folder_without_anything_for_the_data(world: World, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="expected files of `xpet translate --data` for table, found none for de"):
        align.run(world.config(tmp_path / "run", data=world.data(translations=str(tmp_path / "empty"))))


def test_changed_captions_do_not_find_old_translations(captions: Path, packages: Path, cache: Path) -> None:
    data_set.run(asked(captions, direction="to-pivot"))
    rows = [bare(row) for row in rows_of() if row["lang"] != "tr"]
    rows[1]["caption"] = "zwei kleiner Hund"
    write_table(captions, rows)
    data_set.run(asked(captions, direction="to-pivot"))
    assert len(names(cache / "translations")) == 2


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda lines: lines[:-1], "59 other sources than the 60 captions of the data"),
        (lambda lines: ["{}", *lines[1:]], "'xpet'"),
        (lambda lines: [lines[0], "nonsense", *lines[2:]], "Expecting value"),
        (lambda lines: [lines[0].replace('"schema": 1', '"schema": 9'), *lines[1:]], "schema 9"),
    ],
)
def test_damaged_files_are_refused(
    world: World, captions: Path, packages: Path, tmp_path: Path, change: Any, found: str
) -> None:
    (column,) = data_set.run(asked(captions, direction="to-pivot")).columns
    path = Path(column.file)
    path.write_text("\n".join(change(path.read_text(encoding="utf-8").splitlines())) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="found a damaged file .* remove it and translate again") as caught:
        align.run(world.config(tmp_path / "run", data=world.data(root=str(captions))))
    assert found in str(caught.value)


def test_noise_is_kept_apart(captions: Path, packages: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--noise needs --out FOLDER"):
        data_set.run(asked(captions, noise=0.5))
    clean = data_set.run(asked(captions, direction="to-pivot", out=str(tmp_path / "clean")))
    noisy = data_set.run(asked(captions, direction="to-pivot", out=str(tmp_path / "noisy"), noise=0.5))
    texts = [
        [json.loads(line).get("translation") for line in Path(result.columns[0].file).read_text().splitlines()][1:]
        for result in (clean, noisy)
    ]
    differing = sum(a != b for a, b in zip(*texts, strict=True))
    assert noisy.noise == {"rate": 0.5, "seed": 1, "degraded_lines": differing}
    assert differing > 30


def test_bad_options_and_pairs(captions: Path, no_packages: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown direction 'up'"):
        data_set.run(asked(captions, direction="up"))
    with pytest.raises(DataError, match="expected a language other than English"):
        data_set.run(asked(captions, languages=("en",)))
    with pytest.raises(ModelError, match="xpet translate --install de-en"):
        data_set.run(asked(captions))
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="expected a folder for the translations, found a file"):
        data_set.run(asked(captions, out=str(tmp_path / "file")))


def test_flagged_examples_are_dropped(world: World, tmp_path: Path) -> None:
    rows = rows_of()
    german = [row for row in rows if row["lang"] == "de"]
    for row in german[::2]:
        row["to_pivot"] = "dog dog dog dog dog dog dog dog"
    table = write_table(tmp_path / "table.jsonl", rows)
    data = world.data(root=str(table), drop_flagged=True)
    events: list[Event] = []
    align.run(world.config(tmp_path / "run", data=data, routines=("routine3",)), events.append)
    record = read_run(tmp_path / "run")
    bad = {row["image"] for row in german[::2]}
    expected = sum(image in bad for image in record.split.train)
    assert 0 < expected < len(record.split.train)
    assert record.metrics.dropped == expected
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert f"dropped flagged training captions: de {expected}" in notices


def test_flags_of_files_are_used_as_they_are() -> None:
    captions = LanguageCaptions("de", (0, 1, 2), {"target": ("a", "b", "c"), "to_pivot": ("x", "y", "z")})
    corpus = Corpus("toy", {"all": Split(("1", "2", "3"), {"de": captions})})
    (column,) = caption_columns(corpus, ["de"], ["to_pivot"])
    filled = with_translations(corpus, {column: Translation(("u", "v", "w"), {1: ("length",)})})
    split = filled.splits["all"]
    assert split.captions["de"].slot("to_pivot") == ("u", "v", "w")
    left, dropped = drop_flagged(split, ["de"], ["to_pivot"])
    assert dropped == {"de": 1}
    assert left.captions["de"].slot("target") == ("a", "c")
    assert left.captions["de"].image_index == (0, 2)
    assert filled.splits["all"].take([2, 1]).captions["de"].flagged["to_pivot"] == {1}
