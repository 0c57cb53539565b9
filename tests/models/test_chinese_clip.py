"""Chinese-CLIP's tokenizer and pre-processing, as transformers has them; and files that are damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tests.models.published import SAMPLES, tokens
from xpet.core.errors import ModelError
from xpet.models.checkpoint import open_text_tower
from xpet.models.image_tower import load_image_tower

CHINESE = ("一只红色的狗", "犬中猫犬", "犬\u2028猫", "RED 犬, 猫!", "Ünï “犬”", "[SEP] 犬", "\u2028")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chinese") / "published"
    SAMPLES["Chinese-CLIP"].make(folder)
    return folder


def test_texts_are_tokenised_as_by_transformers(published: Path) -> None:
    rows = open_text_tower(published).tokenizer.encode(CHINESE)
    assert rows == tokens(published, CHINESE, 52)
    assert len(set(map(tuple, rows))) > 4


def test_a_saved_tokenizer_is_read_in_place_of_the_vocabulary(published: Path, tmp_path: Path) -> None:
    """save_pretrained of transformers 5 writes tokenizer.json and no vocab.txt."""
    from transformers import AutoTokenizer

    folder = Path(shutil.copytree(published, tmp_path / "saved"))
    AutoTokenizer.from_pretrained(published).save_pretrained(folder)
    (folder / "vocab.txt").unlink()
    assert open_text_tower(folder).tokenizer.encode(CHINESE) == tokens(published, CHINESE, 52)


def test_choices_of_the_tokenizer_are_heeded(published: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(published, tmp_path / "cased"))
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false, "tokenizer_class": "BertTokenizer"}')
    rows = open_text_tower(folder).tokenizer.encode(["RED Dog"])
    assert rows == tokens(folder, ["RED Dog"], 52)
    assert rows != open_text_tower(published).tokenizer.encode(["RED Dog"])


def test_pictures_are_prepared_as_by_transformers(published: Path) -> None:
    from PIL import Image
    from transformers import ChineseCLIPImageProcessorPil

    levels = torch.randint(0, 256, (23 * 37 * 3,), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    picture = Image.frombytes("RGB", (37, 23), bytes(levels.tolist()))
    loaded = load_image_tower(published)
    found = loaded._scaled(loaded.prepare(picture).unsqueeze(0))
    own = ChineseCLIPImageProcessorPil.from_pretrained(published)(picture, return_tensors="pt")["pixel_values"]
    assert found.shape == (1, 3, 16, 16)
    torch.testing.assert_close(found, own, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("vocabulary", "expected"),
    [
        (None, "expected a tokenizer in vocab.txt or tokenizer.json, found neither"),
        (b"", "vocab.txt: damaged or truncated (no piece [PAD])"),
        (b"\xff\xfe", "vocab.txt: damaged or truncated ("),
        (b"[PAD]\n[UNK]\n[CLS]\n", "(no piece [SEP]); fetch it again"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n", "(4 pieces, the weights have"),
    ],
)
def test_damaged_vocabularies_are_named(
    vocabulary: bytes | None, expected: str, published: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(published, tmp_path / "damaged"))
    (folder / "vocab.txt").unlink()
    if vocabulary is not None:
        (folder / "vocab.txt").write_bytes(vocabulary)
    with pytest.raises(ModelError) as error:
        open_text_tower(folder)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_vocabulary_that_is_too_long_for_the_weights_is_refused(published: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(published, tmp_path / "long"))
    with (folder / "vocab.txt").open("a", encoding="utf-8") as file:
        file.write("more\n")
    with pytest.raises(ModelError, match="the tokenizer does not fit the weights"):
        open_text_tower(folder)
