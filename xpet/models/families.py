"""Transformer families of text towers, and how a configuration follows from a checkpoint without its base model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from xpet.core.errors import ModelError
from xpet.models.weights import one_line

PREFIX = "transformer."
ATTENTION = ("sdpa", "eager")


@dataclass(frozen=True)
class Family:
    """One kind of transformer: its classes in transformers and the settings its published bases share.

    `counts_after_pad`: positions are numbered from `pad id + 1`, so that many rows of the position table are unusable.
    """

    config_class: str
    model_class: str
    layer_norm_eps: float
    special_ids: Mapping[str, int]
    counts_after_pad: bool


FAMILIES = {
    "xlm-roberta": Family(
        "XLMRobertaConfig", "XLMRobertaModel", 1e-5, {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}, True
    ),
    "bert": Family("BertConfig", "BertModel", 1e-12, {"pad_token_id": 0}, False),
}

BASES = {
    "xlm-roberta-base": ("xlm-roberta", 64), "xlm-roberta-large": ("xlm-roberta", 64),
    "infoxlm-base": ("xlm-roberta", 64), "infoxlm-large": ("xlm-roberta", 64), "xlm-v-base": ("xlm-roberta", 64),
    "roberta-base": ("xlm-roberta", 64), "roberta-large": ("xlm-roberta", 64),
    "paraphrase-multilingual-mpnet-base-v2": ("xlm-roberta", 64),
    "multilingual-e5-base": ("xlm-roberta", 64), "multilingual-e5-large": ("xlm-roberta", 64),
    "labse": ("bert", 64), "bert-base-multilingual-cased": ("bert", 64), "bert-base-multilingual-uncased": ("bert", 64),
    "bert-base-cased": ("bert", 64), "bert-base-uncased": ("bert", 64), "bert-large-cased": ("bert", 64),
    "bert-large-uncased": ("bert", 64), "bert-base-swedish-cased": ("bert", 64),
    "multilingual-minilm-l12-h384": ("bert", 32), "paraphrase-multilingual-minilm-l12-v2": ("bert", 32),
    "multilingual-e5-small": ("bert", 32),
}  # fmt: skip
"""Published bases, by `modelBase` less its owner and in lower case: family, and channels of an attention head."""
NEEDED = ("model_type", "num_attention_heads", "layer_norm_eps")
"""What a checkpoint must say of a base that is not known: nothing of it shows in the weights, all in the features."""
EXAMPLE = (
    """for example "transformerConfig": {"model_type": "bert", "num_attention_heads": 12, "layer_norm_eps": 1e-12}"""
)
_SETTINGS = (
    "num_attention_heads", "hidden_act", "layer_norm_eps", "hidden_dropout_prob", "attention_probs_dropout_prob",
    "bos_token_id", "pad_token_id", "eos_token_id",
)  # fmt: skip
_SIZES = (
    "vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size", "max_position_embeddings", "type_vocab_size",
)  # fmt: skip


def sizes_of(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """The sizes a transformer's tensors show; raises ModelError when the layout is not M-CLIP's (SPEC section 4)."""
    rows = {
        "vocab_size": ("embeddings.word_embeddings.weight", 0),
        "hidden_size": ("embeddings.word_embeddings.weight", 1),
        "max_position_embeddings": ("embeddings.position_embeddings.weight", 0),
        "type_vocab_size": ("embeddings.token_type_embeddings.weight", 0),
        "intermediate_size": ("encoder.layer.0.intermediate.dense.weight", 0),
    }
    sizes = {}
    for size, (name, axis) in rows.items():
        tensor = tensors.get(PREFIX + name)
        if tensor is None or tensor.dim() != 2:
            raise ModelError(
                f"the weights are not in the M-CLIP layout: expected a matrix {PREFIX}{name}, found "
                f"{'none' if tensor is None else tuple(tensor.shape)} (first tensor: {min(tensors, default='none')})"
            )
        sizes[size] = tensor.shape[axis]
    start = f"{PREFIX}encoder.layer."
    sizes["num_hidden_layers"] = len({name[len(start) :].split(".")[0] for name in tensors if name.startswith(start)})
    return sizes


def transformer_config(base: str, written: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Any:
    """The configuration, in transformers' terms, of a text tower.

    Sizes come from the tensors' shapes. Everything else: from `written`, what the checkpoint's config.json says of its
    transformer, else from the published base of that name (`modelBase`). Raises ModelError where neither tells what
    changes the features: nothing is guessed.
    """
    import transformers

    sizes = sizes_of(tensors)
    kind, known = _base(base, written, sizes)
    family = FAMILIES[kind]
    settings: dict[str, Any] = {
        "layer_norm_eps": family.layer_norm_eps,
        **family.special_ids,
        **known,
        **{key: value for key, value in written.items() if key in _SETTINGS},
        **sizes,
    }
    heads = settings["num_attention_heads"]
    if type(heads) is not int or heads < 1 or sizes["hidden_size"] % heads:
        raise ModelError(
            f"expected attention heads that divide the {sizes['hidden_size']} channels, found {heads!s:.60}"
        )
    try:
        return getattr(transformers, family.config_class)(**settings)
    except Exception as error:  # transformers validates its settings with errors of its own
        raise ModelError(f"the transformer's configuration is not valid: {one_line(error)}") from None


def _base(base: str, written: Mapping[str, Any], sizes: Mapping[str, int]) -> tuple[str, dict[str, Any]]:
    """The family, and the settings that follow from a base that is known; raises ModelError for one that is not."""
    published = BASES.get(base.rstrip("/").split("/")[-1].lower())
    kind = written.get("model_type", published[0] if published else None)
    if kind is not None and kind not in FAMILIES:
        raise ModelError(f"expected a transformer of the families {', '.join(FAMILIES)}, found '{kind!s:.60}'")
    missing = [key for key in NEEDED if key not in written]
    if published is None and missing:
        raise ModelError(
            f"the base '{base:.60}' is not known, and config.json does not say its {', '.join(missing)}, which decide "
            f"the features: add them, {EXAMPLE}; known bases are {', '.join(list(BASES)[:2])} and "
            f"{len(BASES) - 2} others"
        )
    if published is None:
        return str(kind), {}
    return str(kind), {"num_attention_heads": max(1, sizes["hidden_size"] // published[1])}


def build_transformer(config: Any, pooler: bool, attention: str = "sdpa") -> nn.Module:
    """A transformer of the configuration, on the current default device; `attention` is 'sdpa' or 'eager'."""
    import transformers

    if attention not in ATTENTION:
        raise ModelError(f"expected attention {' or '.join(ATTENTION)}, found '{attention}'")
    model_class = getattr(transformers, FAMILIES[config.model_type].model_class)
    try:
        model: nn.Module = model_class(config, add_pooling_layer=pooler)
    except Exception as error:  # a pad id outside the vocabulary, an unknown activation, ...
        raise ModelError(f"the transformer cannot be built: {one_line(error)}") from None
    model.set_attn_implementation(attention)  # type: ignore[operator]
    return model


def written_config(config: Any) -> dict[str, Any]:
    """What a checkpoint of ours records of a transformer's configuration under `transformerConfig`."""
    return {"model_type": config.model_type, **{key: getattr(config, key) for key in (*_SIZES, *_SETTINGS)}}


def token_limit(config: Any) -> int:
    """The longest row of tokens, special ones included, that the position table has room for."""
    reserved = (config.pad_token_id + 1) if FAMILIES[config.model_type].counts_after_pad else 0
    return int(config.max_position_embeddings - reserved)
