"""A text tower as a sentence-transformers folder: transformer, mean pooling, dense layer; written without that package.

modules.json names the three; the transformer's files lie in the folder itself as transformers reads them, the others in
1_Pooling and 2_Dense (an identity activation and a bias: the projection into the shared space).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from xpet.core.errors import ModelError
from xpet.core.events import OnEvent, ignore
from xpet.core.regular_files import read_text
from xpet.models.backbones import BACKBONES
from xpet.models.checkpoint import OpenText
from xpet.models.shards import Change, StorageOptions, write_weights
from xpet.models.text_tower import TextTower
from xpet.models.tokenizer import TextTokenizer
from xpet.models.weights import read_weights, write_json

POOLING, DENSE = "1_Pooling", "2_Dense"
_INNER, _HEAD, _LINEAR = "transformer.", "LinearTransformation.", "linear."
"""Prefixes of names: of the transformer and the projection in the tower, of the projection in the dense layer."""
OURS: Mapping[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""How transformers reads the folder: as it stands, without the network, and no code that it brings along."""
_MODULES = {"": "Transformer", POOLING: "Pooling", DENSE: "Dense"}
"""Folder of a module -> its class in sentence-transformers, in the order of computation."""


def check_holds(base: OpenText) -> None:
    """Raise ModelError unless the layout holds a tower: a BERT or XLM-R, mean pooling, one layer."""
    tower = base.tower
    inner: Any = tower.transformer
    has_types = hasattr(getattr(inner.embeddings, "token_type_embeddings", None), "weight")
    if tower.pooling.kind != "mean" or tower.neck is not None or not has_types:
        raise ModelError(
            f"expected a tower of a BERT or XLM-R with mean pooling and one layer behind it, found one of the family "
            f"{base.family.name}; merge writes it in its own layout without --export"
        )


def write_sentence_folder(
    folder: Path, base: OpenText, changes: Mapping[str, Change], storage: StorageOptions, more: Mapping[str, Any],
    on_event: OnEvent = ignore,
) -> None:  # fmt: skip
    """Write a tower whose weights are still on the disk, a block at a time, into an empty folder.

    `changes` are made to the weights of these names; `more` are further entries of config.json. Raises ModelError as
    `write_weights` does.
    """
    for name in (POOLING, DENSE):
        (folder / name).mkdir()
    for part, new_prefix, old_prefix in ((folder, "", _INNER), (folder / DENSE, _LINEAR, _HEAD)):
        tensors, changed = (_with_prefix(values, old_prefix, new_prefix) for values in (base.tensors, changes))
        write_weights(part, tensors, changed, storage, on_event)
    _write_settings(folder, base.tower, base.tokenizer, {**more, "dtype": str(storage.dtype).removeprefix("torch.")})
    base.tokenizer.save(folder)


def _with_prefix(values: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    """The values whose names begin with `old`, under names that begin with `new` instead."""
    return {new + name.removeprefix(old): value for name, value in values.items() if name.startswith(old)}


def _write_settings(folder: Path, tower: TextTower, tokenizer: TextTokenizer, more: Mapping[str, Any]) -> None:
    """Write the JSON files of the folder and its parts; `more` are further entries of config.json."""
    settings: Any = tower.transformer.config
    hidden = settings.hidden_size
    kind = BACKBONES[settings.model_type].model_class
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{name}"}
        for number, (path, name) in enumerate(_MODULES.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules, indent=2) + "\n", encoding="utf-8")
    write_json(folder / "config.json", {**settings.to_dict(), "architectures": [kind], **more})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": tokenizer.limit, "do_lower_case": False})
    write_json(folder / "config_sentence_transformers.json", {"prompts": {}, "similarity_fn_name": "cosine"})
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    pooling = {f"pooling_mode_{mode}": mode == "mean_tokens" for mode in modes}
    write_json(folder / POOLING / "config.json", {"word_embedding_dimension": hidden, **pooling})
    dense = {
        "in_features": hidden, "out_features": tower.dimensions,
        "bias": tower.LinearTransformation.bias is not None,
        "activation_function": "torch.nn.modules.linear.Identity",
    }  # fmt: skip
    write_json(folder / DENSE / "config.json", dense)


def read_sentence_folder(folder: Path) -> tuple[TextTower, TextTokenizer]:
    """The tower and the tokenizer of such a folder as transformers itself reads them, in float32 and eval mode."""
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        transformer = AutoModel.from_pretrained(str(folder), **OURS, dtype=torch.float32)
    finally:
        if bars:
            logging.enable_progress_bar()
    head: dict[str, Tensor] = read_weights(folder / DENSE)
    tower = TextTower(transformer, len(head[_LINEAR + "weight"]), bias=_LINEAR + "bias" in head)
    tower.LinearTransformation.load_state_dict({name.removeprefix(_LINEAR): value for name, value in head.items()})
    settings = json.loads(read_text(folder / "sentence_bert_config.json"))
    tokenizer = AutoTokenizer.from_pretrained(str(folder), **OURS)
    return tower.eval(), TextTokenizer(tokenizer, settings["max_seq_length"], transformer.config.pad_token_id)
