"""open_clip's models with a text tower of transformers: XLM-R, mean pooling and a head of two layers without biases.

The files are open_clip's own: those that it publishes, and the checkpoints that it writes while it trains. Of models
with open_clip's own text tower the image tower is read, for another text tower.
"""

from __future__ import annotations

import html
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xpet.core.errors import ModelError
from xpet.core.events import OnEvent
from xpet.core.known_models import KNOWN
from xpet.models.backbones import BACKBONES, build_transformer, token_limit
from xpet.models.families.base import (
    CONFIG,
    DiskLayout,
    Family,
    OpenImage,
    OpenText,
    Part,
    document,
    replaced,
)
from xpet.models.families.m_clip import SHOWN_BY, transformer_config
from xpet.models.families.open_clip_vision import START, open_vision
from xpet.models.families.saving import write_as_read
from xpet.models.pooling import Pooling
from xpet.models.shards import Change, StorageOptions
from xpet.models.text_tower import TextTower
from xpet.models.tokenizer import FILES, TextTokenizer, load_tokenizer
from xpet.models.weights import read_json, read_weights, weight_files

SETTINGS = "open_clip_config.json"
STEMS = ("open_clip_model", "open_clip_pytorch_model")
"""How names of files begin that xpet writes: those that open_clip looks for."""
_FILES = (f"{STEMS[0]}.safetensors", f"{STEMS[1]}.safetensors", f"{STEMS[1]}.bin", f"{STEMS[1]}.pth")
"""Names of open_clip's files of weights, in the order in which it looks for them."""
_OTHERS = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")
"""Names that it takes after those, in a folder with its settings."""
_ENDINGS = (".safetensors", ".bin", ".pth", ".pt")
"""Endings of names of files that it reads or writes, such as epoch_7.pt."""
_TRAINED = (".pt", ".pth")
_RUN = "checkpoints"
"""Endings of names of files that a training saves, and the folder within its own that it saves them in."""
_SMALL_FILES = (*FILES, "tokenizer_config.json", "special_tokens_map.json")
"""Files beside a checkpoint of a training that belong to it."""
_TEXT = "text."
"""How names of the text tower's tensors begin."""
_WORDS = f"{_TEXT}transformer.embeddings.word_embeddings.weight"
_OWN_WORDS = ("token_embedding.weight", "text.token_embedding.weight")
"""Names of the word embeddings of open_clip's own text tower."""
_NOT_IMAGE = (
    _TEXT, "transformer.", "token_embedding.", "positional_embedding", "ln_final.", "text_projection", "logit_scale",
    "logit_bias",
)  # fmt: skip
"""How names begin of tensors that are not of the image tower."""
_POOLING = {"mean_pooler": Pooling(), "cls_last_hidden_state_pooler": Pooling("first")}
"""Poolers of open_clip that are known."""
_HEADS: Mapping[str | None, tuple[tuple[str, str], ...]] = {
    "mlp": (("neck.dense.", "text.proj.0."), ("LinearTransformation.", "text.proj.2.")),
    "linear": (("LinearTransformation.", "text.proj."),),
    None: (),
}
"""hf_proj_type -> names of the head in the tower and on the disk."""
_CONTEXT = 77
"""Tokens of a text that open_clip reads at most, where nothing else is said."""


def _known(base: str | None, dimensions: int, **vision: int) -> Mapping[str, Any]:
    text = {"hf_model_name": base, "hf_tokenizer_name": base, "hf_pooler_type": "mean_pooler"} if base else {}
    return {"embed_dim": dimensions, "vision_cfg": {"image_size": 224, **vision}, "text_cfg": text}


MODELS: Mapping[tuple[int, int, int, int], Mapping[str, Any]] = {
    (250002, 768, 768, 32): _known("xlm-roberta-base", 512, layers=12, width=768, patch_size=32),
    (250002, 1024, 1280, 14): _known("xlm-roberta-large", 1024, layers=32, width=1280, head_width=80, patch_size=14),
    (49408, 640, 896, 16): _known(None, 640, image_size=240, layers=12, width=896, patch_size=16),
}
"""Settings (model_cfg) of the models that are published without any, by vocabulary, width of the text tower, width of
the image tower and side of its patches: xlm-roberta-base-ViT-B-32, xlm-roberta-large-ViT-H-14, ViT-B-16-plus-240."""


def _recognise(path: Path) -> bool:
    """Whether a folder is open_clip's, or a file of weights may be; one that is also transformers' is left to it."""
    if path.is_file():
        return path.name.endswith(_ENDINGS)
    model = document(path, SETTINGS).get("model_cfg")
    text = model.get("text_cfg") if isinstance(model, Mapping) else None
    if isinstance(text, Mapping) and text.get("hf_model_name"):
        return True
    ours = any((path / name).is_file() for name in _FILES)
    theirs = any((path / name).is_file() for name in weight_files()) or not ours
    if (path / CONFIG).is_file() and ("model_type" in document(path) or not model) and theirs:
        return False
    return ours or model is not None or any(_others(each, _TRAINED) for each in (path, path / _RUN))


