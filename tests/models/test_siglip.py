"""SigLIP's own traps: padding that is attended to, canonical texts, heads, halves, pictures, scale of the logits."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.published import ODD, SAMPLES, load_state
from tests.tiny import write_json, write_weights
from xpet.core.errors import ModelError
from xpet.core.losses import ImageLoss
from xpet.models.checkpoint import load_text_tower, open_text_tower
from xpet.models.encode import encode_texts
from xpet.models.families import family_of
from xpet.models.image_tower import load_image_tower

NAMES = ("SigLIP", "SigLIP without a head", "SigLIP 2")
STRANGE = (
    "ΟΔΟΣ ΣΟΦΟΣ! Σ ΑΣ. ΑΣΣ", "!!  dog.", "do-g's [CAT] {man}", "\u2581a \u2581\u2581dog", "ＡＢＣ ① ﬁsh",
    "a\u3000b\u200bc\xa0d\x1ce", "İSTANBUL ıI", "Straße ẞ", "e\u0301 é", "नमस्ते दुनिया", "ไทย น้ำ", "\x00a", ".",
    "a" * 300,
)  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each kind."""
    root = tmp_path_factory.mktemp("siglip")
    for name in NAMES:
        SAMPLES[name].make(root / name)
    return {name: root / name for name in NAMES}


def oracle(folder: Path) -> Callable[[list[str]], list[list[int]]]:
    """Rows of transformers' own tokenizer."""
    from transformers import Siglip2Tokenizer, SiglipTokenizer

    pieces = folder / "spiece.model"
    own: Any = SiglipTokenizer(str(pieces)) if pieces.exists() else Siglip2Tokenizer.from_pretrained(folder)
    return lambda texts: own(texts, padding="max_length", truncation=True, max_length=12)["input_ids"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["SigLIP", "SigLIP 2"])
def test_rows_of_strange_texts_are_transformers_own(name: str, folders: dict[str, Path]) -> None:
    draw = random.Random(1)
    letters = [*"abz AGΣσΟΔİIı .,!?<>'-犬🐕çéßẞ", "\u2581", "\u3000", "\xa0", "\t", "\n", "\x1c", "\x85", "①"]
    drawn = ["".join(draw.choices(letters, k=draw.randint(0, 16))) for _ in range(300)]
    texts = [*ODD, *STRANGE, *drawn]
    assert open_text_tower(folders[name]).tokenizer.encode(texts) == oracle(folders[name])(texts)


def test_a_mask_of_the_padding_would_change_the_features(folders: dict[str, Path]) -> None:
    loaded = load_text_tower(folders["SigLIP"])
    ids, mask = loaded.tokenizer.pad(loaded.tokenizer.encode(["a red dog"]))
    assert ids.shape == (1, 12)
    assert mask.all()
    with torch.no_grad():
        hidden = loaded.tower.transformer(input_ids=ids, attention_mask=(ids != 1).long())[0][:, -1]
        with_mask = loaded.tower.LinearTransformation(hidden)
    assert (with_mask - encode_texts(loaded.tower, loaded.tokenizer, ["a red dog"])).abs().max() > 0.1


def test_shares_of_unknown_words_and_lengths_do_not_count_padding(folders: dict[str, Path]) -> None:
    tokenizer = open_text_tower(folders["SigLIP 2"]).tokenizer
    assert tokenizer.tokens_per_text(["dog"]) == 1.0
    assert tokenizer.unknown_rate(["dog"]) == 0.0


