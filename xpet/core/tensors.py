"""Files of tensors made by anybody: read without unpickling anything but tensors, and checked for sound numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpet.core.errors import ModelError, one_line
from xpet.core.json_files import parsed
from xpet.core.regular_files import check_regular, open_regular

if TYPE_CHECKING:
    from torch import Tensor

BUFFERS = ("position_ids", "token_type_ids")
"""Endings of names of buffers that older transformers releases saved; they are ignored."""
TOKEN_IDS = (".tokens",)
"""Endings of names of tensors that hold token ids: those an embedding delta has rows for."""
ROWS = (".tokens", ".delta_A")
"""Endings of names of tensors with a row per token, of which there may be none."""
MOST_HEADER = 100_000_000
"""Bytes of a header at most, the limit of the safetensors format."""
BLOCK = 1 << 15
"""Numbers checked at a time: so few that torch uses one thread; several would wait for each other's page reads."""
BYTES = b"bytearray"
"""How a pickle names the one thing without a limit that torch would make of it."""
SHOWN = 80
"""Characters of another library's error that are shown."""


def from_safetensors(path: Path, remedy: str = "fetch it again") -> dict[str, Tensor]:
    """Tensors by name of a safetensors file, memory-mapped: nothing is read yet; raises ModelError if it is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        check_regular(path)
        tensors: dict[str, Tensor] = load_file(path)
        return tensors
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"cannot read {path}: damaged or truncated ({one_line(error, SHOWN, first_only=True)}); {remedy}"
        ) from None


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; raises OSError, ValueError for other files."""
    with open_regular(path) as file:
        size = int.from_bytes(file.read(8), "little")
        if not 0 < size <= min(MOST_HEADER, path.stat().st_size):
            raise ValueError("no safetensors file")
        header = parsed(file.read(size))
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else {}
    if not isinstance(metadata, dict):
        raise ValueError("no metadata")
    return metadata


def to_safetensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write tensors on the CPU by name, in safetensors; raises OSError, SafetensorError.

    The file gets the permissions of any new file; safetensors by itself would let only its owner read it.
    """
    from safetensors.torch import save_file

    path.touch()
    mode = path.stat().st_mode
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=metadata)
    path.chmod(mode)


def from_pytorch(path: Path, remedy: str = "fetch it again or convert it to safetensors") -> Any:
    """Load a PyTorch file, memory-mapped where possible; nothing but tensors and plain containers is unpickled.

    One class more is let through: `typing.OrderedDict`, which the paper's published code fills with a state dict, and
    which does nothing but name its kind. Raises ModelError for what is damaged or holds anything else.
    """
    import typing
    import zipfile

    import torch

    try:
        check_regular(path)
        _check_no_bomb(path)
        with torch.serialization.safe_globals([typing.OrderedDict]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a damaged file fails in many ways
        raise ModelError(
            f"cannot read {path}: damaged, truncated, or it holds other things than tensors, and nothing in it was run "
            f"({one_line(error, SHOWN, first_only=True)}); {remedy}"
        ) from None


def _check_no_bomb(path: Path) -> None:
    """Raise ValueError, or what zipfile raises, for a file that would take far more memory than it has bytes.

    torch compresses nothing. A bytearray of any length is all but tensors that its weights_only lets a file make.
    """
    import mmap
    import zipfile

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if any(each.compress_type or each.file_size != each.compress_size for each in members):
                raise ValueError("compressed members")
            found = any(BYTES in archive.read(each) for each in members if each.filename.endswith(".pkl"))
    else:
        with open_regular(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = content.find(BYTES) >= 0
    if found:
        raise ValueError("a bytearray")


def tensor_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Size of the tensors' numbers in bytes."""
    return sum(value.numel() * value.element_size() for value in tensors.values())


def crc32_of(tensor: Tensor, code: int = 0) -> int:
    """CRC-32 of the bytes of a tensor of any shape; `code` is that of what comes before it."""
    import zlib

    import torch

    values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return zlib.crc32(values.numpy(), code)  # type: ignore[arg-type]


def check_kinds(tensors: Mapping[str, Tensor], source: Path | str) -> None:
    """Raise ModelError unless all are dense floating-point tensors (token ids: int64), and none is empty.

    Looks at types and shapes only. 8-bit numbers are refused: they mean nothing without scales, which every tool keeps
    elsewhere. Tensors that repeat few stored numbers are refused: a small file could fill any memory. Empty tensors
    are what DeepSpeed's ZeRO-3 saves of parameters that it has distributed.
    """
    for name, value in tensors.items():
        if name.endswith(BUFFERS):
            continue
        is_token_ids, kind = name.endswith(TOKEN_IDS), str(value.dtype).removeprefix("torch.")
        layout = str(value.layout).removeprefix("torch.")
        if layout != "strided" or value.is_quantized or value.device.type != "cpu":
            raise ModelError(
                f"{source}: expected plain tensors, found {name} ({value.device.type}, {layout}, {kind}); save the "
                "model dense, in float32"
            )
        if kind != "int64" if is_token_ids else not value.is_floating_point() or value.element_size() < 2:
            expected = "int64" if is_token_ids else "weights of floating point"
            raise ModelError(f"{source}: expected {expected}, found {kind} in {name}; save the model in float32")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ModelError(f"{source}: expected a number stored for each weight, found fewer in {name}; save a copy")
    empty = [name for name, value in tensors.items() if not value.numel() and not name.endswith((*BUFFERS, *ROWS))]
    if empty:
        raise ModelError(
            f"{source}: expected weights, found {len(empty)} empty tensors ({min(empty)}), as DeepSpeed ZeRO-3 saves "
            "them; gather the parameters (zero_to_fp32.py, or stage3_gather_16bit_weights_on_model_save) and save again"
        )


def check_finite(tensors: Mapping[str, Tensor], source: Path | str, remedy: str = "restore the file") -> None:
    """Raise ModelError naming the first tensor with NaN, infinity or a number too large for float32; reads them all."""
    import torch

    largest = torch.finfo(torch.float32).max
    for name, value in tensors.items():
        if not value.is_floating_point():
            continue
        for block in value.detach().reshape(-1).split(BLOCK):
            if not block.numel():
                continue
            low, high = (float(bound) for bound in block.aminmax())
            if not math.isfinite(low) or not math.isfinite(high):
                raise ModelError(f"{source}: expected finite weights, found NaN or infinity in {name}; {remedy}")
            if max(-low, high) > largest:
                raise ModelError(
                    f"{source}: expected finite weights, found more than float32 holds in {name}; {remedy}"
                )
