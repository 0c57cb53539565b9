"""Weights of an ONNX graph that lie in many files are put into one; the graph computes what it did."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests import towers
from xpet.models import onnx_export

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def test_weights_in_many_files_become_one(tmp_path: Path) -> None:
    tower = towers.tower(torch.float32)
    onnx_export.export(tmp_path, tower)
    assert {p.name for p in tmp_path.iterdir()} == {"model.onnx"}
    model = onnx.load(str(tmp_path / "model.onnx"))
    onnx.save_model(
        model,
        str(tmp_path / "model.onnx"),
        save_as_external_data=True,
        all_tensors_to_one_file=False,
        size_threshold=64,
    )
    assert len(list(tmp_path.iterdir())) > 20  # as torch writes what is too large for one message
    onnx_export.join_weights(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"model.onnx", "model.onnx.data"}
    onnx.checker.check_model(str(tmp_path / "model.onnx"))
    again = onnx_export.OnnxTower(tmp_path, towers.DIMENSIONS)
    for texts in (towers.texts(5, seed=9), towers.texts(1, seed=3), [[0, 2]]):
        with torch.no_grad():
            torch.testing.assert_close(again(*towers.pad(texts)), tower(*towers.pad(texts)), atol=1e-5, rtol=1e-5)
