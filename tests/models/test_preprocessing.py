"""CLIP's pre-processing: every switch works as transformers has it, or is refused in one line when loaded."""

from __future__ import annotations

import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tiny import tiny_image_checkpoint, write_json
from xpet.core.errors import DataError, ModelError
from xpet.models import preprocessing
from xpet.models.image_tower import LoadedImage, load_image_tower

SHAPES = ((1, 1), (1, 3), (3, 1), (3, 3), (40, 50), (90, 33), (200, 7), (32, 32), (31, 33), (4, 60))
NAN = float("nan")
SIDES = "a whole number from 1 on, or height and width"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image tower of 32 x 32."""
    return tiny_image_checkpoint(tmp_path_factory.mktemp("pre") / "tower")


def loaded(checkpoint: Path, folder: Path, **settings: Any) -> LoadedImage:
    """The tower with other settings of its pre-processing."""
    for file in checkpoint.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    written = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(written | settings))
    return load_image_tower(folder)


def pictures() -> list[Image.Image]:
    """Random colours in many shapes."""
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)) for shape in SHAPES]


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"do_center_crop": False, "size": {"height": 32, "width": 32}}, {"do_center_crop": False, "size": [32, 32]},
        {"do_center_crop": False, "size": {"height": 32, "width": 32}, "crop_size": 224},
        {"size": {"height": 40, "width": 50}}, {"size": {"shortest_edge": 32, "longest_edge": None}},
        {"do_resize": False}, {"do_resize": None}, {"do_rescale": False}, {"do_normalize": False},
        {"do_convert_rgb": False}, *({"resample": filter_} for filter_ in range(6)), {"size": 20}, {"size": 64},
        {"crop_size": [32, 32]}, {"image_mean": 0.5}, {"image_std": 1}, {"rescale_factor": 1}, {"do_pad": False},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_accepted_works_on_every_picture_as_transformers_has_it(
    settings: dict[str, Any], checkpoint: Path, tmp_path: Path
) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tower = loaded(checkpoint, tmp_path, **settings)
    written = json.loads((tmp_path / "preprocessor_config.json").read_text())
    written.pop("feature_extractor_type")
    theirs = CLIPImageProcessorPil(**written)
    pixels = [theirs(images=one, return_tensors="pt")["pixel_values"][0].float() for one in pictures()]
    with torch.no_grad():
        expected = tower.tower(pixel_values=torch.stack(pixels)).image_embeds
    torch.testing.assert_close(tower.encode(pictures()), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"do_center_crop": False}, "expected every picture to become 32 x 32, by a centre crop (do_center_crop true, "
         "crop_size 32) or by size {'height': 32, 'width': 32}, found size {'shortest_edge': 32} and no crop, which "
         "gives pictures of several shapes"),
        ({"do_center_crop": False, "do_resize": False}, "found no resizing (do_resize false) and no crop"),
        ({"do_center_crop": None, "size": {"height": 32, "width": 33}}, "found size {'height': 32, 'width': 33}"),
        ({"size": 513}, "size: expected at most 512, found {'shortest_edge': 513}"),
        ({"size": {"height": 10**9, "width": 32}}, "size: expected at most 512, found"),
        *(({"size": bad}, f"size: expected {SIDES}, or shortest_edge, found {bad!r}") for bad in (
            0, -3, 2.5, NAN, float("inf"), True, "32", [32], [32, 0], {}, {"height": 32}, {"longest_edge": 32},
            {"shortest_edge": 32, "longest_edge": 64}, {"shortest_edge": None}, {"shortest_edge": "32"},
        )),
        *(({"crop_size": bad}, f"crop_size: expected {SIDES}, found {bad!r}") for bad in (
            0, -1, "32", {"shortest_edge": 32}, {"height": 32}, [32, 32, 32], False,
        )),
        *(({"resample": bad}, f"resample: expected the number of a filter of Pillow, found {bad!r}") for bad in (
            -1, 99, 3.0, "bicubic", True, [3],
        )),
        *(({"rescale_factor": bad}, f"rescale_factor: expected a positive number, found {bad!r}") for bad in (
            0, -1, NAN, "x", True, float("inf"), [1],
        )),
        *(({"image_mean": bad}, f"image_mean: expected 3 numbers, found {bad!r}") for bad in (
            [], [0.5, 0.5], [0.5] * 4, ["a", 1, 2], [NAN, 0, 0], "mean", {"r": 1}, [[1], [2], [3]],
        )),
        *(({"image_std": bad}, f"image_std: expected 3 positive numbers, found {bad!r}") for bad in (
            0, [1, 0, 1], [1, 1, -1], NAN, [1, 1],
        )),
        *(({name: bad}, f"{name}: expected true or false, found {bad!r}") for name, bad in (
            ("do_resize", "yes"), ("do_center_crop", 1), ("do_rescale", "false"), ("do_normalize", []),
            ("do_convert_rgb", 0),
        )),
        ({"size": 10**400}, "size: expected at most 512, found {'shortest_edge': 1000"),
        ({"image_mean": [10**400, 0, 0]}, "image_mean: expected 3 numbers, found [1000"),
        ({"rescale_factor": 10**400}, "rescale_factor: expected a positive number, found 1000"),
        ({"do_pad": True}, "do_pad: expected false, found True"),
        ({"use_square_size": True}, "use_square_size: expected false, found True"),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_what_cannot_work_is_refused_when_loaded(
    settings: dict[str, Any], told: str, checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError) as error:
        loaded(checkpoint, tmp_path, **settings)
    assert told in str(error.value)
    assert str(error.value).startswith(f"{tmp_path / 'preprocessor_config.json'}: ")
    assert "\n" not in str(error.value)


def test_all_that_is_wrong_is_told_at_once(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as error:
        loaded(checkpoint, tmp_path, size=0, image_std=[1, 2], do_rescale="no")
    assert str(error.value).count(": expected ") == 3


def test_other_files_of_the_pre_processing(checkpoint: Path, tmp_path: Path) -> None:
    first = loaded(checkpoint, tmp_path)
    (tmp_path / "preprocessor_config.json").rename(tmp_path / "old.json")
    inside = json.loads((tmp_path / "old.json").read_text())
    write_json(tmp_path / "processor_config.json", {"image_processor": inside})
    assert load_image_tower(tmp_path).key_on() == first.key_on()
    for bad in ([1], "CLIP", 3):
        write_json(tmp_path / "processor_config.json", {"image_processor": bad})
        with pytest.raises(ModelError, match="processor_config.json: expected an object image_processor, found"):
            load_image_tower(tmp_path)


def test_a_tower_of_one_channel_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from tests.tiny import write_weights

    loaded(checkpoint, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"num_channels": 1}
    write_json(tmp_path / "config.json", config)
    write_weights(tmp_path, dict(CLIPVisionModelWithProjection(CLIPVisionConfig(**config)).state_dict()))
    with pytest.raises(ModelError, match=r"expected an image tower for pictures of 3 channels \(RGB\), found num_chan"):
        load_image_tower(tmp_path)


@pytest.mark.parametrize("size", [32, 40, 20])
@pytest.mark.parametrize("tall", [True, False])
def test_a_line_is_resized_only_where_it_is_kept(
    size: int, tall: bool, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower = loaded(checkpoint, tmp_path, size=size)
    waves = np.stack([127 + 100 * np.sin(np.arange(700) / period) for period in (9, 31, 77)], axis=1)
    pixels = np.repeat(waves[:, None], 3, axis=1).astype(np.uint8)  # 700 x 3
    picture = Image.fromarray(pixels if tall else pixels.transpose(1, 0, 2))
    whole = tower.prepare(picture).int()
    monkeypatch.setattr(preprocessing, "_PIXELS", 0)
    part = tower.prepare(picture).int()
    assert part.shape == (3, 32, 32)
    assert (part - whole).abs().max() <= 2


@pytest.mark.parametrize("shape", [(1, 30_000), (30_000, 1), (2, 100_000)])
def test_a_line_takes_little_memory(shape: tuple[int, int], checkpoint: Path, tmp_path: Path) -> None:
    tower = loaded(checkpoint, tmp_path, size=224 * 2)
    picture = Image.fromarray(np.full((*shape, 3), (10, 20, 30), dtype=np.uint8))
    tracemalloc.start()
    try:
        prepared = tower.prepare(picture)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert prepared.unique(dim=-1).flatten().unique().tolist() == [10, 20, 30]
    assert peak < 4e6  # the whole would have 448 * 448 * 30,000 pixels


def test_prepared_pictures_are_of_any_mode(checkpoint: Path, tmp_path: Path) -> None:
    tower = loaded(checkpoint, tmp_path, do_convert_rgb=False)
    grey = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
    eight, sixteen = Image.fromarray(grey), Image.fromarray(grey.astype(np.uint16) * 257)
    assert torch.equal(tower.prepare(sixteen), tower.prepare(eight))
    assert torch.equal(tower.encode([sixteen]), tower.encode([eight.convert("RGB")]))
    with pytest.raises(DataError, match="picture in memory: expected a readable picture, found pixels of mode F"):
        tower.encode([eight.convert("F")])


def test_the_bytes_are_those_of_transformers() -> None:
    draw = random.Random(0)
    for _ in range(150):
        height, width, *sides = (draw.randint(1, 70) for _ in range(6))
        settings = {
            "size": draw.choice([sides[0], {"height": sides[0], "width": sides[1]}]), "crop_size": sides[2:],
            "do_resize": draw.random() < 0.8, "do_center_crop": draw.random() < 0.8, "resample": draw.randrange(6),
        }  # fmt: skip
        theirs = preprocessing.image_processor(settings)
        picture = Image.fromarray(np.frombuffer(draw.randbytes(height * width * 3), np.uint8).reshape(height, width, 3))
        expected = theirs(images=[picture], return_tensors="pt", do_rescale=False, do_normalize=False)["pixel_values"]
        torch.testing.assert_close(preprocessing.cut(theirs, picture), expected[0], atol=0, rtol=0)
