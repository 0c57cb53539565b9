"""Pictures on their way to features: of every kind, named in any way, and in the precision asked for."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import xpet
from tests.command import run_here
from tests.jobs.conftest import World
from xpet.core.config import DataConfig, ModelConfig
from xpet.core.errors import ConfigError, DataError
from xpet.core.events import ignore
from xpet.core.paths import features_folder
from xpet.core.rundir import read_run
from xpet.jobs.align import run as align
from xpet.jobs.eval import run as evaluate
from xpet.jobs.shared.corpus import read_corpus
from xpet.jobs.shared.towers import Towers, features_of, load_towers

NOISE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
RAMP = np.repeat(np.arange(50, dtype=np.uint8)[None] * 5, 40, axis=0)


@pytest.fixture
def towers(world: World, image_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Towers:
    """Both towers, and an empty store of features."""
    monkeypatch.setenv("XPET_CACHE", str(tmp_path / "cache"))
    return load_towers(ModelConfig(str(world.text), str(image_checkpoint)), None)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Writes a picture of some name."""

    def put(name: str, pixels: Any, **options: Any) -> Path:
        picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        picture.save(tmp_path / name, **options)
        return tmp_path / name

    return put


def table(folder: Path, *names: str) -> DataConfig:
    rows = [f"{name},{lang},{lang} {number}" for number, name in enumerate(names) for lang in ("en", "de")]
    (folder / "t.csv").write_text("\n".join(["image,lang,caption", *rows]) + "\n")
    return DataConfig(name="table", root=str(folder / "t.csv"))


def features(data: DataConfig, towers: Towers) -> torch.Tensor:
    corpus = read_corpus(data)
    (found,) = features_of(corpus, [corpus.splits["all"]], towers, data, "cpu", ignore)
    return found


def upside_down() -> Image.Exif:
    note = Image.Exif()
    note[0x0112] = 3
    return note


def test_the_same_ramp_in_eight_and_sixteen_bits(save: Callable, towers: Towers, tmp_path: Path) -> None:
    save("g8.png", RAMP)
    save("g16.png", RAMP.astype(np.uint16) * 257)
    save("g16.tif", RAMP.astype(np.uint16) * 257)
    eight, *sixteen = features(table(tmp_path, "g8.png", "g16.png", "g16.tif"), towers)
    assert all(torch.equal(one, eight) for one in sixteen)
    save("float.tif", RAMP.astype(np.float32))
    with pytest.raises(DataError, match="^picture float.tif: expected a readable picture, found pixels of mode F, "):
        features(table(tmp_path, "g8.png", "float.tif"), towers)


def test_files_and_pictures_in_memory_have_the_same_features(
    save: Callable, world: World, image_checkpoint: Path
) -> None:
    model = xpet.load(str(world.text), image_model=str(image_checkpoint), device="cpu")
    hidden = np.dstack([NOISE, np.zeros((40, 50), dtype=np.uint8)])
    plain = save("plain.png", NOISE)
    alike = {
        "turned": (save("turned.png", NOISE[::-1, ::-1], exif=upside_down()), plain),
        "hidden": (save("hidden.png", hidden), save("white.png", np.full_like(NOISE, 255))),
        "deep": (save("deep.png", RAMP.astype(np.uint16) * 257), save("grey.png", RAMP)),
        "palette": (save("palette.png", Image.fromarray(RAMP).convert("P")), save("grey.png", RAMP)),
    }
    for name, (one, other) in alike.items():
        expected = model.encode_image([other])
        assert torch.equal(model.encode_image([one]), expected), name
        assert torch.equal(model.encode_image([Image.open(one)]), expected), name
        with Image.open(one) as opened:
            opened.load()
            assert torch.equal(model.encode_image([opened]), expected), name
    pictures: list[Any] = [plain, Image.new("F", (4, 4)), Image.new("RGB", (0, 3)), os.fsencode(plain)]
    with pytest.raises(DataError) as error:
        model.encode_image(pictures)
    for part in (
        "3 of 4 pictures cannot be read: picture 1: expected a readable picture, found pixels of mode F, whose",
        "picture 2: expected a readable picture, found 0 x 3 pixels", "picture 3: expected a path or a PIL image, foun",
    ):  # fmt: skip
        assert part in str(error.value)
    assert torch.equal(model.encode_image([_BytesPath(plain)]), model.encode_image([plain]))


