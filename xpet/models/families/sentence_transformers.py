"""Text towers of sentence-transformers: a transformer, pooling and a dense layer, each in a folder of its own.

The best known is clip-ViT-B-32-multilingual-v1: DistilBERT, distilled for CLIP's image tower (Reimers, Gurevych 2020).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xpet.core.errors import ModelError
from xpet.core.known_models import KNOWN
from xpet.models.backbones import BACKBONES, build_transformer, configured, token_limit
from xpet.models.families.base import CONFIG, DiskLayout, Family, Part, document, json_list, replaced
from xpet.models.families.saving import write_as_read
from xpet.models.pooling import Pooling
from xpet.models.text_tower import TextTower
from xpet.models.tokenizer import TextTokenizer, load_tokenizer
from xpet.models.weights import read_json

MODULES = "modules.json"
_PARTS = ("Transformer", "Pooling", "Dense")
"""Classes of sentence-transformers in the order of computation; a Normalize behind them changes no cosine."""
_POOLING = {"mean": Pooling(), "cls": Pooling("first")}
"""Modes of pooling that are known, by their names in the settings."""
_MODE = re.compile(r"pooling_mode_(\w+?)_?tokens?")
"""Entries of the settings before sentence-transformers 6, true or false, and the mode that each stands for."""
_USE = "config_sentence_transformers.json"
"""Which file says how texts are prepared."""
_TO_TOKENIZER = ("processor_kwargs", "tokenizer_args")
"""What the transformer's settings call arguments of the tokenizer, which have precedence; since release 6, before."""
_IDENTITY = "torch.nn.modules.linear.Identity"
_DISTILBERT = (
    ("encoder.layer.", "transformer.layer."),
    ("attention.self.query.", "attention.q_lin."), ("attention.self.key.", "attention.k_lin."),
    ("attention.self.value.", "attention.v_lin."), ("attention.output.dense.", "attention.out_lin."),
    ("attention.output.LayerNorm.", "sa_layer_norm."), ("output.LayerNorm.", "output_layer_norm."),
    ("intermediate.dense.", "ffn.lin1."), (".output.dense.", ".ffn.lin2."),
)  # fmt: skip
"""Parts of BERT's names -> DistilBERT's, to be replaced in this order."""
_WHOLE = ("", "distilbert.", "bert.", "roberta.")
"""What names of the transformer's tensors begin with, where they were saved as part of a larger model."""
_WORDS = "embeddings.word_embeddings.weight"
_NOT_SETTINGS = ("model_type", "architectures", "torch_dtype", "dtype", "transformers_version", "_name_or_path")
"""Entries of config.json that say nothing about the layers."""
_FIXED: Mapping[str, object] = {"position_embedding_type": "absolute", "is_decoder": False}
"""Settings that change the features, with the one value that xpet supports."""


class NoTypes(nn.Module):
    """Stands where other transformers embed kinds of tokens, which DistilBERT does not have."""

    def forward(self, token_type_ids: Tensor) -> Tensor:
        """Zero, to be added to embeddings, for the kinds of tokens [rows, length]."""
        return torch.zeros((), device=token_type_ids.device)


def _recognise(folder: Path) -> bool:
    return tuple(kind for kind, _ in _modules(folder)[: len(_PARTS)]) == _PARTS


def _modules(folder: Path) -> list[tuple[str, str]]:
    """Class and folder of each module, in the order of computation; empty where modules.json lists none."""
    rows = [row for row in json_list(folder, MODULES) if isinstance(row, dict)]
    return [(str(row.get("type", "")).rpartition(".")[2], str(row.get("path", ""))) for row in rows]


def _read(folder: Path) -> DiskLayout:
    """Folders of the modules and settings of the transformer; raises ModelError for modules that xpet does not have."""
    modules = _modules(folder)
    extra = [kind for kind, _ in modules[len(_PARTS) :] if kind != "Normalize"]
    if extra:
        raise ModelError(f"{folder}: expected the modules {', '.join(_PARTS)}, found {extra[0]:.60} besides")
    _check_prompt(folder)
    for _, path in modules:
        if Path(path).name != path:
            raise ModelError(f"{folder}: expected names of folders in {MODULES}, found '{path:.60}'")
    inner, dense = modules[0][1], modules[2][1]
    config = read_json(folder / inner / CONFIG, "the transformer of a sentence-transformers model")
    return DiskLayout(folder, config, (Part(inner), Part(dense)), (Path(inner) / CONFIG).as_posix())


def _check_prompt(folder: Path) -> None:
    """Raise ModelError for a model that puts a prompt before every text: its features are not those of the text."""
    settings = document(folder, _USE)
    name, prompts = settings.get("default_prompt_name"), settings.get("prompts")
    if name is not None and isinstance(prompts, Mapping) and prompts.get(name, ""):
        raise ModelError(
            f"{folder}: expected no prompt before texts, found the default prompt '{prompts[name]!s:.60}'; set "
            f"default_prompt_name to null in {_USE} if texts have it already, or need none"
        )


def _build(layout: DiskLayout, attention: str) -> TextTower:
    """The tower on the meta device; raises ModelError for what xpet does not have."""
    kind = str(layout.config.get("model_type"))
    if kind != "distilbert" and kind not in BACKBONES:
        raise ModelError(
            f"{layout.folder}: expected a transformer of type distilbert, {', '.join(BACKBONES)}, found '{kind:.60}'"
        )
    with torch.device("meta"):
        transformer = _distilbert(layout.config, attention) if kind == "distilbert" else _as_written(layout, attention)
        return TextTower(transformer, layout.size(_head(layout)), _pooling(layout), bias=_has_bias(layout))


