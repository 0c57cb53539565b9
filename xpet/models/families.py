"""Transformer families of text towers, and how a checkpoint gives a configuration without its base model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from xpet.core.errors import ModelError, XpetWarning, one_line
from xpet.models.weights import LONG

PREFIX = "transformer."
"""How names of the transformer's tensors begin."""
ATTENTION = ("sdpa", "eager")
"""Implementations of attention in transformers that can be chosen."""


@dataclass(frozen=True)
class Family:
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


FAMILIES: dict[str, Family] = {
    "xlm-roberta": Family(
        "XLMRobertaConfig", "XLMRobertaModel", 1e-5, {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}, True
    ),
    "bert": Family("BertConfig", "BertModel", 1e-12, {"pad_token_id": 0}, False),
}
"""By transformers' `model_type`. A family is added by a row here; its published bases, if any, by rows of BASES."""

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
WIDTHS = {384: 32, 768: 64, 1024: 64}
"""Hidden size -> channels of an attention head, in published bases."""
NEEDED = ("model_type", "num_attention_heads", "layer_norm_eps")
"""What config.json must say of a base that is not known: the weights do not show it, and the features depend on it."""
EXAMPLE = (
    """for example "transformerConfig": {"model_type": "bert", "num_attention_heads": 12, "layer_norm_eps": 1e-12}"""
)
HEADS = '"transformerConfig": {"num_attention_heads": N}'
"""What errors tell to write into config.json; EXAMPLE likewise."""
_SETTINGS = (
    "num_attention_heads", "hidden_act", "layer_norm_eps", "hidden_dropout_prob", "attention_probs_dropout_prob",
    "bos_token_id", "pad_token_id", "eos_token_id",
)  # fmt: skip
"""Settings that the tensors do not show, read from config.json and written to it."""
_FIXED: Mapping[str, object] = {
    "position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False,
}  # fmt: skip
"""Settings that change the features, with the one value that xpet supports."""
_SIZES = (
    "vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size", "max_position_embeddings", "type_vocab_size",
)  # fmt: skip
"""Settings that the tensors' shapes give."""


