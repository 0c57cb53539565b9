"""Losses as pure functions of features (paper, section 3.2).

Features have shape [..., rows, d]; leading dimensions are independent runs, each with its own loss, so every function
returns shape [...]. Row i of image, anchor and student belong together.

A new alignment loss is a function and a row in `ALIGNMENT_LOSSES`, a new image-text loss one in `IMAGE_LOSSES`; the
command line, its help and training follow.
Importing this module does not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpet.core.errors import ConfigError, unknown

if TYPE_CHECKING:
    from torch import Tensor

SCALE = 100.0
"""CLIP's constant logit scale."""

AlignmentLoss = Callable[["Tensor", "Tensor", "Tensor"], "Tensor"]
"""(image, anchor, student) features, each [..., rows, d] -> loss of every run [...]."""

ImageTextLoss = Callable[["Tensor", "Tensor", float, float], "Tensor"]
"""(image, text, scale, bias), features [..., rows, d] -> loss of every run [...]."""


def contrastive(image: Tensor, text: Tensor, scale: float = SCALE) -> Tensor:
    """Mean of the two cross-entropies of `scale * cos(image, text)` over the rows (CLIP's symmetric loss), [...].

    `image` and `text` are features [..., rows, d], of which row i of both is a pair.
    """
    logits = scaled_cosines(image, text, scale)
    image_to_text = logits.log_softmax(dim=-1).diagonal(dim1=-2, dim2=-1)
    text_to_image = logits.log_softmax(dim=-2).diagonal(dim1=-2, dim2=-1)
    return -(image_to_text.mean(dim=-1) + text_to_image.mean(dim=-1)) / 2


def sigmoid(image: Tensor, text: Tensor, scale: float, bias: float) -> Tensor:
    """SigLIP's loss [...]: every image with every text is a question of its own, whether the two belong together.

    Zhai et al. 2023 (Sigmoid Loss for Language Image Pre-Training), equation 1: the sum over all pairs of
    `-log sigmoid(z (scale * cos(image, text) + bias))`, divided by the rows, where z is 1 for a pair and else -1.
    `image` and `text` are features [..., rows, d], of which row i of both is a pair.
    """
    from torch.nn import functional

    logits = scaled_cosines(image, text, scale) + bias
    others = functional.logsigmoid(-logits).sum(dim=(-2, -1))
    pairs = logits.diagonal(dim1=-2, dim2=-1)  # log sigmoid(x) - log sigmoid(-x) = x
    return -(others + pairs.sum(dim=-1)) / logits.shape[-1]


def scaled_cosines(image: Tensor, text: Tensor, scale: float) -> Tensor:
    """Logits [..., rows, rows] of every image with every text: `scale * cos(image, text)`, features [..., rows, d]."""
    from torch.nn import functional

    return scale * functional.normalize(image, dim=-1) @ functional.normalize(text, dim=-1).transpose(-1, -2)


def mse(image: Tensor, anchor: Tensor, student: Tensor) -> Tensor:
    """Mean [...] over rows and dimensions of `(anchor - student)^2`, un-normalised; gradient into both sides."""
    return (anchor - student).square().mean(dim=(-2, -1))


def mse_normalized(image: Tensor, anchor: Tensor, student: Tensor) -> Tensor:
    """`mse` [...] divided by the anchors' mean square (detached): free of the feature scale.

    1.0 means errors as large as the anchors themselves, whatever their units.
    """
    import torch

    power = anchor.detach().square().mean(dim=(-2, -1)).clamp_min(torch.finfo(anchor.dtype).tiny)
    return mse(image, anchor, student) / power


def anchor_contrastive(image: Tensor, anchor: Tensor, student: Tensor) -> Tensor:
    """Contrastive loss [...] between anchor and student texts."""
    return contrastive(anchor, student)


def image_contrastive(image: Tensor, anchor: Tensor, student: Tensor) -> Tensor:
    """Contrastive loss [...] between images and anchor texts; no direct anchor-student term."""
    return contrastive(image, anchor)


def cosine(image: Tensor, anchor: Tensor, student: Tensor) -> Tensor:
    """Mean [...] over rows of `1 - cos(anchor, student)`."""
    from torch.nn import functional

    return (1 - functional.cosine_similarity(anchor, student, dim=-1)).mean(dim=-1)


