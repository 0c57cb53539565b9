"""Image towers: whole and vision-only checkpoints, pre-processing, keys, errors, saving."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tiny import tiny_image_checkpoint, write_weights
from xpet.core.errors import ModelError
from xpet.models.image_tower import load_image_tower, save_image_tower
from xpet.models.weights import read_weights


def picture(height: int = 40, width: int = 50, seed: int = 0) -> Image.Image:
    """Random colours."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def one_line_error(folder: Path, *expected: str) -> None:
    """Loading fails with one line that holds all the expected words."""
    with pytest.raises(ModelError) as caught:
        load_image_tower(folder)
    assert "\n" not in str(caught.value)
    for words in expected:
        assert words in str(caught.value)


def change_json(path: Path, **entries: Any) -> None:
    """Set entries of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.mark.parametrize("whole", [False, True])
def test_equals_an_independent_computation(tmp_path: Path, whole: bool) -> None:
    from transformers import CLIPModel, CLIPVisionModelWithProjection

    folder = tiny_image_checkpoint(tmp_path / "ck", whole=whole)
    loaded = load_image_tower(folder)
    square = picture(32, 32)  # nothing to resize or crop
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    pixels = torch.from_numpy(((np.asarray(square) / 255 - mean) / std).transpose(2, 0, 1)[None]).float()
    with torch.no_grad():
        if whole:
            features = CLIPModel.from_pretrained(folder).get_image_features(pixel_values=pixels)
            expected = getattr(features, "pooler_output", features)
        else:
            expected = CLIPVisionModelWithProjection.from_pretrained(folder)(pixel_values=pixels).image_embeds
    found = loaded.encode([square])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_pictures_of_all_shapes_and_modes(image_checkpoint: Path) -> None:
    loaded = load_image_tower(image_checkpoint)
    pictures = [picture(), picture(90, 33), picture().convert("L"), picture().convert("P"), picture().convert("RGBA")]
    features = loaded.encode(pictures)
    assert features.shape == (5, loaded.dimensions)
    assert loaded.encode([]).shape == (0, 32)
    torch.testing.assert_close(features[4:], loaded.encode([picture()]), atol=1e-5, rtol=1e-5)
    assert not features.is_inference()


def test_resize_and_crop_are_those_of_pillow(image_checkpoint: Path) -> None:
    loaded = load_image_tower(image_checkpoint)
    wide = picture(64, 100)
    small = wide.resize((50, 32), Image.Resampling.BICUBIC)
    expected = loaded.encode([small.crop((9, 0, 41, 32))])
    torch.testing.assert_close(loaded.encode([wide]), expected, atol=1e-5, rtol=1e-5)


def test_frozen_and_fingerprint_ignores_the_text_half(tmp_path: Path) -> None:
    folder = tiny_image_checkpoint(tmp_path / "whole", whole=True)
    loaded = load_image_tower(folder)
    assert not loaded.tower.training
    assert not any(p.requires_grad for p in loaded.tower.parameters())
    assert not any(t.is_meta for t in [*loaded.tower.parameters(), *loaded.tower.buffers()])
    state = {name: tensor.clone() for name, tensor in read_weights(folder).items()}
    state["text_projection.weight"] += 1
    state["vision_model.embeddings.position_ids"] = torch.arange(17).unsqueeze(0)
    state["text_model.embeddings.position_ids"] = torch.arange(16).unsqueeze(0)
    write_weights(folder, state)
    assert load_image_tower(folder).key_on() == loaded.key_on()


def test_key_depends_on_weights_and_preprocessing_but_not_on_spelling(tmp_path: Path) -> None:
    first = load_image_tower(tiny_image_checkpoint(tmp_path / "a"))
    assert load_image_tower(tiny_image_checkpoint(tmp_path / "b", weights="bin")).key_on() == first.key_on()
    assert load_image_tower(tiny_image_checkpoint(tmp_path / "c", seed=1)).key_on() != first.key_on()
    folder = tiny_image_checkpoint(tmp_path / "d")
    path = folder / "preprocessor_config.json"
    change_json(path, size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, do_rescale=True)
    assert load_image_tower(folder).key_on() == first.key_on()
    change_json(path, resample=2)
    other = load_image_tower(folder)
    assert other.fingerprint == first.fingerprint
    assert other.key_on() != first.key_on()


def test_round_trip_writes_exactly_these_files(tmp_path: Path) -> None:
    first = load_image_tower(tiny_image_checkpoint(tmp_path / "whole", whole=True))
    save_image_tower(tmp_path / "saved", first.tower, first.processor)
    assert {p.name for p in (tmp_path / "saved").iterdir()} == {
        "config.json", "model.safetensors", "preprocessor_config.json",
    }  # fmt: skip
    again = load_image_tower(tmp_path / "saved")
    assert again.key_on() == first.key_on()
    state = again.tower.state_dict()
    assert all(torch.equal(tensor, state.pop(name)) for name, tensor in first.tower.state_dict().items())
    assert not state
    # where the files put the weights in memory, kernels round otherwise
    torch.testing.assert_close(again.encode([picture()]), first.encode([picture()]), atol=2e-6, rtol=0)


def test_errors(tmp_path: Path, text_checkpoint: Path) -> None:
    one_line_error(text_checkpoint, "expected an image tower, found a text tower alone, of M-CLIP")
    folder = tiny_image_checkpoint(tmp_path / "a")
    change_json(folder / "preprocessor_config.json", crop_size=24)
    one_line_error(folder, "expected pictures of 32 x 32, found crop_size 24 x 24")
    change_json(folder / "preprocessor_config.json", crop_size=32, feature_extractor_type="SiglipImageProcessor")
    one_line_error(folder, "expected the pre-processing of CLIP, found SiglipImageProcessor")
    (folder / "preprocessor_config.json").unlink()
    one_line_error(folder, "expected preprocessor_config.json")
    folder = tiny_image_checkpoint(tmp_path / "b")
    change_json(folder / "config.json", num_hidden_layers=3)
    one_line_error(folder, "16 missing: vision_model.encoder.layers.2")
    change_json(folder / "config.json", num_hidden_layers=1)
    one_line_error(folder, "16 unexpected: vision_model.encoder.layers.1")
    change_json(folder / "config.json", hidden_size="wide")
    one_line_error(folder, "cannot be built")
    folder = tiny_image_checkpoint(tmp_path / "c")
    (folder / "model.safetensors").write_bytes(b"\0" * 20)
    one_line_error(folder, "damaged or truncated")


def test_prepared_pictures_are_scaled_as_the_library_scales_them(image_checkpoint: Path) -> None:
    loaded = load_image_tower(image_checkpoint)
    pictures = [picture(40, 50), picture(70, 33, seed=1).convert("L"), picture(32, 32, seed=2)]
    prepared = [loaded.prepare(image) for image in pictures]
    assert {(one.dtype, one.shape) for one in prepared} == {(torch.uint8, (3, 32, 32))}
    pixels = loaded.processor(images=pictures, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = loaded.tower(pixel_values=pixels).image_embeds
    assert torch.equal(loaded.encode(prepared), loaded.encode(pictures))
    torch.testing.assert_close(loaded.encode(prepared), expected, atol=2e-6, rtol=0)


def test_preprocessing_without_scaling(tmp_path: Path) -> None:
    folder = tiny_image_checkpoint(tmp_path)
    change_json(folder / "preprocessor_config.json", do_rescale=False, do_normalize=False)
    loaded = load_image_tower(folder)
    pixels = loaded.processor(images=[picture()], return_tensors="pt")["pixel_values"]
    assert pixels.max() > 200
    with torch.no_grad():
        expected = loaded.tower(pixel_values=pixels.float()).image_embeds
    torch.testing.assert_close(loaded.encode([picture()]), expected, atol=1e-4, rtol=1e-4)


def test_a_released_tower_has_its_stored_weights_again(tmp_path: Path) -> None:
    loaded = load_image_tower(tiny_image_checkpoint(tmp_path / "ck"))
    places = {name: tensor.data_ptr() for name, tensor in loaded.tower.state_dict().items()}
    loaded.tower.to("meta")  # in place of a GPU
    loaded.release()
    assert {name: tensor.data_ptr() for name, tensor in loaded.tower.state_dict().items()} == places  # no copy
    assert not any(parameter.requires_grad for parameter in loaded.tower.parameters())
    buffers = {name for name, buffer in loaded.tower.named_buffers() if buffer.is_meta}
    assert buffers <= {"vision_model.embeddings.position_ids"}
