"""`xpet merge` as a job: exact files, equal numbers, what is refused, and that nothing is left behind then."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.jobs.conftest import IMAGES, SHOTS, World, shown, write_table
from tests.tiny import tiny_text_checkpoint
from xpet.core.config import MergeConfig, ModelConfig
from xpet.core.errors import ConfigError, DataError, ModelError, XpetError
from xpet.core.events import Event, Notice, Progress
from xpet.jobs.align import run as align
from xpet.jobs.eval import run as evaluate
from xpet.jobs.merge import run as merge
from xpet.jobs.merge import verify
from xpet.jobs.results.merge import MergeResult
from xpet.models.checkpoint import load_text_tower

Tree = Callable[[Path], dict[str, bytes]]
SMALL = {"README.md", "config.json", "tokenizer.json", "tokenizer_config.json"}


def folded(run: Path, out: Path, on_event: Callable[[Event], None] = lambda event: None, **changes: Any) -> MergeResult:
    return merge.run(MergeConfig((str(run),), str(out), device="cpu", **changes), on_event)


def refused(run: Path, out: Path, **changes: Any) -> str:
    """The error of a merge; nothing may be left where it would have been written."""
    before = {path: path.stat().st_mtime_ns for path in out.parent.rglob("*")}
    with pytest.raises(XpetError) as error:
        folded(run, out, **changes)
    assert {path: path.stat().st_mtime_ns for path in out.parent.rglob("*")} == before
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("method", ["lora", "bitfit", "full", "linear-map"])
def test_merged_equals_unmerged(method: str, world: World, runs: Path, tmp_path: Path, tree: Tree) -> None:
    record = tree(runs / method)
    result = folded(runs / method, tmp_path / "out")
    metrics = json.loads((runs / method / "metrics.json").read_text("utf-8"))
    assert set(tree(tmp_path / "out")) == {*SMALL, "model.safetensors"} == set(result.files)
    assert {p.name for p in tmp_path.iterdir()} == {"out"}
    assert tree(runs / method) == record
    found = result.verification
    assert found is not None
    assert found.texts == 2 * (IMAGES - 2 * SHOTS)
    assert found.unmerged == found.merged
    assert found.merged == {"de": metrics["aligned"], "en": metrics["english_after"]}
    base, merged = (load_text_tower(folder).tower.state_dict() for folder in (world.text, tmp_path / "out"))
    assert max(float((base[name] - merged[name]).abs().max()) for name in base) > 1e-3
    assert 0 <= found.absolute <= found.relative <= found.tolerance < 1e-5
    assert result.size == sum(map(len, tree(tmp_path / "out").values()))
    assert (result.method, result.languages, result.dtype, result.image) == (method, ("de",), "fp32", None)
    json.dumps(result.to_dict(), allow_nan=False)


def test_eval_and_align_take_the_checkpoint_as_any_other(world: World, runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = folded(runs / "lora", out)
    split = tmp_path / "split.json"
    shutil.copy(runs / "lora" / "split.json", split)
    model = ModelConfig(str(out))
    trained = align.run(world.config(tmp_path / "again", "de", model=model, data=world.data(split_file=str(split))))
    assert result.verification is not None
    assert trained.runs[0].translated_before == result.verification.merged["de"]  # routine 3, the same test images
    assert trained.english_before == result.verification.merged["en"]
    report = evaluate.run(world.evaluation(model=model, data=world.data(shots=None, val_shots=None)))
    assert [s.language for s in shown(report)] == ["en", "de", "tr"]
    again = folded(tmp_path / "again", tmp_path / "twice")  # a merged tower is a base like any other
    assert again.base == str(out)


@pytest.mark.parametrize(("dtype", "kind"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_types_and_shards(dtype: str, kind: torch.dtype, runs: Path, tmp_path: Path, tree: Tree) -> None:
    exact = folded(runs / "lora", tmp_path / "exact")
    result = folded(runs / "lora", tmp_path / "out", dtype=dtype, shard_size=60_000)
    shards = [name for name in result.files if name.endswith(".safetensors")]
    assert shards == [f"model-{n:05d}-of-{len(shards):05d}.safetensors" for n in range(1, len(shards) + 1)]
    assert len(shards) > 1
    assert set(tree(tmp_path / "out")) == {*SMALL, *shards, "model.safetensors.index.json"}
    full = load_file(tmp_path / "exact" / "model.safetensors")
    stored = {name: tensor for file in shards for name, tensor in load_file(tmp_path / "out" / file).items()}
    assert set(stored) == set(full)
    half = torch.finfo(kind).eps / 2 * (1 + 1e-3)  # rounded to nearest; folded twice, so not quite the same numbers
    for name, tensor in stored.items():
        assert tensor.dtype == kind
        torch.testing.assert_close(tensor.float(), full[name], rtol=half, atol=1e-7)
    assert exact.verification is not None
    assert result.verification is not None
    assert exact.verification.tolerance < result.verification.relative <= result.verification.tolerance
    assert json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))["torch_dtype"] == str(kind)[6:]


def test_pytorch_files_hold_nothing_but_tensors(runs: Path, tmp_path: Path, tree: Tree) -> None:
    folded(runs / "lora", tmp_path / "exact")
    result = folded(runs / "lora", tmp_path / "out", pytorch_bin=True)
    assert set(tree(tmp_path / "out")) == {*SMALL, "pytorch_model.bin"} == set(result.files)
    state = torch.load(tmp_path / "out" / "pytorch_model.bin", weights_only=True)
    expected = load_file(tmp_path / "exact" / "model.safetensors")
    assert set(state) == set(expected)
    for name, tensor in expected.items():  # folded twice
        torch.testing.assert_close(state[name], tensor, rtol=1e-6, atol=1e-7)


def test_the_image_tower_is_remembered(world: World, image_checkpoint: Path, pictures: Path, tmp_path: Path) -> None:
    """A run on pictures: eval of the merged checkpoint needs no --image-model."""
    model = ModelConfig(str(world.text), str(image_checkpoint))
    data = world.data(root=str(pictures), image_features=None)
    align.run(world.config(tmp_path / "run", "de", model=model, data=data))
    result = folded(tmp_path / "run", tmp_path / "out")
    assert result.image == str(image_checkpoint)
    config = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    assert config["imageModel"] == str(image_checkpoint)
    whole = replace(data, shots=None, val_shots=None)
    report = evaluate.run(world.evaluation(model=ModelConfig(str(tmp_path / "out")), data=whole))
    assert report.environment["fingerprints"]["image"]  # type: ignore[union-attr]


def test_without_image_features_only_the_features_are_compared(world: World, tmp_path: Path) -> None:
    features = Path(shutil.copy(world.features, tmp_path / "features.npy"))
    align.run(world.config(tmp_path / "run", "de", data=world.data(image_features=str(features))))
    features.unlink()
    seen: list[Event] = []
    found = folded(tmp_path / "run", tmp_path / "out", seen.append).verification
    assert found is not None
    assert (found.unmerged, found.merged) == ({}, {})
    notices = [event.text for event in seen if isinstance(event, Notice)]
    assert len(notices) == 1
    assert notices[0].startswith("R@1 is not compared: ")
    assert "R@1 was not compared: no image features were at hand." in (tmp_path / "out/README.md").read_text("utf-8")


def test_the_card(runs: Path, world: World, tmp_path: Path) -> None:
    result = folded(runs / "lora", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    metrics = json.loads((runs / "lora" / "metrics.json").read_text("utf-8"))
    assert card.startswith(f'---\nlanguage:\n- "de"\n- "en"\nbase_model: "{world.text}"\nlicense: unknown\n')
    assert f"| de | {metrics['target_before']:.2f} | {metrics['aligned']:.2f} |" in card
    assert "| this model | unknown |\n| the base model | unknown |\n| the training data | unknown |" in card
    assert result.verification is not None
    assert f"differ by at most {result.verification.relative:.1e} in length" in card
    assert "synthetic" not in card
    folded(runs / "lora", tmp_path / "out", overwrite=True, verify=False)
    again = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "Skipped (`--no-verify`): nobody compared this checkpoint" in again
    assert json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))["xpet"]["verified"] is False


def test_a_method_that_does_not_fold_is_refused_before_anything_is_loaded(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xpet.models.checkpoint.open_text_tower", lambda *_: pytest.fail("loaded"))
    run = runs / "adapter"
    assert refused(run, tmp_path / "out") == (
        f"{run}: expected a run of a method that folds into the weights (lora, bitfit, full, linear-map), found "
        "'adapter', which adds computations of its own; try --export opendelta, or use the run as it is: xpet eval "
        f"{run}"
    )


def test_a_folder_of_several_runs(world: World, tmp_path: Path) -> None:
    align.run(world.config(tmp_path / "sweep", "de", seeds=(1, 2)))
    names = [f"de-routine3-mse-w0.1-lr0.001-seed{seed}" for seed in (1, 2)]
    assert refused(tmp_path / "sweep", tmp_path / "out") == (
        f"{tmp_path / 'sweep'}: expected one run, found 2: name one of them: {', '.join(names)}"
    )
    shutil.rmtree(tmp_path / "sweep" / names[1])
    assert folded(tmp_path / "sweep", tmp_path / "out").runs == (str(tmp_path / "sweep" / names[0]),)


@pytest.mark.parametrize("verify", [True, False])
def test_another_base(verify: bool, world: World, tmp_path: Path) -> None:
    text = Path(shutil.copytree(world.text, tmp_path / "text"))
    align.run(world.config(tmp_path / "run", "de", model=ModelConfig(str(text))))
    tiny_text_checkpoint(text, seed=4)
    found = refused(tmp_path / "run", tmp_path / "out", verify=verify)
    assert found.startswith(f"{tmp_path / 'run'} was trained on another text tower: expected weights ")
    assert found.endswith(f"in '{text}'; restore that checkpoint or train again")
    shutil.rmtree(text)
    assert refused(tmp_path / "run", tmp_path / "out", verify=verify) == (
        f"{text}: expected a checkpoint folder or a hub name (owner/name), found no such folder"
    )


def test_base_and_data_that_moved(world: World, tmp_path: Path) -> None:
    text = Path(shutil.copytree(world.text, tmp_path / "text"))
    table = Path(shutil.copy(world.table, tmp_path / "table.jsonl"))
    run, out = tmp_path / "run", tmp_path / "out"
    align.run(world.config(run, "de", model=ModelConfig(str(text)), data=world.data(root=str(table))))
    now, there = text.rename(tmp_path / "tower"), table.rename(tmp_path / "moved.jsonl")
    assert refused(run, out).startswith(f"{text}: expected a checkpoint folder")
    without_data = refused(run, out, model=str(now))
    assert str(table) in without_data
    assert without_data.endswith("; --no-verify merges without comparing on the run's test captions")
    result = folded(run, out, model=str(now), data_root=str(there))
    assert (result.base, result.verification is not None) == (str(now), True)
    tiny_text_checkpoint(now, seed=4)
    other = refused(run, tmp_path / "other", model=str(now), data_root=str(there))
    assert other.startswith(f"{run} was trained on another text tower: expected weights ")


def test_data_that_is_gone(world: World, tmp_path: Path) -> None:
    table = Path(shutil.copy(world.table, tmp_path / "table.jsonl"))
    align.run(world.config(tmp_path / "run", "de", data=world.data(root=str(table))))
    rows = [json.loads(line) for line in table.read_text("utf-8").splitlines()]
    rows[-2]["caption"] = rows[-2]["to_pivot"] = "ein anderer Hund"
    write_table(table, [{**row, "caption": f"{row['caption']} x"} for row in rows])
    changed = refused(tmp_path / "run", tmp_path / "out")
    assert changed == (
        "the test captions of de changed since the runs were trained: restore them or train again; "
        "--no-verify merges without comparing on the run's test captions"
    )
    table.unlink()
    gone = refused(tmp_path / "run", tmp_path / "out")
    assert str(table) in gone
    assert gone.endswith("; --no-verify merges without comparing on the run's test captions")
    assert folded(tmp_path / "run", tmp_path / "out", verify=False).verification is None


def test_weights_that_are_not_finite(runs: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs / "lora", tmp_path / "run"))
    delta = load_file(run / "delta.safetensors")
    name = min(delta)
    delta[name].view(-1)[0] = float("nan")
    save_file(delta, run / "delta.safetensors")
    assert refused(run, tmp_path / "out") == (
        f"{run}: expected finite weights, found NaN or infinity in {name}; train the run again"
    )


def test_a_fold_that_is_wrong_is_found_and_removed(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xpet.methods import table

    right = table.fold

    def wrong(config: Any, delta: Any) -> Any:
        changes = right(config, delta)
        name = max(name for name in changes if name.endswith("value.weight"))
        return {**changes, name: lambda base: 2 * base - changes[name](base)}  # the product's sign is turned

    monkeypatch.setattr(table, "fold", wrong)
    text = refused(runs / "lora", tmp_path / "out")
    assert text.startswith("the merged tower does not compute what the run does: expected unit features that differ by")
    assert text.endswith("nothing was written: try --dtype fp32, or report it, please")


@pytest.mark.parametrize("stage", ["unmerged", "writing", "merged"])
def test_an_interrupted_merge_leaves_nothing(stage: str, runs: Path, tmp_path: Path, tree: Tree) -> None:
    folded(runs / "bitfit", tmp_path / "out")
    before = tree(tmp_path)

    def interrupt(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == stage:
            raise KeyboardInterrupt

    for out, overwrite in (("new", False), ("out", True)):
        with pytest.raises(KeyboardInterrupt):
            folded(runs / "lora", tmp_path / out, interrupt, overwrite=overwrite)
        assert tree(tmp_path) == before
        assert {p.name for p in tmp_path.iterdir()} == {"out"}


def test_places_that_are_taken(world: World, runs: Path, tmp_path: Path, tree: Tree) -> None:
    out = tmp_path / "out"
    folded(runs / "lora", out)
    assert refused(runs / "lora", out) == (
        f"output folder {out} exists already; choose another --out or pass --overwrite"
    )
    first = tree(out)
    folded(runs / "bitfit", out, overwrite=True, pytorch_bin=True)
    assert set(tree(out)) == {*SMALL, "pytorch_model.bin"}
    folded(runs / "lora", out, overwrite=True)
    assert tree(out)["model.safetensors"] == first["model.safetensors"]
    (out / "notes.txt").write_text("mine")
    kept = "exists and is no xpet output of xpet merge; it is not overwritten: choose another --out"
    assert refused(runs / "lora", out, overwrite=True) == f"{out} {kept}"
    run = Path(shutil.copytree(runs / "lora", tmp_path / "run"))
    assert refused(run, run, overwrite=True) == f"{run} {kept}"
    inside = f"expected a folder apart from {run}, which is merged; choose another --out"
    assert refused(run, run / "tower") == f"{run / 'tower'}: {inside}"
    align.run(world.config(tmp_path / "second", "de", model=ModelConfig(str(_merged(runs, tmp_path)))))
    base = tmp_path / "base"
    assert refused(tmp_path / "second", base, overwrite=True) == (
        f"{base}: expected a folder apart from {base}, which is merged; choose another --out"
    )


def _merged(runs: Path, folder: Path) -> Path:
    folded(runs / "lora", folder / "base")
    return folder / "base"


def test_too_little_disk(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 10**6, 10**6))
    text = refused(runs / "lora", tmp_path / "out")
    assert text.startswith(f"{tmp_path / 'out'}: expected 6")
    assert text.endswith(" MB of free disk, found 1 MB; free some, choose another --out or a smaller --dtype")


def test_settings_are_checked_together() -> None:
    with pytest.raises(ConfigError) as error:
        merge.run(MergeConfig(("nowhere",), "out", dtype="fp8", shard_size=0, device="tpu"))
    assert error.value.problems == (
        "unknown dtype 'fp8': expected one of fp32, fp16, bf16",
        "shard size must be at least 1 byte, found 0",
        "unknown device 'tpu': expected one of auto, cpu, cuda; did you mean 'cpu'?",
    )
    with pytest.raises(DataError, match="^expected a run folder, found no folder nowhere;"):
        merge.run(MergeConfig(("nowhere",), "out"))


def test_features_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ModelError, match="^the merged tower gives features that are not finite for de: train again$"):
        verify._units({"de": torch.zeros(2, 3)}, "merged")
