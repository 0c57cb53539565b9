"""CLIP's English text tower: the same features as transformers' own class gives, from every layout it is found in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import tiny_clip
from xpet.core.errors import ModelError
from xpet.models.clip_text import image_half, load_english_tower
from xpet.models.encode import encode_texts
from xpet.models.image_tower import load_image_tower

TEXTS = ["a red dog", "two cats of the man", "", "A Small BIRD, it's 3", "dog " * 200]


def oracle(folder: Path, texts: list[str]) -> torch.Tensor:
    """Features [texts, d] by transformers' whole CLIP and its tokenizer, cut at 77 tokens, padded to 77."""
    from transformers import CLIPModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folder)
    model = CLIPModel.from_pretrained(folder).eval()
    rows = tokenizer(texts, padding="max_length", truncation=True, max_length=77, return_tensors="pt")
    assert int(rows["attention_mask"].sum(1).max()) == 77
    with torch.no_grad():
        features: Any = model.get_text_features(**rows)
    return features if isinstance(features, torch.Tensor) else features.pooler_output


@pytest.mark.parametrize("legacy", [False, True])
def test_features_are_those_of_transformers(tmp_path: Path, legacy: bool) -> None:
    folder = tiny_clip(tmp_path / "clip", legacy=legacy)
    loaded = load_english_tower(folder)
    found = encode_texts(loaded.tower, loaded.tokenizer, TEXTS)
    assert loaded.tower.dimensions == found.shape[1] == 32
    # another batch and padding than the oracle's: float32 differs in its last digits
    torch.testing.assert_close(found, oracle(folder, TEXTS), rtol=1e-4, atol=1e-5)
    assert not loaded.tower.training
    assert not any(parameter.requires_grad for parameter in loaded.tower.parameters())


def test_the_text_half_alone_and_older_tokenizer_files(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny_clip(tmp_path / "clip")
    whole = load_english_tower(folder)
    half = tmp_path / "half"
    shutil.copytree(folder, half)
    tensors = load_file(folder / "model.safetensors")
    save_file({n: t for n, t in tensors.items() if n.startswith("text_")}, half / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (half / "config.json").write_text(json.dumps({**config["text_config"], "model_type": "clip_text_model"}))
    (half / "tokenizer.json").unlink()
    alone = load_english_tower(half)
    assert alone.fingerprint == whole.fingerprint
    assert alone.tokenizer.encode(TEXTS) == whole.tokenizer.encode(TEXTS)
    assert image_half(half) is None
    assert image_half(folder) == load_image_tower(folder).fingerprint
    (half / "merges.txt").unlink()
    with pytest.raises(ModelError, match="expected tokenizer.json, or vocab.json and merges.txt, found no merges.txt"):
        load_english_tower(half)


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny_clip(tmp_path / "clip")
    config = json.loads((folder / "config.json").read_text())
    wrong = {**config, "text_config": {**config["text_config"], "eos_token_id": 5}}
    (folder / "config.json").write_text(json.dumps(wrong))
    with pytest.raises(ModelError, match="expected a tokenizer that ends a text with token 5, found tokens"):
        load_english_tower(folder)
    (folder / "config.json").write_text(json.dumps({**config, "text_config": None}))
    with pytest.raises(ModelError, match="expected a text_config in config.json, found none"):
        load_english_tower(folder)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "model.safetensors")
    save_file({n: t for n, t in tensors.items() if n != "text_projection.weight"}, folder / "model.safetensors")
    with pytest.raises(ModelError, match="with a projection, found no matrix text_projection.weight"):
        load_english_tower(folder)