@dataclass(frozen=True)
class LossChoice:
    """An alignment loss to choose by name.

    Attributes:
        loss: the function.
        weight: what it is multiplied by unless a weight is given: the paper's range for its own losses, 1 for those
            that are free of the feature scale.
        reads_images: whether it looks at image features, which some routines do not have.
    """

    loss: AlignmentLoss
    weight: float
    reads_images: bool = False


ALIGNMENT_LOSSES: dict[str, LossChoice] = {
    "mse": LossChoice(mse, 0.1),
    "mse-normalized": LossChoice(mse_normalized, 1.0),
    "contrastive": LossChoice(anchor_contrastive, 0.1),
    "contrastive-image": LossChoice(image_contrastive, 0.1, reads_images=True),
    "cosine": LossChoice(cosine, 1.0),
}


IMAGE_LOSSES: dict[str, ImageTextLoss] = {
    "softmax": lambda image, text, scale, bias: contrastive(image, text, scale),  # a bias changes nothing
    "sigmoid": sigmoid,
}
"""Image-text losses by name."""
BIASED = ("sigmoid",)
"""Those whose logits need a bias, which is learnt with the model: there is no constant one."""


@dataclass(frozen=True)
class ImageLoss:
    """An image-text loss with the scale and the bias of its logits; by default the paper's.

    Attributes:
        name: of `IMAGE_LOSSES`.
        scale: what cosines are multiplied by.
        bias: what is added then.
        of_model: whether scale and bias are the model's own.
    """

    name: str = "softmax"
    scale: float = SCALE
    bias: float = 0.0
    of_model: bool = False

    def __call__(self, image: Tensor, text: Tensor) -> Tensor:
        """The loss [...] of features [..., rows, d], of which row i of both is a pair."""
        return IMAGE_LOSSES[self.name](image, text, self.scale, self.bias)

    @property
    def in_words(self) -> str:
        """Which it is, with its numbers."""
        bias = f", bias {self.bias:.4g}" if self.name in BIASED else ""
        return f"{self.name} with scale {self.scale:.4g}{bias}{' of the model' * self.of_model}"


PAPER = ImageLoss()
"""The paper's: CLIP's, with a constant scale."""


def loss_terms(name: str) -> dict[str, float]:
    """Loss -> factor, of one loss, of a sum `mse-normalized+cosine`, or with factors `mse-normalized+0.1*contrastive`.

    Raises ConfigError for an unknown loss, a factor that is not a positive number, and a loss that occurs twice.
    """
    terms: dict[str, float] = {}
    for part in name.split("+"):
        factor, times, loss = part.strip().rpartition("*")
        loss = loss.strip()
        if loss not in ALIGNMENT_LOSSES:
            raise ConfigError(unknown("loss", loss, tuple(ALIGNMENT_LOSSES)))
        if loss in terms:
            raise ConfigError(f"loss '{name}': expected every loss once, found {loss} twice")
        terms[loss] = _factor(factor, name) if times else 1.0
    return terms


def _factor(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ConfigError(f"loss '{name}': expected a positive factor before *, found '{text.strip()}'")
    return value


def default_weight(name: str) -> float:
    """The weight of an alignment loss unless one is given; a sum has its factors and weighs 1. Raises ConfigError."""
    terms = loss_terms(name)
    return 1.0 if len(terms) > 1 else ALIGNMENT_LOSSES[next(iter(terms))].weight


def reads_images(name: str) -> bool:
    """Whether a loss, or a term of a sum, looks at image features; raises ConfigError as `loss_terms` does."""
    return any(ALIGNMENT_LOSSES[loss].reads_images for loss in loss_terms(name))


def find_loss(name: str) -> AlignmentLoss:
    """The alignment loss of a name, or of a sum as `loss_terms` reads it; raises ConfigError as it does."""
    terms = [(ALIGNMENT_LOSSES[loss].loss, factor) for loss, factor in loss_terms(name).items()]
    if len(terms) == 1 and terms[0][1] == 1.0:
        return terms[0][0]

    def total(image: Tensor, anchor: Tensor, student: Tensor) -> Tensor:
        import torch

        return torch.stack([factor * loss(image, anchor, student) for loss, factor in terms]).sum(dim=0)

    return total
