"""Tiny real Argos packages: a CTranslate2 Transformer whose weights are set by hand to act as a word dictionary.

No training and no torch: one encoder and one decoder layer; word embeddings are one-hot, the decoder's cross-attention
looks at the source position of the step it is at (hard attention over a table of positions), and the projection gives
the translation of the word there. Unknown pieces become `<unk>`, which `replace_unknowns` copies from the source.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy

POSITIONS = 1030  # CTranslate2 reads at most 1,024 source pieces
FREQUENCIES = numpy.array([0.37, 0.61, 0.93, 1.31, 1.77, 2.13, 2.57, 2.89])
SPECIAL = ("<unk>", "<s>", "</s>")
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.,!?'-"
SPACE = "\u2581"

Words = Mapping[str, Sequence[str]]
"""Source words, each with its translations, the best first."""

GERMAN: Words = {
    "ein": ["a"], "eine": ["a"], "der": ["the"], "die": ["the"], "das": ["the"], "Hund": ["dog"], "Katze": ["cat"],
    "Mann": ["man"], "Frau": ["woman"], "rot": ["red"], "blau": ["blue"], "gross": ["big"], "klein": ["small"],
    "und": ["and"], "auf": ["on"], "Tisch": ["table"], "zwei": ["two"], "drei": ["three"], "sieht": ["sees"],
    "steht": ["stands"], "kaputt": ["kaputt", "broken"], "Fahrrad": ["Fahrrad", "bicycle"], "sehr": ["very"],
    "Stern": ["\u661f"],
}  # fmt: skip
JAPANESE: Words = {
    "a": ["\u3072\u3068\u3064\u306e"], "the": ["\u305d\u306e"], "dog": ["\u3044\u306c"], "cat": ["\u306d\u3053"],
    "man": ["\u304a\u3068\u3053"], "red": ["\u3042\u304b\u3044"], "big": ["\u304a\u304a\u304d\u3044"],
    "and": ["\u3068"], "sees": ["\u307f\u308b"],
}  # fmt: skip


def vocabularies(words: Words) -> tuple[list[str], list[str]]:
    """Source and target pieces: the special ones, whole words, single letters."""
    single = [SPACE, *LETTERS]
    source = [*SPECIAL, *(SPACE + word for word in words), *single]
    known = dict.fromkeys(SPACE + word for options in words.values() for word in options)
    return source, [*SPECIAL, *known, *single]


def transformer(words: Words) -> Any:
    """The specification of the dictionary, ready to be saved."""
    from ctranslate2 import specs

    source, target = vocabularies(words)
    places = len(FREQUENCIES) * 4
    width = -(-(len(source) + places) // 8) * 8
    spec = specs.TransformerSpec.from_config(1, 1, no_final_norm=True)
    steps = numpy.arange(POSITIONS)[:, None] * FREQUENCIES
    waves = numpy.concatenate([numpy.sin(steps), numpy.cos(steps)], axis=1)
    table = numpy.zeros((POSITIONS, width), numpy.float32)
    table[:, len(source) : len(source) + places] = numpy.concatenate([waves, -waves], axis=1)  # its mean is zero
    for side, count in ((spec.encoder, len(source)), (spec.decoder, len(target))):
        side.scale_embeddings = False
        side.position_encodings.encodings = table
        embeddings = side.embeddings[0] if isinstance(side.embeddings, list) else side.embeddings
        embeddings.weight = numpy.zeros((count, width), numpy.float32)
    spec.encoder.embeddings[0].weight[:, : len(source)] = numpy.eye(len(source))
    for layer in (*spec.encoder.layer, *spec.decoder.layer):
        _silence(layer, width)
    _look_at_own_step(spec.decoder.layer[0].attention, width, len(source), places)
    spec.decoder.projection.weight = _dictionary(words, source, target, width)
    spec.config.add_source_eos = True
    spec.register_source_vocabulary(source)
    spec.register_target_vocabulary(target)
    spec.validate()
    spec.optimize()
    return spec


def _silence(layer: Any, width: int) -> None:
    """A layer that adds nothing to its input."""
    attention = layer.self_attention
    shapes = [(attention.linear[0], (3 * width, width)), (attention.linear[1], (width, width))]
    shapes += [(layer.ffn.linear_0, (8, width)), (layer.ffn.linear_1, (width, 8))]
    for linear, shape in shapes:
        linear.weight = numpy.zeros(shape, numpy.float32)
        linear.bias = numpy.zeros(shape[0], numpy.float32)
    for norm in (attention.layer_norm, layer.ffn.layer_norm):
        norm.gamma, norm.beta = numpy.ones(width, numpy.float32), numpy.zeros(width, numpy.float32)


def _look_at_own_step(attention: Any, width: int, first: int, places: int) -> None:
    """Queries and keys are positions, values are words."""
    here = numpy.zeros((width, width), numpy.float32)
    here[range(first, first + places), range(first, first + places)] = 1.0
    word = numpy.zeros((width, width), numpy.float32)
    word[range(first), range(first)] = 1.0
    attention.layer_norm.gamma = numpy.ones(width, numpy.float32)
    attention.layer_norm.beta = numpy.zeros(width, numpy.float32)
    weights = (60.0 * here, numpy.concatenate([here, word]), word)
    for linear, weight in zip(attention.linear, weights, strict=True):
        linear.weight, linear.bias = weight, numpy.zeros(len(weight), numpy.float32)


def _dictionary(words: Words, source: list[str], target: list[str], width: int) -> Any:
    """Logits 20, 18, 16 ... for the translations of each piece; letters and special pieces stay as they are."""
    weight = numpy.zeros((len(target), width), numpy.float32)
    for column, piece in enumerate(source):
        options = words.get(piece.removeprefix(SPACE), [])
        for rank, row in enumerate([target.index(SPACE + word) for word in options] or [target.index(piece)]):
            weight[row, column] = 20.0 - 2.0 * rank
    return weight


def _field(number: int, value: bytes | str | int | float) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def sentencepiece(pieces: Sequence[str]) -> bytes:
    """A SentencePiece unigram model: whole words before single letters, no normalisation."""
    message = b""
    for piece in pieces:
        kind = 2 if piece == "<unk>" else 3 if piece in SPECIAL else 1
        score = 0.0 if kind > 1 else -1.0 if len(piece) > 1 else -10.0
        message += _field(1, _field(1, piece) + _field(2, score) + _field(3, kind))
    return message + _field(2, _field(3, 1)) + _field(3, _field(1, "identity"))


def splitter() -> bytes:
    """A MiniSBD model (ONNX) that never splits a line: a Gather over a table of classes."""
    table = numpy.tile(numpy.array([1, 0, 0, 0, 0], numpy.float32), (2, 1))
    tensor = _field(1, 2) + _field(1, 5) + _field(2, 1) + _field(8, "table") + _field(9, table.tobytes())
    node = _field(1, "table") + _field(1, "units") + _field(2, "classes") + _field(4, "Gather")

    def value(name: str, kind: int, last: str) -> bytes:
        axes = [_field(1, _field(2, axis)) for axis in ("batch", "length", last)[: 2 + bool(last)]]
        shape = b"".join(axes)
        return _field(1, name) + _field(2, _field(1, _field(1, kind) + _field(2, shape)))

    graph = _field(1, node) + _field(2, "g") + _field(5, tensor)
    graph += _field(11, value("units", 7, "")) + _field(11, value("features", 1, "f"))
    graph += _field(12, value("classes", 1, "c"))
    facts = {
        "lang_code": "xx", "config": '{"max_seqlen": 1000, "feat_funcs": ["end_of_para"]}',
        "vocab": '{"_unit2id": {"<PAD>": 0, "<UNK>": 1}, "_id2unit": ["<PAD>", "<UNK>"]}',
    }  # fmt: skip
    notes = b"".join(_field(14, _field(1, key) + _field(2, text)) for key, text in facts.items())
    return _field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 13)) + notes


def metadata(source: str, target: str, **changes: Any) -> dict[str, Any]:
    return {
        "package_version": "1.0", "argos_version": "1.11", "from_code": source, "from_name": source.upper(),
        "to_code": target, "to_name": target.upper(), **changes,
    }  # fmt: skip


def files(source: str, target: str, words: Words, folder: Path, **changes: Any) -> dict[str, bytes]:
    """The files of a package by their path inside its folder; `folder` is for scratch files."""
    folder.mkdir(parents=True, exist_ok=True)
    transformer(words).save(str(folder))
    found = {f"model/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())}
    found["metadata.json"] = json.dumps(metadata(source, target, **changes)).encode()
    found["sentencepiece.model"] = sentencepiece(vocabularies(words)[0])
    found[f"minisbd/{source}.onnx"] = splitter()
    found["README.md"] = b"A word dictionary for tests.\n"
    return found


def archive(path: Path, top: str, members: Mapping[str, bytes]) -> Path:
    """An .argosmodel file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in members.items():
            target.writestr(zipfile.ZipInfo(f"{top}/{name}" if top else name), data, zipfile.ZIP_DEFLATED)
    return path


def unpack(folder: Path, top: str, members: Mapping[str, bytes]) -> Path:
    """A package as if it were installed."""
    for name, data in members.items():
        path = folder / top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder / top


def zipped(data: bytes) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(data))
