"""Soft prompt: trained embeddings inserted after `<s>` (Lester et al. 2021; SPEC section 5).

xpet's own module: OpenDelta's puts the prompt before `<s>` and decorates the whole backbone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xpet.core.config import MethodConfig
from xpet.methods.base import Method
from xpet.methods.bridge import DeltaSite

INITIAL_STD = 0.02


class SoftPrompt(nn.Module):
    """`tokens` embeddings of the backbone's hidden size, drawn from N(0, 0.02) or copied from given embeddings."""

    def __init__(self, tokens: int, like: Tensor, initial: Tensor | None = None) -> None:
        super().__init__()
        drawn = torch.randn(tokens, like.shape[-1], dtype=like.dtype, device=like.device) * INITIAL_STD
        self.soft_embeddings = nn.Parameter(drawn if initial is None else initial.detach().clone())

    def forward(self, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Token embeddings [rows, length, hidden] and mask with the prompt inserted after the first token."""
        return insert(self.soft_embeddings.expand(len(embeddings), -1, -1), embeddings, attention_mask)

    def fill(self, embeddings: Tensor, slot: Tensor) -> Tensor:
        """Packed embeddings [lines, length, hidden] with prompt token `slot` [lines, length] where that is not -1."""
        return fill(self.soft_embeddings.unsqueeze(0), embeddings, slot)


def insert(prompt: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Put a prompt [rows, tokens, hidden] behind the first token of every row; the mask grows alike."""
    ones = attention_mask.new_ones(prompt.shape[:2])
    longer = torch.cat([embeddings[:, :1], prompt.to(embeddings.dtype), embeddings[:, 1:]], dim=1)
    return longer, torch.cat([attention_mask[:, :1], ones, attention_mask[:, 1:]], dim=1)


def fill(prompt: Tensor, embeddings: Tensor, slot: Tensor) -> Tensor:
    """Embeddings [runs * lines, length, hidden] with each run's own prompt [runs, tokens, hidden] in its slots."""
    places = slot.reshape(len(prompt), -1, 1)
    inserted = torch.gather(prompt, 1, places.clamp_min(0).expand(-1, -1, prompt.shape[-1]))
    mine = embeddings.reshape(len(prompt), -1, embeddings.shape[-1])
    return torch.where(places >= 0, inserted.to(embeddings.dtype), mine).reshape(embeddings.shape)


def _attach(tower: nn.Module, config: MethodConfig, modules: tuple[str, ...]) -> list[DeltaSite]:
    words = tower.transformer.get_input_embeddings().weight  # type: ignore[union-attr, operator]
    given: Tensor | None = getattr(tower, "prompt_initial", None)

    def fresh() -> nn.Module:
        return SoftPrompt(config.tokens, words, given)

    module = fresh()
    tower.prompt = module
    return [DeltaSite("prompt", tower, "prompt", module, fresh)]


SOFT_PROMPT = Method(
    name="soft-prompt",
    summary="a few trained embeddings after the start token",
    attach=_attach,
    train=(),
    settings=("tokens", "prompt"),
)
