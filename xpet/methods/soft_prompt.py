"""Soft prompt: trained embeddings inserted after `<s>` (Lester et al. 2021).

xpet's own module: OpenDelta's puts the prompt before `<s>` and decorates the whole backbone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xpet.core.config import MethodConfig
from xpet.methods.base import Method
from xpet.methods.bridge import DeltaSite

INITIAL_STD = 0.02
"""Standard deviation of embeddings that are drawn."""


class SoftPrompt(nn.Module):
    """`tokens` embeddings of `like`'s width, drawn with INITIAL_STD or copied from `initial` [tokens, hidden].

    They lie on the CPU, or nowhere where `like` does.
    """

    def __init__(self, tokens: int, like: Tensor, initial: Tensor | None = None) -> None:
        super().__init__()
        device = "meta" if like.is_meta else "cpu"  # a GPU would draw others, and draw nothing while work is recorded
        random = torch.randn(tokens, like.shape[-1], dtype=like.dtype, device=device) * INITIAL_STD
        values = random if initial is None else initial.detach().to(device, copy=True)
        self.soft_embeddings = nn.Parameter(values)

    def forward(self, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Token embeddings [rows, length, hidden] and mask with the prompt inserted after the first token."""
        return insert(self.soft_embeddings.expand(len(embeddings), -1, -1), embeddings, attention_mask)

    def fill(self, embeddings: Tensor, prompt_index: Tensor) -> Tensor:
        """Put the prompt into packed embeddings [lines, length, hidden] at `prompt_index` [lines, length]."""
        return fill(self.soft_embeddings.unsqueeze(0), embeddings, prompt_index)


def insert(prompt: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Put a prompt [rows, tokens, hidden] behind the first token of embeddings [rows, length, hidden].

    Returns these, and the attention mask [rows, length] with as many ones more.
    """
    ones = attention_mask.new_ones(prompt.shape[:2])
    longer = torch.cat([embeddings[:, :1], prompt.to(embeddings.dtype), embeddings[:, 1:]], dim=1)
    return longer, torch.cat([attention_mask[:, :1], ones, attention_mask[:, 1:]], dim=1)


def fill(prompt: Tensor, embeddings: Tensor, prompt_index: Tensor) -> Tensor:
    """Put each run's prompt [runs, tokens, hidden] into packed embeddings [runs * lines, length, hidden].

    `prompt_index` [runs * lines, length] is the number of the prompt token to put there; -1: the embedding stays.
    """
    index = prompt_index.reshape(len(prompt), -1, 1)
    inserted = torch.gather(prompt, 1, index.clamp_min(0).expand(-1, -1, prompt.shape[-1]))
    by_run = embeddings.reshape(len(prompt), -1, embeddings.shape[-1])
    return torch.where(index >= 0, inserted.to(embeddings.dtype), by_run).reshape(embeddings.shape)


def _attach(tower: nn.Module, config: MethodConfig, modules: tuple[str, ...]) -> list[DeltaSite]:
    words = tower.transformer.get_input_embeddings().weight  # type: ignore[union-attr, operator]
    initial: Tensor | None = getattr(tower, "prompt_initial", None)

    def fresh() -> nn.Module:
        return SoftPrompt(config.tokens, words, initial)

    module = fresh().to(words.device)
    tower.prompt = module
    return [DeltaSite("prompt", tower, "prompt", module, fresh)]


METHOD = Method(
    name="soft-prompt",
    summary="a few trained embeddings after the start token",
    attach=_attach,
    train=(),
    settings=("tokens", "prompt"),
)
