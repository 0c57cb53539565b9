"""What `xpet align` says about data, features and pictures that do not fit, and that it leaves nothing behind then."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import Any

import numpy
import pytest

from tests.jobs.conftest import IMAGES, SHOTS, Row, World, rows_of, shown, write_table
from tests.tiny import tiny_text_checkpoint
from xpet.core.config import DataConfig, ModelConfig
from xpet.core.errors import ConfigError, DataError, ModelError, XpetError
from xpet.core.events import Event, Notice, Progress
from xpet.jobs.align import run as align
from xpet.jobs.eval import run as evaluate

Tree = Callable[[Path], dict[str, bytes]]


def without(*columns: str, language: str = "de") -> list[Row]:
    return [{k: "" if k in columns and row["lang"] == language else v for k, v in row.items()} for row in rows_of()]


def refused(world: World, tmp_path: Path, rows: list[Row], *languages: str, **changes: Any) -> str:
    """The error of training on a table with these rows; nothing but the table may be left."""
    table = write_table(tmp_path / "own.jsonl", rows)
    with pytest.raises(XpetError) as error:
        align.run(world.config(tmp_path / "out", *languages, data=world.data(root=str(table)), **changes))
    assert error.value.exit_code == 2
    assert [p.name for p in tmp_path.iterdir()] == ["own.jsonl"]
    return str(error.value)


def test_a_language_that_is_absent(world: World, tmp_path: Path) -> None:
    text = refused(world, tmp_path, rows_of(), "de", "fi", "trr")
    assert text == (
        "unknown language of own 'fi': expected one of de, en, tr; "
        "unknown language of own 'trr': expected one of de, en, tr; did you mean 'tr'?"
    )


def test_missing_translations_are_named_all_at_once(world: World, tmp_path: Path) -> None:
    text = refused(world, tmp_path, without("to_pivot", "from_pivot"), "de", "tr", routines=("1", "2", "3"))
    assert text == (
        "expected to_pivot and from_pivot texts of de, found neither them nor Argos packages for de-en en-de; "
        "run: xpet translate --install de-en en-de && "
        f"xpet translate --data table --data-root {quote(str(tmp_path / 'own.jsonl'))} --lang de --direction both"
    )


def test_routine_1_needs_no_translations(world: World, tmp_path: Path) -> None:
    table = write_table(tmp_path / "own.jsonl", without("to_pivot", "from_pivot"))
    result = align.run(world.config(tmp_path / "out", data=world.data(root=str(table)), routines=("1",)))
    assert result.runs[0].translated_before is None
    assert result.translates_queries is False


def test_without_english_only_the_baselines_work(world: World, tmp_path: Path) -> None:
    rows = [row for row in rows_of() if row["lang"] != "en"]
    assert refused(world, tmp_path, rows) == "routine3 needs pivot texts of de in all, found none"
    table = write_table(tmp_path / "own.jsonl", rows)
    data = world.data(root=str(table))
    one = align.run(world.config(tmp_path / "one", data=data, routines=("baseline-target",)))
    assert (one.compared, one.english_before, one.before, one.after) == (("de",), None, None, None)
    assert one.runs[0].english_after is None
    two = align.run(world.config(tmp_path / "two", "de", "tr", data=data, routines=("baseline-target",)))
    assert two.before is not None
    assert (two.compared, two.before.mean_gap) == (("de", "tr"), None)
    json.dumps(two.to_dict(), allow_nan=False)
    found = evaluate.run(world.evaluation(tmp_path / "two"))
    assert {s.language for s in shown(found)} == {"de", "tr"}


def test_a_language_with_too_few_captions_for_the_split(world: World, tmp_path: Path) -> None:
    """Captions of a third of the images only: none of them may fall into a part."""
    from xpet.data.splits import permutation

    test_images = {f"{n:03d}.png" for n in permutation(IMAGES)[2 * SHOTS :]}
    rows = [row for row in rows_of() if row["lang"] != "tr" or row["image"] in test_images]
    assert refused(world, tmp_path, rows, "de", "tr") == (
        "expected at least 2 captions of tr in the train images, found 0; "
        "expected at least 1 captions of tr in the validation images, found 0"
    )


def test_more_shots_than_images(world: World, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"^expected at most {(IMAGES - 1) // 2} shots, found 30$"):
        align.run(world.config(tmp_path / "out", data=world.data(shots=30, val_shots=None)))
    assert list(tmp_path.iterdir()) == []


def test_lint_errors_stop_before_work(world: World, tmp_path: Path) -> None:
    rows = [{**row, "caption": rows_of()[0]["caption"] if row["lang"] == "de" else row["caption"]} for row in rows_of()]
    for row in rows:
        if row["lang"] == "de":
            row["caption"] = "собака кошка"
    text = refused(world, tmp_path, rows)
    assert text.startswith("lint found 1 errors: own all/target de: 60 of 60 texts are not in latin script")
    assert text.endswith("(see them by `xpet eval --lint`)")


def damaged_features(rows: numpy.ndarray, kind: str) -> numpy.ndarray:
    if kind == "rows":
        return rows[:-1]
    if kind == "nan":
        rows[3, 4] = float("nan")
        return rows
    if kind == "width":
        return rows[:, :-1]
    return rows.astype("int64")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("rows", r"expected shape \[60, d\], found \[59, 32\]"),
        ("nan", "expected finite numbers, found 1 rows with others"),
        ("width", "the text tower gives 32 dimensions, the image tower 31"),
        ("whole", "expected floating-point numbers"),
    ],
)
def test_features_of_the_users_own_that_do_not_fit(kind: str, words: str, world: World, tmp_path: Path) -> None:
    path = tmp_path / "own.npy"
    numpy.save(path, damaged_features(numpy.load(world.features), kind))
    with pytest.raises((DataError, ModelError), match=words):
        align.run(world.config(tmp_path / "out", data=world.data(image_features=str(path))))
    assert list(tmp_path.iterdir()) == [path]


def test_no_pictures_and_no_features(world: World, tmp_path: Path, image_checkpoint: Path) -> None:
    model = ModelConfig(str(world.text), str(image_checkpoint))
    with pytest.raises(DataError, match=r"expected pictures below .*, or --image-features FILE with one row per image"):
        align.run(world.config(tmp_path / "out", model=model, data=world.data(image_features=None)))
    assert list(tmp_path.iterdir()) == []


def pictured(world: World, image: Path, table: Path, out: Path) -> Any:
    data = DataConfig(name="table", root=str(table), shots=SHOTS)
    return world.config(out, model=ModelConfig(str(world.text), str(image)), data=data)


def test_some_pictures_missing(world: World, tmp_path: Path, image_checkpoint: Path, pictures: Path) -> None:
    for name in ("007.png", "021.png"):
        (pictures.parent / name).unlink()
    with pytest.raises(DataError, match=r"^expected 60 pictures in .*, found 2 missing: 007.png, 021.png; add them"):
        align.run(pictured(world, image_checkpoint, pictures, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_pictures_are_encoded_once_and_a_damaged_store_is_rebuilt(
    world: World, tmp_path: Path, image_checkpoint: Path, pictures: Path, cache: Path, tree: Tree
) -> None:
    heard: list[list[Event]] = [[], [], []]
    first = align.run(pictured(world, image_checkpoint, pictures, tmp_path / "0"), heard[0].append)
    stored = tree(cache)
    assert {name.split("/")[0] for name in stored} == {"features"}
    second = align.run(pictured(world, image_checkpoint, pictures, tmp_path / "1"), heard[1].append)
    assert tree(cache) == stored
    part = next(cache.rglob("part-*.safetensors"))
    part.write_bytes(part.read_bytes()[:-20] + b"\0" * 20)
    third = align.run(pictured(world, image_checkpoint, pictures, tmp_path / "2"), heard[2].append)
    assert set(tree(cache)) == set(stored)
    counted = [sum(isinstance(e, Progress) and e.stage == "image features" for e in events) for events in heard]
    assert counted[0] > 0
    assert (counted[1], counted[2]) == (0, counted[0])
    (warning,) = (e for e in heard[2] if isinstance(e, Notice) and e.level == "warning")
    assert "contents that do not match their checksum; computing these features again" in warning.text
    assert [r.aligned for r in first.runs] == [r.aligned for r in second.runs] == [r.aligned for r in third.runs]
    found = evaluate.run(world.evaluation(third.folder, languages=("de",)))
    assert shown(found)[0].after == pytest.approx(third.runs[0].aligned, abs=1e-6)


def test_towers_that_do_not_fit_together(
    world: World, tmp_path: Path, image_checkpoint: Path, pictures: Path, cache: Path
) -> None:
    wide = tiny_text_checkpoint(tmp_path / "wide", dims=48)
    config = pictured(world, image_checkpoint, pictures, tmp_path / "out")
    model = ModelConfig(str(wide), str(image_checkpoint))
    with pytest.raises(ModelError, match="gives 48 dimensions, the image tower 32; choose two of the same size$"):
        align.run(world.config(tmp_path / "out", model=model, data=config.data))
    assert not cache.exists()
    assert not (tmp_path / "out").exists()


def test_a_language_with_the_text_of_another_is_found_though_the_other_is_not_asked_for(
    world: World, tmp_path: Path
) -> None:
    turkish = {row["image"]: row["caption"] for row in rows_of() if row["lang"] == "tr"}
    rows = [{**row, "caption": turkish[row["image"]] if row["lang"] == "de" else row["caption"]} for row in rows_of()]
    table = write_table(tmp_path / "own.jsonl", rows)
    with pytest.raises(
        DataError, match=r"lint found 1 errors: .*target de: .*identical; they are not de: the file of de is wrong"
    ):
        align.run(world.config(tmp_path / "run", "de", data=world.data(root=str(table))))
    assert not (tmp_path / "run").exists()
