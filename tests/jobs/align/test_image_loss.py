"""`--image-loss` and `--logit-scale`: scale and bias of the checkpoint in training, in the record, in the result."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.jobs.conftest import FIT, World
from tests.models.published import SAMPLES, load_state
from tests.tiny import write_weights
from xpet.cli.align_view import summary
from xpet.cli.view import Paragraph
from xpet.core.config import FitConfig, MethodConfig, ModelConfig
from xpet.core.errors import ConfigError, ModelError
from xpet.core.losses import ImageLoss
from xpet.core.rundir import read_run
from xpet.jobs.align import run as align

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def model(tmp_path: Path) -> ModelConfig:
    """A SigLIP with scale e^2 and bias -3."""
    folder = tmp_path / "siglip"
    SAMPLES["SigLIP"].make(folder)
    numbers = {"logit_scale": torch.tensor([2.0]), "logit_bias": torch.tensor([-3.0])}
    write_weights(folder, {**load_state(folder), **numbers})
    return ModelConfig(str(folder))


def trained(world: World, folder: Path, model: ModelConfig, fit: FitConfig) -> tuple[list[float], ImageLoss | None]:
    """Image-text losses of a run, and what its record and its result say it was; of the view only whether it tells."""
    result = align.run(world.config(folder, "de", model=model, fit=fit, method=MethodConfig("bitfit")))
    record = read_run(folder)
    assert result.runs[0].image_loss == record.metrics.image_loss
    said = [block.text for block in summary(result) if isinstance(block, Paragraph) and "Image-text" in block.text]
    told = record.metrics.image_loss
    assert said == ([] if told is None else [f"Image-text loss: {told.in_words}."])
    return [entry["loss_clip"] for entry in record.history if "loss_clip" in entry], told


def test_scale_and_bias_are_the_checkpoints(world: World, model: ModelConfig, tmp_path: Path) -> None:
    plain, none = trained(world, tmp_path / "plain", model, FIT)
    sigmoid, told = trained(world, tmp_path / "sigmoid", model, replace(FIT, image_loss="sigmoid"))
    scaled, softmax = trained(world, tmp_path / "scaled", model, replace(FIT, logit_scale="model"))
    assert none is None
    assert told == ImageLoss("sigmoid", math.exp(2), -3.0, of_model=True)
    assert told.in_words == "sigmoid with scale 7.389, bias -3 of the model"
    assert softmax == ImageLoss("softmax", math.exp(2), 0.0, of_model=True)
    assert len({tuple(losses) for losses in (plain, sigmoid, scaled)}) == 3
    stored = {name: json.loads((tmp_path / name / "config.json").read_text())["fit"] for name in ("plain", "sigmoid")}
    assert "image_loss" not in stored["plain"]
    assert "logit_scale" not in stored["plain"]
    assert stored["sigmoid"]["image_loss"] == "sigmoid"
    assert "image_loss" not in json.loads((tmp_path / "plain" / "metrics.json").read_text())


def test_checkpoints_without_them(world: World, model: ModelConfig, tmp_path: Path) -> None:
    folder, state = Path(model.text), load_state(Path(model.text))
    for lacking in ("logit_bias", "logit_scale"):
        state.pop(lacking)
        write_weights(folder, state)
        config = world.config(tmp_path / "out", "de", model=model, fit=replace(FIT, image_loss="sigmoid"))
        with pytest.raises(ModelError, match=f"expected a {lacking} in the checkpoint, .* use --image-loss softmax"):
            align.run(config)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="expected --logit-scale model or none, found 100"):
        align.run(replace(config, fit=replace(FIT, image_loss="sigmoid", logit_scale="100")))
