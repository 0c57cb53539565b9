"""M-CLIP (Carlsson et al. 2022): any transformer of `xpet.models.backbones`, mean pooling, a linear layer with bias.

Its config.json names a base model and says nothing of its layers; here they are known without that model's weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xpet.core.errors import ModelError, XpetWarning
from xpet.core.events import OnEvent
from xpet.core.known_models import KNOWN
from xpet.models.backbones import BACKBONES, build_transformer, configured, token_limit
from xpet.models.families.base import CONFIG, DiskLayout, Family, OpenText, document
from xpet.models.shards import Change, StorageOptions, write_weights
from xpet.models.text_tower import TextTower
from xpet.models.tokenizer import FILES, TextTokenizer, load_tokenizer
from xpet.models.weights import read_json, write_json

PURPOSE = "an M-CLIP text tower"
_KEYS = ("modelBase", "transformerDimensions", "numDims")
"""Keys of config.json in the M-CLIP layout."""

PREFIX = "transformer."
"""How names of the transformer's tensors begin."""
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


SHOWN_BY = {
    "vocab_size": ("embeddings.word_embeddings.weight", 0), "hidden_size": ("embeddings.word_embeddings.weight", 1),
    "max_position_embeddings": ("embeddings.position_embeddings.weight", 0),
    "type_vocab_size": ("embeddings.token_type_embeddings.weight", 0),
    "intermediate_size": ("encoder.layer.0.intermediate.dense.weight", 0),
}  # fmt: skip
"""Size of a transformer -> the matrix that shows it, by its name in BERT, and the axis."""


