"""The text tower: a transformer, pooling of its token states, and a head into the space shared with pictures."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from xpet.core.caption_packing import PackedBatch, Sequences
from xpet.core.dropout_bits import DropoutBits
from xpet.models.backbones import first_position
from xpet.models.dropout import install
from xpet.models.masks import additive
from xpet.models.packed_attention import hidden_states, takes_sequences, visible
from xpet.models.pooling import Pooling


class TextTower(nn.Module):
    """`transformer -> pooling -> neck -> Linear`; in an M-CLIP tower the mean of all tokens, no neck, and a bias.

    Names are the same in the towers of all families (`xpet.models.families`), those of M-CLIP's published checkpoints:
    `transformer.*`, as BERT has them, and `LinearTransformation.{weight,bias}`.
    """

    def __init__(
        self, transformer: nn.Module, dimensions: int, pooling: Pooling | None = None,
        neck: nn.Module | None = None, bias: bool = True, projects: bool = True,
    ) -> None:  # fmt: skip
        """Put a tower together, with a new head.

        Args:
            transformer: post-norm (`xpet.models.backbones`) or pre-norm (`xpet.models.pre_norm`).
            dimensions: of the output.
            pooling: how token states become one state; None: their mean.
            neck: what stands between pooling and head, [rows, hidden] -> [rows, inner].
            bias: whether the head has one.
            projects: whether there is a head; without one the output is what pooling and neck give.
        """
        super().__init__()
        self.transformer = transformer
        self.dropout_source = install(transformer)
        """What the dropouts draw from; reset whenever training or evaluation mode is set."""
        self.pooling = pooling or Pooling()
        self.neck = neck
        inner = int(transformer.config.hidden_size) if neck is None else _width(neck)  # type: ignore[union-attr, arg-type]
        head = nn.Linear(inner, dimensions, bias) if projects else nn.Identity()
        self.LinearTransformation = head
        self.dimensions = dimensions
        """Size of the shared image-text space."""
        self.prompt: nn.Module | None = None
        """A module (embeddings, mask) -> (embeddings, mask) that inserts a trained prompt; None: the plain tower.

        Its `fill(embeddings, prompt_index)` puts them where packed captions leave room."""
        self.prompt_initial: Tensor | None = None
        """Embeddings [tokens, hidden] a soft prompt starts from; None: drawn at random."""

    def train(self, mode: bool = True) -> TextTower:
        """Set the mode; dropouts draw from PyTorch's generator until `dropout_source` is filled again."""
        self.dropout_source.draws = self.dropout_source.bits = None
        return super().train(mode)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, captions: Tensor | None = None) -> Tensor:
        """Un-normalised text features [rows, dimensions] of token ids [rows, length] and their 0/1 mask.

        `captions` [rows] are the rows' caption numbers in their run's batch, where they are not in that order: hashed
        dropout depends on them.
        """
        if self.dropout_source.draws is not None:
            return self._layer_by_layer(input_ids, attention_mask, captions)
        if self.prompt is None:
            hidden = self.transformer(input_ids=input_ids, attention_mask=attention_mask)[0]  # [rows, length, hidden]
        else:
            words = self.transformer.get_input_embeddings()(input_ids)  # type: ignore[operator]
            words, attention_mask = self.prompt(words, attention_mask)
            hidden = self.transformer(inputs_embeds=words, attention_mask=attention_mask)[0]
        return self._head(self.pooling.padded(hidden, attention_mask, self._with_prompt(input_ids, hidden)))

    def _head(self, pooled: Tensor) -> Tensor:
        """Features [rows, dimensions] of pooled states [rows, hidden]."""
        features: Tensor = self.LinearTransformation(pooled if self.neck is None else self.neck(pooled))
        return features

    @staticmethod
    def _with_prompt(input_ids: Tensor, hidden: Tensor) -> Tensor:
        """Token ids [rows, length of the hidden states]; an inserted prompt's are -1, which no token has."""
        inserted = hidden.shape[1] - input_ids.shape[1]
        if not inserted:
            return input_ids
        prompt = input_ids.new_full((len(input_ids), inserted), -1)
        return torch.cat([input_ids[:, :1], prompt, input_ids[:, 1:]], dim=1)

    def _layer_by_layer(self, input_ids: Tensor, attention_mask: Tensor, captions: Tensor | None) -> Tensor:
        """The same features [rows, dimensions], layer by layer as for packed captions: hashed dropout needs that."""
        words = self.transformer.get_input_embeddings()(input_ids)  # type: ignore[operator]
        if self.prompt is not None:
            words, attention_mask = self.prompt(words, attention_mask)
        rows, length = attention_mask.shape
        positions = torch.arange(length, device=words.device).expand(rows, length)
        if captions is None:
            captions = torch.arange(rows, device=words.device) % (rows // len(self.dropout_source.draws))  # type: ignore[arg-type]
        mask = additive(attention_mask, words.dtype, getattr(self.transformer.config, "is_causal", False))
        hidden = self._hidden(words, positions, mask, captions.unsqueeze(1))
        return self._head(self.pooling.padded(hidden, attention_mask, self._with_prompt(input_ids, hidden)))

    def _hidden(self, words: Tensor, positions: Tensor, mask: Tensor | Sequences, captions: Tensor | None) -> Tensor:
        """Last hidden states [rows, length, hidden] of word embeddings of that shape.

        `positions` [rows, length] count from 0; `captions` [rows, 1 or length] are numbers in the run's batch; `mask`
        is additive, [rows, 1, length, length], or the sequences of all tokens.
        """
        source, config = self.dropout_source, self.transformer.config
        if source.draws is not None and captions is not None:
            source.bits = DropoutBits.of(source.draws, captions, positions, words.shape[-1])
        return hidden_states(self.transformer, words, positions + first_position(config), mask, source.bits is not None)

    def packed(self, batch: PackedBatch) -> Tensor:
        """The same features [captions, dimensions] of packed captions."""
        words = self.transformer.get_input_embeddings()(batch.ids)  # type: ignore[operator]
        if self.prompt is not None and batch.prompt_index is not None:
            words = self.prompt.fill(words, batch.prompt_index)  # type: ignore[operator]
        captions = None if self.dropout_source.draws is None else batch.captions(len(self.dropout_source.draws))
        hidden = self._hidden(words, batch.positions, visible(self.transformer, batch, words), captions)
        return self._head(self.pooling.packed(hidden, batch))

    def takes_sequences(self, device: torch.device, dtype: torch.dtype | None) -> bool:
        """Whether it can attend to packed captions as to sequences, in evaluation mode on this device.

        `dtype` is the type it computes in; None: that of its weights.
        """
        return takes_sequences(self.transformer, device, dtype or next(self.parameters()).dtype)


def _width(neck: nn.Module) -> int:
    """Channels that come out of a neck: those of its last linear layer."""
    return [module.out_features for module in neck.modules() if isinstance(module, nn.Linear)][-1]


def twin(tower: TextTower) -> TextTower:
    """Another tower of the same weights, in the same memory, with modules and parameters of its own.

    For a tower that nothing was attached to: a copy of a decorated one would go on calling the original's modules.
    """
    parameters = {id(p): nn.Parameter(p.data, requires_grad=p.requires_grad) for p in tower.parameters()}
    buffers = {id(b): b for b in tower.buffers()}
    return copy.deepcopy(tower, {**parameters, **buffers})  # type: ignore[arg-type]


def empty_xlm_roberta(dimensions: int, **settings: object) -> TextTower:
    """A randomly initialised tower on XLM-R of the given settings (transformers' XLMRobertaConfig arguments)."""
    from transformers import XLMRobertaConfig, XLMRobertaModel

    with torch.random.fork_rng(devices=[]):
        return TextTower(XLMRobertaModel(XLMRobertaConfig(**settings)), dimensions)  # type: ignore[arg-type]
