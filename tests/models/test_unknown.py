"""Folders that no family reads: one line with what was recognised, what is missing, and the nearest family."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.models.published import SAMPLES
from tests.tiny import tiny_image_checkpoint, tiny_tokenizer, write_json
from xpet.core.errors import ModelError
from xpet.models.checkpoint import open_text_tower
from xpet.models.families import FAMILIES
from xpet.models.families.unknown import _by_tensors
from xpet.models.image_tower import load_image_tower

Make = Callable[[Path], Path]
"""(empty folder) -> what is given as --model and --image-model."""


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples of families, each in a folder of its name."""
    root = tmp_path_factory.mktemp("samples")
    for name in SAMPLES:
        if " " not in name.removeprefix("MetaCLIP ") or name == "SigLIP 2":
            SAMPLES[name].make(root / name)
    return root


def said(folder: Path, load: Callable[[Path], object] = open_text_tower) -> str:
    """The error in place of a tower, one line that begins with the folder."""
    with pytest.raises(ModelError) as error:
        load(folder)
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(f"{folder}: expected ")
    return text


def config(**entries: object) -> Make:
    def make(folder: Path) -> Path:
        write_json(folder / "config.json", entries)
        return folder

    return make


def with_file(name: str, content: bytes = b"{}") -> Make:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder

    return make


def tokenizer_alone(folder: Path) -> Path:
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


CASES: dict[str, tuple[Make, str]] = {
    "empty": (lambda folder: folder, "found an empty folder"),
    "tokenizer": (tokenizer_alone, "found a tokenizer alone: config.json and weights are missing"),
    "language model": (
        config(model_type="llama", architectures=["LlamaForCausalLM"]),
        "found a language model (LlamaForCausalLM), which has no space in common with pictures",
    ),
    "transformer": (
        config(model_type="xlm-roberta", architectures=["XLMRobertaModel"]),
        "found a transformer ('xlm-roberta') without a layer into the space of pictures",
    ),
    "nearest": (
        config(model_type="alt_clips"),
        "found a model of type 'alt_clips' (the nearest that is read is AltCLIP)",
    ),
    "diffusers": (with_file("model_index.json"), "found a pipeline of diffusers"),
    "adapter": (with_file("adapter_config.json"), "found an adapter of PEFT without its base"),
    "run": (with_file("delta.safetensors"), "found a run of xpet: xpet merge makes a checkpoint of it"),
    "pictures": (with_file("photo.jpg"), "found no config.json, but photo.jpg; is this the right folder?"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_was_found_is_said_of_both_towers(case: str, tmp_path: Path) -> None:
    make, words = CASES[case]
    folder = make(tmp_path)
    families = ", ".join(family.name for family in FAMILIES)
    text = said(folder)
    assert text == f"{folder}: expected a checkpoint with a text tower, {words}; these are read of {families}"
    text = said(folder, load_image_tower)
    assert text == f"{folder}: expected a checkpoint with an image tower, {words}; these are read of {families}"


@pytest.mark.parametrize("name", ["sentence-transformers", "OpenCLIP", "AltCLIP", "Chinese-CLIP", "SigLIP 2", "CLIP"])
def test_weights_without_settings_are_known_by_their_names(name: str, samples: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(samples / name, tmp_path / "weights"))
    for file in (*folder.glob("*.json"), *folder.glob("*/*.json")):
        file.unlink()
    assert name.removesuffix(" 2") in _by_tensors(folder).split(" or ")
    if name != "OpenCLIP":  # its settings may be missing
        assert " without config.json: fetch that, too; " in said(folder)


def test_a_wrong_model_type_beside_known_weights(samples: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(samples / "AltCLIP", tmp_path / "changed"))
    document = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", document | {"model_type": "mine"})
    found = "'mine' with tensors named as AltCLIP's: is model_type in config.json right?"
    assert found in said(folder)


def test_a_folder_too_high_or_too_deep(samples: Path, tmp_path: Path) -> None:
    inside = Path(shutil.copytree(samples / "CLIP", tmp_path / "training" / "checkpoint-500"))
    assert f"found none in it but in a folder inside: give {inside} (CLIP); " in said(tmp_path / "training")
    assert f"give {inside} (CLIP); " in said(tmp_path)
    assert f"give {inside} (CLIP); " in said(tmp_path, load_image_tower)
    deep = samples / "sentence-transformers" / "2_Dense"
    assert f"found a part of a checkpoint of sentence-transformers: give {deep.parent}; " in said(deep)


def test_a_file_in_place_of_a_folder(samples: Path) -> None:
    file = samples / "CLIP" / "config.json"
    for load in (open_text_tower, load_image_tower):
        assert said(file, load).endswith(f"found a file; give the folder that it lies in: {file.parent}")


def test_one_half_in_place_of_the_other(samples: Path, tmp_path: Path) -> None:
    image = tiny_image_checkpoint(tmp_path / "image")
    assert "'clip_vision_model', an image tower alone, for --image-model" in said(Path(image))
    text = said(samples / "sentence-transformers", load_image_tower)
    assert "expected an image tower, found a text tower alone, of sentence-transformers; its partner is " in text
