"""Rules that hold for every family, on tiny checkpoints in its published layout; the oracle is its own library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from tests.models.published import ODD, SAMPLES, Published
from tests.towers import METHOD_CONFIGS
from xpet.core.caption_packing import pack
from xpet.core.captions import in_language
from xpet.core.config import MethodConfig
from xpet.core.errors import ModelError
from xpet.methods import embeddings
from xpet.methods.build import build_stack
from xpet.methods.parts import HOSTS, PARTS, ends_with
from xpet.methods.table import fold
from xpet.models.checkpoint import LoadedText, load_text_tower, open_text_tower
from xpet.models.encode import encode_texts
from xpet.models.families import FAMILIES, family_of
from xpet.models.image_tower import load_image_tower
from xpet.models.shards import StorageOptions
from xpet.models.weights import read_weights

EVERY = pytest.mark.parametrize("name", SAMPLES)
METHODS = [name for name in METHOD_CONFIGS if name != "lora-scripts"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every family's sample."""
    root = tmp_path_factory.mktemp("published")
    for name, sample in SAMPLES.items():
        sample.make(root / name)
    return {name: root / name for name in SAMPLES}


def said(name: str, texts: Sequence[str]) -> Sequence[str]:
    """The texts, in the language that the sample's oracle takes them to be in."""
    return in_language(texts, SAMPLES[name].language)


