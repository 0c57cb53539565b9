"""Transformers with post-norm layers, whose modules are named as BERT's: built from a configuration of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from xpet.core.errors import ModelError, one_line
from xpet.models.weights import LONG

ATTENTION = ("sdpa", "eager")
"""Implementations of attention in transformers that can be chosen."""


@dataclass(frozen=True)
class Backbone:
    """One kind of transformer. Its modules are named as BERT's (`embeddings`, `encoder.layer`, `pooler`)."""

    config_class: str
    """Name of its configuration in transformers."""
    model_class: str
    """Name of its model in transformers; called with a configuration and `add_pooling_layer`."""
    layer_norm_eps: float
    """That of its published bases."""
    special_ids: Mapping[str, int]
    """Ids of special tokens in its published bases, by the names in a configuration."""
    counts_after_pad: bool
    """Whether positions are numbered from `pad_token_id + 1`: that many rows of the position table are not used."""

    def first_position(self, pad_token_id: int) -> int:
        """Position of a text's first token."""
        return pad_token_id + 1 if self.counts_after_pad else 0


BACKBONES: dict[str, Backbone] = {
    "xlm-roberta": Backbone(
        "XLMRobertaConfig", "XLMRobertaModel", 1e-5, {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}, True
    ),
    "bert": Backbone("BertConfig", "BertModel", 1e-12, {"pad_token_id": 0}, False),
}
"""By transformers' `model_type`. One more is added by a row here."""


def first_position(config: Any) -> int:
    """Position of a text's first token in a transformer of this configuration; 0 where layers are pre-norm."""
    backbone = BACKBONES.get(config.model_type)
    return 0 if backbone is None else backbone.first_position(config.pad_token_id)


def token_limit(config: Any) -> int:
    """The longest row of tokens, special ones included, that the position table has room for."""
    return int(config.max_position_embeddings - first_position(config))


def configured(kind: str, settings: Mapping[str, Any]) -> Any:
    """The configuration of a backbone, as an object of transformers; raises ModelError for settings it refuses."""
    import transformers

    try:
        return getattr(transformers, BACKBONES[kind].config_class)(**settings)
    except Exception as error:  # transformers validates its settings with errors of its own
        raise ModelError(
            f"the transformer's configuration is not valid: {one_line(error, LONG, first_only=True)}"
        ) from None


def build_transformer(config: Any, pooler: bool, attention: str = "sdpa") -> nn.Module:
    """A transformer of the configuration, on the current default device; `attention` is 'sdpa' or 'eager'."""
    import transformers

    if attention not in ATTENTION:
        raise ModelError(f"expected attention {' or '.join(ATTENTION)}, found '{attention}'")
    model_class = getattr(transformers, BACKBONES[config.model_type].model_class)
    try:
        model: nn.Module = model_class(config, add_pooling_layer=pooler)
    except Exception as error:  # a pad id outside the vocabulary, an unknown activation, ...
        raise ModelError(f"the transformer cannot be built: {one_line(error, LONG, first_only=True)}") from None
    model.set_attn_implementation(attention)  # type: ignore[operator]
    return model
