"""Reads a SentencePiece unigram model file (a protobuf message) by hand, as no library does it everywhere.

`sentencepiece.SentencePieceProcessor` gives pieces and scores, but not the normaliser's table, which tokenizers needs.
`sentencepiece.sentencepiece_model_pb2` gives both, but refuses every protobuf that is older than the one it was
generated for (7.36.1 in sentencepiece 0.2.3), and sentencepiece itself does not require any. The tests compare this
reader with `SentencePieceProcessor`.

Fields used, from sentencepiece_model.proto: ModelProto.pieces = 1 (piece = 1, score = 2, type = 3) and
ModelProto.normalizer_spec = 3 (precompiled_charsmap = 2, remove_extra_whitespaces = 4).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xpet.core.regular_files import read_bytes

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.normalizers import Normalizer

_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")  # XLM-R's ids 0 to 3; SentencePiece's own first three are dropped
_UNKNOWN, _BYTE = 2, 6
"""Types of a piece: for what is not known; for a byte of a character that is in no piece."""
_MARK = "\u2581"
"""What stands for a space in a piece."""


def read_sentencepiece(path: Path) -> Tokenizer:
    """XLM-R's tokenizer on a SentencePiece unigram model; raises ValueError when the file is not one."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    found = _parse(read_bytes(path))
    if len(found.pieces) <= 3:
        raise ValueError(f"expected sentence pieces, found {len(found.pieces)}")
    vocabulary = [*((mark, 0.0) for mark in _SPECIAL), *found.pieces[3:], ("<mask>", 0.0)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=3))
    if found.charsmap:
        tokenizer.normalizer = normalizers.Precompiled(found.charsmap)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens([*_SPECIAL, "<mask>"])
    return tokenizer


def read_unigram(path: Path, before: Sequence[Normalizer] = ()) -> Tokenizer:
    """The tokenizer of a SentencePiece unigram model in its own numbering, without special tokens around a text.

    `before` is done to a text first. Raises ValueError when the file is not such a model.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers

    found = _parse(read_bytes(path))
    if _UNKNOWN not in found.kinds:
        raise ValueError(f"expected sentence pieces, with one for the unknown, found {len(found.kinds)}")
    tokenizer = Tokenizer(models.Unigram(found.pieces, found.kinds.index(_UNKNOWN), _BYTE in found.kinds))
    steps = [*before, *([normalizers.Precompiled(found.charsmap)] if found.charsmap else [])]
    steps += [normalizers.Prepend(" "), normalizers.Replace(Regex(" +" if found.joins else " "), _MARK)]
    if found.joins:
        steps.append(normalizers.Replace(Regex(f"{_MARK}+$"), ""))
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


@dataclass(frozen=True)
class _Model:
    """What is read of a model.

    Attributes:
        pieces: with their scores, by id.
        kinds: types of the pieces.
        charsmap: the compiled table of the normaliser.
        joins: whether several spaces are one, and spaces around a text none.
    """

    pieces: list[tuple[str, float]]
    kinds: list[int]
    charsmap: bytes
    joins: bool


def _parse(message: bytes) -> _Model:
    pieces, kinds, normaliser = [], [], {}
    for field, value in _fields(message):
        if field == 1:
            parts = dict(_fields(value))
            score = struct.unpack("<f", parts[2])[0] if 2 in parts else 0.0
            pieces.append((parts[1].decode("utf-8"), score))
            kinds.append(_varint(parts[3], 0)[0] if 3 in parts else 1)
        elif field == 3:
            normaliser = dict(_fields(value))
    return _Model(pieces, kinds, normaliser.get(2, b""), normaliser.get(4) != b"\0")


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Field numbers and raw values of a protobuf message."""
    offset = 0
    while offset < len(message):
        key, offset = _varint(message, offset)
        start, wire = offset, key & 7
        if wire == 0:
            _, offset = _varint(message, offset)
        elif wire == 2:
            length, start = _varint(message, offset)
            offset = start + length
        elif wire in (1, 5):
            offset += {1: 8, 5: 4}[wire]
        else:
            raise ValueError(f"unknown wire type {wire}")
        if offset > len(message):
            raise ValueError("the file ends within a field")
        yield key >> 3, message[start:offset]


def _varint(message: bytes, offset: int) -> tuple[int, int]:
    """The number at an offset, and the offset behind it; raises ValueError when the message ends within it."""
    value = shift = 0
    while True:
        if offset >= len(message) or shift > 63:
            raise ValueError("the file ends within a number")
        byte = message[offset]
        value, shift, offset = value | (byte & 127) << shift, shift + 7, offset + 1
        if byte < 128:
            return value, offset
