"""Modules made elsewhere in whole commands: eval, load, merge; a PEFT adapter, an OpenDelta folder, a checkpoint."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import xpet
from tests.jobs.conftest import World, shown
from tests.rounding import alike, apart
from xpet.cli import app
from xpet.core.config import MergeConfig, ModelConfig
from xpet.core.errors import ConfigError, DataError, ModelError
from xpet.jobs.eval import run as evaluate
from xpet.jobs.merge import run as merge
from xpet.jobs.results.report import Report
from xpet.jobs.shared import foreign_modules
from xpet.jobs.shared.corpus import captions_digest, read_corpus
from xpet.methods import peft_format
from xpet.models.checkpoint import load_text_tower

TEXTS = ["a red dog", "ein grosser blauer Hund", "köpek", "x"]


@pytest.fixture(scope="session")
def modules(world: World, runs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The runs, as other software keeps them: no language, no data, no fingerprint."""
    folder = tmp_path_factory.mktemp("foreign")
    for form, run in (("peft", "head"), ("opendelta", "compacter")):
        merge.run(MergeConfig((str(runs / run),), str(folder / form), form=form, device="cpu", verify=False))
    tower = load_text_tower(world.text).tower.state_dict()
    for name in ("lora", "full", "bitfit"):
        torch.save({**tower, **load_file(runs / name / "delta.safetensors")}, folder / f"{name}.ckpt")
    torch.save(load_file(runs / "lora" / "delta.safetensors"), folder / "text_model_best.ckpt")
    return {path.stem: path for path in folder.iterdir()} | {"peft": folder / "peft"}


MADE_OF = {"peft": "head", "opendelta": "compacter", "lora": "lora", "full": "full", "text_model_best": "lora"}


def measured(world: World, path: Path, **changes: Any) -> Report:
    data = world.data(shots=None, val_shots=None)
    asked = {"languages": ("de",), "data": data, "model": ModelConfig(str(world.text)), **changes}
    report = evaluate.run(world.evaluation(path, **asked))
    assert isinstance(report, Report)
    return report


@pytest.mark.parametrize("name", ["peft", "opendelta", "text_model_best", "full"])
def test_eval_measures_them_before_and_after(
    name: str, world: World, runs: Path, modules: dict[str, Path], tmp_path: Path
) -> None:
    report = measured(world, modules[name], languages=("en", "de"))
    plain = tmp_path / "run"  # the run itself, made to search with natural text on the whole data
    shutil.copytree(runs / MADE_OF[name], plain)
    _edit(plain / "config.json", lambda c: c["run"].update(routine="baseline-target"))
    splits = json.loads((plain / "split.json").read_text("utf-8"))
    everything = [f"{n:03d}.png" for n in range(60)]
    (plain / "split.json").write_text(json.dumps({**splits, "test": everything}))
    _edit(plain / "environment.json", lambda e: e.update(test_captions=_digest(world)))
    expected = measured(world, plain, languages=("en", "de"), data=world.data(shots=None, val_shots=None))
    mine, theirs = shown(report), shown(expected)
    assert [(s.language, s.before, s.after, s.english_after) for s in mine] == [
        (s.language, s.before, s.after, s.english_after) for s in theirs
    ]
    assert mine[1].run == str(modules[name])
    system = report.systems[-1]
    assert (system.shots, system.routine, system.aligned) == (None, "baseline-target", ("de",))
    assert system.cost is not None
    assert system.cost.module_bytes == 4 * system.cost.trainable
    assert (system.cost.total, system.cost.training_seconds) == (expected.systems[-1].cost.total, None)  # type: ignore[union-attr]
    json.dumps(report.to_dict(), allow_nan=False)


def test_eval_measures_them_on_the_images_of_a_split(world: World, modules: dict[str, Path], runs: Path) -> None:
    data = world.data()
    report = evaluate.run(
        world.evaluation(modules["peft"], languages=("de",), data=data, model=ModelConfig(str(world.text)))
    )
    assert report.images == 60 - 2 * 12
    with pytest.raises(
        ConfigError, match="--split-of: expected none beside runs, which are measured on their own test"
    ):
        measured(world, runs / "lora", data=data)


def _edit(path: Path, change: Any) -> None:
    document = json.loads(path.read_text("utf-8"))
    change(document)
    path.write_text(json.dumps(document), "utf-8")


def _digest(world: World) -> str:
    captions = read_corpus(world.data()).splits["all"].captions["de"]
    return captions_digest(captions, ("target",))


def test_several_languages_share_one_module(world: World, modules: dict[str, Path]) -> None:
    report = measured(world, modules["peft"], languages=("en", "de", "tr"))
    rows = shown(report)
    assert [(s.language, s.after is not None) for s in rows] == [("en", False), ("de", True), ("tr", True)]
    assert rows[1].after != rows[1].before
    alone = [shown(measured(world, modules["peft"], languages=(lang,)))[0].after for lang in ("de", "tr")]
    assert [rows[1].after, rows[2].after] == pytest.approx(alone, abs=1e-9)


