"""`--export onnx`: the text tower with the run folded in, pooling and head included, as an ONNX graph."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpet.core.errors import ModelError
from xpet.core.events import OnEvent, Progress
from xpet.core.regular_files import read_text
from xpet.jobs.merge.formats.base import CARD, ExportFormat, MergeJob
from xpet.jobs.merge.formats.checkpoint import NOTE_KEY, checkpoint_bytes, image_beside, is_our_config, note
from xpet.jobs.merge.formats.folded import folded_tower
from xpet.jobs.shared.measure import Encode
from xpet.jobs.shared.towers import IMAGE_KEY, text_path

if TYPE_CHECKING:
    from torch import Tensor

_FILES = (CARD, "model.onnx", "model.onnx.data", "config.json", "tokenizer.json", "tokenizer_config.json")
_BATCHES = (1, 7, 64)
"""Batch sizes that the proof encodes with."""


def write(stage: Path, job: MergeJob, on_event: OnEvent) -> str | None:
    """Write graph, tokenizer and settings; returns the image tower of its base."""
    from xpet.models import onnx_export

    loaded = folded_tower(job)
    image = image_beside(loaded, job.model)
    on_event(Progress("writing", 0, 1))
    onnx_export.export(stage, loaded.tower)
    on_event(Progress("writing", 1, 1))
    entries = {NOTE_KEY: note(job), **({IMAGE_KEY: image} if image else {})}
    onnx_export.write_settings(stage, loaded.tower, max_length=loaded.tokenizer.limit, **entries)
    loaded.tokenizer.save(stage)
    return image


def _check(job: MergeJob) -> None:
    """Raise ModelError for a base whose texts are marked by their language, which tokenizer.json cannot do."""
    from xpet.models.checkpoint import open_text_tower

    base = open_text_tower(text_path(job.model.text))
    if base.tokenizer.needs_language:
        raise ModelError(
            f"expected a tower that reads texts of any language alike, found one of the family {base.family.name}, "
            "which marks each text by its language; merge writes it in its own layout without --export"
        )


def _encoder(folder: Path, job: MergeJob, device: str) -> Encode:
    """An encoder by onnxruntime, in batches of several sizes and lengths, as the graph must take any."""
    from xpet.models.onnx_export import OnnxTower
    from xpet.models.tokenizer import load_tokenizer

    settings: dict[str, Any] = json.loads(read_text(folder / "config.json"))
    tower = OnnxTower(folder, settings["dimensions"])
    tokenizer = load_tokenizer(folder, settings["max_length"], settings["pad_token_id"])
    return _in_turns(tower, tokenizer)


def _in_turns(tower: object, tokenizer: Any) -> Encode:
    import torch

    from xpet.models.encode import encode_texts

    def encode(texts: Sequence[str]) -> Tensor:
        end = _BATCHES[0] + 3 * _BATCHES[1]
        parts = [(texts[:1], _BATCHES[0]), (texts[1:end], _BATCHES[1]), (texts[end:], _BATCHES[2])]
        return torch.cat([encode_texts(tower, tokenizer, part, size) for part, size in parts if part])  # type: ignore[arg-type]

    return encode


FORMAT = ExportFormat(
    "onnx", write, _encoder, checkpoint_bytes, _FILES, is_our_config, check=_check,
    packages=("onnx", "onnxruntime"), extra="export", said="Folded {method} for {languages} into {base}, as ONNX",
    use="Load it with: onnxruntime.InferenceSession('{out}/model.onnx')",
    about=(
        "A text tower as an ONNX graph, into which `xpet merge` folded what {method} trained for {languages}. Inputs "
        "are `input_ids` and `attention_mask` (int64, any batch, any length up to `max_length` of config.json), the "
        "output is `features` (float32, not normalised); pooling and projection are inside."
    ),
    code="""\
import numpy as np, onnxruntime
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("{out}/tokenizer.json")
session = onnxruntime.InferenceSession("{out}/model.onnx")
row = tokenizer.encode("...").ids  # cut to max_length; pad batches with pad_token_id and a mask of 0
ids = np.array([row])
features = session.run(["features"], {{"input_ids": ids, "attention_mask": np.ones_like(ids)}})[0]
""",
    tags=("onnx", "{family}"),
)  # fmt: skip
