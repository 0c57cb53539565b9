"""Attention and layers of a transformer over packed captions, as fast as the device allows.

Two things are slow in packed training. PyTorch's fused attention computes its backward pass slowly on a CPU,
in bf16 many times slower than the products written out; without a backward pass, and on a GPU, the fused one is the
faster. And with a few captions a step, what transformers does around its layers (masks, records of outputs, signatures
looked up) takes as long as a layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from xpet.models.dropout import Dropout

NAME = "xpet_packed"
"""Name that `attend` has among transformers' implementations of attention."""
FUSED = "sdpa"
"""transformers' name of PyTorch's fused attention, which `attend` stands in for."""


def hidden_states(transformer: Any, words: Tensor, positions: Tensor, mask: Tensor, hashed: bool = False) -> Tensor:
    """Last hidden states [lines, length, hidden] of word embeddings of that shape at `positions` [lines, length].

    `mask` is additive, [lines, 1, length, length]. `hashed`: dropouts draw from `xpet.core.dropout_bits`.
    """
    kinds = torch.zeros_like(positions)
    hidden: Tensor = transformer.embeddings(inputs_embeds=words, position_ids=positions, token_type_ids=kinds)
    if hashed or _written_out(hidden):  # once for all layers and heads
        mask = mask.expand(-1, transformer.config.num_attention_heads, -1, -1).contiguous()
    is_fused = transformer.config._attn_implementation == FUSED
    with fast(transformer.config, hashed):
        for layer in transformer.encoder.layer:
            hidden = _layer(layer, hidden, mask) if is_fused and _is_plain(layer) else layer(hidden, mask)
    return hidden


def _is_plain(layer: Any) -> bool:
    """Whether a layer and its attention are as transformers made them: no delta, hook or compiled form of their own."""
    return all(
        "forward" not in vars(m) and not m._forward_hooks and not m._forward_pre_hooks and m._compiled_call_impl is None
        for m in (layer, layer.attention, layer.attention.self)
    )


def _layer(layer: Any, hidden: Tensor, mask: Tensor) -> Tensor:
    """Hidden states [lines, length, hidden] after a plain layer; calls every module that may have a delta."""
    attention, inner = layer.attention, layer.attention.self
    shape = (*hidden.shape[:-1], inner.num_attention_heads, inner.attention_head_size)
    query, key, value = (part(hidden).view(shape).transpose(1, 2) for part in (inner.query, inner.key, inner.value))
    context, _ = attend(inner, query, key, value, mask, inner.scaling, inner.dropout.p if inner.training else 0.0)
    middle = attention.output(context.reshape(hidden.shape), hidden)
    return layer.output(layer.intermediate(middle), middle)  # type: ignore[no-any-return]


def _written_out(hidden: Tensor) -> bool:
    """Whether attention is computed by plain products: on a CPU with a backward pass to come."""
    return hidden.device.type == "cpu" and torch.is_grad_enabled()


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float | None = None, dropout: float = 0.0, **kwargs: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Softmax attention with an additive mask [rows, 1 or heads, length, length], in transformers' signature.

    Query, key, value are [rows, heads, length, channels]; the first value returned is [rows, length, heads, channels].
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    site = getattr(module, "dropout", None)
    hashed = dropout > 0 and isinstance(site, Dropout) and site.bits is not None
    if (_written_out(query) or hashed) and attention_mask is not None:
        rows, heads, length, channels = query.shape
        masks = attention_mask.expand(rows, heads, length, length).reshape(-1, length, length)
        queries, keys, values = (part.reshape(-1, length, channels) for part in (query, key, value))
        scores = torch.baddbmm(masks, queries, keys.mT, alpha=scale)
        weights = scores.softmax(dim=-1)
        if hashed:
            weights = site.attention(weights.view(rows, heads, length, length)).view_as(weights)  # type: ignore[union-attr]
        elif dropout > 0:
            weights = functional.dropout(weights, p=dropout)
        out = torch.bmm(weights, values).view(query.shape)
    else:
        out = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scale
        )
    return out.transpose(1, 2), None


@contextmanager
def fast(config: Any, hashed: bool = False) -> Iterator[None]:
    """Let a transformer of this configuration use `attend` for the time of the block, unless it is set to eager.

    With `hashed` dropout it must: only `attend` knows it.
    """
    from transformers import AttentionInterface

    before = config._attn_implementation
    if before == FUSED or hashed:
        AttentionInterface.register(NAME, attend)
        config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
