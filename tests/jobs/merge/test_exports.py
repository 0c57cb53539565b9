"""`xpet merge --export`: exact files, equal features, what is refused; the libraries load what is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.jobs.conftest import World
from xpet.core.choices import FORM_NAMES
from xpet.core.config import MergeConfig
from xpet.core.errors import XpetError
from xpet.jobs.merge import run as merge
from xpet.jobs.merge.formats import EXPORT_FORMATS
from xpet.jobs.results.merge import MergeResult

Tree = Callable[[Path], dict[str, bytes]]
TEXTS = ["a red dog", "x", "ein grosser blauer Hund und zwei kleine Katzen sehen ﬁne ＡＢＣ aus", "", "köpek " * 60]


def exported(run: Path, out: Path, form: str, **changes: Any) -> MergeResult:
    return merge.run(MergeConfig((str(run),), str(out), form=form, device="cpu", **changes))


def proven(result: MergeResult) -> None:
    """The proof of a merge was made and found R@1 unchanged."""
    found = result.verification
    assert found is not None
    assert 0 <= found.relative <= found.tolerance < 1e-5
    assert found.unmerged == found.merged
    assert set(found.merged) == {"de", "en"}


def of_run(run: Path, texts: list[str] = TEXTS) -> torch.Tensor:
    """Un-normalised features of texts by a run."""
    import xpet

    return xpet.load(run, device="cpu").encode_text(texts, normalize=False)


def refused(run: Path, out: Path, form: str, **changes: Any) -> str:
    with pytest.raises(XpetError) as error:
        exported(run, out, form, **changes)
    assert not out.exists()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_table_and_the_names() -> None:
    assert tuple(EXPORT_FORMATS) == FORM_NAMES
    for name, form in EXPORT_FORMATS.items():
        assert form.name == name
        assert "{out}" in form.use
        assert form.about


@pytest.mark.parametrize("name", ["lora", "head"])
def test_peft(name: str, world: World, runs: Path, tmp_path: Path, tree: Tree) -> None:
    peft = pytest.importorskip("peft")
    from xpet.models.checkpoint import load_text_tower

    out = tmp_path / "out"
    result = exported(runs / name, out, "peft")
    proven(result)
    files = {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert set(tree(out)) == files == set(result.files)
    loaded = load_text_tower(world.text)
    tower = peft.PeftModel.from_pretrained(loaded.tower, str(out)).eval()
    with torch.no_grad():
        found = tower(*loaded.tokenizer.pad(loaded.tokenizer.encode(TEXTS)))
    torch.testing.assert_close(found, of_run(runs / name), atol=1e-5, rtol=1e-5)
    card = (out / "README.md").read_text("utf-8")
    assert (
        "tags:\n- peft\n- lora\n- xpet\n---\n\n# Multilingual CLIP text tower, aligned for de\n\nA LoRA adapter" in card
    )
    assert (
        f'\nloaded = load_text_tower(text_path("{world.text}"))\ntower = PeftModel.from_pretrained(loaded.tower, "out")'
        in card
    )
    exported(runs / name, out, "peft", overwrite=True)
    (out / "adapter_model.safetensors").write_bytes((runs / name / "delta.safetensors").read_bytes())
    with pytest.raises(XpetError, match="exists and is no xpet output of xpet merge; it is not overwritten"):
        exported(runs / name, out, "peft", overwrite=True)  # an adapter of somebody else


@pytest.mark.parametrize("name", ["lora", "adapter", "compacter"])
def test_opendelta(name: str, world: World, runs: Path, tmp_path: Path, tree: Tree) -> None:
    from xpet.methods.bridge import opendelta
    from xpet.models.checkpoint import load_text_tower

    out = tmp_path / "out"
    result = exported(runs / name, out, "opendelta")
    proven(result)
    assert set(tree(out)) == {"README.md", "config.json", "pytorch_model.bin"} == set(result.files)
    loaded = load_text_tower(world.text)
    opendelta().AutoDeltaModel.from_finetuned(str(out), backbone_model=loaded.tower.transformer)
    with torch.no_grad():
        found = loaded.tower(*loaded.tokenizer.pad(loaded.tokenizer.encode(TEXTS)))
    torch.testing.assert_close(found, of_run(runs / name), atol=1e-5, rtol=1e-5)
    exported(runs / name, out, "opendelta", overwrite=True)


def test_onnx(runs: Path, tmp_path: Path, tree: Tree) -> None:
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    from tokenizers import Tokenizer

    out = tmp_path / "out"
    result = exported(runs / "lora", out, "onnx")
    proven(result)
    files = {"README.md", "model.onnx", "config.json", "tokenizer.json", "tokenizer_config.json"}
    assert set(tree(out)) == files == set(result.files)
    settings = json.loads((out / "config.json").read_text("utf-8"))
    assert (settings["max_length"], settings["pad_token_id"], settings["dimensions"]) == (64, 1, 32)
    session = onnxruntime.InferenceSession(str(out / "model.onnx"), providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    rows = [tokenizer.encode(text).ids[:64] for text in TEXTS]
    rows[-1][-1] = rows[0][-1]  # a cut text ends as every one does
    expected = of_run(runs / "lora")
    for number, row in enumerate(rows):
        given = {"input_ids": [row], "attention_mask": [[1] * len(row)]}
        found = session.run(["features"], given)[0]
        torch.testing.assert_close(torch.from_numpy(found), expected[number : number + 1], atol=1e-5, rtol=1e-5)
    longest = max(map(len, rows))
    padded = {
        "input_ids": [[*row, *[1] * (longest - len(row))] for row in rows],
        "attention_mask": [[1] * len(row) + [0] * (longest - len(row)) for row in rows],
    }
    found = session.run(None, padded)[0]
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-5, rtol=1e-5)
    exported(runs / "lora", out, "onnx", overwrite=True)


@pytest.mark.parametrize("name", ["head", "bitfit", "linear-map"])
def test_sentence_transformers(name: str, runs: Path, tmp_path: Path, tree: Tree) -> None:
    library = pytest.importorskip("sentence_transformers")
    out = tmp_path / "out"
    result = exported(runs / name, out, "sentence-transformers", shard_size=60_000)
    proven(result)
    shards = sorted(file for file in result.files if "-of-" in file)
    assert len(shards) > 1
    assert set(tree(out)) == set(result.files) == {
        "README.md", "modules.json", "config.json", "config_sentence_transformers.json", "sentence_bert_config.json",
        "tokenizer.json", "tokenizer_config.json", "1_Pooling/config.json", "2_Dense/config.json",
        "2_Dense/model.safetensors", "model.safetensors.index.json", *shards,
    }  # fmt: skip
    model = library.SentenceTransformer(str(out), device="cpu", local_files_only=True)
    assert model.max_seq_length == 64
    found = model.encode(TEXTS, convert_to_tensor=True)
    torch.testing.assert_close(found, of_run(runs / name), atol=1e-5, rtol=1e-5)
    again = exported(runs / name, out, "sentence-transformers", overwrite=True, dtype="bf16")
    assert "model.safetensors" in again.files
    assert again.verification is not None
    assert 1e-4 < again.verification.relative <= again.verification.tolerance


@pytest.mark.parametrize(
    ("form", "name", "words"),
    [
        ("peft", "bitfit", "expected a run of lora for --export peft, found 'bitfit', which it has no place for; "
                           "fold it: leave out --export"),
        ("peft", "adapter", "expected a run of lora for --export peft, found 'adapter', which it has no place for; "
                            "try --export opendelta"),
        ("peft", "linear-map", "expected a run of lora for --export peft, found 'linear-map', which it has no place "
                               "for; fold it: leave out --export"),
        ("opendelta", "bitfit", "expected a run of lora, adapter, compacter for --export opendelta, found 'bitfit', "
                                "which it has no place for; fold it: leave out --export"),
        ("opendelta", "head", "expected a run that trained nothing beside the transformer, OpenDelta's backbone, found "
                              "LinearTransformation.bias; fold it into a checkpoint, or train without head and "
                              "embeddings"),
        ("checkpoint", "adapter", "expected a run of a method that folds into the weights (lora, bitfit, full, "
                                  "linear-map), found 'adapter', which adds computations of its own; try --export "
                                  "opendelta, or use the run as it is: xpet eval {run}"),
    ],
)  # fmt: skip
def test_methods_a_form_has_no_place_for(form: str, name: str, words: str, runs: Path, tmp_path: Path) -> None:
    assert refused(runs / name, tmp_path / "out", form) == f"{runs / name}: {words.format(run=runs / name)}"


def test_settings_and_forms_that_do_not_go_together(runs: Path, tmp_path: Path) -> None:
    assert refused(runs / "lora", tmp_path / "out", "peft", dtype="fp16", shard_size=9, pytorch_bin=True) == (
        "--dtype does not go with --export peft; --shard-size does not go with --export peft; "
        "--pytorch-bin does not go with --export peft"
    )
    assert refused(runs / "lora", tmp_path / "out", "peftt") == (
        f"unknown form 'peftt': expected one of {', '.join(FORM_NAMES)}; did you mean 'peft'?"
    )


def test_a_package_that_is_missing(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpet.jobs.merge.formats.check.find_spec", lambda name: None)
    monkeypatch.setattr("xpet.jobs.merge.run.read_runs", lambda *_: pytest.fail("read a run"))
    assert refused(runs / "lora", tmp_path / "out", "onnx") == (
        "--export onnx: expected the package onnx, onnxruntime, found no onnx, onnxruntime; pip install 'xpet[export]'"
    )


def test_nothing_is_left_when_the_folder_does_not_compute_the_same(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xpet.methods import peft_format

    right = peft_format.read

    def wrong(folder: Path) -> Any:
        config, delta = right(folder)
        return config, {name: value * (1.01 if name.endswith("lora_B") else 1) for name, value in delta.items()}

    monkeypatch.setattr(peft_format, "read", wrong)
    assert refused(runs / "lora", tmp_path / "out", "peft").startswith("the merged tower does not compute what the run")
    assert list(tmp_path.iterdir()) == []
