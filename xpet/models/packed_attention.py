"""Attention and layers of a transformer over packed captions, as fast as the device allows.

Two things are slow in packed training. PyTorch's fused attention computes its backward pass slowly on a CPU,
in bf16 many times slower than the products written out; without a backward pass, and on a GPU, the fused one is the
faster. And with a few captions a step, what transformers does around its layers (masks, records of outputs, signatures
looked up) takes as long as a layer. A GPU with a kernel for it (see `varlen_attention`) attends to every caption as to
a sequence of its own, and no mask of whole lines is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from xpet.core.caption_packing import PackedBatch, Sequences
from xpet.core.kernels.feed_forward import feed_forward
from xpet.core.kernels.residual_norm import norm_of_sum
from xpet.models.dropout import Dropout
from xpet.models.varlen_attention import kernel_for, products

NAME = "xpet_packed"
"""Name that `attend` has among transformers' implementations of attention."""
EXACT_GELU = "GELUActivation"
"""transformers' class of GELU without an approximation."""
FUSED = "sdpa"
"""transformers' name of PyTorch's fused attention, which `attend` stands in for."""


def takes_sequences(transformer: Any, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a transformer in evaluation mode can attend to captions as to sequences, in `dtype` on this device."""
    config = transformer.config
    channels = config.hidden_size // config.num_attention_heads
    return config._attn_implementation == FUSED and kernel_for(device, dtype, channels, _causal(config)) is not None


def visible(transformer: Any, batch: PackedBatch, words: Tensor) -> Tensor | Sequences:
    """What the tokens of packed captions see, for `hidden_states` of word embeddings [lines, length, hidden].

    The sequences where a kernel takes them, which drops nothing out; else the additive mask [lines, 1, length, length].
    Where the configuration says `is_causal`, a token does not see those after it.
    """
    kind, causal = words.device.type, _causal(transformer.config)
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else words.dtype
    sequences = batch.sequences(causal)
    if sequences is None or transformer.training or not takes_sequences(transformer, words.device, dtype):
        return batch.mask(words.dtype, causal)
    return sequences


def _causal(config: Any) -> bool:
    return bool(getattr(config, "is_causal", False))


def hidden_states(
    transformer: Any, words: Tensor, positions: Tensor, mask: Tensor | Sequences, hashed: bool = False
) -> Tensor:
    """Last hidden states [lines, length, hidden] of word embeddings of that shape at `positions` [lines, length].

    `mask` is additive, [lines, 1, length, length], or the sequences of all tokens (see `visible`). `hashed`: dropouts
    draw from `xpet.core.dropout_bits`.
    """
    kinds = torch.zeros_like(positions)
    hidden: Tensor = transformer.embeddings(inputs_embeds=words, position_ids=positions, token_type_ids=kinds)
    if isinstance(mask, Tensor) and (hashed or _written_out(hidden)):  # once for all layers and heads
        mask = mask.expand(-1, transformer.config.num_attention_heads, -1, -1).contiguous()
    is_fused = transformer.config._attn_implementation == FUSED
    with fast(transformer.config, hashed):
        for layer in transformer.encoder.layer:
            hidden = _layer(layer, hidden, mask) if is_fused and _is_plain(layer) else layer(hidden, mask)
    final = getattr(transformer, "output", None)  # pre-norm layers leave a last LayerNorm to be done
    return hidden if final is None else final(hidden)


def _is_plain(layer: Any) -> bool:
    """Whether a layer and its attention are as transformers made them: no delta, hook or compiled form of their own.

    A pre-norm layer is called as it is.
    """
    return not hasattr(layer, "is_lean") and all(
        "forward" not in vars(m) and not m._forward_hooks and not m._forward_pre_hooks and m._compiled_call_impl is None
        for m in (
            layer,
            layer.attention,
            layer.attention.self,
            layer.attention.output,
            layer.intermediate,
            layer.output,
        )
    )


def _layer(layer: Any, hidden: Tensor, mask: Tensor | Sequences) -> Tensor:
    """Hidden states [lines, length, hidden] after a plain layer; calls every module that may have a delta."""
    attention, inner = layer.attention, layer.attention.self
    shape = (*hidden.shape[:-1], inner.num_attention_heads, inner.attention_head_size)
    query, key, value = (part(hidden).view(shape).transpose(1, 2) for part in (inner.query, inner.key, inner.value))
    context, _ = attend(inner, query, key, value, mask, inner.scaling, inner.dropout.p if inner.training else 0.0)
    middle = _with_residual(attention.output, attention.output.dense(context.reshape(hidden.shape)), hidden)
    return _with_residual(layer.output, _feed_forward(layer, middle), middle)


def _with_residual(half: Any, output: Tensor, residual: Tensor) -> Tensor:
    """What follows the last product of half a layer [lines, length, hidden]: dropout, residual and LayerNorm."""
    norm, dropped = half.LayerNorm, half.dropout(output)
    if type(norm) is nn.LayerNorm:
        return norm_of_sum(dropped, residual, norm.weight.unsqueeze(0), norm.bias.unsqueeze(0), norm.eps)
    return norm.of_sum(dropped, residual) if hasattr(norm, "of_sum") else norm(dropped + residual)


def _feed_forward(layer: Any, middle: Tensor) -> Tensor:
    """Hidden states [lines, length, hidden] after both products of the feed-forward; as one where both are plain."""
    first, second, act = layer.intermediate.dense, layer.output.dense, layer.intermediate.intermediate_act_fn
    if type(act).__name__ == EXACT_GELU and _is_frozen(first) and _is_frozen(second):
        return feed_forward(middle, first.weight, first.bias, second.weight, second.bias)
    return second(layer.intermediate(middle))  # type: ignore[no-any-return]


def _is_frozen(module: Any) -> bool:
    """Whether a module is a linear layer with a bias, of which nothing is trained and in which nothing hangs."""
    is_linear = type(module) is nn.Linear and module.bias is not None and "forward" not in vars(module)
    return is_linear and not (module.weight.requires_grad or module.bias.requires_grad)


def _written_out(hidden: Tensor) -> bool:
    """Whether attention is computed by plain products: on a CPU with a backward pass to come."""
    return hidden.device.type == "cpu" and torch.is_grad_enabled()


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | Sequences | None,
    scaling: float | None = None, dropout: float = 0.0, **kwargs: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Softmax attention with an additive mask [rows, 1 or heads, length, length], in transformers' signature.

    In the place of the mask may be the sequences of all tokens. Query, key, value are [rows, heads, length, channels];
    the first value returned is [rows, length, heads, channels].
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if isinstance(attention_mask, Sequences):
        return _by_sequence(query, key, value, attention_mask, scale), None
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


def _by_sequence(query: Tensor, key: Tensor, value: Tensor, sequences: Sequences, scale: float) -> Tensor:
    """Attention [rows, length, heads, channels] of [rows, heads, length, channels], each sequence to itself."""
    rows, heads, length, channels = query.shape
    queries, keys, values = (part.transpose(1, 2).reshape(-1, heads, channels) for part in (query, key, value))
    kernel = kernel_for(query.device, query.dtype, channels, sequences.causal) or products
    return kernel(queries, keys, values, sequences, scale).view(rows, length, heads, channels)


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
