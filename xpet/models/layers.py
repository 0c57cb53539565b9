"""A transformer's layers over packed captions, as fast as the device allows.

Two things cost more here than they do elsewhere. PyTorch's fused attention computes its backward pass slowly on a CPU,
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
FUSED = "sdpa"


def hidden_states(transformer: Any, words: Tensor, positions: Tensor, mask: Tensor, noisy: bool = False) -> Tensor:
    """Last hidden states [lines, length, hidden] of word embeddings of that shape at `positions` [lines, length].

    `mask` is additive, [lines, 1, length, length]. `noisy`: dropouts have noise to draw from.
    """
    kinds = torch.zeros_like(positions)
    hidden: Tensor = transformer.embeddings(inputs_embeds=words, position_ids=positions, token_type_ids=kinds)
    if noisy or _written_out(hidden):  # once for all layers and heads
        mask = mask.expand(-1, transformer.config.num_attention_heads, -1, -1).contiguous()
    usual = transformer.config._attn_implementation == FUSED
    with fast(transformer.config, noisy):
        for layer in transformer.encoder.layer:
            hidden = _through(layer, hidden, mask) if usual and _is_plain(layer) else layer(hidden, mask)
    return hidden


def _is_plain(layer: Any) -> bool:
    """Whether nothing is hung onto a layer or its attention themselves (deltas, hooks, a compiled form)."""
    return all(
        "forward" not in vars(m) and not m._forward_hooks and not m._forward_pre_hooks and m._compiled_call_impl is None
        for m in (layer, layer.attention, layer.attention.self)
    )


def _through(layer: Any, hidden: Tensor, mask: Tensor) -> Tensor:
    """What a plain layer computes: every module that something may hang on is called as transformers does."""
    attention, own = layer.attention, layer.attention.self
    shape = (*hidden.shape[:-1], own.num_attention_heads, own.attention_head_size)
    query, key, value = (part(hidden).view(shape).transpose(1, 2) for part in (own.query, own.key, own.value))
    context, _ = attend(own, query, key, value, mask, own.scaling, own.dropout.p if own.training else 0.0)
    middle = attention.output(context.reshape(hidden.shape), hidden)
    return layer.output(layer.intermediate(middle), middle)  # type: ignore[no-any-return]


def _written_out(hidden: Tensor) -> bool:
    return hidden.device.type == "cpu" and torch.is_grad_enabled()


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float | None = None, dropout: float = 0.0, **kwargs: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Softmax attention of [rows, heads, length, channels] with an additive mask -> [rows, length, heads, channels]."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    own = getattr(module, "dropout", None)
    noisy = dropout > 0 and isinstance(own, Dropout) and own.noise is not None
    if (_written_out(query) or noisy) and attention_mask is not None:
        rows, heads, length, channels = query.shape
        masks = attention_mask.expand(rows, heads, length, length).reshape(-1, length, length)
        queries, keys, values = (part.reshape(-1, length, channels) for part in (query, key, value))
        scores = torch.baddbmm(masks, queries, keys.mT, alpha=scale)
        weights = scores.softmax(dim=-1)
        if noisy:
            weights = own.attention(weights.view(rows, heads, length, length)).view_as(weights)  # type: ignore[union-attr]
        elif dropout > 0:
            weights = functional.dropout(weights, p=dropout)
        out = torch.bmm(weights, values).view(query.shape)
    else:
        out = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scale
        )
    return out.transpose(1, 2), None


@contextmanager
def fast(config: Any, noisy: bool = False) -> Iterator[None]:
    """Let a transformer of this configuration attend so for the time of the block, unless told to do it eagerly.

    With `noisy` dropouts it must: only `attend` knows them.
    """
    from transformers import AttentionInterface

    before = config._attn_implementation
    if before == FUSED or noisy:
        AttentionInterface.register(NAME, attend)
        config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
