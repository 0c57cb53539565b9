"""Additive attention masks: 0 where a token is seen, the type's lowest number where it is not."""

from __future__ import annotations

import torch
from torch import Tensor


def additive(attention_mask: Tensor, dtype: torch.dtype, is_causal: bool = False) -> Tensor:
    """The mask [rows, 1, length, length] under which the tokens that a 0/1 mask [rows, length] keeps are seen.

    `is_causal`: only by themselves and by those after them.
    """
    rows, length = attention_mask.shape
    visible = attention_mask.view(rows, 1, 1, length).expand(-1, -1, length, -1)
    mask = torch.zeros_like(visible, dtype=dtype).masked_fill_(visible == 0, torch.finfo(dtype).min)
    return causal(mask) if is_causal else mask


def causal(mask: Tensor) -> Tensor:
    """An additive mask [rows, 1, length, length] under which, besides, no token sees those after it in its row."""
    later = torch.ones(mask.shape[-2:], dtype=torch.bool, device=mask.device).triu(1)
    return mask.masked_fill(later, torch.finfo(mask.dtype).min)
