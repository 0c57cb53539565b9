"""Checkpoint folders: reading tensors without unpickling, filling a model strictly, writing tensors and settings."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xpet.core.errors import ModelError
from xpet.core.json_files import read_object
from xpet.core.tensors import check_finite, check_kinds, from_pytorch, from_safetensors, to_safetensors

STEMS = ("model", "pytorch_model")
"""How names of weight files begin: of safetensors, of PyTorch."""
_LISTED = 3
"""Names that an error lists at most."""
_WRAPPER = "module."
"""How all names begin in the state of a model that PyTorch's DistributedDataParallel wraps."""
LONG = 160
"""Characters of another library's error that a message quotes at most."""


def read_json(path: Path, purpose: str) -> dict[str, Any]:
    """The JSON object in a file of a checkpoint; raises ModelError naming the file and what it is needed for."""
    if not os.path.exists(path):
        raise ModelError(f"{path.parent}: expected {path.name} ({purpose}), found none; is this the right folder?")
    return read_object(path, purpose)


def weight_files(stems: tuple[str, str] = STEMS) -> tuple[str, ...]:
    """Names that weights may have, in order of preference: one file or the list of shards, safetensors or PyTorch."""
    files = (f"{stems[0]}.safetensors", f"{stems[1]}.bin")
    return tuple(name for file in files for name in (file, f"{file}.index.json"))


def read_weights(
    folder: Path, stems: tuple[str, str] = STEMS, buffers: bool = False, file_name: str = ""
) -> dict[str, Tensor]:
    """The tensors of a checkpoint folder by name, mapped from the file where possible (no copy until touched).

    Reads safetensors, or PyTorch files without unpickling anything but tensors; `stems` are the beginnings of their
    names, `file_name` is that of the one file, where it has another. The buffers `*.embeddings.position_ids` that older
    releases of transformers wrote are left out, except with `buffers`. Raises ModelError when there are no weights, a
    file is damaged or tensors are empty.
    """
    tensors: dict[str, Tensor] = {}
    for file in _shards(folder / (file_name or _weights_file(folder, stems))):
        shard = _READERS[file.suffix](file)
        if twice := sorted(tensors.keys() & shard.keys()):
            raise ModelError(f"{folder}: expected every tensor in one shard, found {twice[0]} in {file.name}, too")
        tensors.update(shard)
    tensors = _unwrapped(tensors)
    check_kinds(tensors, folder)
    return {name: tensor for name, tensor in tensors.items() if buffers or not is_buffer(name)}


