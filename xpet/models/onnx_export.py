"""A text tower as an ONNX graph (token ids and mask -> un-normalised features), and such a graph run as a tower.

Exported by tracing (torch's `dynamo=False`): it needs the package onnx alone and a second for a small tower; the newer
exporter needs onnxscript as well and is twenty times slower. Weights of more than 2 GB, which a protobuf message cannot
hold, torch writes into a file each; they are put into one file here.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xpet.models.text_tower import TextTower
from xpet.models.weights import write_json

MODEL, DATA = "model.onnx", "model.onnx.data"
OPSET = 17
INPUTS, OUTPUT = ("input_ids", "attention_mask"), "features"
"""Names of the graph's inputs and output."""
_ALIGNMENT = 4096
"""Bytes of which every weight's offset in the joined file is a multiple, so that it can be mapped."""
_BLOCK = 1 << 24
"""Bytes copied at a time."""


def export(folder: Path, tower: TextTower) -> None:
    """Write model.onnx into a folder: int64 `input_ids`, `attention_mask` [batch, length] -> `features` [batch, d].

    Above 2 GB the weights go to model.onnx.data. The tower must be on the CPU, in float32 and eval mode.
    """
    settings: Any = tower.transformer.config
    ids = torch.full((2, 6), settings.pad_token_id, dtype=torch.long)
    ids[0], ids[1, :4] = torch.arange(3, 9) % settings.vocab_size, torch.arange(3, 7) % settings.vocab_size
    axes = {name: {0: "batch", 1: "length"} for name in INPUTS}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of tracing: shapes in the graph are compared below, by other lengths
        torch.onnx.export(
            tower, (ids, (ids != settings.pad_token_id).long()), str(folder / MODEL), input_names=list(INPUTS),
            output_names=[OUTPUT], dynamic_axes={**axes, OUTPUT: {0: "batch"}}, opset_version=OPSET, dynamo=False,
        )  # fmt: skip
    join_weights(folder)


def join_weights(folder: Path) -> None:
    """Join the files of single weights, if there are any, into model.onnx.data; copied a small block at a time."""
    import onnx

    model = onnx.load(str(folder / MODEL), load_external_data=False)
    apart = [tensor for tensor in model.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    if not apart:
        return
    with (folder / DATA).open("wb") as file:
        for tensor in apart:
            weight_file = folder / next(entry.value for entry in tensor.external_data if entry.key == "location")
            file.write(b"\0" * (-file.tell() % _ALIGNMENT))
            position = {"location": DATA, "offset": str(file.tell()), "length": str(weight_file.stat().st_size)}
            with weight_file.open("rb") as part:
                shutil.copyfileobj(part, file, _BLOCK)
            weight_file.unlink()
            del tensor.external_data[:]
            for key, value in position.items():
                tensor.external_data.add(key=key, value=value)
    (folder / MODEL).write_bytes(model.SerializeToString())


def write_settings(folder: Path, tower: TextTower, **more: object) -> None:
    """Write config.json: inputs, output, sizes and padding of the graph; `more` are further entries."""
    settings: Any = tower.transformer.config
    document = {
        "inputs": list(INPUTS), "output": OUTPUT, "dimensions": tower.dimensions,
        "pad_token_id": settings.pad_token_id, **more,
    }  # fmt: skip
    write_json(folder / "config.json", document)


class OnnxTower(nn.Module):
    """An exported tower, run by onnxruntime on the CPU; stands in for a TextTower when texts are encoded."""

    def __init__(self, folder: Path, dimensions: int) -> None:
        super().__init__()
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(str(folder / MODEL), options, providers=["CPUExecutionProvider"])
        self.dimensions = dimensions
        self.dtype = nn.Parameter(
            torch.empty(0), requires_grad=False
        )  # encoders ask the first parameter for type and device

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Un-normalised features [rows, dimensions] of token ids [rows, length] and their 0/1 mask."""
        rows: Iterable[Tensor] = (input_ids, attention_mask)
        given = {name: value.cpu().numpy() for name, value in zip(INPUTS, rows, strict=True)}
        return torch.from_numpy(self.session.run([OUTPUT], given)[0])
