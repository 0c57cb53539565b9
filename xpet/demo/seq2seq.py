"""A tiny sequence-to-sequence Transformer for the demo's translation packages: trained in torch, run by CTranslate2.

Called by `xpet.demo.build`; nothing here runs in normal use. Pre-norm layers, sinusoidal positions and one table of
embeddings for source, target and projection, in the shape of `ctranslate2.specs.TransformerSpec`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from xpet.demo import world
from xpet.demo.gradient_step import gradient_step

START, END = 1, 2  # 0 is the unknown piece
SPECIAL = ("<unk>", "<s>", "</s>")
IGNORED = -100
END_HANDICAP = 3.0
"""Added to the logit of the sentence's end in training only. A model this sure of itself ranks the end high among what
it thinks wrong; beam search would collect cut-off sentences and stop before the whole one is complete.
"""
Pair = tuple[list[int], list[int]]
"""Piece ids of a sentence and of its translation, without start and end."""


class Seq2Seq(nn.Module):
    """Encoder and decoder of `world.TRANSLATOR`'s size over one vocabulary of `pieces`."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        size = world.TRANSLATOR
        width, heads, inner = size["width"], size["heads"], size["inner"]
        options: dict[str, Any] = {"dropout": 0.0, "batch_first": True, "norm_first": True}
        self.width = width
        self.embeddings = nn.Embedding(pieces, width)
        self.encoder = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, inner, **options) for _ in range(size["encoder_layers"])
        )
        self.decoder = nn.ModuleList(
            nn.TransformerDecoderLayer(width, heads, inner, **options) for _ in range(size["decoder_layers"])
        )
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        nn.init.normal_(self.embeddings.weight, std=width**-0.5)
        self.register_buffer("positions", sinusoids(512, width), persistent=False)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Logits [rows, target length, pieces] of source ids and shifted target ids; END pads both."""
        padding = _padding(source)
        encoded = self._embed(source)
        for layer in self.encoder:
            encoded = layer(encoded, src_key_padding_mask=padding)
        memory = self.encoder_norm(encoded)
        decoded = self._embed(target)
        future = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        for layer in self.decoder:
            decoded = layer(decoded, memory, tgt_mask=future, tgt_is_causal=True, memory_key_padding_mask=padding)
        return functional.linear(self.decoder_norm(decoded), self.embeddings.weight)

    def _embed(self, ids: Tensor) -> Tensor:
        positions = self.positions[: ids.shape[1]]  # type: ignore[index]
        return self.embeddings(ids) * math.sqrt(self.width) + positions


def _padding(source: Tensor) -> Tensor:
    """True behind the first END of each row: bool, the shape of the ids."""
    end = source == END
    return end.cumsum(1) > end.long()


def sinusoids(count: int, width: int) -> Tensor:
    """CTranslate2's own position encodings [count, width]: sines, then cosines; the first position is 1."""
    half = width // 2
    rates = torch.exp(torch.arange(half) * -(math.log(10000.0) / (half - 1)))
    angles = torch.arange(1, count + 1)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def train(
    pairs: Callable[[random.Random], Iterator[Pair]], pieces: int, steps: int, seed: int, log: Callable[[str], None]
) -> Seq2Seq:
    """A model trained on an endless stream of pairs; the same seed and thread count give the same weights.

    `pieces` is the size of the vocabulary, `steps` the updates; `log` gets a line every 100 steps.
    """
    torch.manual_seed(seed)
    size = world.TRANSLATOR
    model = Seq2Seq(pieces)
    warm_up = steps // 10
    optimiser = torch.optim.AdamW(model.parameters(), lr=size["learning_rate"], betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warm_up, 0.5 * (1 + math.cos(math.pi * step / steps)) + 0.01)
    )
    handicap = torch.zeros(pieces).index_fill(0, torch.tensor(END), END_HANDICAP)
    stream = batches(pairs(random.Random(seed)), size["batch"])
    for step in range(steps):
        source, target = next(stream)
        logits = model(source, target[:, :-1]) + handicap
        labels = target[:, 1:].masked_fill(_padding(target)[:, 1:], IGNORED)
        loss = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
        gradient_step(loss, model.parameters(), optimiser, schedule)
        if step % 100 == 0 or step == steps - 1:
            log(f"step {step} loss {loss.item():.4f}")
    return model.eval()


