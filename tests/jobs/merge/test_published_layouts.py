"""Align and merge on checkpoints of other families: the merged folder is in the base's layout and takes its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.jobs.conftest import World
from tests.models.published import SAMPLES
from xpet.core.config import MergeConfig, MethodConfig, ModelConfig
from xpet.core.errors import ModelError, OutputError
from xpet.jobs.align import run as align
from xpet.jobs.encoder.load import load
from xpet.jobs.merge import run as merge
from xpet.models.checkpoint import open_text_tower

TEXTS = ["ein roter Hund", "eine Katze"]


def aligned(name: str, world: World, folder: Path, method: str = "lora", **changes: Any) -> tuple[Path, Path]:
    """A checkpoint of a family, and a run on it."""
    SAMPLES[name].make(folder / "base")
    model = ModelConfig(str(folder / "base"))
    words = MethodConfig(method, train=("layernorm", "head", "embeddings") if method == "lora" else None)
    align.run(world.config(folder / "run", "de", method=words, model=model, learning_rates=(1e-2,), **changes))
    return folder / "base", folder / "run"


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("name", ["sentence-transformers", "OpenCLIP", "MetaCLIP 2"])
def test_a_run_is_merged_into_the_layout_of_its_base(name: str, world: World, tmp_path: Path) -> None:
    base, run = aligned(name, world, tmp_path)
    out = tmp_path / "merged"
    result = merge.run(MergeConfig(runs=(str(run),), out=str(out)))
    assert result.verification is not None
    assert result.verification.relative < 1e-5
    assert result.image == (str(base) if SAMPLES[name].kept else None)
    written = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert set(result.files) == written
    own = {path.relative_to(base).as_posix() for path in base.rglob("*") if path.is_file()}
    assert written == {file.replace("pytorch_model.bin", "model.safetensors") for file in own} | {"README.md"}
    trained = load(run, device="cpu").encode_text(TEXTS)
    torch.testing.assert_close(load(out, device="cpu").encode_text(TEXTS), trained, atol=1e-5, rtol=1e-4)
    features = torch.nn.functional.normalize(SAMPLES[name].features(out, TEXTS, torch.float32), dim=1)
    torch.testing.assert_close(torch.nn.functional.normalize(trained, dim=1), features, atol=1e-5, rtol=1e-4)
    settings = json.loads((out / open_text_tower(base).layout.settings).read_text())
    assert settings["xpet"]["method"] == "lora"
    assert "imageModel" not in settings
    assert f"layout of {name} into" in (out / "README.md").read_text()
    again = MergeConfig(runs=(str(run),), out=str(out), overwrite=True, verify=False)
    assert merge.run(again).files == result.files
    (out / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="output of xpet merge"):
        merge.run(again)


@pytest.mark.usefixtures("cache")
def test_exports_that_cannot_hold_a_family_say_so(world: World, tmp_path: Path) -> None:
    _, run = aligned("AltCLIP", world, tmp_path)
    config = MergeConfig(runs=(str(run),), out=str(tmp_path / "out"), form="sentence-transformers")
    with pytest.raises(ModelError, match="expected a tower of a BERT or XLM-R .* found one of the family AltCLIP"):
        merge.run(config)
    with pytest.raises(ModelError, match="linear-map folds into the bias of the tower's head: expected one"):
        aligned("AltCLIP", world, tmp_path / "fitted", "linear-map")


@pytest.mark.usefixtures("cache")
def test_texts_say_their_language_all_the_way(world: World, tmp_path: Path) -> None:
    """NLLB-CLIP marks each text by its language: training, merging and encoding know which it is."""
    _, run = aligned("NLLB-CLIP", world, tmp_path, routines=("routine1",))
    out = tmp_path / "merged"
    result = merge.run(MergeConfig(runs=(str(run),), out=str(out)))
    assert result.verification is not None
    assert result.verification.relative < 1e-5
    own = SAMPLES["NLLB-CLIP"].features(out, TEXTS, torch.float32)
    expected = torch.nn.functional.normalize(own, dim=1)
    merged = load(out, device="cpu")
    for found in (load(run, device="cpu").encode_text(TEXTS), merged.encode_text(TEXTS, lang="de")):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    mixed = merged.encode_text(TEXTS, lang=["tr", "de"])
    assert (mixed[0] - expected[0]).abs().max() > 1e-3
    torch.testing.assert_close(mixed[1], expected[1], atol=1e-5, rtol=1e-4)
    with pytest.raises(ModelError, match="expected the language, found none; give it, as in encode_text"):
        merged.encode_text(TEXTS)
    with pytest.raises(ModelError, match="one of the family NLLB-CLIP, which marks each text by its language"):
        merge.run(MergeConfig(runs=(str(run),), out=str(tmp_path / "onnx"), form="onnx"))
