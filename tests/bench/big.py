"""An Argos package as large as the real ones, with random weights, whose translations are as long as their sources.

6+6 layers, width 512, feed-forward 2048, 8 heads, 32,000 joint pieces, int8. Random weights alone would end a
translation at once or never; so the length is wired in: 32 of the 512 dimensions hold the position and no layer writes
to them, one attention head of the decoder looks at the source position of the step it is at (as in the toy package),
and what it finds there decides between `</s>` and any other piece. All other work is that of a real package.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy

from tests.translation import toy

LAYERS, WIDTH, INNER, HEADS = 6, 512, 2048, 8
PLACES = 32  # dimensions of the position
END, STOP = PLACES, PLACES + 1  # dimensions: "this source piece is </s>" and "the translation ends here"
FIXED = PLACES + 2  # dimensions no random weight writes to
HEAD = WIDTH // HEADS


def words(count: int, seed: int = 0) -> list[str]:
    """Distinct made-up words of two to four syllables, the short ones first."""
    rng = random.Random(seed)
    syllables = [a + b for a in "bdfgklmnprstvw" for b in ("a", "e", "i", "o", "u", "an", "er", "is", "ol")]
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(rng.choices(syllables, k=2 + (len(found) > count // 3) + (len(found) > count * 2 // 3)))] = None
    return list(found)


def captions(count: int, vocabulary: list[str], seed: int = 1) -> list[str]:
    """Made-up captions: 5 to 22 words (mean about 11), frequent words first, one word in ten unknown to the model."""
    rng = random.Random(seed)
    unknown = words(2000, seed=99)

    def word() -> str:
        if rng.random() < 0.1:
            return rng.choice(unknown)
        return vocabulary[min(int(rng.paretovariate(0.6)) - 1, len(vocabulary) - 1)]

    return [" ".join(word() for _ in range(min(22, 5 + int(rng.gammavariate(3.0, 2.2))))) + "." for _ in range(count)]


def files(source: str, target: str, folder: Path, pieces: int = 32_000, layers: int = LAYERS) -> dict[str, bytes]:
    """The files of the package by their path inside its folder; `folder` is a scratch place."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = [*toy.SPECIAL, toy.SPACE, *toy.LETTERS]
    vocabulary += [toy.SPACE + word for word in words(pieces - len(vocabulary))]
    transformer(vocabulary, layers).save(str(folder))
    found = {f"model/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())}
    found["metadata.json"] = json.dumps(toy.metadata(source, target)).encode()
    found["sentencepiece.model"] = toy.sentencepiece(vocabulary)
    found[f"minisbd/{source}.onnx"] = toy.splitter()
    return found


def transformer(vocabulary: list[str], layers: int = LAYERS) -> Any:
    """The specification, ready to be saved."""
    from ctranslate2 import specs

    rng = numpy.random.default_rng(0)
    spec = specs.TransformerSpec.from_config(layers, HEADS)
    table = _positions()
    for side in (spec.encoder, spec.decoder):
        side.scale_embeddings = False
        side.position_encodings.encodings = table
        _norm(side.layer_norm)
        embeddings = side.embeddings[0] if isinstance(side.embeddings, list) else side.embeddings
        embeddings.weight = rng.standard_normal((len(vocabulary), WIDTH), numpy.float32)
        embeddings.weight[:, :FIXED] = 0.0
        embeddings.weight[vocabulary.index("</s>"), END] = 8.0
        for layer in side.layer:
            _random_attention(rng, layer.self_attention, 3)
            _random_linear(rng, layer.ffn.linear_0, INNER, WIDTH)
            _random_linear(rng, layer.ffn.linear_1, WIDTH, INNER, fixed=FIXED)
            _norm(layer.ffn.layer_norm)
    for layer in spec.decoder.layer:
        _random_attention(rng, layer.attention, 2)
    _find_the_end(spec.decoder.layer[0].attention)
    spec.decoder.projection.weight = rng.standard_normal((len(vocabulary), WIDTH), numpy.float32)
    spec.decoder.projection.weight[:, STOP] = 0.0
    spec.decoder.projection.bias = numpy.zeros(len(vocabulary), numpy.float32)
    _decide_the_end(spec.decoder.projection, vocabulary)
    spec.config.add_source_eos = True
    spec.register_source_vocabulary(vocabulary)
    spec.register_target_vocabulary(vocabulary)
    spec.validate()
    spec.optimize(quantization="int8")
    return spec


def _positions() -> Any:
    steps = numpy.arange(toy.POSITIONS)[:, None] * toy.FREQUENCIES
    waves = numpy.concatenate([numpy.sin(steps), numpy.cos(steps)], axis=1)
    table = numpy.zeros((toy.POSITIONS, WIDTH), numpy.float32)
    table[:, :PLACES] = 3.0 * numpy.concatenate([waves, -waves], axis=1)
    return table


def _norm(norm: Any) -> None:
    norm.gamma, norm.beta = numpy.ones(WIDTH, numpy.float32), numpy.zeros(WIDTH, numpy.float32)


def _random_linear(rng: Any, linear: Any, rows: int, columns: int, fixed: int = 0) -> None:
    linear.weight = rng.standard_normal((rows, columns), numpy.float32) * (0.5 / columns**0.5)
    linear.weight[:fixed] = 0.0
    linear.bias = numpy.zeros(rows, numpy.float32)


def _random_attention(rng: Any, attention: Any, count: int) -> None:
    """Queries, keys and values in one matrix (3) or queries apart from keys and values (2), and the output."""
    for linear, rows in zip(attention.linear, (3 * WIDTH,) if count == 3 else (WIDTH, 2 * WIDTH), strict=False):
        _random_linear(rng, linear, rows, WIDTH)
    _random_linear(rng, attention.linear[-1], WIDTH, WIDTH, fixed=FIXED)
    _norm(attention.layer_norm)


def _find_the_end(attention: Any) -> None:
    """The first head: queries and keys are positions, the value is END, and it is written to STOP."""
    queries, both, output = attention.linear
    for linear, scale in ((queries, 30.0), (both, 1.0)):
        linear.weight[:HEAD] = 0.0
        linear.weight[range(PLACES), range(PLACES)] = scale
    both.weight[WIDTH : WIDTH + HEAD] = 0.0
    both.weight[WIDTH, END] = 1.0
    output.weight[:, :HEAD] = 0.0
    output.weight[STOP, 0] = 4.0


def _decide_the_end(projection: Any, vocabulary: list[str]) -> None:
    """Before the end `</s>` is out of reach, at the end all else is; the other special pieces always are."""
    for piece in toy.SPECIAL:
        row = vocabulary.index(piece)
        projection.weight[row] = 0.0
        projection.bias[row] = -1000.0
    projection.weight[vocabulary.index("</s>"), STOP] = 1000.0