class _BytesPath(os.PathLike):  # type: ignore[type-arg]
    def __init__(self, path: Path) -> None:
        self.path = os.fsencode(path)

    def __fspath__(self) -> bytes:
        return self.path


def test_features_of_another_precision_are_not_used(
    save: Callable, towers: Towers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save("a.png", NOISE)
    data = table(tmp_path, "a.png")
    exact, half = features(data, towers), features(data, replace(towers, precision="bf16"))
    assert not torch.equal(exact, half)
    assert torch.allclose(exact, half, atol=0.05)
    assert torch.equal(half, half.bfloat16().float())
    assert len([*features_folder().iterdir()]) == 2
    monkeypatch.setattr(type(towers.image), "encode", None)  # all is stored now
    for precision, expected in (("auto", exact), ("fp32", exact), ("bf16", half)):
        assert torch.equal(features(data, replace(towers, precision=precision)), expected)
    with pytest.raises(ConfigError, match="unknown feature precision 'half': expected one of auto, fp32, bf16, fp16"):
        features(data, replace(towers, precision="half"))


def test_a_run_says_in_what_its_image_features_were_made(
    world: World, image_checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    data = world.data(root=str(pictures), image_features=None)
    model = ModelConfig(str(world.text), str(image_checkpoint), "bf16")
    config = world.config(tmp_path / "run", model=model, data=data)
    align.run(config)
    run = read_run(tmp_path / "run")
    assert run.environment.feature_precision == "bf16"
    assert run.model.feature_precision == "bf16"
    same = evaluate.run(world.evaluation(tmp_path / "run"))
    assert (same.environment["feature_precision"], same.warnings) == ("bf16", ())
    other = evaluate.run(world.evaluation(tmp_path / "run", model=ModelConfig(feature_precision="fp32")))
    assert other.environment["feature_precision"] == "fp32"
    assert [w for w in other.warnings if "computed in fp32 here, the runs were measured with bf16" in w]
    align.run(world.config(tmp_path / "own"))
    assert read_run(tmp_path / "own").environment.feature_precision is None


def test_pictures_in_memory_in_the_precision_asked_for(world: World, image_checkpoint: Path) -> None:
    model = xpet.load(str(world.text), image_model=str(image_checkpoint), device="cpu")
    pictures = [Image.fromarray(NOISE), Image.fromarray(RAMP)]
    exact = model.encode_image(pictures, normalize=False)
    assert torch.equal(model.encode_image(pictures, normalize=False, precision="fp32"), exact)
    half = model.encode_image(pictures, normalize=False, precision="fp16")
    assert 0 < (half - exact).norm() / exact.norm() < 0.003
    with pytest.raises(ConfigError, match="unknown feature precision 'fp8'"):
        model.encode_image([], precision="fp8")


def test_pillow_says_nothing_on_the_terminal(
    save: Callable, world: World, image_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1500)  # a bomb begins at twice that
    for number in range(5):
        save(f"{number}.png", NOISE + number)
    save("5.jpg", NOISE, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x12\0\x03\xff\xff\xff\xff\0\0\0\0")
    save("6.png", Image.fromarray(RAMP).convert("P"), transparency=bytes(range(256)))
    line = Image.new("RGB", (1, 1400))
    save("7.png", line)
    data = table(tmp_path, *(f"{number}.png" for number in range(5)), "5.jpg", "6.png", "7.png")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for name in ("5.jpg", "0.png"):
            with Image.open(tmp_path / name) as picture:
                picture.getexif()
        assert {str(one.category.__name__) for one in seen} == {"DecompressionBombWarning", "UserWarning"}
        seen.clear()
        found = run_here(
            "eval", "--model", world.text, "--image-model", image_checkpoint, "--data", "table", "--data-root",
            str(data.root), "--lang", "de", "--resamples", "0", environment={"XPET_CACHE": str(tmp_path / "cache")},
        )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert [str(one.message) for one in seen if "PIL" in one.filename] == []
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)
    found = run_here(
        "eval", "--model", world.text, "--image-model", image_checkpoint, "--data", "table", "--data-root",
        str(data.root), "--lang", "de", environment={"XPET_CACHE": str(tmp_path / "other")},
    )  # fmt: skip
    assert found.returncode == 2
    assert b"xpet: error: picture 0.png: expected a readable picture, found Image size (2000 pixels)" in found.stderr
