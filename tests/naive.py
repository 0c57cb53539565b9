"""The losses of the paper (section 3.2) written with loops, straight from its formulas; shares no code with xpet."""

from __future__ import annotations

import torch
from torch import Tensor


def cosine_of(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of two vectors."""
    return (a * b).sum() / (a.pow(2).sum().sqrt() * b.pow(2).sum().sqrt())


def cross_entropies(one: Tensor, other: Tensor) -> Tensor:
    """Mean of the two cross-entropies of 100 * cos over the batch."""
    rows = len(one)
    logit = [[100.0 * cosine_of(one[i], other[j]) for j in range(rows)] for i in range(rows)]
    forth = sum((torch.stack(logit[i]).exp().sum().log() - logit[i][i] for i in range(rows)), torch.tensor(0.0))
    back = sum(
        (torch.stack([logit[i][j] for i in range(rows)]).exp().sum().log() - logit[j][j] for j in range(rows)),
        torch.tensor(0.0),
    )
    return (forth / rows + back / rows) / 2


def pairwise(image: Tensor, text: Tensor, scale: float, bias: float) -> Tensor:
    """SigLIP's loss (Zhai et al. 2023, equation 1), pair by pair."""
    rows, total = len(image), torch.tensor(0.0)
    for i in range(rows):
        for j in range(rows):
            z = 1.0 if i == j else -1.0
            total = total + (1 / (1 + (z * (-scale * cosine_of(image[i], text[j]) - bias)).exp())).log()
    return -total / rows


def alignment(name: str, image: Tensor, anchor: Tensor, student: Tensor) -> Tensor:
    """L_align by its name on the command line."""
    rows, dims = student.shape
    if name == "mse":
        return sum(
            ((anchor[i, k] - student[i, k]) ** 2 for i in range(rows) for k in range(dims)), torch.tensor(0.0)
        ) / (rows * dims)
    if name == "mse-normalized":
        power = sum(anchor[i, k].item() ** 2 for i in range(rows) for k in range(dims)) / (rows * dims)
        return alignment("mse", image, anchor, student) / power
    if name == "contrastive":
        return cross_entropies(anchor, student)
    if name == "contrastive-image":
        return cross_entropies(image, anchor)
    assert name == "cosine"
    return sum((1 - cosine_of(anchor[i], student[i]) for i in range(rows)), torch.tensor(0.0)) / rows


def total(
    name: str, weight: float, image: Tensor, anchor: Tensor | None, student: Tensor, clip: Tensor | None = None
) -> Tensor:
    """L = L_clip + w * L_align; baselines have no alignment term."""
    clip = cross_entropies(image, student) if clip is None else clip
    return clip if anchor is None else clip + weight * alignment(name, image, anchor, student)


def recall_at_1(image: list[list[float]], text: list[list[float]], owner: list[int]) -> tuple[list[float], list[float]]:
    """Expected hits at rank 1 per image (with captions) and per text, by full enumeration with exact ties."""

    def score(a: list[float], b: list[float]) -> float:
        na, nb = sum(x * x for x in a) ** 0.5, sum(x * x for x in b) ** 0.5
        return round(sum(x * y for x, y in zip(a, b, strict=True)) / (na * nb), 9)

    table = [[score(i, t) for t in text] for i in image]
    per_image = []
    for i in range(len(image)):
        if i in owner:
            top = max(table[i])
            tied = [t for t in range(len(text)) if table[i][t] == top]
            per_image.append(sum(owner[t] == i for t in tied) / len(tied))
    per_text = []
    for t in range(len(text)):
        top = max(table[i][t] for i in range(len(image)))
        tied = [i for i in range(len(image)) if table[i][t] == top]
        per_text.append(sum(i == owner[t] for i in tied) / len(tied))
    return per_image, per_text