def _others(folder: Path, endings: tuple[str, ...] = _ENDINGS) -> list[str]:
    """Names of all files of weights in a folder."""
    try:
        return sorted(path.name for path in folder.iterdir() if path.name.endswith(endings) and path.is_file())
    except OSError:
        return []


def _file(folder: Path) -> str:
    """Name of the file of weights in a folder; raises ModelError where there is none, or no one can tell which."""
    found = next((name for name in (*_FILES, *_OTHERS) if (folder / name).is_file()), None)
    if found is not None:
        return found
    names = _others(folder)
    if len(names) == 1:
        return names[0]
    if names:
        raise ModelError(
            f"{folder}: expected one file of weights, found {len(names)} ({', '.join(names[:3])}); give the file "
            f"itself: {folder / names[-1]}"
        )
    raise ModelError(f"{folder}: expected open_clip's weights in {', '.join(_FILES)}, found none")


def _read(path: Path) -> DiskLayout:
    """Settings and file of a folder, or of a file; raises ModelError."""
    if path.is_dir() and not _others(path) and _others(path / _RUN, _TRAINED):
        path = path / _RUN
    folder, file = (path.parent, path.name) if path.is_file() else (path, _file(path))
    written = read_json(folder / SETTINGS, "an open_clip model") if (folder / SETTINGS).is_file() else None
    if written is not None and not isinstance(written.get("model_cfg"), Mapping):
        raise ModelError(f"{folder / SETTINGS}: expected an object model_cfg, found none")
    config = written or {"model_cfg": _by_shapes(folder, file), "preprocess_cfg": {}}
    whole = path.is_dir() and file in (*_FILES, *_OTHERS)
    return DiskLayout(folder, config, (Part("", STEMS, file),), SETTINGS, None if whole else _SMALL_FILES)


def _by_shapes(folder: Path, file: str) -> Mapping[str, Any]:
    """The settings of a published model, by the shapes of its tensors; raises ModelError for other models."""
    tensors = read_weights(folder, file_name=file)
    words = next((tensors[name] for name in (_WORDS, *_OWN_WORDS) if name in tensors), torch.empty(0))
    patches = tensors.get("visual.conv1.weight", torch.empty(0))
    if not any(name.startswith(START) for name in tensors):
        raise ModelError(
            f"{folder / file}: expected an open_clip model, with tensors visual.* and text.*, found "
            f"{min(tensors, default='none'):.60}; of a checkpoint in another layout give the folder"
        )
    found = (*words.shape, *patches.shape[::3])
    if found not in MODELS:
        raise ModelError(
            f"{folder}: expected {SETTINGS} beside {file}: it is none of the models that are known without "
            f"(xlm-roberta-base-ViT-B-32, xlm-roberta-large-ViT-H-14, ViT-B-16-plus-240)"
        )
    return MODELS[found]


def _model(layout: DiskLayout) -> Mapping[str, Any]:
    model: Mapping[str, Any] = layout.config["model_cfg"]
    return model


def _text(layout: DiskLayout) -> Mapping[str, Any]:
    """The settings of the text tower; raises ModelError where it is open_clip's own."""
    text = _model(layout).get("text_cfg")
    if not isinstance(text, Mapping) or not isinstance(text.get("hf_model_name"), str):
        raise ModelError(
            f"{layout.folder}: expected an open_clip model whose text tower is one of transformers (hf_model_name in "
            "text_cfg, such as xlm-roberta-base), found open_clip's own; --image-model can take its image tower"
        )
    return text


def _head(layout: DiskLayout) -> str | None:
    """Kind of the head: mlp, linear, or None for none; raises ModelError for others."""
    kind: str | None = _text(layout).get("hf_proj_type", "mlp")
    if kind not in _HEADS:
        raise ModelError(f"{layout.folder / SETTINGS}: expected hf_proj_type mlp, linear or null, found {kind!s:.60}")
    return kind


