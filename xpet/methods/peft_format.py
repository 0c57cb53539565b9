"""PEFT's folder of a LoRA adapter: adapter_config.json and adapter_model.safetensors, written and read without PEFT.

Both ways the adapter belongs to the text tower as a whole, a module with `transformer` and `LinearTransformation` such
as xpet's TextTower or the published `multilingual_clip` class; adapters of the bare transformer are read, too. PEFT
computes `W x + alpha / r * B A x` (with rsLoRA `alpha / sqrt(r)`), as xpet does; modules that were trained whole are
its `modules_to_save`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xpet.core.config import MethodConfig
from xpet.core.errors import ModelError
from xpet.methods import embeddings
from xpet.methods.build import PARTS
from xpet.methods.naming import as_in_tower, in_backbone, parts_of, selecting
from xpet.methods.table import find_method
from xpet.methods.tensorfile import read_settings, read_tensors
from xpet.version import VERSION

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_MAKER = "xpet"
"""Entry of the weights' metadata that says who wrote them."""
PREFIX = "base_model.model."
DOWN, UP = ".lora.lora_A", ".lora.lora_B"
_ENDINGS = {".lora_A.weight": DOWN, ".lora_B.weight": UP}
"""How names of a product's halves end in PEFT, and in xpet."""
_SAVED = ".modules_to_save"
_WORDS = embeddings.WORDS.rpartition(".")[2]
_EMBEDDING_DOWN, _EMBEDDING_UP = "lora_embedding_A", "lora_embedding_B"
_INITIAL = (True, False, None, "gaussian", "eva", "orthogonal")
"""Initial values of adapters that leave the base's own weights as they are."""
_READ = {
    "peft_type", "r", "lora_alpha", "use_rslora", "bias", "init_lora_weights", "target_modules", "modules_to_save",
}  # fmt: skip
_HARMLESS = {
    "peft_version", "auto_mapping", "base_model_name_or_path", "revision", "task_type", "inference_mode",
    "lora_dropout", "layers_to_transform", "layers_pattern", "exclude_modules", "megatron_core", "qalora_group_size",
    "fan_in_fan_out", "eva_config", "runtime_config",
}  # fmt: skip
"""Settings that say nothing about what an adapter on linear layers computes once it is trained."""


