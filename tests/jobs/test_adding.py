"""What `xpet/README.md` says of adding things: a row each, put into a running xpet and used from end to end."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.jobs.conftest import World, rows_of, write_table
from tests.tiny import BASES, tiny_text_checkpoint
from xpet.core import choices, losses, routines
from xpet.core.captions import PIVOT, Corpus, LanguageCaptions, ReadRequest, Split
from xpet.core.config import DataConfig, MergeConfig, MethodConfig, ModelConfig
from xpet.core.routines import Routine
from xpet.jobs.align import run as align
from xpet.jobs.eval import run as evaluate
from xpet.jobs.merge import run as merge
from xpet.jobs.results.report import Report


def offer(patch: pytest.MonkeyPatch, table: str, value: object) -> None:
    """Replace a table of `xpet.core.choices` there, and wherever it was imported."""
    for module in [module for name, module in sys.modules.items() if name.startswith("xpet.")]:
        if hasattr(module, table):
            patch.setattr(module, table, value)


def measured(world: World, folder: Path, language: str = "de", **changes: Any) -> Report:
    """The report of a run."""
    report = evaluate.run(world.evaluation(folder, languages=(language,), **changes))
    assert isinstance(report, Report)
    assert report.systems[-1].aligned == (language,)
    return report


def test_a_method(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xpet.methods.base import Method
    from xpet.methods.folding import replaced
    from xpet.methods.table import METHODS

    def attach(tower: nn.Module, config: MethodConfig, modules: tuple[str, ...]) -> list[Any]:
        return []  # nothing is hung in: what `--train` names is all there is

    row = Method(name="norms", summary="LayerNorms alone", attach=attach, fold=replaced)
    monkeypatch.setitem(METHODS, row.name, row)
    offer(monkeypatch, "METHOD_NAMES", (*choices.METHOD_NAMES, row.name))
    result = align.run(world.config(tmp_path / "run", method="norms"))
    assert result.method == "norms"
    assert result.trainable == 2 * 2 * 2 * 64  # weight and bias of two norms in two layers
    assert measured(world, tmp_path / "run").systems[-1].method == "norms"
    merged = merge.run(MergeConfig((str(tmp_path / "run"),), str(tmp_path / "tower"), device="cpu"))
    assert merged.verification is not None


def test_a_loss(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def manhattan(image: Tensor, anchor: Tensor, student: Tensor) -> Tensor:
        return (anchor - student).abs().mean(dim=(-2, -1))

    monkeypatch.setitem(losses.ALIGNMENT_LOSSES, "manhattan", losses.LossChoice(manhattan, 0.5))
    sweep = world.config(tmp_path / "runs", losses=("manhattan", "mse+0.1*manhattan"), align_weights=None)
    assert [(run.loss, run.align_weight) for run in align.run(sweep).runs] == [
        ("manhattan", 0.5), ("mse+0.1*manhattan", 1.0),
    ]  # fmt: skip


def test_a_routine(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Routine("routine4", "target", "to_pivot", "target", "natural target aligned with its translation")
    monkeypatch.setitem(routines.ROUTINES, row.name, row)
    align.run(world.config(tmp_path / "run", routines=("routine4",)))
    assert measured(world, tmp_path / "run").systems[-1].routine == "routine4"


def test_a_data_set(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xpet.data.sources import SOURCES

    def read(request: ReadRequest) -> Corpus:
        texts = {lang: tuple(row["caption"] for row in rows_of() if row["lang"] == lang) for lang in (PIVOT, "de")}
        images = tuple(str(number) for number in range(len(texts[PIVOT])))
        captions = {
            lang: LanguageCaptions(lang, tuple(range(len(own))), {"target": own, "pivot": texts[PIVOT]})
            for lang, own in texts.items()
        }
        return Corpus("added", {"all": Split(images, captions)})

    monkeypatch.setitem(SOURCES, "added", read)
    data = replace(world.data(), name="added", root=None)
    result = align.run(world.config(tmp_path / "run", data=data, routines=("1",)))
    assert result.data == "added"
    assert measured(world, tmp_path / "run", data=DataConfig()).data == "added"


def test_a_model_family(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xpet.models.families import FAMILIES, Family

    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    monkeypatch.setitem(FAMILIES, "roberta", Family("RobertaConfig", "RobertaModel", 1e-5, ids, True))
    text = tiny_text_checkpoint(tmp_path / "text", seed=3)
    document = json.loads((text / "config.json").read_text("utf-8"))
    assert document["modelBase"] == BASES["xlm-roberta"]
    settings = {"model_type": "roberta", "num_attention_heads": 1, "layer_norm_eps": 1e-5}
    document |= {"modelBase": "somebody/new-base", "transformerConfig": settings}
    (text / "config.json").write_text(json.dumps(document))
    result = align.run(world.config(tmp_path / "run", model=ModelConfig(str(text))))
    assert result.english_before == align.run(world.config(tmp_path / "known")).english_before  # the same weights


def test_a_report_format(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xpet.cli.reports import FORMATS, render

    module = ModuleType("added_format")
    module.render = lambda report, look: f"{len(report.systems)} systems\n"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(FORMATS, "count", module.__name__)
    align.run(world.config(tmp_path / "run"))
    assert render(measured(world, tmp_path / "run"), "count") == "3 systems\n"


def test_an_export_format(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xpet.jobs.merge.formats import FORMS
    from xpet.jobs.merge.formats.base import CARD, Form
    from xpet.jobs.merge.formats.folded import bytes_of, with_module

    def write(folder: Path, task: Any, on_event: object) -> None:
        torch.save(dict(task.record.delta), folder / "delta.pt")

    def encoder(folder: Path, task: Any, device: str) -> Any:
        return with_module(task, task.record.method, torch.load(folder / "delta.pt"), device)

    row = Form(
        "torch", "a dictionary of tensors", write, encoder, bytes_of, (CARD, "delta.pt"), lambda folder: False,
        folds=False, use="torch.load('{out}/delta.pt')", about="What was trained.",
    )  # fmt: skip
    monkeypatch.setitem(FORMS, row.name, row)
    align.run(world.config(tmp_path / "run", method="adapter"))
    result = merge.run(MergeConfig((str(tmp_path / "run"),), str(tmp_path / "out"), form="torch", device="cpu"))
    assert set(result.files) == {CARD, "delta.pt"}
    assert result.verification is not None
    assert "What was trained." in (tmp_path / "out" / CARD).read_text("utf-8")


def test_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xpet.cli import settings
    from xpet.cli.align import COMMAND
    from xpet.core.config.options import OUTPUT, option

    @dataclass(frozen=True)
    class Added:
        volume: int = option(11, "--volume", "How loud the result is told", OUTPUT)

    command = replace(COMMAND, kinds=(*COMMAND.kinds, Added))
    monkeypatch.chdir(tmp_path)
    assert command.entries["volume"].help == "How loud the result is told [default: 11]"
    assert settings.read(command, ["align"], {})["volume"] == 11
    (tmp_path / "xpet.toml").write_text("[align]\nvolume = 3\n")
    assert settings.read(command, ["align"], {})["volume"] == 3
    monkeypatch.setenv("XPET_ALIGN_VOLUME", "5")
    assert settings.read(command, ["align"], {})["volume"] == 5
    assert settings.read(command, ["align"], {"volume": 7})["volume"] == 7


def test_a_language(world: World, tmp_path: Path) -> None:
    rows = [{**row, "lang": row["lang"].replace("tr", "tlh")} for row in rows_of()]  # Klingon
    data = world.data(root=str(write_table(tmp_path / "table.jsonl", rows)))
    align.run(world.config(tmp_path / "run", "tlh", data=data))
    measured(world, tmp_path / "run", "tlh", data=DataConfig())