def sizes_of(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """The sizes a transformer's tensors show; raises ModelError when the layout is not M-CLIP's."""
    sizes = {}
    for size, (name, axis) in SHOWN_BY.items():
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
    sizes = sizes_of(tensors)
    written = {key: value for key, value in written.items() if value is not None}
    _check_written(written, sizes)
    kind, known = _base(base, written, sizes)
    backbone = BACKBONES[kind]
    settings: dict[str, Any] = {
        "layer_norm_eps": backbone.layer_norm_eps,
        **backbone.special_ids,
        **known,
        **{key: value for key, value in written.items() if key in _SETTINGS},
        **sizes,
    }
    heads = settings["num_attention_heads"]
    if sizes["hidden_size"] % heads:
        raise ModelError(f"expected attention heads that divide the {sizes['hidden_size']} channels, found {heads}")
    return configured(kind, settings)


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
    if not isinstance(kind, str) or kind not in BACKBONES:
        raise ModelError(f"expected a transformer of the families {', '.join(BACKBONES)}, found '{kind!s:.60}'")
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


def written_config(config: Any) -> dict[str, Any]:
    """The entry `transformerConfig` of config.json that xpet writes: enough to rebuild the transformer."""
    return {"model_type": config.model_type, **{key: getattr(config, key) for key in (*_SIZES, *_SETTINGS)}}


def has_keys(folder: Path) -> bool:
    """Whether config.json says that a folder is M-CLIP's, though it may lack something."""
    config = document(folder)
    return config.get("model_type") == "M-CLIP" or any(key in config for key in _KEYS)


def _read(folder: Path) -> DiskLayout:
    """Settings and files of a folder; raises ModelError where they are not of the M-CLIP layout."""
    config = read_json(folder / CONFIG, PURPOSE)
    _check_keys(config, folder)
    return DiskLayout(folder, config, buffers=False)


def _check_keys(config: Mapping[str, Any], folder: Path) -> None:
    """Raise ModelError unless a config.json has the keys of the M-CLIP layout."""
    kind = config.get("model_type", "unknown")
    optional = ("modelBase",) if kind in tuple(BACKBONES) else ()  # config.json has the transformer's settings then
    missing = [key for key in _KEYS if key not in config and key not in optional]
    if missing:
        raise ModelError(
            f"{folder}: expected {PURPOSE}, found a model of type '{kind}' whose config.json lacks {', '.join(missing)}"
        )
    if not isinstance(config.get("modelBase", ""), str):
        raise ModelError(f"{folder}: expected a name as modelBase in config.json, found {config['modelBase']!r:.60}")


def _build(layout: DiskLayout, attention: str) -> TextTower:
    """The tower that config.json and the tensors describe, on the meta device; raises ModelError."""
    config, tensors = layout.config, layout.tensors
    nested = config.get("transformerConfig") or {}
    if not isinstance(nested, dict):
        raise ModelError(f"{layout.folder}: expected transformerConfig to be an object, found {type(nested).__name__}")
    outer = {key: value for key, value in config.items() if key != "model_type" or value in tuple(BACKBONES)}
    try:
        settings = transformer_config(config.get("modelBase", ""), {**outer, **nested}, tensors)
        pooler = "transformer.pooler.dense.weight" in tensors
        with torch.device("meta"):
            return TextTower(build_transformer(settings, pooler, attention), _dimensions(config, tensors, settings))
    except ModelError as error:
        raise ModelError(f"{layout.folder}: {error}") from None


def _dimensions(config: Mapping[str, Any], tensors: Mapping[str, Tensor], settings: Any) -> int:
    """Output size of the projection [numDims, transformerDimensions]; raises ModelError where config.json disagrees."""
    weight = tensors.get("LinearTransformation.weight")
    if weight is None or weight.dim() != 2:
        raise ModelError("the weights are not in the M-CLIP layout: expected a matrix LinearTransformation.weight")
    sizes = {"numDims": weight.shape[0], "transformerDimensions": settings.hidden_size}
    wrong = [f"{name} {config[name]!s:.60} against {size}" for name, size in sizes.items() if config[name] != size]
    if wrong:
        raise ModelError(
            f"config.json and weights disagree: {', '.join(wrong)}; correct config.json or fetch both again"
        )
    return int(weight.shape[0])


def _tokenizer(layout: DiskLayout, tower: TextTower) -> TextTokenizer:
    """The tokenizer, cut to the tower's positions: beside the weights, or beside their folder, as diffusers has it."""
    settings: Any = tower.transformer.config
    folders = (layout.folder, layout.folder.resolve().parent / "tokenizer")
    folder = next((each for each in folders if any((each / name).is_file() for name in FILES)), layout.folder)
    return load_tokenizer(folder, token_limit(settings), settings.pad_token_id)


def _write(
    base: OpenText, stage: Path, changes: Mapping[str, Change], storage: StorageOptions, entries: Mapping[str, Any],
    on_event: OnEvent,
) -> None:  # fmt: skip
    """Write the layout that xpet writes of its own towers, with config.json's entries kept."""
    write_weights(stage, base.streamed(), changes, storage, on_event)
    kind = str(storage.dtype).removeprefix("torch.")
    write_settings(stage, base.tower, base.tokenizer, {**base.config, **entries, "torch_dtype": kind})


def write_settings(folder: Path, tower: TextTower, tokenizer: TextTokenizer, config: Mapping[str, Any]) -> None:
    """Write all files of the M-CLIP layout but the weights: config.json, tokenizer.json, tokenizer_config.json."""
    settings: Any = tower.transformer.config
    document = {
        "architectures": ["MultilingualCLIP"],
        "modelBase": settings.model_type,
        **config,
        "model_type": "M-CLIP",
        "numDims": tower.dimensions,
        "transformerDimensions": settings.hidden_size,
        "transformerConfig": written_config(settings),
    }
    write_json(folder / CONFIG, document)
    tokenizer.save(folder)


FAMILY = Family(
    "M-CLIP",
    recognise=lambda folder: True,  # the last row: its errors say what is missing
    read=_read,
    build=_build,
    tokenizer=_tokenizer,
    write=_write,
    signs=("LinearTransformation.",),
    facts=KNOWN["M-CLIP"],
)  # fmt: skip
