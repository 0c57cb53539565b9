"""A transformer with pre-norm layers, as in CLIP's and SigLIP's text towers, under the names that BERT's modules have.

A LayerNorm stands before attention and feed-forward here, and one behind the last layer (Radford et al. 2021, section
2.4). Modules have the names of a post-norm tower's, so that whatever hangs something into a tower finds the same hosts
in both:

| | here | in CLIP |
|---|---|---|
| LayerNorm before attention | `attention.output.LayerNorm` | `layer_norm1` |
| attention | `attention.self.{query,key,value}`, `attention.output.dense` | `self_attn.{q,k,v,out}_proj` |
| LayerNorm before feed-forward | `output.LayerNorm` | `layer_norm2` |
| feed-forward | `intermediate.dense`, `output.dense` | `mlp.fc1`, `mlp.fc2` |
| LayerNorm behind all layers | `output.LayerNorm` of the transformer | `final_layer_norm` |

Only `xpet.models.families` imports this module, when a tower of such a family is built: it loads transformers.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, PreTrainedModel
from transformers.activations import ACT2FN

from xpet.core.caption_packing import Sequences
from xpet.core.errors import ModelError, one_line
from xpet.models.backbones import ATTENTION
from xpet.models.masks import additive
from xpet.models.packed_attention import attend
from xpet.models.weights import LONG, SINUSOIDS

_NO_TOKENS = {"bos_token_id": None, "eos_token_id": None}
"""Tokens that the tower has no use of; transformers warns of CLIP's own where the vocabulary is smaller."""


class PreNormEmbeddings(nn.Module):
    """Word and position embeddings, added."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def forward(self, inputs_embeds: Tensor, position_ids: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Hidden states of word embeddings [rows, length, hidden] at positions [rows, length]; kinds do not matter."""
        embedded: Tensor = inputs_embeds + self.position_embeddings(position_ids)
        return embedded


class ScaledEmbeddings(nn.Module):
    """Word embeddings times a number, and sinusoidal position embeddings (Vaswani et al. 2017, section 3.5), added.

    As in M2M-100 and NLLB: positions count from FIRST, sines and cosines lie in halves of the channels.
    """

    FIRST = 2
    """Number of a text's first position."""
    sinusoids: Tensor

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.scale = config.word_scale
        rows, width = config.max_position_embeddings, config.hidden_size
        self.register_buffer(SINUSOIDS, torch.empty(rows, width), persistent=False)

    @classmethod
    def table(cls, rows: int, width: int) -> Tensor:
        """The position embeddings, [rows, width]."""
        half = width // 2
        steps = torch.exp(torch.arange(half, dtype=torch.int64).float() * -(math.log(10000) / (half - 1)))
        angles = torch.arange(cls.FIRST, rows + cls.FIRST, dtype=torch.int64).float().unsqueeze(1) * steps
        return torch.cat([angles.sin(), angles.cos(), torch.zeros(rows, width % 2)], dim=1)

    def forward(self, inputs_embeds: Tensor, position_ids: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Hidden states of word embeddings [rows, length, hidden] at positions [rows, length]; kinds do not matter."""
        embedded: Tensor = inputs_embeds * self.scale + self.sinusoids[position_ids].to(inputs_embeds.dtype)
        return embedded


class _Heads(nn.Module):
    """The products that make queries, keys and values, and the attention between them."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.hidden_size
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.dropout = nn.Dropout(config.attention_dropout)
        self.num_attention_heads = config.num_attention_heads
        self.attention_head_size = width // config.num_attention_heads
        self.scaling = self.attention_head_size**-0.5

    def forward(self, hidden: Tensor, mask: Tensor | Sequences) -> Tensor:
        """Context [rows, length, hidden] of hidden states of that shape; `mask` is as `attend` takes it."""
        shape = (*hidden.shape[:-1], self.num_attention_heads, self.attention_head_size)
        query, key, value = (part(hidden).view(shape).transpose(1, 2) for part in (self.query, self.key, self.value))
        context, _ = attend(self, query, key, value, mask, self.scaling, self.dropout.p if self.training else 0.0)
        return context.reshape(hidden.shape)


class _Projection(nn.Module):
    """A product back into the hidden states, with the LayerNorm that belongs to its half of the layer."""

    def __init__(self, width: int, config: Any) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)


