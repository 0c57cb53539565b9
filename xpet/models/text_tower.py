"""The M-CLIP text tower: a transformer, mask-weighted mean pooling and a linear projection (SPEC section 4)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from xpet.core.packing import Packed
from xpet.models.families import FAMILIES
from xpet.models.layers import hidden_states


class TextTower(nn.Module):
    """`transformer -> mean over tokens weighted by the attention mask -> Linear with bias`.

    State-dict names are those of the published checkpoints: `transformer.*` and `LinearTransformation.{weight,bias}`.
    """

    def __init__(self, transformer: nn.Module, dimensions: int) -> None:
        super().__init__()
        self.transformer = transformer
        hidden = int(transformer.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.LinearTransformation = nn.Linear(hidden, dimensions)
        self.dimensions = dimensions
        """Size of the shared image-text space."""
        self.prompt: nn.Module | None = None
        """A module (embeddings, mask) -> (embeddings, mask) that inserts trained tokens; None: the plain tower.

        Its `fill(embeddings, slot)` puts them where packed captions leave room."""
        self.prompt_initial: Tensor | None = None
        """Embeddings [tokens, hidden] a soft prompt starts from; None: drawn at random."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Un-normalised text features [rows, dimensions] of token ids [rows, length] and their 0/1 mask."""
        if self.prompt is None:
            hidden = self.transformer(input_ids=input_ids, attention_mask=attention_mask)[0]  # [rows, length, hidden]
        else:
            words = self.transformer.get_input_embeddings()(input_ids)  # type: ignore[operator]
            words, attention_mask = self.prompt(words, attention_mask)
            hidden = self.transformer(inputs_embeds=words, attention_mask=attention_mask)[0]
        features: Tensor = self.LinearTransformation(mean_pool(hidden, attention_mask))
        return features

    def packed(self, batch: Packed) -> Tensor:
        """The same features [captions, dimensions] of packed captions."""
        words = self.transformer.get_input_embeddings()(batch.ids)  # type: ignore[operator]
        if self.prompt is not None and batch.slot is not None:
            words = self.prompt.fill(words, batch.slot)  # type: ignore[operator]
        config = self.transformer.config
        first = config.pad_token_id + 1 if FAMILIES[config.model_type].counts_after_pad else 0  # type: ignore[union-attr, operator, index]
        hidden = hidden_states(self.transformer, words, batch.positions + first, batch.mask(words.dtype))
        features: Tensor = self.LinearTransformation(batch.pool(hidden))
        return features


def mean_pool(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """Mean of token states [rows, length, hidden] over those the mask [rows, length] keeps, special ones included."""
    weights = attention_mask.to(hidden.dtype).unsqueeze(-1)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)


def twin(tower: TextTower) -> TextTower:
    """Another tower of the same weights, in the same memory, with modules and parameters of its own.

    For a tower that nothing was attached to: a copy of a decorated one would go on calling the original's modules.
    """
    own = {id(p): nn.Parameter(p.data, requires_grad=p.requires_grad) for p in tower.parameters()}
    shared = {id(b): b for b in tower.buffers()}
    return copy.deepcopy(tower, {**own, **shared})  # type: ignore[arg-type]


def parameter_count(module: nn.Module, trainable: bool = False) -> int:
    """Number of parameters, or of trainable ones only; shared tensors count once."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable)


def empty_xlm_roberta(dimensions: int, **settings: object) -> TextTower:
    """A randomly initialised tower on XLM-R of the given settings (transformers' XLMRobertaConfig arguments)."""
    from transformers import XLMRobertaConfig, XLMRobertaModel

    with torch.random.fork_rng(devices=[]):
        return TextTower(XLMRobertaModel(XLMRobertaConfig(**settings)), dimensions)  # type: ignore[arg-type]
