"""An export format is one file and one row: one is added here, written, proven to compute the same, and described."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.jobs.conftest import World
from xpet.core.config import MergeConfig
from xpet.jobs.align import run as align
from xpet.jobs.merge import run as merge
from xpet.jobs.merge.formats import FORMS
from xpet.jobs.merge.formats.base import CARD, Form
from xpet.jobs.merge.formats.folded import bytes_of, with_module


def _write(folder: Path, task: Any, on_event: object) -> None:
    torch.save(dict(task.record.delta), folder / "delta.pt")


def _encoder(folder: Path, task: Any, device: str) -> Any:
    return with_module(task, task.record.method, torch.load(folder / "delta.pt"), device)


ROW = Form(
    "torch", "a dictionary of tensors", _write, _encoder, bytes_of, (CARD, "delta.pt"), lambda folder: False,
    folds=False, use="torch.load('{out}/delta.pt')", about="What was trained of {base}.",
)  # fmt: skip


def test_an_export_format_is_a_row(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMS, ROW.name, ROW)
    align.run(world.config(tmp_path / "run", method="adapter"))
    result = merge.run(MergeConfig((str(tmp_path / "run"),), str(tmp_path / "out"), form="torch", device="cpu"))
    assert set(result.files) == {CARD, "delta.pt"}
    assert result.verification is not None
    assert f"What was trained of {world.text}." in (tmp_path / "out" / CARD).read_text("utf-8")