def batches(pairs: Iterator[Pair], rows: int, pool: int = 8) -> Iterator[tuple[Tensor, Tensor]]:
    """Source [rows, length] ending in END and target [rows, length] from START to END, of similar lengths."""
    while True:
        drawn = sorted((next(pairs) for _ in range(rows * pool)), key=lambda pair: (len(pair[0]), len(pair[1])))
        starts = list(range(0, len(drawn), rows))
        random.Random(len(drawn[0][0])).shuffle(starts)
        for start in starts:
            part = drawn[start : start + rows]
            yield _padded([[*s, END] for s, _ in part]), _padded([[START, *t, END] for _, t in part])


def _padded(rows: Sequence[list[int]]) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [END] * (longest - len(row)) for row in rows])


def save(model: Seq2Seq, vocabulary: Sequence[str], folder: Path) -> None:
    """Write the model as CTranslate2 reads it, 8-bit weights."""
    from ctranslate2 import specs

    size = world.TRANSLATOR
    spec = specs.TransformerSpec.from_config((size["encoder_layers"], size["decoder_layers"]), size["heads"])
    for side, layers, norm in (
        (spec.encoder, model.encoder, model.encoder_norm), (spec.decoder, model.decoder, model.decoder_norm),
    ):  # fmt: skip
        embeddings = side.embeddings[0] if isinstance(side.embeddings, list) else side.embeddings
        embeddings.weight = _array(model.embeddings.weight)
        _norm(side.layer_norm, norm)
        for layer_spec, layer in zip(side.layer, layers, strict=True):
            _layer(layer_spec, layer)
    spec.decoder.projection.weight = _array(model.embeddings.weight)
    spec.config.add_source_eos = True
    spec.register_source_vocabulary(list(vocabulary))
    spec.register_target_vocabulary(list(vocabulary))
    spec.validate()
    spec.optimize(quantization="int8")
    folder.mkdir(parents=True)
    spec.save(str(folder))


def _layer(spec: Any, layer: Any) -> None:
    _attention(spec.self_attention, layer.self_attn, layer.norm1)
    last = layer.norm2
    if hasattr(layer, "multihead_attn"):
        _cross_attention(spec.attention, layer.multihead_attn, layer.norm2)
        last = layer.norm3
    _norm(spec.ffn.layer_norm, last)
    _linear(spec.ffn.linear_0, layer.linear1.weight, layer.linear1.bias)
    _linear(spec.ffn.linear_1, layer.linear2.weight, layer.linear2.bias)


def _attention(spec: Any, attention: nn.MultiheadAttention, norm: nn.LayerNorm) -> None:
    _norm(spec.layer_norm, norm)
    _linear(spec.linear[0], attention.in_proj_weight, attention.in_proj_bias)
    _linear(spec.linear[1], attention.out_proj.weight, attention.out_proj.bias)


def _cross_attention(spec: Any, attention: nn.MultiheadAttention, norm: nn.LayerNorm) -> None:
    width = attention.embed_dim
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    assert weight is not None
    assert bias is not None
    _norm(spec.layer_norm, norm)
    _linear(spec.linear[0], weight[:width], bias[:width])
    _linear(spec.linear[1], weight[width:], bias[width:])
    _linear(spec.linear[2], attention.out_proj.weight, attention.out_proj.bias)


def _norm(spec: Any, norm: nn.LayerNorm) -> None:
    spec.gamma, spec.beta = _array(norm.weight), _array(norm.bias)


def _linear(spec: Any, weight: Tensor | None, bias: Tensor | None) -> None:
    assert weight is not None
    assert bias is not None
    spec.weight, spec.bias = _array(weight), _array(bias)


def _array(tensor: Tensor) -> Any:
    return tensor.detach().float().numpy().copy()  # quantising works in spec