class _Attention(nn.Module):
    """`self` makes the context, `output` is what follows it."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.self = _Heads(config)
        self.output = _Projection(config.hidden_size, config)


class _Intermediate(nn.Module):
    """First half of the feed-forward."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACT2FN[config.hidden_act]

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states [rows, length, hidden] -> [rows, length, intermediate]."""
        activated: Tensor = self.activation(self.dense(hidden))
        return activated


class PreNormLayer(nn.Module):
    """`x + attention(norm(x))`, then `x + feed-forward(norm(x))`."""

    is_lean = True
    """Nothing of transformers stands around it, so that it is called as it is, packed or not."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.attention = _Attention(config)
        self.intermediate = _Intermediate(config)
        self.output = _Projection(config.intermediate_size, config)

    def forward(self, hidden: Tensor, mask: Tensor | Sequences) -> Tensor:
        """Hidden states [rows, length, hidden] after the layer.

        `mask` is additive, [rows, 1, length, length], or the sequences of all tokens.
        """
        attention, output = self.attention, self.output
        hidden = hidden + attention.output.dense(attention.self(attention.output.LayerNorm(hidden), mask))
        return hidden + output.dense(self.intermediate(output.LayerNorm(hidden)))  # type: ignore[no-any-return]


class _Encoder(nn.Module):
    """The layers."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.layer = nn.ModuleList(PreNormLayer(config) for _ in range(config.num_hidden_layers))


class _Final(nn.Module):
    """What stands behind the last layer."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden: Tensor) -> Tensor:
        """Normalised hidden states [rows, length, hidden]."""
        normalised: Tensor = self.LayerNorm(hidden)
        return normalised


class PreNormTransformer(PreTrainedModel):  # type: ignore[misc]
    """Called as transformers' text models are; `config.is_causal` says whether tokens see those before them alone."""

    config_class = CLIPTextConfig
    base_model_prefix = "transformer"
    main_input_name = "input_ids"
    _supports_sdpa = True

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.embeddings = PreNormEmbeddings(config) if config.word_scale is None else ScaledEmbeddings(config)
        self.encoder = _Encoder(config)
        self.output = _Final(config)

    def get_input_embeddings(self) -> nn.Module:
        """The word embeddings, or what has taken their place."""
        words: nn.Module = self.embeddings.word_embeddings
        return words

    def forward(
        self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, inputs_embeds: Tensor | None = None
    ) -> tuple[Tensor]:
        """Last hidden states [rows, length, hidden] of token ids or word embeddings and their 0/1 mask [rows, length].

        What the features of a text are taken from, alone in a tuple as transformers' models have it first.
        """
        words: Tensor = self.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
        rows, length, _ = words.shape
        positions = torch.arange(length, device=words.device).expand(rows, length)
        if attention_mask is None:
            attention_mask = torch.ones_like(positions)
        mask = additive(attention_mask, words.dtype, self.config.is_causal)
        hidden: Tensor = self.embeddings(words, positions)
        for layer in self.encoder.layer:
            hidden = layer(hidden, mask)
        return (self.output(hidden),)


def build_pre_norm(
    is_causal: bool, attention: str = "sdpa", word_scale: float | None = None, **settings: Any
) -> nn.Module:
    """A pre-norm transformer of transformers' CLIPTextConfig settings, on the current default device.

    `word_scale`: what word embeddings are multiplied by where positions are sinusoidal; None: positions are learned.
    Raises ModelError for settings that do not make one.
    """
    if attention not in ATTENTION:
        raise ModelError(f"expected attention {' or '.join(ATTENTION)}, found '{attention}'")
    try:
        config: Any = CLIPTextConfig(**{**settings, **_NO_TOKENS})
        if config.hidden_size % config.num_attention_heads:
            raise ValueError(f"{config.hidden_size} channels in {config.num_attention_heads} heads")
        config.is_causal, config.word_scale = is_causal, word_scale
        model = PreNormTransformer(config)
        model.set_attn_implementation(attention)
        return model
    except Exception as error:  # transformers validates its settings with errors of its own
        raise ModelError(f"the text tower cannot be built: {one_line(error, LONG, first_only=True)}") from None