def sizes_of(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """The sizes a transformer's tensors show; raises ModelError when the layout is not M-CLIP's."""
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
    """The configuration of a text tower's transformer, as an object of transformers.

    Args:
        base: `modelBase` of config.json, which names a published base.
        written: what config.json says of the transformer; it has precedence over the base.
        tensors: by name; their shapes give the sizes.

    Raises:
        ModelError: a setting that changes the features is known from none of these, or they contradict each other.
    """
    import transformers

    sizes = sizes_of(tensors)
    written = {key: value for key, value in written.items() if value is not None}
    _check_written(written, sizes)
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
    if sizes["hidden_size"] % heads:
        raise ModelError(f"expected attention heads that divide the {sizes['hidden_size']} channels, found {heads}")
    try:
        return getattr(transformers, family.config_class)(**settings)
    except Exception as error:  # transformers validates its settings with errors of its own
        raise ModelError(
            f"the transformer's configuration is not valid: {one_line(error, LONG, first_only=True)}"
        ) from None


def _base(base: str, written: Mapping[str, Any], sizes: Mapping[str, int]) -> tuple[str, dict[str, Any]]:
    """The family, and the settings that follow from a known base.

    Raises ModelError for an unknown base, unless config.json says all that is NEEDED.
    """
    published = BASES.get(base.rstrip("/").split("/")[-1].lower())
    kind = str(written.get("model_type", published[0] if published else ""))
    if published is not None and published[0] == kind:
        return kind, {} if "num_attention_heads" in written else {"num_attention_heads": _heads(base, published, sizes)}
    missing = [key for key in NEEDED if key not in written]
    if missing:
        what = f"the base '{base:.60}' is not known" if published is None else f"the base '{base:.60}' is no {kind}"
        raise ModelError(
            f"{what}, and config.json does not say its {', '.join(missing)}, which decide the features: add them, "
            f"{EXAMPLE}; known bases are {', '.join(list(BASES)[:2])} and {len(BASES) - 2} others"
        )
    return kind, {}


def _heads(base: str, published: tuple[str, int], sizes: Mapping[str, int]) -> int:
    """Attention heads of a tower on a published base; raises ModelError for a width that the base cannot have.

    A tower may be narrower or wider than the base and has its size of a head then, but not where published bases of
    that width have another: 384 channels are MiniLM's 12 heads of 32, whose teachers have heads of 64. One head of all
    channels is assumed, with a warning, where there are fewer than a head of the base has: such towers are made for
    tests.
    """
    hidden, size = sizes["hidden_size"], published[1]
    if hidden < size:
        assumption = (
            f"the base '{base:.60}' has attention heads of {size} channels, this tower of {hidden} is taken to have one"
        )
        warnings.warn(f"{assumption}; config.json can say it: {HEADS}", XpetWarning, stacklevel=2)
        return 1
    if hidden % size or WIDTHS.get(hidden, size) != size:
        raise ModelError(
            f"the base '{base:.60}' has attention heads of {size} channels, which a tower of {hidden} channels is not "
            f"known to have: add its own to config.json, {HEADS}"
        )
    return hidden // size


def _check_written(written: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
    """Raise ModelError for settings of a wrong type, against the tensors, or with a value that is not supported."""
    kind = written.get("model_type", "bert")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise ModelError(f"expected a transformer of the families {', '.join(FAMILIES)}, found '{kind!s:.60}'")
    for name, (least, below, what) in _RANGES.items():
        value = written.get(name, least)
        kinds = (int,) if isinstance(least, int) else (int, float)
        if type(value) not in kinds or not least <= value < below:
            raise ModelError(
                f"the transformer's configuration is not valid: expected {what} as {name}, found {value!r:.60}"
            )
    for name, expected in {**sizes, **_FIXED}.items():
        value = written.get(name, expected)
        if value != expected:
            where = "in the weights" if name in sizes else "as xpet has it"
            raise ModelError(f"config.json: expected {name} {expected} {where}, found {value!r:.60}")


_RANGES: Mapping[str, tuple[Any, float, str]] = {
    "num_attention_heads": (1, 2**31, "a whole number of attention heads"),
    "layer_norm_eps": (2.0**-149, 1, "a number between 0 and 1"),
    **dict.fromkeys(
        ("hidden_dropout_prob", "attention_probs_dropout_prob"), (0.0, 1, "a number from 0 to less than 1")
    ),
    **dict.fromkeys(("bos_token_id", "pad_token_id", "eos_token_id"), (0, 2**31, "a token's number")),
}
"""Settings that are numbers: the least value, the bound that they must be below, and what errors call them."""


def build_transformer(config: Any, pooler: bool, attention: str = "sdpa") -> nn.Module:
    """A transformer of the configuration, on the current default device; `attention` is 'sdpa' or 'eager'."""
    import transformers

    if attention not in ATTENTION:
        raise ModelError(f"expected attention {' or '.join(ATTENTION)}, found '{attention}'")
    model_class = getattr(transformers, FAMILIES[config.model_type].model_class)
    try:
        model: nn.Module = model_class(config, add_pooling_layer=pooler)
    except Exception as error:  # a pad id outside the vocabulary, an unknown activation, ...
        raise ModelError(f"the transformer cannot be built: {one_line(error, LONG, first_only=True)}") from None
    model.set_attn_implementation(attention)  # type: ignore[operator]
    return model


def written_config(config: Any) -> dict[str, Any]:
    """The entry `transformerConfig` of config.json that xpet writes: enough to rebuild the transformer."""
    return {"model_type": config.model_type, **{key: getattr(config, key) for key in (*_SIZES, *_SETTINGS)}}


def token_limit(config: Any) -> int:
    """The longest row of tokens, special ones included, that the position table has room for."""
    return int(config.max_position_embeddings - FAMILIES[config.model_type].first_position(config.pad_token_id))