@EVERY
def test_features_equal_the_familys_own(name: str, folders: dict[str, Path]) -> None:
    folder = folders[name]
    assert family_of(folder).name == (SAMPLES[name].family or name)
    own = SAMPLES[name].features(folder, ODD, torch.float64)
    assert len({tuple(row.tolist()) for row in own}) > len(ODD) // 2  # the texts do differ
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
        loaded = load_text_tower(folder, dtype)
        found = encode_texts(loaded.tower, loaded.tokenizer, said(name, ODD))
        torch.testing.assert_close(found.double(), own, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("name", [name for name, sample in SAMPLES.items() if sample.whole or sample.vision])
def test_image_features_equal_the_familys_own(name: str, folders: dict[str, Path]) -> None:
    loaded = load_image_tower(folders[name])
    side: int = loaded.tower.config.image_size  # type: ignore[union-attr, assignment]
    pixels = torch.randn((2, 3, side, side), generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        found = loaded.tower(pixel_values=pixels).image_embeds
    torch.testing.assert_close(found, SAMPLES[name].images(folders[name], pixels), atol=1e-5, rtol=1e-5)


@EVERY
def test_tensors_missing_and_left_over_are_named(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(folders[name], tmp_path / "changed"))
    opened = open_text_tower(folder)
    on_disk = opened.on_disk("transformer.encoder.layer.1.output.dense.weight")
    part = next(part for part in opened.layout.parts if on_disk.startswith(part.prefix))
    short = on_disk.removeprefix(part.prefix)
    state = {n: t.clone() for n, t in read_weights(folder / part.folder, part.stems, buffers=True).items()}
    odd = short.replace("weight", "wait")
    state[odd] = state.pop(short)
    _write(folder / part.folder, part.stems, state)
    with pytest.raises(ModelError) as error:
        load_text_tower(folder)
    assert f"1 missing: {on_disk}" in str(error.value)
    assert f"1 unexpected: {part.prefix}{odd}" in str(error.value)


def _write(folder: Path, stems: tuple[str, str], state: dict[str, Tensor]) -> None:
    from safetensors.torch import save_file

    file = folder / f"{stems[0]}.safetensors"
    assert file.exists()
    save_file(state, file, {"format": "pt"})


@EVERY
@pytest.mark.parametrize("inserted", [0, 3])
def test_packed_captions_have_the_features_of_padded_ones(name: str, inserted: int, folders: dict[str, Path]) -> None:
    loaded = load_text_tower(folders[name], torch.float64)
    tower, tokenizer = loaded.tower, loaded.tokenizer
    stack = build_stack(tower, MethodConfig("soft-prompt", tokens=3), [1])
    tokenizer.reserve(3)
    rows = tokenizer.encode(said(name, ["a red dog", "two cats", "", "the big blue man and a woman", "a dog"]))
    batch = pack([rows], inserted, 32)
    assert batch.most > 1
    with torch.no_grad(), stack.one(0) if inserted else stack.bare():
        torch.testing.assert_close(stack.packed(batch), stack(*tokenizer.pad(rows)), atol=1e-10, rtol=1e-10)


@EVERY
@pytest.mark.parametrize("method", METHODS)
def test_methods_train_and_stack(name: str, method: str, folders: dict[str, Path]) -> None:
    """A step moves the module and nothing else; its state gives the same features in another tower and in a stack."""
    config = METHOD_CONFIGS[method]
    config = MethodConfig("compacter", reduction=4) if method == "compacter" else config
    loaded = load_text_tower(folders[name], torch.float64)
    if method == "soft-prompt":
        loaded.tokenizer.reserve(config.tokens)
    inputs = loaded.tokenizer.pad(loaded.tokenizer.encode(said(name, ["a red dog", "two cats", ""])))
    before = loaded.tower(*inputs).detach()
    stack = build_stack(loaded.tower, config, [1])
    with stack.one(0):
        stack(*inputs).square().mean().backward()
    with torch.no_grad():
        for flat, gradient in zip(stack.flat, stack.gradients(), strict=True):
            assert gradient.abs().max() > 0
            flat -= 0.1 * gradient / gradient.abs().max()
    with torch.no_grad(), stack.one(0):
        trained = stack(*inputs)
    assert (trained - before).abs().max() > 1e-6
    with torch.no_grad(), stack.bare():
        torch.testing.assert_close(stack(*inputs), before, atol=1e-12, rtol=0)
    runs = 1 if method == "full" else 2
    other = load_text_tower(folders[name], torch.float64)
    many = build_stack(other.tower, config, list(range(runs)))
    many.load(runs - 1, stack.state(0))
    with torch.no_grad(), many.all():
        together = many(*(part.repeat(runs, 1) for part in inputs))
    torch.testing.assert_close(together[-3:], trained, atol=1e-10, rtol=1e-10)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_folded_it_is_saved_in_its_own_layout(
    name: str, dtype: torch.dtype, folders: dict[str, Path], tmp_path: Path
) -> None:
    """Its own library loads the folder and computes what the module does; what is not text stays byte for byte."""
    folder, out = folders[name], tmp_path / "out"
    loaded = load_text_tower(folder)
    parts = ("layernorm", "head") if list(loaded.tower.LinearTransformation.parameters()) else ("layernorm",)
    config = MethodConfig("lora", rank=2, train=parts)
    stack = build_stack(loaded.tower, config, [1])
    with torch.no_grad():
        stack.flat[0] += torch.randn(stack.flat[0].shape, generator=torch.Generator().manual_seed(1)) * 0.1
    before = encode_texts(stack.tower, loaded.tokenizer, said(name, ODD))
    with stack.one(0):
        trained = encode_texts(stack.tower, loaded.tokenizer, said(name, ODD))
    assert (trained - before).abs().max() > 0.01
    opened = open_text_tower(folder)
    out.mkdir()
    changes = fold(config, stack.state(0))
    opened.family.write(opened, out, changes, StorageOptions(dtype), {"xpet": {"a": 1}}, lambda event: None)
    if dtype == torch.float32:
        own = SAMPLES[name].features(out, ODD, torch.float32)
        torch.testing.assert_close(own, trained, atol=1e-4, rtol=1e-4)
    assert {tensor.dtype for tensor in open_text_tower(out).tensors.values()} == {dtype}
    _check_kept(SAMPLES[name], loaded, folder, out)


def _check_kept(sample: Published, loaded: LoadedText, folder: Path, out: Path) -> None:
    opened, written = open_text_tower(folder), open_text_tower(out)
    assert opened.layout.tensors.keys() == written.layout.tensors.keys()
    others = {n for n in opened.layout.tensors if n.startswith(sample.kept)} if sample.kept else set()
    assert loaded.has_image == bool(others)
    for other in others:
        before, after = opened.layout.tensors[other], written.layout.tensors[other]
        assert before.dtype == after.dtype
        assert torch.equal(before, after)
    assert {**opened.config, "xpet": {"a": 1}}.items() <= written.config.items()
    for path in folder.rglob("*"):
        inside = path.relative_to(folder).as_posix()
        if path.is_file() and path.suffix not in (".safetensors", ".bin") and inside != opened.layout.settings:
            assert (out / inside).read_bytes() == path.read_bytes()


def test_modules_have_the_same_names_in_every_tower(folders: dict[str, Path]) -> None:
    for folder in folders.values():
        names = [name for name, module in open_text_tower(folder).tower.named_modules() if hasattr(module, "weight")]
        for host in HOSTS:
            assert sum(ends_with(name, [host]) for name in names) == (4 if host == "output.dense" else 2)
        assert sum(ends_with(name, [PARTS["layernorm"]]) for name in names) in (4, 5)  # pre-norm: one behind them all
        assert embeddings.WORDS in names
    tower = load_text_tower(folders["CLIP"]).tower
    with pytest.raises(ModelError, match="expected modules named q_proj; those of a layer are query, key, value, "):
        build_stack(tower, MethodConfig("lora", modules=("q_proj",)), [1])


def test_a_folder_of_no_family_is_told_which_there_are(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "other"}')
    with pytest.raises(ModelError, match=r"found a model of type 'other'; these are read of .*, M-CLIP$"):
        open_text_tower(tmp_path)


def test_files_in_folders_are_fetched_from_the_hub(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of sentence-transformers' modules, of the weights one kind per folder."""
    import huggingface_hub
    from huggingface_hub import constants

    folder = folders["sentence-transformers"]
    published = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    asked: set[str] = set()

    def download(name: str, *, allow_patterns: list[str], **options: object) -> str:
        asked.update(allow_patterns)
        return str(folder)

    found = SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in (*published, "pytorch_model.bin")])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda self, name, timeout: found)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert open_text_tower("someone/tower").family.name == "sentence-transformers"
    assert set(published) <= asked
    assert "2_Dense/pytorch_model.bin" in asked
    assert not asked & {"pytorch_model.bin", "2_Dense/model.safetensors"}


def test_every_family_has_a_sample() -> None:
    assert {family.name for family in FAMILIES} == {sample.family or name for name, sample in SAMPLES.items()} | {
        "M-CLIP"
    }
