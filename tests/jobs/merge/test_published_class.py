"""A merged checkpoint in the published `multilingual-clip` class; skipped where that package is not installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.jobs.conftest import World
from xpet.core.config import MergeConfig, MethodConfig
from xpet.jobs.align import run as align
from xpet.jobs.merge import run as merge
from xpet.models.checkpoint import load_text_tower

published = pytest.importorskip("multilingual_clip.pt_multilingual_clip")


def test_the_published_class_computes_what_xpet_does(world: World, tmp_path: Path) -> None:
    """Its `from_pretrained` fails on transformers 5 (a nested one under the meta device): it is filled directly."""
    import transformers
    from safetensors.torch import load_file

    align.run(world.config(tmp_path / "run", "de", method=MethodConfig("lora", train=("layernorm", "head"))))
    out = tmp_path / "tower"
    merge.run(MergeConfig((str(tmp_path / "run"),), str(out), device="cpu"))
    loaded = load_text_tower(out)
    loaded.tower.transformer.save_pretrained(tmp_path / "base")  # stands for the base model on the hub
    config = json.loads((out / "config.json").read_text("utf-8"))
    settings = published.Config_MCLIP.MCLIPConfig(**{**config, "modelBase": str(tmp_path / "base")})
    settings.transformerDimensions, settings.numDims = config["transformerDimensions"], config["numDims"]
    model = published.MultilingualCLIP(settings)
    state = load_file(out / "model.safetensors")
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    assert {name for name in missing.missing_keys if "pooler" not in name} == set()
    texts = ["ein zwei Hund", "roter Kater"]
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(out / "tokenizer.json"), pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    ids, mask = loaded.tokenizer.pad(loaded.tokenizer.encode(texts))
    with torch.no_grad():
        expected = loaded.tower(ids, mask)
        torch.testing.assert_close(model.eval()(texts, tokenizer), expected, atol=1e-5, rtol=1e-5)