def _weights_file(folder: Path, stems: tuple[str, str]) -> str:
    """Name of a folder's file of weights, or of its list of shards; raises ModelError where there is none."""
    files = weight_files(stems)
    found = next((name for name in files if (folder / name).is_file()), None)
    if found is None:
        raise ModelError(f"{folder}: expected weights in {files[0]} or {files[2]}, found neither")
    return found


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by the names they have without the wrapper of a model that several processes trained."""
    wrapped = bool(tensors) and all(name.startswith(_WRAPPER) for name in tensors)
    return {name.removeprefix(_WRAPPER): tensor for name, tensor in tensors.items()} if wrapped else tensors


def is_buffer(name: str) -> bool:
    """Whether a tensor is a buffer that older transformers releases wrote."""
    return name.endswith("embeddings.position_ids")


def _shards(path: Path) -> list[Path]:
    """The weight files that an index lists, or the one file itself; raises ModelError for a damaged index."""
    if path.suffix != ".json":
        return [path]
    index = read_json(path, "the list of shards").get("weight_map")
    if not isinstance(index, dict) or not index:
        raise ModelError(f"{path}: expected a weight_map from tensor to file, found none")
    files = sorted({str(file) for file in index.values()})
    for file in files:
        if Path(file).name != file or Path(file).suffix not in _READERS:
            raise ModelError(f"{path}: expected names of weight files beside it, found '{file}'")
        if not (path.parent / file).is_file():
            raise ModelError(
                f"{path.parent}: expected the shard {file} named by {path.name}, found none; download it again"
            )
    return [path.parent / file for file in files]


def _read_pytorch(path: Path) -> dict[str, Tensor]:
    """The tensors by name of a PyTorch file; raises ModelError when it holds anything else."""
    state = from_pytorch(path)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]  # saved while training: beside it are the optimizer's state and the epoch
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{path}: expected a dictionary of tensors, found something else; convert it to safetensors")
    return {str(name): tensor for name, tensor in state.items()}


_READERS: dict[str, Callable[[Path], dict[str, Tensor]]] = {
    ".safetensors": from_safetensors, ".bin": _read_pytorch,
    ".pt": _read_pytorch, ".pth": _read_pytorch,
}  # fmt: skip
"""Ending of a weight file -> its reader."""


class Remapped(Mapping[str, Tensor]):
    """Tensors of files for one pass over them: the files are mapped anew now and then, so that read pages leave memory.

    `read` maps them all; it is called again after each `after` bytes of tensors taken. A tensor of an earlier mapping
    stays valid as long as it is referenced.
    """

    def __init__(self, read: Callable[[], Mapping[str, Tensor]], after: int = 1 << 25) -> None:
        self._read, self._after = read, after
        self._tensors, self._given = read(), 0

    def __getitem__(self, name: str) -> Tensor:
        if self._given > self._after:
            self._tensors, self._given = self._read(), 0
        tensor = self._tensors[name]
        self._given += tensor.nbytes
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) over sorted tensor names, dtypes, shapes and bytes; one tensor is in memory at a time."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        flat = tensor.cpu().contiguous().reshape(-1)
        if flat.numel():
            digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def fill(
    module: nn.Module, tensors: Mapping[str, Tensor], dtype: torch.dtype, source: Path | str,
    shown: Callable[[str], str] = str,
) -> None:  # fmt: skip
    """Load the tensors into a module built on the meta device, then freeze it in eval mode; at most one copy is made.

    `shown` is what an error calls a tensor of a name. Raises ModelError as `check_fit` does, and for weights that are
    not finite.
    """
    check_fit(module.state_dict(), tensors, source)
    module.load_state_dict({name: tensor.to(dtype) for name, tensor in tensors.items()}, assign=True)
    state = module.state_dict()
    check_finite({shown(name): tensor for name, tensor in state.items()}, source, "restore the checkpoint")
    _fill_buffers(module)
    module.requires_grad_(False).eval()


def check_fit(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: Path | str) -> None:
    """Raise ModelError listing the first missing, unexpected or misshapen of the tensors that are expected."""
    misshapen = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    problems = [
        *_listed("missing", [name for name in expected if name not in tensors]),
        *_listed("unexpected", [name for name in tensors if name not in expected]),
        *_listed("wrong shape", misshapen),
    ]
    if problems:
        raise ModelError(f"{source}: the weights do not fit the model: {'; '.join(problems)}")


def _listed(what: str, names: Iterable[str]) -> list[str]:
    """How many tensors are `what`, with the names of the first; nothing when there are none."""
    ordered = sorted(names)
    more = f" and {len(ordered) - _LISTED} more" if len(ordered) > _LISTED else ""
    return [f"{len(ordered)} {what}: {', '.join(ordered[:_LISTED])}{more}"] if ordered else []


_BUFFERS: dict[str, Callable[[int], Tensor]] = {
    "position_ids": lambda n: torch.arange(n).unsqueeze(0),
    "token_type_ids": lambda n: torch.zeros((1, n), dtype=torch.long),
}
"""Name of a buffer that checkpoints need not hold -> its values for a number of positions."""


SINUSOIDS = "sinusoids"
"""Name of the buffer of sinusoidal positions, whose module computes it from its shape with `table`."""


def _fill_buffers(module: nn.Module) -> None:
    """Give buffers that are still on the meta device their values, [1, positions], or what their module computes."""
    for name, buffer in list(module.named_buffers()):
        if buffer.is_meta:
            parent, _, leaf = name.rpartition(".")
            holder = module.get_submodule(parent)
            values = holder.table(*buffer.shape) if leaf == SINUSOIDS else _BUFFERS[leaf](buffer.shape[-1])  # type: ignore[operator]
            setattr(holder, leaf, values)


def write_tensors(path: Path, module: nn.Module) -> None:
    """Write the module's state dict as one safetensors file."""
    state = {name: tensor.detach().cpu() for name, tensor in module.state_dict().items()}
    to_safetensors(state, path, {"format": "pt"})


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write one JSON object, sorted and indented."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
