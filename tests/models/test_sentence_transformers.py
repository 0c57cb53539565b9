"""Folders that sentence-transformers itself saves today, and how it prepares texts and pools their states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.published import SAMPLES
from xpet.core.errors import ModelError
from xpet.models.checkpoint import load_text_tower, open_text_tower
from xpet.models.encode import encode_texts

TEXTS = ["ein roter Hund", "zwei Katzen"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample as the installed sentence-transformers writes it anew."""
    package = pytest.importorskip("sentence_transformers")
    root = tmp_path_factory.mktemp("sentence-transformers")
    SAMPLES["sentence-transformers"].make(root / "published")
    package.SentenceTransformer(str(root / "published"), device="cpu").save(str(root / "saved"))
    return root / "saved"


def edited(folder: Path, name: str, **entries: Any) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


@pytest.mark.parametrize("mode", ["mean", "cls", ["cls"]])
def test_what_it_saves_has_its_features(mode: str | list[str], saved: Path) -> None:
    edited(saved, "1_Pooling/config.json", pooling_mode=mode)
    loaded = load_text_tower(saved)
    expected = SAMPLES["sentence-transformers"].features(saved, TEXTS, torch.float32)
    torch.testing.assert_close(encode_texts(loaded.tower, loaded.tokenizer, TEXTS), expected, atol=1e-5, rtol=1e-5)


def test_other_modes_and_prompts_are_refused(saved: Path) -> None:
    edited(saved, "1_Pooling/config.json", pooling_mode=["mean", "max"])
    with pytest.raises(ModelError, match="expected the pooling mode mean or cls, found mean, max$"):
        open_text_tower(saved)
    edited(saved, "1_Pooling/config.json", pooling_mode="mean")
    prompts = {"query": "query: ", "document": ""}
    edited(saved, "config_sentence_transformers.json", prompts=prompts, default_prompt_name="query")
    with pytest.raises(ModelError, match="expected no prompt before texts, found the default prompt 'query: '; set"):
        open_text_tower(saved)
    edited(saved, "config_sentence_transformers.json", default_prompt_name="document")
    assert open_text_tower(saved).family.name == "sentence-transformers"


@pytest.mark.parametrize("name", ["processor_kwargs", "tokenizer_args"])
def test_the_length_given_to_the_tokenizer_is_the_one_it_cuts_at(name: str, saved: Path) -> None:
    edited(saved, "1_Pooling/config.json", pooling_mode="mean")
    settings = saved / "sentence_bert_config.json"
    before = settings.read_text()
    edited(saved, settings.name, **{"processor_kwargs": {}, name: {"model_max_length": 5}})
    long = [" ".join(TEXTS * 3)]
    loaded = load_text_tower(saved)
    expected = SAMPLES["sentence-transformers"].features(saved, long, torch.float32)
    settings.write_text(before)
    assert loaded.tokenizer.limit == 5
    torch.testing.assert_close(encode_texts(loaded.tower, loaded.tokenizer, long), expected, atol=1e-5, rtol=1e-5)
