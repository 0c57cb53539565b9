"""Losses as pure functions of features (paper, section 3.2).

Features have shape [..., rows, d]; leading dimensions are independent runs, each with its own loss, so every function
returns shape [...]. Row i of image, anchor and student belong together.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from xpet.core.choices import loss_terms

SCALE = 100.0
"""CLIP's constant logit scale."""

AlignmentLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(image, anchor, student) features -> loss per run."""


def contrastive(image: Tensor, text: Tensor) -> Tensor:
    """Mean of the two cross-entropies of `100 * cos(image, text)` over the rows (CLIP's symmetric loss)."""
    logits = SCALE * functional.normalize(image, dim=-1) @ functional.normalize(text, dim=-1).transpose(-1, -2)
    image_to_text = logits.log_softmax(dim=-1).diagonal(dim1=-2, dim2=-1)
    text_to_image = logits.log_softmax(dim=-2).diagonal(dim1=-2, dim2=-1)
    return -(image_to_text.mean(dim=-1) + text_to_image.mean(dim=-1)) / 2


def mse(image: Tensor, anchor: Tensor, student: Tensor) -> Tensor:
    """Mean over rows and dimensions of the squared difference of un-normalised features; gradient into both sides."""
    return (anchor - student).square().mean(dim=(-2, -1))


def mse_normalized(image: Tensor, anchor: Tensor, student: Tensor) -> Tensor:
    """`mse` divided by the anchors' mean square (detached): free of the feature scale.

    1.0 means errors as large as the anchors themselves, whatever their units.
    """
    power = anchor.detach().square().mean(dim=(-2, -1)).clamp_min(torch.finfo(anchor.dtype).tiny)
    return mse(image, anchor, student) / power


def anchor_contrastive(image: Tensor, anchor: Tensor, student: Tensor) -> Tensor:
    """Contrastive loss between anchor and student texts."""
    return contrastive(anchor, student)


def image_contrastive(image: Tensor, anchor: Tensor, student: Tensor) -> Tensor:
    """Contrastive loss between images and anchor texts; no direct anchor-student term."""
    return contrastive(image, anchor)


def cosine(image: Tensor, anchor: Tensor, student: Tensor) -> Tensor:
    """Mean over rows of `1 - cos(anchor, student)`."""
    return (1 - functional.cosine_similarity(anchor, student, dim=-1)).mean(dim=-1)


ALIGNMENT_LOSSES: dict[str, AlignmentLoss] = {
    "mse": mse,
    "mse-normalized": mse_normalized,
    "contrastive": anchor_contrastive,
    "contrastive-image": image_contrastive,
    "cosine": cosine,
}


def find_loss(name: str) -> AlignmentLoss:
    """The alignment loss of a name, or the sum that `xpet.core.choices.loss_terms` reads; raises ConfigError."""
    terms = [(ALIGNMENT_LOSSES[loss], factor) for loss, factor in loss_terms(name).items()]
    if len(terms) == 1 and terms[0][1] == 1.0:
        return terms[0][0]

    def total(image: Tensor, anchor: Tensor, student: Tensor) -> Tensor:
        return torch.stack([factor * loss(image, anchor, student) for loss, factor in terms]).sum(dim=0)

    return total
