"""Kinds of models that are recognised and not read: one line that names the kind and what to use instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.models.published import SAMPLES
from tests.tiny import write_json
from xpet.core.errors import ModelError
from xpet.models.checkpoint import open_text_tower
from xpet.models.families import family_of
from xpet.models.families.refused import REFUSED, WITH_CODE
from xpet.models.image_tower import load_image_tower

CODE = {"AutoConfig": "configuration_clip.CLIPConfig", "AutoModel": "modeling_clip.LLM2CLIPModel"}
UFORM = {"text_encoder": {"model_type": "bert", "dim": 384}, "image_encoder": {"dim": 768}}
FOUND: dict[str, tuple[str, dict[str, Any], str]] = {
    "jina-clip": ("config.json", {"model_type": "jina_clip", "auto_map": CODE}, "google/siglip2-base-patch16-256"),
    "LLM2CLIP": (
        "config.json",
        {"model_type": "clip", "auto_map": CODE, "architectures": ["LLM2CLIPModel"], "vision_config": {}},
        "facebook/metaclip-2-worldwide-l14",
    ),
    "NLLB-CLIP in its first layout": (
        "config.json",
        {"model_type": "clip", "architectures": ["NLLBCLIPModel"]},
        "visheratin/nllb-clip-base-oc",
    ),
    "an image-text model with an mT5 as text tower": (
        "config.json",
        {"model_type": "metaclip_2", "text_config": {"model_type": "mt5"}},
        "facebook/metaclip-2-worldwide-l14",
    ),
    "UForm": ("torch_config.json", UFORM, "M-CLIP/XLM-Roberta-Large-Vit-B-32"),
    WITH_CODE.name: ("config.json", {"model_type": "new", "auto_map": CODE}, "M-CLIP/XLM-Roberta-Large-Vit-B-32"),
}


def test_every_refused_kind_is_tried() -> None:
    assert FOUND.keys() == {row.name for row in (*REFUSED, WITH_CODE)}


@pytest.mark.parametrize("kind", FOUND)
def test_the_error_names_the_kind_and_what_to_use(kind: str, tmp_path: Path) -> None:
    file, settings, instead = FOUND[kind]
    write_json(tmp_path / file, settings)
    with pytest.raises(ModelError) as error:
        open_text_tower(tmp_path)
    text = str(error.value)
    assert text.startswith(f"{tmp_path}: found {kind}, which xpet does not read: ")
    assert instead in text.split("; use ")[1]
    assert "\n" not in text


@pytest.mark.parametrize("kind", ["jina-clip", "UForm", WITH_CODE.name])
def test_an_image_tower_that_is_code_is_refused_as_well(kind: str, tmp_path: Path) -> None:
    file, settings, _ = FOUND[kind]
    write_json(tmp_path / file, settings)
    with pytest.raises(ModelError) as error:
        load_image_tower(tmp_path)
    assert f"found {kind}, which xpet does not read: " in str(error.value)


def test_an_image_half_that_is_clips_can_be_taken(tmp_path: Path) -> None:
    folder = tmp_path / "llm2clip"
    SAMPLES["CLIP"].make(folder)
    expected = load_image_tower(folder).fingerprint
    settings = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", settings | {"architectures": ["LLM2CLIPModel"], "auto_map": CODE})
    assert load_image_tower(folder).fingerprint == expected
    with pytest.raises(ModelError, match="found LLM2CLIP"):
        open_text_tower(folder)


def test_families_that_carry_code_along_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    SAMPLES["CLIP"].make(folder)
    settings = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", settings | {"auto_map": CODE})
    assert family_of(folder).name == "CLIP"
    write_json(tmp_path / "config.json", {"modelBase": "xlm-roberta-base", "auto_map": CODE})
    assert family_of(tmp_path).name == "M-CLIP"
