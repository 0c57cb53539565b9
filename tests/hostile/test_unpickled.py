"""Nothing is unpickled but tensors, and no code that a checkpoint brings along is run."""

from __future__ import annotations

import ast
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from tests.tiny import tiny_clip, tiny_image_checkpoint, tiny_text_checkpoint
from xpet.core.errors import DataError, ModelError, XpetError
from xpet.data.features import read_features
from xpet.methods.tensorfile import read_tensors
from xpet.models.checkpoint import load_text_tower
from xpet.models.clip_text import load_english_tower
from xpet.models.image_tower import load_image_tower

SOURCES = sorted((Path(__file__).resolve().parents[2] / "xpet").rglob("*.py"))
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "pandas"}
"""Modules that run what a file says; pandas would read pickles by a file's ending."""
RUNNERS = {"eval", "exec", "compile", "__import__"}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def offences(text: str) -> list[str]:
    """What a module does that could run something in a file."""
    tree, found = ast.parse(text), []
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        found += [f"imports {name}" for name in names if name.partition(".")[0] in UNPICKLERS]
    for name, call in calls(tree):
        given = {word.arg: ast.unparse(word.value) for word in call.keywords}
        last = name.rpartition(".")[2]
        if name in ("torch.load", "load_state_dict_from_url") and given.get("weights_only") != "True":
            found.append(f"{name} without weights_only=True")
        if name in ("numpy.load", "np.load") and given.get("allow_pickle") != "False":
            found.append(f"{name} without allow_pickle=False")
        if given.get("allow_pickle", "False") != "False" or given.get("trust_remote_code", "False") != "False":
            found.append(f"{name} trusts what it reads")
        if last == "from_pretrained" and "**OURS" not in ast.unparse(call):
            found.append(f"{name} without OURS, which trusts no code")
        if name in RUNNERS or name in ("yaml.load", "yaml.unsafe_load", "os.system", "os.popen"):
            found.append(f"calls {name}")
        if (name.startswith("subprocess.") and "shell" in given) or last in ("extractall", "unpack_archive"):
            found.append(f"calls {name}")
    return found


def test_the_rules_find_what_they_forbid() -> None:
    for text in (
        "import pickle", "from joblib import load", "torch.load(p)", "torch.load(p, weights_only=False)",
        "numpy.load(p)", "np.load(p, allow_pickle=True)", "AutoModel.from_pretrained(p)", "f(trust_remote_code=True)",
        "eval(text)", "exec(text)", "subprocess.run(c, shell=True)", "archive.extractall(p)",
    ):  # fmt: skip
        assert offences(text), text
    assert offences("torch.load(p, weights_only=True)\nAutoModel.from_pretrained(p, **OURS)") == []


def test_no_module_runs_what_a_file_says() -> None:
    found = {str(path): offences(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert {path: what for path, what in found.items() if what} == {}
    assert len(found) > 200


def test_our_settings_of_transformers_trust_no_code() -> None:
    from xpet.models.sentence_folder import OURS

    assert OURS == {"local_files_only": True, "trust_remote_code": False}


class Harm:
    """What runs a command when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.trace}",)


@pytest.fixture
def trace(tmp_path: Path) -> Iterator[Path]:
    """A file that is there once something was run."""
    path = tmp_path / "ran"
    yield path
    assert not path.exists()


def test_the_trace_tells(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Harm(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_of_checkpoints(zipped: bool, trace: Path, tmp_path: Path) -> None:
    folders: dict[str, Any] = {
        "text": (tiny_text_checkpoint(tmp_path / "text"), load_text_tower),
        "image": (tiny_image_checkpoint(tmp_path / "image"), load_image_tower),
        "clip": (tiny_clip(tmp_path / "clip"), load_english_tower),
    }
    for folder, load in folders.values():
        (folder / "model.safetensors").unlink()
        torch.save({"a": Harm(trace)}, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
        with pytest.raises(ModelError, match="holds other things than tensors, and nothing in it was run"):
            load(folder)


@pytest.mark.parametrize("name", ["text_model_best.ckpt", "a.bin", "a.pt", "a.safetensors", "a.xpet"])
def test_files_of_modules(name: str, trace: Path, tmp_path: Path) -> None:
    from xpet.jobs.shared.run_records import read_runs

    (tmp_path / name).write_bytes(pickle.dumps({"a": Harm(trace)}, 2))
    with pytest.raises(XpetError):
        read_runs([str(tmp_path / name)], ["de"])
    if name.endswith((".ckpt", ".bin", ".pt")):
        with pytest.raises(ModelError):
            read_tensors(tmp_path / name)


def test_arrays_of_objects(trace: Path, tmp_path: Path) -> None:
    numpy.save(tmp_path / "a.npy", numpy.array([Harm(trace)], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="expected an .npy file of numbers"):
        read_features(tmp_path / "a.npy", 1)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Harm(trace)))
    with pytest.raises(DataError, match="expected an .npy file of numbers"):
        read_features(tmp_path / "b.npy", 1)


CODE = {
    "AutoConfig": "harm.Harm", "AutoModel": "harm.Harm", "AutoTokenizer": ["harm.Harm", "harm.Harm"],
    "AutoImageProcessor": "harm.Harm",
}  # fmt: skip


def with_code(folder: Path, trace: Path) -> Path:
    """A checkpoint whose every configuration names classes in a file that it brings along."""
    (folder / "harm.py").write_text(f"open({str(trace)!r}, 'w').close()\nclass Harm: pass\n")
    for path in folder.glob("*config.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": CODE}))
    for name in ("tokenizer_config.json", "preprocessor_config.json"):
        if not (folder / name).exists():
            (folder / name).write_text(json.dumps({"auto_map": CODE, "tokenizer_class": "Harm"}))
    return folder


def test_code_beside_a_checkpoint(trace: Path, tmp_path: Path) -> None:
    assert load_text_tower(with_code(tiny_text_checkpoint(tmp_path / "text"), trace)).tower is not None
    assert load_english_tower(with_code(tiny_clip(tmp_path / "clip"), trace)).tower is not None
    load_image_tower(with_code(tiny_image_checkpoint(tmp_path / "image"), trace))
    unknown = with_code(tiny_text_checkpoint(tmp_path / "unknown"), trace)
    config = json.loads((unknown / "config.json").read_text())
    (unknown / "config.json").write_text(json.dumps({**config, "model_type": "harm", "modelBase": "harm"}))
    with pytest.raises(ModelError):
        load_text_tower(unknown)


def test_code_beside_a_sentence_folder(trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xpet.models.sentence_folder import read_sentence_folder

    monkeypatch.setattr("builtins.input", lambda *_: "y")  # what transformers would ask a person
    folder = with_code(tiny_text_checkpoint(tmp_path / "text"), trace)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "harm"}))
    with pytest.raises(Exception, match="trust_remote_code|custom code|recognized|model type"):
        read_sentence_folder(folder)