def write(
    folder: Path, config: MethodConfig, delta: Mapping[str, Tensor], modules: Iterable[str], base: str, vocabulary: int
) -> None:
    """Write a LoRA run as PEFT would; an embedding delta becomes LoRA on the word embeddings, zero for other tokens.

    Args:
        folder: an empty folder.
        config: the run's method.
        delta: what was trained, by its names in the tower.
        modules: names of all modules of the tower, among which those with additions are to be told.
        base: what the tower is called.
        vocabulary: how many word embeddings it has.

    Raises ModelError when products are missing a half or parts were trained that PEFT could not name.
    """
    from safetensors.torch import save_file

    known = tuple(modules)
    delta, words = embeddings.split(delta)
    tensors = _embedding_tensors(words, config.embedding_rank, vocabulary) if words else {}
    for name, value in delta.items():
        for theirs, ours in _ENDINGS.items():
            if name.endswith(ours):
                name = name.removesuffix(ours) + theirs
        tensors[PREFIX + name] = value.float().contiguous()
    hosts = {name.removesuffix(DOWN) for name in delta if name.endswith(DOWN)}
    whole = {name.rpartition(".")[0] for name in delta if not name.endswith((DOWN, UP))}
    saved = selecting(whole, known, [PARTS[part] for part in parts_of((f"{w}.weight" for w in whole), str(folder))])
    settings: dict[str, Any] = {
        "peft_type": "LORA", "task_type": None, "inference_mode": True, "base_model_name_or_path": base,
        "r": config.rank, "lora_alpha": config.alpha, "lora_dropout": 0.0, "bias": "none", "fan_in_fan_out": False,
        "target_modules": list(selecting(hosts, known, config.modules or find_method(config).modules)),
        "modules_to_save": list(saved) or None,
    }  # fmt: skip
    if words:
        own = {_WORDS: config.embedding_rank}  # alpha equal to the rank: a scale of 1
        settings |= {"rank_pattern": own, "alpha_pattern": own}
        settings["target_modules"] = [*settings["target_modules"], _WORDS]
    save_file(tensors, folder / WEIGHTS[0], metadata={"format": "pt", _MAKER: VERSION})
    (folder / CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _embedding_tensors(words: Mapping[str, Tensor], rank: int, vocabulary: int) -> dict[str, Tensor]:
    """PEFT's halves of LoRA on an embedding: A [rank, vocabulary] and B [hidden, rank]."""
    embeddings.check(words, rank)
    down = torch.zeros(rank, vocabulary)
    down[:, words[embeddings.TOKENS]] = words[embeddings.DOWN].float().T
    start = f"{PREFIX}{embeddings.WORDS}."
    up = words[embeddings.UP].float().T.contiguous()
    return {start + _EMBEDDING_DOWN: down, start + _EMBEDDING_UP: up}


def _embedding_delta(tensors: dict[str, Tensor], settings: Mapping[str, Any], scale: float) -> dict[str, Tensor]:
    """An embedding delta out of PEFT's halves, which are taken out of the tensors; empty where there is none."""
    names = (f"{embeddings.WORDS}.{_EMBEDDING_DOWN}", f"{embeddings.WORDS}.{_EMBEDDING_UP}")
    if not all(name in tensors for name in names):
        return {}
    down, up = (tensors.pop(name) for name in names)
    pattern = settings.get("alpha_pattern") or {}
    factor = pattern[_WORDS] / len(down) if _WORDS in pattern else scale
    tokens = (down != 0).any(dim=0).nonzero().flatten()
    rows = (down[:, tokens].T * factor).contiguous()
    return {embeddings.TOKENS: tokens, embeddings.DOWN: rows, embeddings.UP: up.T.contiguous()}


def is_adapter(path: Path) -> bool:
    """Whether a folder is an adapter of PEFT's."""
    return (path / CONFIG).is_file()


def is_ours(folder: Path) -> bool:
    """Whether xpet wrote the adapter, and not somebody else."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / WEIGHTS[0], framework="pt") as file:
            return _MAKER in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def read(folder: Path) -> tuple[MethodConfig, dict[str, Tensor]]:
    """Method and trained tensors, by their names in the tower, of an adapter that PEFT or xpet wrote.

    Raises ModelError for what is no LoRA, for settings that change what it computes and that xpet does not have, and
    for tensors of another model.
    """
    settings = read_settings(folder / CONFIG, "the settings of a PEFT adapter")
    rank, alpha = _scale(settings, folder)
    file = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if file is None:
        raise ModelError(f"{folder}: expected weights in {' or '.join(WEIGHTS)}, found neither")
    delta = {_ours(name): value for name, value in as_in_tower(read_tensors(file), str(folder)).items()}
    words = _embedding_delta(delta, settings, alpha / rank)
    downs, ups = ({n.removesuffix(end) for n in delta if n.endswith(end)} for end in (DOWN, UP))
    if not downs or downs != ups:
        odd = min(downs ^ ups, default="none at all")
        raise ModelError(f"{folder}: expected a product of lora_A and lora_B in every layer, found {odd}")
    for host in sorted(downs):
        found = (delta[host + DOWN].shape[0], delta[host + UP].shape[1])
        if found != (rank, rank):
            raise ModelError(f"{folder}: expected products of rank {rank} as in {CONFIG}, found {found[0]} in {host}")
    train = parts_of((name for name in delta if not name.endswith((DOWN, UP))), str(folder))
    found_rank = len(words[embeddings.UP]) if words else MethodConfig().embedding_rank
    train = (*train, embeddings.PART) if words else train
    modules = in_backbone(downs, str(folder))
    method = MethodConfig("lora", rank=rank, alpha=alpha, modules=modules, train=train, embedding_rank=found_rank)
    return method, {**delta, **words}


def base_of(folder: Path) -> str | None:
    """What an adapter calls its base, if it does."""
    name = read_settings(folder / CONFIG, "the settings of a PEFT adapter").get("base_model_name_or_path")
    return name if isinstance(name, str) and name else None


def _ours(name: str) -> str:
    name = name.replace(_SAVED, "").replace(".default.", ".")
    for theirs, ours in _ENDINGS.items():
        if name.endswith(theirs):
            return name.removesuffix(theirs) + ours
    return name


def _scale(settings: Mapping[str, Any], folder: Path) -> tuple[int, float]:
    """Rank, and the alpha that gives xpet's scaling; raises ModelError for settings xpet has no counterpart of."""
    kind, rank, alpha = settings.get("peft_type"), settings.get("r"), settings.get("lora_alpha")
    if kind != "LORA":
        raise ModelError(f"{folder}: expected a PEFT adapter of type LORA, found {kind}")
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, (int, float)):
        raise ModelError(f"{folder}/{CONFIG}: expected a rank r and a lora_alpha, found {rank} and {alpha}")
    bias, initial = settings.get("bias", "none"), settings.get("init_lora_weights", True)
    patterns = {n for n in ("rank_pattern", "alpha_pattern") if not set(settings.get(n) or {}) - {_WORDS}}
    plain = _READ | _HARMLESS | patterns
    odd = {name: v for name, v in settings.items() if name not in plain and v not in (None, False, {}, [])}
    odd |= {"bias": bias} if bias != "none" else {}
    odd |= {"init_lora_weights": initial} if initial not in _INITIAL else {}
    if odd:
        name, value = min(odd.items())
        raise ModelError(
            f"{folder}/{CONFIG}: expected plain LoRA, found {name} = {json.dumps(value)}, which xpet does not have; "
            "merge the adapter with PEFT (merge_and_unload) and use the checkpoint as --model"
        )
    return rank, alpha * math.sqrt(rank) if settings.get("use_rslora") else float(alpha)
