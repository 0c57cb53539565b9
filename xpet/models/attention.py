"""Attention over packed captions, as fast as the device allows.

PyTorch's fused attention computes its backward pass slowly on a CPU, in bf16 many times slower than the products
written out; without a backward pass, and on a GPU, the fused one is the faster.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

NAME = "xpet_packed"
FUSED = "sdpa"


def attend(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float | None = None, dropout: float = 0.0, **kwargs: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Softmax attention of [rows, heads, length, channels] with an additive mask -> [rows, length, heads, channels]."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if query.device.type == "cpu" and query.requires_grad:
        scores = (query * scale) @ key.mT
        if attention_mask is not None:
            scores = scores + attention_mask
        out = functional.dropout(scores.softmax(dim=-1), p=dropout, training=dropout > 0) @ value
    else:
        out = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scale
        )
    return out.transpose(1, 2), None


@contextmanager
def fast(config: Any) -> Iterator[None]:
    """Let a transformer of this configuration attend so for the time of the block, unless told to do it eagerly."""
    from transformers import AttentionInterface

    before = config._attn_implementation
    if before == FUSED:
        AttentionInterface.register(NAME, attend)
        config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