@pytest.mark.parametrize("name", ["peft", "opendelta", "lora", "full"])
def test_load_gives_what_the_run_computes(name: str, world: World, runs: Path, modules: dict[str, Path]) -> None:
    model = xpet.load(modules[name], model=str(world.text), device="cpu")
    expected = xpet.load(runs / MADE_OF[name], device="cpu")
    assert model.default_lang == "und"
    assert model.searches_with == {"und": "natural text"}
    for lang in (None, "tr", "de-AT"):
        alike(model.encode_text(TEXTS, lang), expected.encode_text(TEXTS))
    alike(model.encode_text(TEXTS, "en-GB"), expected.encode_text(TEXTS, "en"))
    assert apart(model.encode_text(TEXTS), expected.encode_text(TEXTS, "en"))


def test_an_adapter_names_its_base(world: World, modules: dict[str, Path]) -> None:
    model = xpet.load(modules["peft"], device="cpu")
    assert repr(model).startswith(f"DualEncoder('{modules['peft']}', device='cpu', dimensions=32, ")


def test_merge_folds_and_exports_them(world: World, runs: Path, modules: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "tower"
    result = merge.run(MergeConfig((str(modules["peft"]),), str(out), device="cpu", verify=False))
    assert (result.languages, result.base, result.method) == (("und",), str(world.text), "lora")
    found = xpet.load(out, device="cpu").encode_text(TEXTS)
    torch.testing.assert_close(found, xpet.load(runs / "head", device="cpu").encode_text(TEXTS), atol=1e-6, rtol=1e-5)
    card = (out / "README.md").read_text("utf-8")
    assert "| base weights (fingerprint) | unknown |" in card
    assert "| data | unknown |\n| training images | unknown |" in card
    assert "| xpet | not used: the module was made elsewhere |" in card
    assert "## Metrics of the run" not in card


def test_a_pack_of_one_says_what_is_not_known(
    modules: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app._run(["merge", str(modules["peft"]), "--pack", str(tmp_path / "all.xpet")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["und", "baseline-target", "-", "-"] in rows
    model, expected = (xpet.load(path, device="cpu") for path in (tmp_path / "all.xpet", modules["peft"]))
    alike(model.encode_text(TEXTS), expected.encode_text(TEXTS))


def test_merge_proves_them_on_the_demo(
    world: World, modules: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint does not name its base; it is compared on the demo's captions (here fewer) of one language."""
    few = read_corpus(world.data())
    monkeypatch.setattr("xpet.jobs.shared.corpus.sources", lambda: {"demo": lambda request: few})
    result = merge.run(MergeConfig((str(modules["lora"]),), str(tmp_path / "out"), str(world.text), device="cpu"))
    assert result.verification is not None
    assert result.verification.texts == 2 * 60
    assert result.verification.unmerged == {}  # the demo's pictures are of another space
    assert 0 < result.verification.relative <= result.verification.tolerance


def test_the_language_must_be_named(world: World, modules: dict[str, Path]) -> None:
    words = "a PEFT adapter does not say which language it is for: expected --lang with the languages to use it for"
    for languages, found in ((None, "none"), (("en",), "none but English"), (("all",), "all")):
        with pytest.raises(ConfigError) as error:
            measured(world, modules["peft"], languages=languages)
        assert str(error.value) == f"{modules['peft']}: {words}, found {found}"


def test_a_module_of_another_tower(world: World, modules: dict[str, Path], tmp_path: Path) -> None:
    from tests.tiny import tiny_text_checkpoint

    sizes: dict[str, Any] = {"wide": {"hidden": 128}, "shallow": {"layers": 1}, "small": {"dims": 16}}
    for name, changes in sizes.items():
        other = tiny_text_checkpoint(tmp_path / name, **changes)
        with pytest.raises(ModelError, match="^delta does not fit: |^the towers do not fit together: "):
            measured(world, modules["peft"], model=ModelConfig(str(other)))


def test_what_is_foreign(runs: Path, modules: dict[str, Path], world: World, tmp_path: Path) -> None:
    assert all(foreign_modules.is_foreign(path) for path in modules.values())
    (tmp_path / "result.json").write_text("{}")
    for path in (runs / "lora", runs, world.text, tmp_path / "result.json", tmp_path / "gone.ckpt", tmp_path / "gone"):
        assert not foreign_modules.is_foreign(path)
    with pytest.raises(DataError, match="^expected a run folder, found no folder "):
        measured(world, tmp_path / "gone.ckpt")


def test_a_merge_is_proven_by_the_adapters_own_file(
    world: World, modules: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = MergeConfig((str(modules["peft"]),), str(tmp_path / "out"), model=str(world.text), device="cpu")
    found = merge.run(config)
    assert found.verification is not None
    assert found.verification.relative <= found.verification.tolerance
    read = peft_format._Scaling.scale
    monkeypatch.setattr(peft_format._Scaling, "scale", lambda self, key: 1.05 * read(self, key))
    with pytest.raises(ModelError, match="the merged tower does not compute what the run does"):
        merge.run(replace(config, out=str(tmp_path / "wrong")))
    assert {p.name for p in tmp_path.iterdir() if not p.name.startswith("cache")} == {"out"}
