"""A checkpoint has the same features however it is stored: of the hub, of tools, in shards, in half precision."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.models.published import SAMPLES
from xpet.models.checkpoint import LoadedText, load_text_tower, open_text_tower
from xpet.models.encode import encode_texts
from xpet.models.image_tower import load_image_tower
from xpet.models.weights import read_weights, weight_files

TEXTS = ["a red dog", "", "zwei Katzen"]
State = dict[str, Tensor]
Store = Callable[[Path, tuple[str, str], State], None]
"""(folder, how names of safetensors and of PyTorch files begin, tensors)."""


def _save(path: Path, state: State) -> None:
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path, {"format": "pt"})


def _cast(state: State, dtype: torch.dtype) -> State:
    return {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def _in_one(dtype: torch.dtype = torch.float32, start: str = "") -> Store:
    def store(folder: Path, stems: tuple[str, str], state: State) -> None:
        named = {start + name: tensor for name, tensor in _cast(state, dtype).items()}
        _save(folder / f"{stems[0]}.safetensors", named)

    return store


def _bin(start: str = "") -> Store:
    def store(folder: Path, stems: tuple[str, str], state: State) -> None:
        torch.save({start + name: tensor for name, tensor in state.items()}, folder / f"{stems[1]}.bin")

    return store


def _shards(number: int, ending: str) -> Store:
    """Tensors in turns in several files, and the list of which is where."""

    def store(folder: Path, stems: tuple[str, str], state: State) -> None:
        stem = stems[ending == "bin"]
        files = [f"{stem}-{i + 1:05}-of-{number:05}.{ending}" for i in range(number)]
        where = {name: files[i % number] for i, name in enumerate(state)}
        for file in files:
            part = {name: tensor for name, tensor in state.items() if where[name] == file}
            _save(folder / file, part) if ending == "safetensors" else torch.save(part, folder / file)
        index = {"metadata": {"total_size": 0}, "weight_map": where}
        (folder / f"{stem}.{ending}.index.json").write_text(json.dumps(index))

    return store


STORES: dict[str, Store] = {
    "fp16": _in_one(torch.float16), "bf16": _in_one(torch.bfloat16), "module.": _in_one(start="module."),
    "bin": _bin(), "bin module.": _bin("module."), "shards": _shards(3, "safetensors"), "bin shards": _shards(2, "bin"),
}  # fmt: skip


def _restored(folder: Path, store: Store) -> None:
    """Store the weights of a checkpoint in another form."""
    opened = open_text_tower(folder)
    for part in opened.layout.parts:
        inside = folder / part.folder
        state = {name: tensor.clone() for name, tensor in read_weights(inside, part.stems, True, part.file).items()}
        for file in weight_files(part.stems):
            (inside / file).unlink(missing_ok=True)
        store(inside, part.stems, state)


def _as_in_the_hubs_cache(folder: Path) -> Path:
    """The folder as huggingface_hub's cache has it: links into a folder of files named by their hashes."""
    root = folder.with_name("models--org--name")
    snapshot, blobs = root / "snapshots" / "0123abcd", root / "blobs"
    blobs.mkdir(parents=True)
    for number, path in enumerate(sorted(path for path in folder.rglob("*") if path.is_file())):
        link = snapshot / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        path.rename(blobs / f"{number:040x}")
        link.symlink_to(Path("../" * (len(link.relative_to(snapshot).parts) + 1)) / "blobs" / f"{number:040x}")
    return snapshot


def _as_downloaded(folder: Path) -> Path:
    """The folder as `hf download --local-dir` leaves it, with its book-keeping inside."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        note = folder / ".cache" / "huggingface" / "download" / f"{path.relative_to(folder)}.metadata"
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text("0123abcd\n0\n1.0\n")
    (folder / ".cache" / "huggingface" / ".gitignore").write_text("*")
    (folder / ".gitattributes").write_text("*.bin filter=lfs\n")
    return folder


PLACES = {"hub's cache": _as_in_the_hubs_cache, "hf download": _as_downloaded}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, LoadedText]]:
    """A family's sample and its tower, made once."""
    made: dict[str, tuple[Path, LoadedText]] = {}
    root = tmp_path_factory.mktemp("stored")

    def of(name: str) -> tuple[Path, LoadedText]:
        if name not in made:
            SAMPLES[name].make(root / name)
            made[name] = root / name, load_text_tower(root / name)
        return made[name]

    return of


CASES = [
    (name, form)
    for name in ("sentence-transformers", "OpenCLIP", "CLIP")
    for form in (*STORES, *PLACES)
    if not (name == "OpenCLIP" and "shards" in form)  # open_clip has none
]
"""Parts in folders of their own, another file name, and both halves in one file; all other families are as the last."""


@pytest.mark.parametrize(("name", "form"), CASES)
def test_every_form_has_the_same_features(
    name: str, form: str, loaded: Callable[[str], tuple[Path, LoadedText]], tmp_path: Path
) -> None:
    original, expected = loaded(name)
    folder = Path(shutil.copytree(original, tmp_path / "stored"))
    if form in PLACES:
        folder = PLACES[form](folder)
    else:
        _restored(folder, STORES[form])
    found = load_text_tower(folder)
    half = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(form)
    for key, tensor in expected.tower.state_dict().items():
        stored = tensor if half is None else tensor.to(half).to(tensor.dtype)
        assert torch.equal(found.tower.state_dict()[key], stored), key
    if half is None:
        own, other = (encode_texts(one.tower, one.tokenizer, TEXTS) for one in (expected, found))
        assert torch.equal(own, other)
    assert found.has_image == expected.has_image
    if found.has_image and half is None:
        assert load_image_tower(folder).fingerprint == load_image_tower(original).fingerprint
