"""Weights written one block of one tensor at a time, so that a checkpoint never has to fit into memory twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from xpet.core.errors import ModelError
from xpet.core.events import OnEvent, Progress, ignore
from xpet.models.weights import STEMS, write_json

Change = Callable[[Tensor], Tensor]
"""A float32 weight -> the float32 weight of the same shape that is written instead."""

_BLOCK = 1 << 24
"""Values converted at a time."""
_TYPE_NAMES = {
    torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64", torch.int64: "I64",
    torch.int32: "I32",
}  # fmt: skip
"""Type -> its name in a safetensors header."""


@dataclass(frozen=True)
class StorageOptions:
    """How weights are stored.

    Attributes:
        dtype: type of the weights.
        shard_size: the most bytes of a file.
        pytorch: whether as PyTorch files, else as safetensors.
        kept: names of tensors that are stored as they are, in their own type.
        stems: how names of files begin, of safetensors and of PyTorch files.
    """

    dtype: torch.dtype = torch.float32
    shard_size: int = 2 * 10**9
    pytorch: bool = False
    kept: frozenset[str] = frozenset()
    stems: tuple[str, str] = STEMS

    def type_of(self, name: str, tensor: Tensor) -> torch.dtype:
        """The type that a tensor of any shape, of this name, is stored in."""
        return tensor.dtype if name in self.kept else self.dtype


@dataclass(frozen=True)
class _Stored:
    """Shape and type of a tensor on the disk."""

    shape: torch.Size
    dtype: torch.dtype

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.shape.numel() * self.dtype.itemsize


def total_bytes(tensors: Mapping[str, Tensor], storage: StorageOptions) -> int:
    """Bytes of all stored tensors, without headers."""
    return sum(tensor.shape.numel() * storage.type_of(name, tensor).itemsize for name, tensor in tensors.items())


def write_weights(
    folder: Path,
    tensors: Mapping[str, Tensor],
    changes: Mapping[str, Change],
    storage: StorageOptions,
    on_event: OnEvent = ignore,
) -> list[str]:
    """Write the tensors in one file, or in shards with an index; returns the names of the files.

    `changes` are made, in float32, to the tensors of these names; `storage` says in which type a tensor is written. It
    is read when its turn comes. A safetensors file is streamed; a PyTorch file has to be in memory as a whole, which
    `storage.shard_size` bounds. Raises ModelError when a change has no tensor or another shape, and where a weight is
    not finite.
    """
    extra = sorted(changes.keys() - tensors.keys())
    if extra:
        raise ModelError(f"delta does not fit: the tower has no {', '.join(extra[:3])}")
    stored = {name: _Stored(tensor.shape, storage.type_of(name, tensor)) for name, tensor in tensors.items()}
    shards = _shards(stored, storage.shard_size)
    stem, ending = (storage.stems[1], "bin") if storage.pytorch else (storage.stems[0], "safetensors")
    files = [f"{stem}.{ending}"]
    if len(shards) > 1:
        files = [f"{stem}-{number:05d}-of-{len(shards):05d}.{ending}" for number in range(1, len(shards) + 1)]
    progress = _WritingProgress(len(tensors), on_event)
    for file, names in zip(files, shards, strict=True):
        blocks = {name: _blocks(name, tensors, changes.get(name), storage, progress) for name in names}
        write = _write_pytorch if storage.pytorch else _write_safetensors
        write(folder / file, {name: stored[name] for name in names}, blocks)
    if len(shards) == 1:
        return files
    where = {name: file for file, names in zip(files, shards, strict=True) for name in names}
    index = f"{stem}.{ending}.index.json"
    total = sum(each.size for each in stored.values())
    write_json(folder / index, {"metadata": {"total_size": total}, "weight_map": where})
    return [*files, index]


def _shards(stored: Mapping[str, _Stored], most: int) -> list[list[str]]:
    """Names of tensors per file, in order; a tensor larger than a shard has a file of its own."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name in sorted(stored):
        size = stored[name].size
        if shards[-1] and filled + size > most:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards


class _WritingProgress:
    """Reports how many tensors are written."""

    def __init__(self, total: int, on_event: OnEvent) -> None:
        self.total, self.on_event, self.done = total, on_event, 0

    def step(self) -> None:
        """Count one more tensor."""
        self.done += 1
        self.on_event(Progress("writing", self.done, self.total))


def _blocks(
    name: str, tensors: Mapping[str, Tensor], change: Change | None, storage: StorageOptions, progress: _WritingProgress
) -> Iterator[Tensor]:
    """The values of one tensor in their new type, flat [at most _BLOCK], a block at a time."""
    if name in storage.kept:
        yield tensors[name].reshape(-1).contiguous()
    elif change is None:
        for start in range(0, tensors[name].numel(), _BLOCK):  # mapped again: what is written need not stay mapped
            yield _converted(name, tensors[name].reshape(-1)[start : start + _BLOCK], storage.dtype)
    else:
        for block in _changed(name, tensors[name], change).reshape(-1).split(_BLOCK):
            yield _converted(name, block, storage.dtype)
    progress.step()


def _changed(name: str, tensor: Tensor, change: Change) -> Tensor:
    """The whole tensor after its change; raises ModelError for another shape."""
    changed = change(tensor.float())
    if changed.shape != tensor.shape:
        raise ModelError(
            f"delta does not fit: {name} is {tuple(changed.shape)}, expected {tuple(tensor.shape)} as in the tower"
        )
    return changed


def _converted(name: str, block: Tensor, dtype: torch.dtype) -> Tensor:
    """A block [values] in another type; raises ModelError where it is not finite before or after."""
    low, high = (float(value) for value in block.aminmax())  # NaN when any value is; makes no copy
    if not abs(low) + abs(high) < float("inf"):
        raise ModelError(f"expected finite weights, found NaN or infinity in {name}; train the run again")
    limit = torch.finfo(dtype).max
    if max(-low, high) > limit:
        raise ModelError(f"{name} holds {max(-low, high):g}, more than {dtype} can hold ({limit:g}); use --dtype bf16")
    return block.to(dtype).contiguous()


def _write_safetensors(path: Path, stored: Mapping[str, _Stored], blocks: Mapping[str, Iterator[Tensor]]) -> None:
    """Write a safetensors file (header length, JSON header, bytes); its own library would want all tensors at once."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, each in stored.items():
        end = start + each.size
        header[name] = {"dtype": _TYPE_NAMES[each.dtype], "shape": list(each.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for tensor_blocks in blocks.values():
            for block in tensor_blocks:
                file.write(block.view(torch.uint8).numpy().data)


def _write_pytorch(path: Path, stored: Mapping[str, _Stored], blocks: Mapping[str, Iterator[Tensor]]) -> None:
    """Write a PyTorch file: a dictionary of tensors by name, which has to be in memory as a whole."""
    state = {}
    for name, each in stored.items():
        state[name] = torch.empty(each.shape, dtype=each.dtype)
        flat, start = state[name].view(-1), 0
        for block in blocks[name]:
            flat[start : start + len(block)] = block
            start += len(block)
    with path.open("wb") as file:
        torch.save(state, file)
