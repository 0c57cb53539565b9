"""A kind of transformer is one row: RoBERTa is added here, encoded with and trained, and nothing else is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.jobs.conftest import World, cache, world  # noqa: F401
from tests.tiny import tiny_text_checkpoint
from xpet.core.config import ModelConfig
from xpet.core.errors import ModelError
from xpet.jobs.align import run as align
from xpet.jobs.encoder.load import load
from xpet.models.backbones import BACKBONES, Backbone
from xpet.models.checkpoint import load_text_tower
from xpet.models.encode import encode_texts
from xpet.models.weights import read_weights

TEXTS = ["a red dog", "zwei kleine Hunde", ""]
ROBERTA = Backbone(
    "RobertaConfig", "RobertaModel", 1e-5, {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}, True
)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A tower whose config.json says that its transformer is of the new family."""
    folder = tiny_text_checkpoint(tmp_path / "text", seed=3)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "modelBase": "a-roberta-of-ours",
        "transformerConfig": {"model_type": "roberta", "num_attention_heads": 2, "layer_norm_eps": 1e-5},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.usefixtures("cache")
def test_a_backbone_is_a_row(
    checkpoint: Path,
    world: World,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ModelError, match="expected a transformer of the families xlm-roberta, bert, found 'roberta'"):
        load_text_tower(checkpoint)
    monkeypatch.setitem(BACKBONES, "roberta", ROBERTA)
    loaded = load_text_tower(checkpoint)
    features = encode_texts(loaded.tower, loaded.tokenizer, TEXTS)
    assert torch.allclose(features, by_transformers(checkpoint, *loaded.tokenizer.pad(loaded.tokenizer.encode(TEXTS))))
    align.run(world.config(tmp_path / "run", "de", model=ModelConfig(str(checkpoint))))
    trained = load(tmp_path / "run", device="cpu").encode_text(TEXTS)
    assert trained.shape == (len(TEXTS), 32)


def by_transformers(folder: Path, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Features [texts, d] by transformers' own class and the formula of the M-CLIP tower."""
    from transformers import RobertaConfig, RobertaModel

    state = read_weights(folder)
    config = RobertaConfig(
        vocab_size=state["transformer.embeddings.word_embeddings.weight"].shape[0], hidden_size=64,
        num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, max_position_embeddings=66,
        type_vocab_size=1, layer_norm_eps=1e-5,
    )  # fmt: skip
    model = RobertaModel(config).eval()
    prefix = "transformer."
    model.load_state_dict({n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}, strict=False)
    with torch.inference_mode():
        hidden = model(input_ids=ids, attention_mask=mask)[0]
        pooled = (hidden * mask.unsqueeze(-1)).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        return pooled @ state["LinearTransformation.weight"].T + state["LinearTransformation.bias"]
