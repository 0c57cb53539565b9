"""open_clip's files of every kind: what it publishes, what it writes while it trains, its image towers; open_clip reads
what xpet writes."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.models.published import (
    DIMENSIONS,
    ODD,
    OPEN_CLIP_MODEL,
    SAMPLES,
    OpenClipVision,
    open_clip_state,
    shaken,
)
from tests.tiny import tiny_text_checkpoint, write_json
from xpet.core.config import MethodConfig, ModelConfig
from xpet.core.errors import ModelError
from xpet.jobs.shared.towers import absolute_model
from xpet.methods.build import build_stack
from xpet.methods.table import fold
from xpet.models.checkpoint import load_text_tower, open_text_tower
from xpet.models.encode import encode_texts
from xpet.models.families import family_of, open_clip
from xpet.models.families.open_clip import clean_text
from xpet.models.hub import checkpoint_folder
from xpet.models.image_tower import load_image_tower
from xpet.models.shards import StorageOptions

MENDED = (
    "l\u2019homme \u201crouge\u201d",
    "caf\u00c3\u00a9 &amp;amp; th\u00e9",
    "\uff21 red \ufb01sh",
    "a\u00a0dog\r\n cat",
)
"""Texts that open_clip changes before a tokenizer sees them."""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as it is published, which no test changes."""
    folder = tmp_path_factory.mktemp("published") / "model"
    SAMPLES["OpenCLIP"].make(folder)
    return folder


@pytest.fixture(scope="module")
def expected(published: Path) -> Tensor:
    """Features of the texts by the published model."""
    return features(published)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """The published model's tensors."""
    return open_clip_state()


@pytest.fixture
def folder(published: Path, tmp_path: Path) -> Path:
    """A copy of the published folder."""
    return Path(shutil.copytree(published, tmp_path / "model"))


def features(path: Path, dtype: torch.dtype = torch.float32) -> Tensor:
    loaded = load_text_tower(path, dtype)
    return encode_texts(loaded.tower, loaded.tokenizer, ODD)


def settings(folder: Path, **changes: Any) -> None:
    """Change entries of the sections of open_clip_config.json; None removes one."""
    document = json.loads((folder / "open_clip_config.json").read_text())
    for section, entries in changes.items():
        inner = document["model_cfg"] if section == "model_cfg" else document["model_cfg"].get(section)
        inner = document.setdefault(section, {}) if inner is None else inner
        inner |= entries
    write_json(folder / "open_clip_config.json", document)


def refused(path: Path, *words: str, load: Any = load_text_tower) -> None:
    with pytest.raises(ModelError) as error:
        load(path)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def trained(state: dict[str, Tensor]) -> dict[str, Any]:
    """What open_clip's training saves of a model that several processes trained."""
    optimizer = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-3}]}
    wrapped = {f"module.{name}": value for name, value in state.items()}
    return {"epoch": 3, "name": "run", "state_dict": wrapped, "optimizer": optimizer, "scaler": {"scale": 2.0}}


@pytest.mark.parametrize(
    "name", ["open_clip_pytorch_model.bin", "open_clip_pytorch_model.pth", "open_clip_pytorch_model.safetensors",
             "pytorch_model.bin", "epoch_3.pt"],
)  # fmt: skip
def test_every_name_that_open_clip_gives_weights(
    folder: Path, name: str, state: dict[str, Tensor], expected: Tensor
) -> None:
    file = folder / "open_clip_model.safetensors"
    file.rename(folder / name) if name.endswith(".safetensors") else file.unlink()
    if not name.endswith(".safetensors"):
        torch.save(trained(state) if name.endswith(".pt") else state, folder / name)
    assert open_text_tower(folder / name).fingerprint() == open_text_tower(folder).fingerprint()
    assert torch.equal(features(folder), expected)
    (folder / name).unlink()
    refused(folder, "expected open_clip's weights in open_clip_model.safetensors")


