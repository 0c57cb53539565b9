"""Encoding texts, and which towers belong together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.tiny import tiny_image_checkpoint
from xpet.core.errors import ModelError
from xpet.models.checkpoint import LoadedText, load_text_tower
from xpet.models.encode import check_dimensions, encode_texts, image_tower_of
from xpet.models.image_tower import load_image_tower


@pytest.fixture(scope="module")
def loaded(text_checkpoint: Path) -> LoadedText:
    return load_text_tower(text_checkpoint)


def test_order_is_kept_and_batches_do_not_matter(loaded: LoadedText) -> None:
    texts = [f"{'dog ' * (n * 7 % 11)}number {n}" for n in range(23)]
    alone = torch.cat([encode_texts(loaded.tower, loaded.tokenizer, [text]) for text in texts])
    for batch_size in (1, 4, 256):
        together = encode_texts(loaded.tower, loaded.tokenizer, texts, batch_size=batch_size, device="cpu")
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert (alone[0] - alone[1]).norm() > 0.01


def test_equal_texts_are_encoded_once_and_bit_equal(loaded: LoadedText) -> None:
    rows = []
    handle = loaded.tower.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    try:
        texts = ["a dog", "the red cat", "a dog", "x" * 5000, "x" * 6000, "a dog"]
        features = encode_texts(loaded.tower, loaded.tokenizer, texts, batch_size=2)
    finally:
        handle.remove()
    assert rows == [2, 1]
    assert torch.equal(features[0], features[2])
    assert torch.equal(features[0], features[5])
    assert torch.equal(features[3], features[4])


def test_no_texts(loaded: LoadedText) -> None:
    assert encode_texts(loaded.tower, loaded.tokenizer, []).shape == (0, 32)


def test_features_serve_as_anchors_and_the_mode_is_restored(loaded: LoadedText) -> None:
    loaded.tower.train()
    try:
        features = encode_texts(loaded.tower, loaded.tokenizer, ["a dog", "a cat"])
        assert torch.equal(features, encode_texts(loaded.tower, loaded.tokenizer, ["a dog", "a cat"]))  # no dropout
        assert loaded.tower.training
    finally:
        loaded.tower.eval()
    weight = torch.ones(32, requires_grad=True)
    (features * weight).square().mean().backward()
    assert weight.grad is not None
    assert weight.grad.isfinite().all()


def test_towers_of_different_size(loaded: LoadedText, tmp_path: Path, image_checkpoint: Path) -> None:
    check_dimensions(loaded.tower, load_image_tower(image_checkpoint))
    with pytest.raises(ModelError, match="the text tower gives 32 dimensions, the image tower 16"):
        check_dimensions(loaded.tower, load_image_tower(tiny_image_checkpoint(tmp_path / "im", dims=16)))


def test_image_tower_of_published_text_towers() -> None:
    assert image_tower_of("M-CLIP/XLM-Roberta-Large-Vit-B-32") == "openai/clip-vit-base-patch32"
    assert image_tower_of("M-CLIP/LABSE-Vit-L-14") == "openai/clip-vit-large-patch14"
    assert image_tower_of("M-CLIP/XLM-Roberta-Large-Vit-B-16Plus").startswith("timm/vit_base_patch16_plus_clip_240")
    with pytest.raises(
        ModelError, match="expected --image-model or --image-features with it; known without are M-CLIP"
    ):
        image_tower_of("M-CLIP/LABSE-ViT-L-14")
