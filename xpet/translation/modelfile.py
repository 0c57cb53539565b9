"""Reads the table of contents of a CTranslate2 `model.bin` and its vocabularies, without loading the model.

Layout (ctranslate2/specs/model_spec.py, `_serialize`): version, name, revision, variables (name, shape, type, bytes),
aliases. Everything is little-endian; strings have a 16-bit length and end with a NUL.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from xpet.core.errors import ModelError
from xpet.core.json_files import parsed
from xpet.core.regular_files import open_regular, read_bytes

VERSIONS = range(2, 8)
MAX_VARIABLES = 20_000
MAX_VOCABULARY = 64 << 20  # bytes
EMBEDDINGS = {
    "source": ("encoder/embeddings_0/weight", "encoder/embeddings/weight"),
    "target": ("decoder/projection/weight", "decoder/embeddings/weight"),
}
"""Variables whose first dimension is the size of the vocabulary, by side; the first that exists counts."""


def check_model(folder: Path) -> dict[str, list[str]]:
    """The `source` and `target` vocabulary of a model folder, whose lengths are those of the model's embeddings.

    Raises:
        ModelError: the file is damaged or cut short, or a vocabulary is missing or does not fit.
    """
    try:
        rows = _rows(folder / "model.bin")
    except (OSError, struct.error, ValueError) as error:
        raise ModelError(f"{folder / 'model.bin'}: expected a CTranslate2 model, found {error}") from error
    vocabularies = {}
    for side, names in EMBEDDINGS.items():
        tokens = _vocabulary(folder, side)
        counts = [rows[name] for name in names if name in rows]
        if not counts:
            raise ModelError(f"{folder / 'model.bin'}: expected a translation model, found no {side} embeddings")
        if counts[0] != len(tokens):
            raise ModelError(
                f"{folder}: expected a {side} vocabulary of {counts[0]} pieces as the model has, found {len(tokens)}"
            )
        vocabularies[side] = tokens
    return vocabularies


def _rows(path: Path) -> dict[str, int]:
    """The first dimension of every variable by name, aliases included."""
    size = path.stat().st_size
    with open_regular(path) as file:
        version = _number(file, "<I")
        if version not in VERSIONS:
            raise ValueError(f"format version {version}")
        _text(file)
        _number(file, "<I")
        rows = dict(_variable(file, version, size) for _ in range(_count(file)))
        if version >= 3:
            aliases = [(_text(file), _text(file)) for _ in range(_count(file))]
            rows |= {alias: rows[name] for alias, name in aliases if name in rows}
        if file.read(1):
            raise ValueError("bytes after its end")
    return rows


def _variable(file: BinaryIO, version: int, size: int) -> tuple[str, int]:
    """Name and first dimension of the next variable, whose data is skipped; `size` is the file's, in bytes."""
    name = _text(file)
    shape = [_number(file, "<I") for _ in range(_number(file, "B"))]
    width = _number(file, "B")
    length = _number(file, "<I") * (1 if version >= 4 else width)
    if file.tell() + length > size:
        raise ValueError("a file that ends too early")
    file.seek(length, 1)
    return name, shape[0] if shape else 1


def _count(file: BinaryIO) -> int:
    count = _number(file, "<I")
    if count > MAX_VARIABLES:
        raise ValueError(f"{count} variables")
    return count


def _number(file: BinaryIO, form: str) -> int:
    data = file.read(struct.calcsize(form))
    if len(data) < struct.calcsize(form):
        raise ValueError("a file that ends too early")
    number: int = struct.unpack(form, data)[0]
    return number


def _text(file: BinaryIO) -> str:
    length = _number(file, "<H")
    data = file.read(length)
    if len(data) < length or not data.endswith(b"\0"):
        raise ValueError("a file that ends too early")
    return data[:-1].decode("utf-8")


def _vocabulary(folder: Path, side: str) -> list[str]:
    for stem in (f"{side}_vocabulary", "shared_vocabulary"):
        for ending in (".json", ".txt"):
            path = folder / (stem + ending)
            if path.is_file():
                return _tokens(path)
    raise ModelError(f"{folder}: expected {side}_vocabulary or shared_vocabulary (.json, .txt), found none")


def _tokens(path: Path) -> list[str]:
    try:
        if path.stat().st_size > MAX_VOCABULARY:
            raise ValueError(f"more than {MAX_VOCABULARY} bytes")
        text = read_bytes(path).decode("utf-8")
        if path.suffix == ".txt":
            return text.removesuffix("\n").split("\n")
        tokens = parsed(text)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: expected a readable vocabulary, found {error}") from error
    if not (isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)):
        raise ModelError(f"{path}: expected a list of pieces, found something else")
    return tokens
