"""`xpet eval` without runs: on the very images of a run, prompts on translated text, English towers of any layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.jobs.conftest import IMAGES, SHOTS, World, rows_of
from tests.naive import recall_at_1
from tests.tiny import tiny_clip
from xpet.core.config import DataConfig, ModelConfig
from xpet.core.errors import ConfigError, DataError, ModelError
from xpet.core.prompts import parse
from xpet.jobs.align import run as align
from xpet.jobs.eval import run as evaluate
from xpet.jobs.eval import systems
from xpet.jobs.results.report import Report
from xpet.models.checkpoint import load_text_tower
from xpet.models.clip_text import load_english_tower
from xpet.models.encode import encode_texts
from xpet.models.image_tower import load_image_tower


def report(world: World, **changes: Any) -> Report:
    whole = world.data(shots=None, val_shots=None)
    found = evaluate.run(world.evaluation(**{"model": ModelConfig(str(world.text)), "data": whole, **changes}))
    assert isinstance(found, Report)
    return found


def test_zero_shot_figures_on_the_images_of_a_run(world: World, tmp_path: Path) -> None:
    result = align.run(world.config(tmp_path / "run", "de", "tr"))
    before = {run.language: run.target_before for run in result.runs}
    names = json.loads((Path(result.runs[0].folder) / "split.json").read_text("utf-8"))
    split = tmp_path / "split.json"
    split.write_text(json.dumps(names), encoding="utf-8")
    whole = report(world)
    ways = {
        "shots": report(world, data=world.data()),
        "file": report(world, data=world.data(shots=None, val_shots=None, split_file=str(split))),
        "run": report(world, split_of=str(tmp_path / "run"), data=DataConfig(name="")),
        "its own base": report(world, split_of=str(tmp_path / "run"), data=DataConfig(name=""), model=ModelConfig("")),
    }
    assert whole.images == IMAGES
    for found in ways.values():
        assert found.images == IMAGES - 2 * SHOTS
        assert found.fingerprint == ways["run"].fingerprint != whole.fingerprint
        scores = found.systems[0].languages
        assert {lang: scores[lang].mean.r1.value for lang in before} == pytest.approx(before, abs=1e-6)
    other = report(world, data=world.data(split_seed=1))
    assert other.images == IMAGES - 2 * SHOTS
    assert other.fingerprint != ways["run"].fingerprint


def test_splits_named_twice_are_refused(world: World, tmp_path: Path) -> None:
    align.run(world.config(tmp_path / "run"))
    data = DataConfig(name="", shots=5)
    for changes, words in (
        ({"split_of": "x", "data": data}, "--split-of x: expected no other split beside it, found --shots"),
        (
            {"data": DataConfig("demo", shots=5, split_file="f")},
            "--split-file: expected no --shots beside it, found both",
        ),
    ):
        with pytest.raises(ConfigError, match=words):
            report(world, **changes)
    with pytest.raises(DataError, match=f"expected a run folder, found no folder {tmp_path / 'none'}"):
        report(world, split_of=str(tmp_path / "none"), data=DataConfig(name=""))
    with pytest.raises(ConfigError, match="the runs were trained on data set 'table': expected that or nothing"):
        report(world, split_of=str(tmp_path / "run"), data=DataConfig(name="demo"))


def test_prompts_on_translated_text_are_in_english(world: World) -> None:
    found = report(world, texts=("to-pivot",), prompts=("native",), languages=("en", "de"))
    assert [(s.name, s.text, s.prompt) for s in found.systems] == [
        ("zero-shot", "target", None), ("translated", "to_pivot", None), ("prompt native", "target", "native"),
        ("prompt native, translated", "to_pivot", "native"),
    ]  # fmt: skip
    assert found.systems[3].languages["en"] == found.systems[2].languages["en"]
    assert found.systems[3].translates_queries
    loaded = load_text_tower(world.text)
    (texts,) = parse("native").apply([r["to_pivot"] for r in rows_of() if r["lang"] == "de"], "en")
    assert texts[0].startswith("a photo of ")
    forth, back = recall_at_1(*features(world, encode_texts(loaded.tower, loaded.tokenizer, texts)))
    assert found.systems[3].languages["de"].mean.r1.value == pytest.approx(
        50 * (numpy.mean(forth) + numpy.mean(back)), abs=1e-6
    )


def features(world: World, text: torch.Tensor) -> tuple[list[list[float]], list[list[float]], list[int]]:
    image = torch.from_numpy(numpy.load(world.features)).double()
    return image.tolist(), text.double().tolist(), list(range(len(text)))


def test_an_ordinary_clip_checkpoint_as_english_tower(world: World, tmp_path: Path) -> None:
    wide = numpy.load(world.features).shape[1]
    folder = tiny_clip(tmp_path / "clip", dimensions=wide)
    found = report(world, english=str(folder), languages=("en", "de"))
    english = found.systems[-1]
    assert (english.name, english.text) == (f"English tower {folder}, translated", "to_pivot")
    assert not found.warnings  # whose features these are is not known
    loaded = load_english_tower(folder)
    for language, column in (("de", "to_pivot"), ("en", "caption")):
        texts = [row[column] for row in rows_of() if row["lang"] == language]
        forth, back = recall_at_1(*features(world, encode_texts(loaded.tower, loaded.tokenizer, texts)))
        assert english.languages[language].mean.r1.value == pytest.approx(
            50 * (numpy.mean(forth) + numpy.mean(back)), abs=1e-6
        )
    narrow = tiny_clip(tmp_path / "narrow", dimensions=wide - 1)
    with pytest.raises(ModelError, match=f"the text tower gives {wide - 1} dimensions, the image tower {wide}"):
        report(world, english=str(narrow))


def test_an_english_tower_that_comes_with_another_image_tower_is_told(tmp_path: Path) -> None:
    folder, other = tiny_clip(tmp_path / "clip"), tmp_path / "other"
    shutil.copytree(folder, other)
    weights = load_file(other / "model.safetensors")
    weights["vision_model.post_layernorm.bias"] = weights["vision_model.post_layernorm.bias"] + 1
    save_file(weights, other / "model.safetensors")
    for used, warned in ((folder, 0), (other, 1)):
        towers = SimpleNamespace(image=load_image_tower(used), names={"image": str(used)})
        found = systems._other_image_tower(str(folder), SimpleNamespace(towers=towers))  # type: ignore[arg-type]
        assert len(found) == warned
        assert all(f"comes with other weights of an image tower than '{other}'" in text for text in found)