@pytest.mark.parametrize("name", ["SigLIP", "SigLIP 2"])
def test_a_saved_tokenizer_pads_as_the_tower_needs(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = open_text_tower(folders[name]).tokenizer
    tokenizer.save(tmp_path)
    again = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    again.enable_truncation(12)
    texts = ["A RED dog!", "", "ein Hund"]
    assert [each.ids for each in again.encode_batch(texts)] == tokenizer.encode(texts)
    assert tokenizer.tokens_per_text(["dog"]) < 12


def test_a_head_of_random_numbers_is_not_taken_for_the_models_own(folders: dict[str, Path], tmp_path: Path) -> None:
    """transformers adds a head to the tower that has none, and writes it."""
    folder = Path(shutil.copytree(folders["SigLIP without a head"], tmp_path / "made-up"))
    head = {"text_model.head.weight": torch.zeros(32, 32), "text_model.head.bias": torch.zeros(32)}
    write_weights(folder, {**load_state(folder), **head})
    with pytest.raises(ModelError, match=r"2 unexpected: text_model\.head\.bias, text_model\.head\.weight"):
        load_text_tower(folder)
    folder = Path(shutil.copytree(folders["SigLIP"], tmp_path / "half"))
    state = load_state(folder)
    state.pop("text_model.head.bias")
    write_weights(folder, state)
    with pytest.raises(ModelError, match=r"1 missing: text_model\.head\.bias"):
        load_text_tower(folder)


@pytest.mark.parametrize("prefixed", [True, False])
def test_halves_alone(prefixed: bool, folders: dict[str, Path], tmp_path: Path) -> None:
    """As transformers writes them today, and as it did: with the names of the whole."""
    whole, state = folders["SigLIP"], load_state(folders["SigLIP"])
    config = json.loads((whole / "config.json").read_text())
    for part in ("text", "vision"):
        folder = tmp_path / part
        shutil.copytree(whole, folder)
        write_json(folder / "config.json", config[f"{part}_config"])
        start = f"{part}_model."
        own = {name: tensor for name, tensor in state.items() if name.startswith(start)}
        write_weights(folder, own if prefixed else {n.removeprefix(start): t for n, t in own.items()})
    text, image = load_text_tower(tmp_path / "text"), load_image_tower(tmp_path / "vision")
    assert not text.has_image
    assert text.logit_scale is None
    reference = load_text_tower(whole)
    found = encode_texts(text.tower, text.tokenizer, ODD)
    assert torch.equal(found, encode_texts(reference.tower, reference.tokenizer, ODD))
    assert image.fingerprint == load_image_tower(whole).fingerprint
    with pytest.raises(ModelError, match="found an image tower alone; give it as --image-model"):
        load_text_tower(tmp_path / "vision")
    with pytest.raises(ModelError, match="expected a SigLIP image tower"):
        load_image_tower(tmp_path / "text")


def test_what_is_not_written_has_transformers_own_value(folders: dict[str, Path], tmp_path: Path) -> None:
    """The published files say little more than the size of the vocabulary."""
    folder = Path(shutil.copytree(folders["SigLIP 2"], tmp_path / "sparse"))
    document = json.loads((folder / "config.json").read_text())
    kept = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    document["text_config"] = {key: document["text_config"][key] for key in kept}
    write_json(folder / "config.json", document)
    with pytest.raises(ModelError, match=r"position_embedding\.weight \(12, 32\) instead of \(64, 32\)"):
        load_text_tower(folder)
    state = load_state(folder)
    state["text_model.embeddings.position_embedding.weight"] = torch.randn(64, 32)
    write_weights(folder, state)
    opened = open_text_tower(folder)
    settings: Any = opened.tower.transformer.config
    assert (settings.hidden_act, settings.layer_norm_eps) == ("gelu_pytorch_tanh", 1e-6)
    assert len(opened.tokenizer.encode(["a"])[0]) == 64


def test_pictures_are_prepared_as_transformers_does(folders: dict[str, Path]) -> None:
    from PIL import Image
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    draw = random.Random(2)
    picture = Image.frombytes("RGB", (37, 23), draw.randbytes(37 * 23 * 3))
    settings = json.loads((folders["SigLIP 2"] / "preprocessor_config.json").read_text())
    own = SiglipImageProcessorPil(**{k: v for k, v in settings.items() if not k.endswith(("type", "class"))})
    expected = torch.as_tensor(own(picture, return_tensors="pt")["pixel_values"])
    loaded = load_image_tower(folders["SigLIP 2"])
    torch.testing.assert_close(loaded._scaled(loaded.prepare(picture).unsqueeze(0)), expected, atol=1e-6, rtol=0)
    assert loaded.dimensions == 48


def test_pre_processing_of_others_and_of_other_sizes_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["SigLIP"], tmp_path / "other"))
    path = folder / "preprocessor_config.json"
    written = json.loads(path.read_text())
    write_json(path, {**written, "image_processor_type": "CLIPImageProcessor"})
    with pytest.raises(ModelError, match="expected the pre-processing of SigLIP, found CLIPImageProcessor"):
        load_image_tower(folder)
    write_json(path, {**written, "size": {"height": 24, "width": 24}})
    with pytest.raises(ModelError, match="expected every picture to become 16 x 16"):
        load_image_tower(folder)


def test_naflex_is_refused_by_both_sides(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["SigLIP 2"], tmp_path / "naflex"))
    write_json(folder / "config.json", {**json.loads((folder / "config.json").read_text()), "model_type": "siglip2"})
    assert family_of(folder).name == "SigLIP"
    for load in (load_text_tower, load_image_tower):
        with pytest.raises(ModelError, match=r"found NaFlex .* use google/siglip2-base-patch16-256"):
            load(folder)


def test_a_folder_without_its_tokenizer(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["SigLIP"], tmp_path / "bare"))
    pieces = (folder / "spiece.model").read_bytes()
    (folder / "spiece.model").write_bytes(pieces[:1000])
    with pytest.raises(ModelError, match=r"cannot read .*spiece\.model: damaged or truncated"):
        load_text_tower(folder)
    (folder / "spiece.model").unlink()
    with pytest.raises(ModelError, match=r"expected a tokenizer in spiece\.model or tokenizer\.json, found neither"):
        load_text_tower(folder)


def test_the_sigmoid_loss_is_transformers_own(folders: dict[str, Path], tmp_path: Path) -> None:
    from transformers import SiglipModel

    folder = Path(shutil.copytree(folders["SigLIP"], tmp_path / "scaled"))
    state = load_state(folder)
    write_weights(folder, {**state, "logit_scale": torch.tensor([1.5]), "logit_bias": torch.tensor([-2.0])})
    loaded, model = load_text_tower(folder), SiglipModel.from_pretrained(folder).eval()
    assert loaded.logit_scale == pytest.approx(4.481689)
    assert loaded.logit_bias == -2.0
    ids = torch.tensor(loaded.tokenizer.encode(["a red dog", "two cats", "a man"]))
    pixels = torch.randn((3, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        own = model(input_ids=ids, pixel_values=pixels, return_loss=True)
    assert loaded.logit_scale is not None
    loss = ImageLoss("sigmoid", loaded.logit_scale, loaded.logit_bias)
    assert loss(own.image_embeds, own.text_embeds).item() == pytest.approx(own.loss.item(), rel=1e-5)
    write_weights(folder, {**state, "logit_scale": torch.tensor([float("inf")])})
    with pytest.raises(ModelError, match="expected one number of at most 100 as logit_scale, found inf"):
        load_text_tower(folder)