def _head(layout: DiskLayout) -> str:
    """Name of the dense layer's weight."""
    return layout.parts[1].prefix + "linear.weight"


def _distilbert(config: Mapping[str, Any], attention: str) -> nn.Module:
    """DistilBERT as the BERT that computes the same."""
    shape = {
        "vocab_size": config.get("vocab_size", 30522), "hidden_size": config.get("dim", 768),
        "intermediate_size": config.get("hidden_dim", 3072), "num_hidden_layers": config.get("n_layers", 6),
        "num_attention_heads": config.get("n_heads", 12), "hidden_act": config.get("activation", "gelu"),
        "max_position_embeddings": config.get("max_position_embeddings", 512),
        "hidden_dropout_prob": config.get("dropout", 0.1), "pad_token_id": config.get("pad_token_id", 0),
        "attention_probs_dropout_prob": config.get("attention_dropout", 0.1), "layer_norm_eps": 1e-12,
    }  # fmt: skip
    model = build_transformer(configured("bert", shape), False, attention)
    model.embeddings.token_type_embeddings = NoTypes()  # type: ignore[union-attr]
    return model


def _as_written(layout: DiskLayout, attention: str) -> nn.Module:
    """A transformer that transformers has under the names of BERT's modules; raises ModelError."""
    settings = {key: value for key, value in layout.config.items() if key not in _NOT_SETTINGS}
    for key, expected in _FIXED.items():
        if (value := settings.get(key, expected)) != expected:
            raise ModelError(f"{layout.folder}: expected {key} {expected} as xpet has it, found {value!r:.60}")
    pooler = _start(layout) + "pooler.dense.weight" in layout.tensors
    return build_transformer(configured(layout.config["model_type"], settings), pooler, attention)


def _pooling(layout: DiskLayout) -> Pooling:
    """How token states are pooled; raises ModelError for other modes, or several."""
    folder = dict(_modules(layout.folder))["Pooling"]
    settings = read_json(layout.folder / folder / CONFIG, "the pooling of a sentence-transformers model")
    modes = _modes(settings)
    if len(modes) != 1 or modes[0] not in _POOLING:
        raise ModelError(
            f"{layout.folder / folder}: expected the pooling mode {' or '.join(_POOLING)}, found "
            f"{', '.join(modes) or 'none':.60}"
        )
    return _POOLING[modes[0]]


def _modes(settings: Mapping[str, Any]) -> list[str]:
    """Names of the modes in the settings of the pooling, as sentence-transformers 6 writes them or as those before."""
    written = settings.get("pooling_mode")
    if written is not None:
        return [str(mode) for mode in written] if isinstance(written, list) else [str(written)]
    flags = {match[1]: value for key, value in settings.items() if (match := _MODE.fullmatch(key))}
    return [mode for mode, value in flags.items() if value is True]


def _has_bias(layout: DiskLayout) -> bool:
    """Whether the dense layer has a bias; raises ModelError for one that is not linear."""
    folder = layout.folder / layout.parts[1].folder
    settings = read_json(folder / CONFIG, "the dense layer of a sentence-transformers model")
    activation = settings.get("activation_function")
    if activation != _IDENTITY:
        raise ModelError(f"{folder}: expected the activation_function {_IDENTITY}, found {activation!s:.60}")
    return bool(settings.get("bias", True))


def _start(layout: DiskLayout) -> str:
    """How the transformer's names begin on the disk: with its folder and perhaps the name of a whole model's part."""
    first = layout.parts[0].prefix
    starts = (first + start for start in _WHOLE if first + start + _WORDS in layout.tensors)
    return next(starts, first)


def _on_disk(layout: DiskLayout, name: str) -> str:
    head = name.removeprefix("LinearTransformation.")
    if head != name:
        return f"{layout.parts[1].prefix}linear.{head}"
    inner = name.removeprefix("transformer.")
    is_distilbert = layout.config.get("model_type") == "distilbert"
    return _start(layout) + (replaced(inner, _DISTILBERT) if is_distilbert else inner)


def _tokenizer(layout: DiskLayout, tower: TextTower) -> TextTokenizer:
    """The transformer's tokenizer, cut to the length that sentence-transformers cuts to."""
    settings: Any = tower.transformer.config
    folder = layout.folder / layout.parts[0].folder
    most = token_limit(settings)
    more = document(folder, "sentence_bert_config.json")
    lengths = (
        *(given.get("model_max_length") for name in _TO_TOKENIZER if isinstance(given := more.get(name), dict)),
        more.get("max_seq_length"), document(folder, "tokenizer_config.json").get("model_max_length"),
    )  # fmt: skip
    length = next((length for length in lengths if type(length) is int and length > 2), most)
    return load_tokenizer(folder, min(most, length), settings.pad_token_id, more.get("do_lower_case") is True)


FAMILY = Family(
    "sentence-transformers",
    recognise=_recognise,
    read=_read,
    build=_build,
    tokenizer=_tokenizer,
    write=write_as_read,
    on_disk=_on_disk,
    files=(MODULES, "sentence_bert_config.json", _USE),
    parts=(Part(), Part("0_Transformer"), Part("1_Pooling"), Part("2_Dense")),
    settings=(CONFIG, f"0_Transformer/{CONFIG}"),
    signs=("transformer.layer.0.attention.q_lin.",),
    facts=KNOWN["sentence-transformers"],
)  # fmt: skip