def _build(layout: DiskLayout, attention: str) -> TextTower:
    """The tower on the meta device; raises ModelError for a transformer, pooler or head that xpet does not have."""
    text, head, path = _text(layout), _head(layout), layout.folder / SETTINGS
    pooler = text.get("hf_pooler_type") or "mean_pooler"
    if pooler not in _POOLING:
        raise ModelError(f"{path}: expected hf_pooler_type {' or '.join(_POOLING)}, found {pooler!s:.60}")
    dimensions = _model(layout).get("embed_dim")
    if type(dimensions) is not int or dimensions < 1:
        raise ModelError(f"{path}: expected a whole number embed_dim, found {dimensions!r:.60}")
    for name, axis in SHOWN_BY.values():
        layout.size(f"{_TEXT}transformer.{name}", axis)  # the error names what is missing as on the disk
    names = {name.removeprefix(_TEXT): tensor for name, tensor in layout.tensors.items() if name.startswith(_TEXT)}
    try:
        settings = transformer_config(text["hf_model_name"], _written(layout.folder, text["hf_model_name"]), names)
        with torch.device("meta"):
            hidden = settings.hidden_size
            transformer, neck = build_transformer(settings, False, attention), None
            if head == "mlp":
                dense = nn.Linear(hidden, (hidden + dimensions) // 2, bias=False)
                neck = nn.Sequential(OrderedDict(dense=dense, activation=nn.GELU()))
            return TextTower(transformer, dimensions, _POOLING[pooler], neck, bias=False, projects=head is not None)
    except ModelError as error:
        raise ModelError(f"{layout.folder}: {error}") from None


def _written(folder: Path, base: str) -> Mapping[str, Any]:
    """What is written about the transformer: in the folder that is its name, or in config.json beside the weights."""
    found = document(Path(base)) if Path(base).is_dir() else document(folder)
    return found if found.get("model_type") in tuple(BACKBONES) else {}


def _on_disk(layout: DiskLayout, name: str) -> str:
    return replaced(name, (*_HEADS[_head(layout)], ("transformer.", "text.transformer.")))


def clean_text(text: str) -> str:
    """A text as open_clip gives it to a tokenizer: encoding mended, HTML's entities replaced, single spaces."""
    import ftfy

    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())


def _tokenizer(layout: DiskLayout, tower: TextTower) -> TextTokenizer:
    """The tokenizer beside the weights; raises ModelError, saying where to have it from, where there is none."""
    text, settings = _text(layout), tower.transformer.config
    length, more = text.get("context_length", _CONTEXT), dict(text.get("tokenizer_kwargs") or {})
    path = layout.folder / SETTINGS
    if type(length) is not int or length < 3:  # noqa: PLR2004
        raise ModelError(f"{path}: expected a whole number of tokens as context_length, found {length!r:.60}")
    if text.get("tokenizer_mode") or more.pop("clean", "whitespace") != "whitespace" or any(more.values()):
        raise ModelError(f"{path}: expected no tokenizer_mode, and tokenizer_kwargs clean whitespace, found others")
    if not any((layout.folder / name).is_file() for name in FILES):
        name = text.get("hf_tokenizer_name") or text["hf_model_name"]
        raise ModelError(
            f"{layout.folder}: expected tokenizer.json beside the weights, found none; fetch it: hf download {name} "
            f"tokenizer.json --local-dir {layout.folder}"
        )
    limit = min(length, token_limit(settings))
    return load_tokenizer(layout.folder, limit, int(settings.pad_token_id), clean=clean_text)  # type: ignore[union-attr, arg-type]


def _image(path: Path) -> OpenImage:
    """The image tower of a folder, or of a file; raises ModelError."""
    layout = _read(path)
    tensors = layout.mapped()
    preprocess = layout.config.get("preprocess_cfg") or {}
    if not isinstance(preprocess, Mapping):
        raise ModelError(f"{layout.folder / SETTINGS}: expected an object preprocess_cfg, found {preprocess!r:.60}")
    found = {name: tensor for name, tensor in tensors.items() if not name.startswith(_NOT_IMAGE)}
    return open_vision(_model(layout), preprocess, found, layout.folder / SETTINGS)


def _write(
    base: OpenText, stage: Path, changes: Mapping[str, Change], storage: StorageOptions, entries: Mapping[str, Any],
    on_event: OnEvent,
) -> None:  # fmt: skip
    """Write it again, in one file: open_clip reads no shards."""
    most = sum(tensor.nbytes for tensor in base.layout.tensors.values()) * 4
    write_as_read(base, stage, changes, replace(storage, shard_size=most), entries, on_event)


FAMILY = Family(
    "OpenCLIP",
    recognise=_recognise,
    read=_read,
    build=_build,
    tokenizer=_tokenizer,
    write=_write,
    on_disk=_on_disk,
    image=_image,
    image_half=(START,),
    unread=("logit_scale", "logit_bias"),
    files=(SETTINGS,),
    parts=(Part("", STEMS),),
    settings=(SETTINGS,),
    single_files=_ENDINGS,
    signs=("visual.", "text.transformer."),
    facts=KNOWN["OpenCLIP"],
)  # fmt: skip
