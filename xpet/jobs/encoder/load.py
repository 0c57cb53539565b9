"""`xpet.load`: makes a dual encoder of a base model, a run, a sweep, a pack or an adapter."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from xpet.core.config import DEMO, ModelConfig
from xpet.core.errors import ConfigError, DataError, ModelError
from xpet.core.language_pack import is_pack
from xpet.core.run_record import RunRecord
from xpet.core.rundir import is_run
from xpet.jobs.encoder.dual_encoder import DualEncoder
from xpet.jobs.shared.foreign_modules import is_foreign
from xpet.jobs.shared.run_records import Runs, check_base, chosen_runs, read_runs
from xpet.jobs.shared.towers import Towers, image_of, text_alone, text_path, with_images

if TYPE_CHECKING:
    import torch

DEVICES = "'auto', 'cpu', 'cuda' or 'cuda:N'"


def load(
    path_or_name: str | os.PathLike[str],
    *,
    model: str | None = None,
    image_model: str | None = None,
    device: str | torch.device = "auto",
) -> DualEncoder:
    """A dual encoder of texts and pictures: see `DualEncoder.encode_text` and `DualEncoder.encode_image`.

    Args:
        path_or_name: one of
            - a base model: `demo`, an M-CLIP name on the hub, or a checkpoint folder (a merged one too);
            - a run directory: the base with the run's module, which `lang=None` and its language use;
            - a module made elsewhere (a PEFT adapter or an OpenDelta folder, a `text_model_best.ckpt`): its base, the
              demo unless it names one or `model` is given, with the module, which every language but English uses;
            - a folder of runs: of every language the best run on validation, as `xpet eval` takes it; `lang` picks;
            - a language pack of `xpet merge --pack`: likewise.
        model: where the base of a run is now, when it was moved; its weights must be the same.
        image_model: the image tower, where none is known for the text tower, or where it is now.
        device: `auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:N`.

    Raises:
        ConfigError: a device that is not there; `model` for what is no run.
        DataError: a folder that is none of these; damaged runs, or runs that differ in base, data or method.
        ModelError: a checkpoint that is missing or damaged; towers that do not fit together; a base that changed since
            the run was trained.

    A run that was trained on image features of the user's own encodes pictures only with `image_model`.
    """
    device_name = _device(device)
    if _holds_runs(path_or_name):
        return _of_runs(os.fspath(path_or_name), model, image_model, device_name)
    if model is not None:
        raise ConfigError(f"model: expected nothing, as '{path_or_name}' is a base model itself, found '{model}'")
    name = os.fspath(path_or_name)
    towers = _towers(ModelConfig(name, image_model))
    return DualEncoder(name, towers, {}, device_name)


def _holds_runs(path_or_name: str | os.PathLike[str]) -> bool:
    """Whether a path holds runs (even damaged), a pack or an adapter; raises DataError or ModelError for nothing."""
    path = Path(path_or_name)
    if path_or_name == DEMO:
        return False
    if is_pack(path) or is_foreign(path):
        return True
    if not os.path.exists(path) and not isinstance(path_or_name, str):  # a name on the hub is a string
        raise ModelError(f"{path}: expected a run, a folder of runs or a checkpoint folder, found no such folder")
    if os.path.isfile(path):
        return is_pack(path)
    if not os.path.isdir(path):
        return False
    if (path / "delta.safetensors").exists() or any(map(is_run, path.iterdir())):
        return True
    from xpet.models.families import is_checkpoint

    if not is_checkpoint(path):
        raise DataError(f"{path}: expected a run, a folder of runs or a checkpoint with config.json, found none")
    return False


def _of_runs(path: str, model: str | None, image_model: str | None, device: str) -> DualEncoder:
    """The encoder with the best run of each language at a path."""
    records = read_runs([path])
    chosen = {language: runs[0] for language, runs in chosen_runs(records).items()}
    towers = _towers_of_run(records[0][1], model, image_model)
    _check(towers, records)
    return DualEncoder(path, towers, chosen, device)


def _towers_of_run(record: RunRecord, model: str | None, image_model: str | None) -> Towers:
    """The towers a run was trained on, from where the user says they are now."""
    trained = record.model
    alone = _own_features(record) and image_model is None
    text = model or trained.text or DEMO
    return _towers(ModelConfig(text, image_model or trained.image), alone, trained.text or text)


def _towers(config: ModelConfig, alone: bool = False, known_as: str | None = None) -> Towers:
    """Both towers; the text tower alone if `alone`, or where no image tower is known for it.

    `known_as` is the name the text tower had when it was trained on, if it has moved since.
    """
    from xpet.models.checkpoint import load_text_tower

    text = load_text_tower(text_path(config.text))
    image = config.image
    try:
        image = None if alone else image or image_of(config.text, text, known_as)
    except ModelError:
        return text_alone(text, config)
    return text_alone(text, config) if image is None else with_images(text, replace(config, image=image), None)


def _own_features(record: RunRecord) -> bool:
    """Whether a run was trained on image features the user brought, so that its image tower is not known."""
    return record.data.image_features is not None


def _check(towers: Towers, records: Runs) -> None:
    """Raise ModelError unless the towers are the runs' own; an image tower is not checked where the runs had none."""
    if _own_features(records[0][1]):
        towers = replace(towers, fingerprints={**towers.fingerprints, "image": None})
    check_base(towers, records)


def _device(device: str | torch.device) -> str:
    """The name of a device that torch can compute on here; raises ConfigError."""
    import torch  # not accelerate: the device it chooses holds for the whole process

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda" if gpus else "cpu"
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        raise ConfigError(f"device: expected {DEVICES}, found {device!r}") from None
    if chosen.type not in ("cpu", "cuda"):
        raise ConfigError(f"device: expected {DEVICES}, found {device!r}")
    if chosen.type == "cuda" and (chosen.index or 0) >= gpus:
        raise ConfigError(
            f"device: torch finds {gpus} GPUs here, expected one of them, found '{chosen}'; use 'cpu' or 'auto'"
        )
    return str(chosen)