def test_a_training_s_folder(
    folder: Path, tmp_path: Path, state: dict[str, Tensor], expected: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without settings and with several epochs; the file is given, what is written is a folder of open_clip's."""
    run = tmp_path / "checkpoints"
    run.mkdir()
    for epoch in (2, 3):
        torch.save(trained(state), run / f"epoch_{epoch}.pt")
    (run / "private.txt").write_text("no part of the model")
    refused(run, "expected one file of weights, found 2 (epoch_2.pt, epoch_3.pt)", f"itself: {run / 'epoch_3.pt'}")
    refused(tmp_path, f"{run}: expected one file of weights, found 2")
    file = run / "epoch_3.pt"
    refused(file, "expected open_clip_config.json beside epoch_3.pt", "xlm-roberta-base-ViT-B-32")
    words = state["text.transformer.embeddings.word_embeddings.weight"]
    monkeypatch.setattr(open_clip, "MODELS", {(*words.shape, 48, 8): OPEN_CLIP_MODEL})
    refused(file, "expected tokenizer.json beside the weights", "hf download xlm-roberta-base tokenizer.json")
    shutil.copy(folder / "tokenizer.json", run)
    (run / "epoch_2.pt").unlink()
    shutil.rmtree(folder)
    assert torch.equal(features(tmp_path), expected)
    assert family_of(file).name == "OpenCLIP"
    out = tmp_path / "out"
    out.mkdir()
    opened = open_text_tower(file)
    opened.family.write(opened, out, {}, StorageOptions(torch.float16, shard_size=100), {}, lambda event: None)
    assert sorted(path.name for path in out.iterdir()) == [
        "open_clip_config.json", "open_clip_model.safetensors", "tokenizer.json",
    ]  # fmt: skip
    torch.testing.assert_close(features(out), expected, atol=0.1, rtol=0.1)
    assert load_image_tower(out).fingerprint == load_image_tower(file).fingerprint


def test_a_link_to_a_file_keeps_its_name(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the hub's cache has files, whose contents lie elsewhere under another name."""
    blob = tmp_path / "5f8e"
    (folder / "open_clip_model.safetensors").rename(blob)
    (folder / "open_clip_model.safetensors").symlink_to(blob)
    monkeypatch.chdir(folder)
    named = absolute_model(ModelConfig("open_clip_model.safetensors", "open_clip_model.safetensors"))
    assert (named.text, named.image) == (str(folder / "open_clip_model.safetensors"),) * 2
    assert features(Path(named.text)).shape == (len(ODD), DIMENSIONS)


def test_pytorch_files_are_written_under_open_clip_s_name(folder: Path, tmp_path: Path, expected: Tensor) -> None:
    opened = open_text_tower(folder)
    (tmp_path / "out").mkdir()
    opened.family.write(opened, tmp_path / "out", {}, StorageOptions(pytorch=True), {}, lambda event: None)
    assert [path.name for path in (tmp_path / "out").glob("*.bin")] == ["open_clip_pytorch_model.bin"]
    assert torch.equal(features(tmp_path / "out"), expected)


@pytest.mark.parametrize("kind", ["linear", None])
def test_other_heads(folder: Path, kind: str | None, state: dict[str, Tensor]) -> None:
    state = {name: value for name, value in state.items() if not name.startswith("text.proj.")}
    weight = torch.randn((DIMENSIONS, 128), generator=torch.Generator().manual_seed(4)) if kind else torch.eye(128)
    if kind:
        state["text.proj.weight"] = weight
    else:
        state["visual.proj"] = torch.randn(48, 128)
        settings(folder, model_cfg={"embed_dim": 128})
    settings(folder, text_cfg={"hf_proj_type": kind})
    (folder / "open_clip_model.safetensors").unlink()
    torch.save(state, folder / "open_clip_pytorch_model.bin")
    loaded = load_text_tower(folder)
    ids, mask = loaded.tokenizer.pad(loaded.tokenizer.encode(ODD[:4]))
    with torch.no_grad():
        states = loaded.tower.transformer(input_ids=ids, attention_mask=mask)[0] * mask.unsqueeze(-1)
        expected = states.sum(1) / mask.sum(1, keepdim=True) @ weight.T
        torch.testing.assert_close(loaded.tower(ids, mask), expected, atol=1e-5, rtol=1e-5)
    settings(folder, text_cfg={"hf_proj_type": "mlp"})
    refused(folder, "missing: text.proj.0.weight, text.proj.2.weight")


def test_what_changes_features_is_refused(folder: Path) -> None:
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("text_cfg", {"hf_pooler_type": "cls_pooler"}, "expected hf_pooler_type mean_pooler or cls_last_hidden_state"),
        ("text_cfg", {"hf_proj_type": "cubic"}, "expected hf_proj_type mlp, linear or null, found cubic"),
        ("text_cfg", {"hf_model_name": "t5-base"}, "the base 't5-base' is not known"),
        ("text_cfg", {"hf_model_name": None}, "found open_clip's own; --image-model can take its image tower"),
        ("text_cfg", {"context_length": "77"}, "expected a whole number of tokens as context_length, found '77'"),
        ("text_cfg", {"tokenizer_kwargs": {"clean": "lower"}}, "expected no tokenizer_mode, and tokenizer_kwargs"),
        ("model_cfg", {"embed_dim": 16}, "wrong shape: text.proj"),
        ("model_cfg", {"embed_dim": None}, "expected a whole number embed_dim, found None"),
    ]
    for section, entry, words in cases:
        before = (folder / "open_clip_config.json").read_bytes()
        settings(folder, **{section: entry})
        refused(folder, words)
        (folder / "open_clip_config.json").write_bytes(before)
    cases = [
        ("vision_cfg", {"timm_model_name": "vit_base"}, "found timm's vit_base; give another image tower"),
        ("vision_cfg", {"layers": [3, 4, 6, 3]}, "expected a whole number from 1 on as layers, found [3, 4, 6, 3]"),
        ("vision_cfg", {"pool_type": "avg"}, "expected pool_type tok in vision_cfg, found 'avg'"),
        ("vision_cfg", {"ls_init_value": 0.1}, "expected ls_init_value off in vision_cfg, found 0.1"),
        ("vision_cfg", {"layers": 3}, "missing: visual.transformer.resblocks.2.attn.in_proj_bias"),
        ("vision_cfg", {"image_size": 24}, "wrong shape: visual.positional_embedding (5, 48) instead of (10, 48)"),
        ("preprocess_cfg", {"resize_mode": "longest"}, "expected resize_mode shortest or squash"),
        ("preprocess_cfg", {"std": [1, 0, 1]}, "image_std: expected 3 positive numbers"),
    ]
    for section, entry, words in cases:
        before = (folder / "open_clip_config.json").read_bytes()
        settings(folder, **{section: entry})
        refused(folder, words, load=load_image_tower)
        (folder / "open_clip_config.json").write_bytes(before)


def test_folders_of_others_are_left_to_them(folder: Path, tmp_path: Path) -> None:
    """A folder may hold a model in open_clip's files and in transformers'; a file may be of any layout."""
    SAMPLES["CLIP"].make(tmp_path / "clip")
    settings(folder, text_cfg={"hf_model_name": None})
    shutil.copy(folder / "open_clip_config.json", tmp_path / "clip")
    torch.save({}, tmp_path / "clip" / "open_clip_pytorch_model.bin")
    assert family_of(tmp_path / "clip").name == "CLIP"
    (folder / "config.json").write_text('{"model_type": "clip"}')
    assert family_of(folder).name == "OpenCLIP"
    text = tiny_text_checkpoint(tmp_path / "m-clip", position_ids=True)
    shutil.copy(text / "model.safetensors", text / "epoch_1.pt")
    assert family_of(text).name == "M-CLIP"
    refused(
        text / "model.safetensors", "expected an open_clip model", "of a checkpoint in another layout give the folder"
    )


def test_an_image_tower_for_m_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ViT-B-16-plus-240 is published: one file, open_clip's own text tower in it, no settings."""
    vision = shaken(OpenClipVision(48, 3, 2, 8, 24, 40))
    state = {f"visual.{name}": value for name, value in vision.state_dict().items()}
    state |= {"token_embedding.weight": torch.randn(100, 24), "positional_embedding": torch.randn(77, 24)}
    state |= {"transformer.resblocks.0.ln_1.bias": torch.randn(24), "ln_final.bias": torch.randn(24)}
    state |= {"text_projection": torch.randn(24, 40), "logit_scale": torch.tensor(4.6)}
    file = tmp_path / "vit_b_16_plus_240-laion400m_e32-699c4b84.pt"
    torch.save(state, file)
    refused(file, "it is none of the models that are known without", "ViT-B-16-plus-240", load=load_image_tower)
    model = {"embed_dim": 40, "vision_cfg": {"image_size": 24, "layers": 2, "width": 48, "head_width": 16,
             "patch_size": 8}, "text_cfg": {}}  # fmt: skip
    monkeypatch.setattr(open_clip, "MODELS", {(100, 24, 48, 8): model})
    for path in (file, tmp_path):
        loaded = load_image_tower(path)
        pixels = torch.randn((2, 3, 24, 24), generator=torch.Generator().manual_seed(2))
        with torch.inference_mode():
            found = loaded.tower(pixel_values=pixels).image_embeds
            torch.testing.assert_close(found, vision(pixels), atol=1e-5, rtol=1e-5)
        assert loaded.dimensions == 40
    refused(file, "found open_clip's own; --image-model can take its image tower")
    torch.save({**state, "visual.extra": torch.ones(2)}, file)
    refused(file, "1 unexpected: visual.extra", load=load_image_tower)


@pytest.mark.parametrize(
    ("files", "fetched"),
    [
        (["tokenizer.json", "open_clip_pytorch_model.bin"], "open_clip_pytorch_model.bin"),
        (["open_clip_config.json", "open_clip_pytorch_model.bin", "open_clip_model.safetensors"],
         "open_clip_model.safetensors"),
        (["open_clip_config.json", "open_clip_model.safetensors", "config.json", "model.safetensors"],
         "model.safetensors"),
    ],
)  # fmt: skip
def test_downloads_are_of_one_layout(
    files: list[str], fetched: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What both open_clip and transformers read is fetched once."""
    import huggingface_hub
    from huggingface_hub import constants

    contents = {"config.json": {"model_type": "clip"}, "open_clip_config.json": {"model_cfg": {"text_cfg": {}}}}

    def download(name: str, allow_patterns: list[str], local_files_only: bool) -> str:
        for file in {*files} & {*allow_patterns}:
            (tmp_path / file).write_text(json.dumps(contents.get(file, 0)))
        return str(tmp_path)

    listing = SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in files])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda self, name, timeout: listing)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    folder = checkpoint_folder("someone/model")
    weights = {path.name for path in folder.iterdir() if "model." in path.name or "_model" in path.name}
    assert weights == {fetched}


def test_settings_of_models_that_are_published_without() -> None:
    """By the shapes of open_clip's own configurations."""
    shapes = {
        (250002, 768, 768, 32): (512, 224, 12, 12), (250002, 1024, 1280, 14): (1024, 224, 32, 16),
        (49408, 640, 896, 16): (640, 240, 12, 14),
    }  # fmt: skip
    assert open_clip.MODELS.keys() == shapes.keys()
    for key, (dimensions, side, layers, heads) in shapes.items():
        model, vision = open_clip.MODELS[key], open_clip.MODELS[key]["vision_cfg"]
        assert (model["embed_dim"], vision["image_size"], vision["layers"]) == (dimensions, side, layers)
        assert (vision["width"], vision["patch_size"]) == key[2:]
        assert vision["width"] // vision.get("head_width", 64) == heads


def test_texts_are_cleaned() -> None:
    assert [clean_text(text) for text in MENDED] == [
        'l\'homme "rouge"',
        "caf\u00e9 & th\u00e9",
        "A red fish",
        "a dog cat",
    ]


@pytest.fixture
def library() -> ModuleType:
    """open_clip, which is no dependency of xpet or its tests."""
    try:
        return importlib.import_module("open_clip")
    except (ImportError, RuntimeError) as error:  # torchvision of another build raises RuntimeError
        pytest.skip(f"open_clip is not installed: {error}")


@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_open_clip_computes_the_same(library: Any, folder: Path, tmp_path: Path, mode: str) -> None:
    """Texts, pictures of odd shapes, tokens; and it loads what a module was folded into."""
    from transformers import XLMRobertaConfig

    from tests.models.published import open_clip_text

    base = tmp_path / "base"
    config: XLMRobertaConfig = open_clip_text()[0].config  # type: ignore[assignment]
    config.save_pretrained(base)
    quick = mode == "squash"
    settings(folder, model_cfg={"quick_gelu": quick}, preprocess_cfg={"resize_mode": mode},
             text_cfg={"hf_model_name": str(base), "hf_tokenizer_name": str(folder)})  # fmt: skip
    loaded = load_text_tower(folder)
    stack = build_stack(loaded.tower, MethodConfig("lora", rank=2, train=("layernorm", "head")), [1])
    with torch.no_grad():
        stack.flat[0] += torch.randn(stack.flat[0].shape, generator=torch.Generator().manual_seed(1)) * 0.1
    opened, out = open_text_tower(folder), tmp_path / "out"
    out.mkdir()
    changes = fold(MethodConfig("lora", rank=2, train=("layernorm", "head")), stack.state(0))
    opened.family.write(opened, out, changes, StorageOptions(), {"xpet": {"a": 1}}, lambda event: None)
    for path in (folder, out):
        model, _, process = library.create_model_and_transforms(f"local-dir:{path}")
        tokenizer = library.get_tokenizer(f"local-dir:{path}")
        mine, pictures = load_text_tower(path), load_image_tower(path)
        texts = [*ODD, *MENDED]
        own = tokenizer(texts)
        assert [[*row, *[1] * (40 - len(row))] for row in mine.tokenizer.encode(texts)] == own.tolist()
        shapes = ((40, 30), (16, 16), (17, 45), (23, 16), (300, 19), (61, 200))
        images = [Image.effect_noise(shape, 90).convert("RGB") for shape in shapes]
        with torch.inference_mode():
            torch.testing.assert_close(
                encode_texts(mine.tower, mine.tokenizer, texts), model.eval().encode_text(own), atol=1e-5, rtol=1e-5
            )
            expected = model.encode_image(torch.stack([process(image) for image in images]))
        torch.testing.assert_close(pictures.encode(images), expected, atol=1e-4, rtol=1e-4)
