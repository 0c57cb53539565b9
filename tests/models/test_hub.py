"""Checkpoints of the hub: what of a repository is fetched, what is found offline, and what is said otherwise."""

from __future__ import annotations

import shutil
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError

from tests.models.published import SAMPLES
from xpet.core.errors import ModelError
from xpet.models.checkpoint import load_text_tower
from xpet.models.image_tower import load_image_tower

NAME = "org/name"
COMMIT = "0" * 40
NOT_NEEDED = ("tf_model.h5", "flax_model.msgpack", "onnx/model.onnx", "onnx/config.json", "pytorch_model-old.bin.txt")


class Hub:
    """One repository, fetched from into a cache as huggingface_hub does; `problem` is raised for its files."""

    def __init__(self, files: Path, cache: Path) -> None:
        self.files = files
        self.folder = cache / "models--org--name" / "snapshots" / COMMIT
        self.problem: Exception | None = None

    @property
    def names(self) -> list[str]:
        return sorted(path.relative_to(self.files).as_posix() for path in self.files.rglob("*") if path.is_file())

    def info(self, name: str, timeout: float) -> Any:
        assert (name, timeout > 0) == (NAME, True)
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=file) for file in self.names])

    def download(self, name: str, allow_patterns: list[str], local_files_only: bool) -> str:
        assert name == NAME
        assert not local_files_only
        if self.problem is not None:
            raise self.problem
        for file in [name for name in self.names if any(fnmatch(name, pattern) for pattern in allow_patterns)]:
            (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.files / file, self.folder / file)
        return str(self.folder)

    @property
    def fetched(self) -> set[str]:
        return {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """An empty repository on a hub that can be reached."""
    hub = Hub(tmp_path / "repository", tmp_path / "cache")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda api, name, timeout: hub.info(name, timeout))
    real = huggingface_hub.snapshot_download

    def download(name: str, **options: Any) -> str:
        return str(real(name, **options)) if options["local_files_only"] else hub.download(name, **options)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return hub


def published(hub: Hub, name: str) -> set[str]:
    """Publish a family's sample with files of other tools; the names of its own files."""
    SAMPLES[name].make(hub.files)
    own = set(hub.names)
    for file in NOT_NEEDED:
        (hub.files / file).parent.mkdir(exist_ok=True)
        (hub.files / file).write_bytes(b"{}")
    return own


@pytest.mark.parametrize("name", SAMPLES)
def test_a_familys_files_are_fetched_and_no_others(name: str, hub: Hub) -> None:
    own = published(hub, name)
    loaded = load_text_tower(NAME)
    assert hub.fetched == own - {"notes.txt", "assets/more.json"}
    expected = load_text_tower(hub.files)
    assert loaded.fingerprint == expected.fingerprint
    if loaded.has_image:
        assert load_image_tower(NAME).fingerprint == load_image_tower(hub.files).fingerprint


def test_what_was_fetched_is_found_offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's client knows of the PyTorch file that was not fetched beside the safetensors file."""
    from huggingface_hub import _snapshot_download as client

    published(hub, "CLIP")
    (hub.files / "pytorch_model.bin").write_bytes(b"")
    expected = load_text_tower(NAME).fingerprint
    assert "pytorch_model.bin" not in hub.fetched
    refs = hub.folder.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(client, "read_tree_cache", lambda *_: dict.fromkeys(hub.names), raising=False)
    assert load_text_tower(NAME).fingerprint == expected
    assert load_text_tower(NAME, allow_download=False).fingerprint == expected
    (hub.folder / "model.safetensors").unlink()
    refused("^'org/name': expected weights in the local cache, found none in .*: hf download org/name$")


def refused(said: str) -> None:
    """Both towers are refused in one line."""
    for load in (load_text_tower, load_image_tower):
        with pytest.raises(ModelError, match=said) as error:
            load(NAME)
        assert "\n" not in str(error.value)


def test_a_gated_model_is_named_with_its_page_and_the_command(hub: Hub) -> None:
    published(hub, "CLIP")
    answer: Any = SimpleNamespace(headers={}, request=None, status_code=403)
    hub.problem = GatedRepoError("403 Client Error.\nCannot access gated repo", response=answer)
    refused("accept them on https://huggingface.co/org/name, then: hf auth login && hf download org/name$")


def test_an_absent_model_is_named_with_the_command(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.problem = OSError("no route to host\nsecond line")
    refused("on the hub, found neither: no route to host; .*: hf download org/name$")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused("in the local cache .downloads are switched off., found neither; .*: hf download org/name$")
