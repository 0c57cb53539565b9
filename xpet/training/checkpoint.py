"""The checkpoint of a stack: all that its training has changed, in one file, so that it goes on bit for bit.

A file is safetensors; its metadata hold a JSON document and a checksum of everything. Batch orders are not stored: they
follow from the seeds.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xpet.core.config import RunConfig
from xpet.core.errors import DataError, one_line
from xpet.core.files import staged_file, writing
from xpet.core.json_files import parsed
from xpet.core.tensors import crc32_of, read_metadata, to_safetensors
from xpet.core.transfer import fetch_all
from xpet.core.typed import build
from xpet.training.selection import TrainedRun

SCHEMA = 1
DOCUMENT, CHECKSUM = "xpet_checkpoint", "crc32"
"""Keys of the metadata."""


@dataclass(frozen=True)
class RunState:
    """One run of a checkpoint: its label and the fields of its `TrainedRun`.

    `began` are the session's steps before the run's first, `data` is the digest of what it learns from.
    """

    label: str
    began: int
    data: str
    chosen_step: int
    score: float
    history: tuple[dict[str, Any], ...]
    diverged_at: int | None
    validated: bool
    seconds: float

    def trained(self, config: RunConfig, number: int, state: Mapping[str, Tensor]) -> TrainedRun:
        """The result of the run so far; `state` is its parameters [*shape] by name where it is finished."""
        return TrainedRun(
            config, number, dict(state), self.chosen_step, self.score, [dict(entry) for entry in self.history],
            self.diverged_at, self.validated, self.seconds,
        )  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        identity: digest of what the numbers depend on besides the plan and the runs' data.
        step: the steps of the session.
        slots: how many runs its stack trains side by side at most.
        runs: those in its slots, in order; of a finished run's file only that one.
        tensors: by name, of any shapes.
    """

    identity: str
    step: int
    slots: int
    runs: tuple[RunState, ...]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


def run_state(run: TrainedRun, began: int, data: str) -> RunState:
    """What is stored of a run besides its tensors."""
    return RunState(
        run.config.label, began, data, run.chosen_step, run.score, tuple(run.history), run.diverged_at, run.validated,
        run.seconds,
    )  # fmt: skip


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in place of an earlier one, whole or not at all; raises OutputError."""
    tensors = {name: fetch_all(tensor).contiguous() for name, tensor in checkpoint.tensors.items()}
    values = {each.name: getattr(checkpoint, each.name) for each in fields(checkpoint) if each.name != "tensors"}
    document = json.dumps({"schema": SCHEMA, **values, "runs": [asdict(run) for run in checkpoint.runs]})
    metadata = {DOCUMENT: document, CHECKSUM: _checksum(document, tensors)}
    with writing(path), staged_file(path) as stage:
        to_safetensors(tensors, stage, metadata)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, and check that every bit is as it was written; raises DataError for a damaged one."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        metadata = read_metadata(path)
        tensors = load_file(path)
        document = parsed(metadata[DOCUMENT])
        if metadata[CHECKSUM] != _checksum(metadata[DOCUMENT], tensors):
            raise ValueError("its checksum is another")
        if not isinstance(document, dict) or document.pop("schema") != SCHEMA:
            raise ValueError("it is of another version")
        stored: Checkpoint = build(Checkpoint, {**document, "tensors": {}})
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise DataError(f"{path}: expected a checkpoint, found a damaged one ({one_line(error, 80)})") from error
    return Checkpoint(stored.identity, stored.step, stored.slots, stored.runs, tensors)


@torch.no_grad()
def restore(own: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> None:
    """Give tensors of any shapes the stored values. Raises DataError, with nothing changed, where they do not fit."""
    for name, tensor in own.items():
        like = stored.get(name)
        if like is None or like.shape != tensor.shape or like.dtype != tensor.dtype:
            found = "none" if like is None else f"{like.dtype} {tuple(like.shape)}"
            raise DataError(f"expected {name} as {tensor.dtype} {tuple(tensor.shape)}, found {found}")
    for name, tensor in own.items():
        tensor.copy_(stored[name])


def _checksum(document: str, tensors: Mapping[str, Tensor]) -> str:
    """CRC-32 (hex) of a document and of the names, types, shapes and bytes of tensors on the CPU."""
    code = zlib.crc32(document.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        code = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), code)
        code = crc32_of(tensor, code)
    return f"{code:08x}"
