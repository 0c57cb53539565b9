"""PEFT's folder of a LoRA adapter: adapter_config.json and adapter_model.safetensors, written and read without PEFT.

What is written is an adapter of the whole text tower, a module with `transformer` and `LinearTransformation` such as
xpet's TextTower or the published `multilingual_clip` class. What is read may also be of the bare transformer. PEFT
computes `W x + alpha / r * B A x` (with rsLoRA `alpha / sqrt(r)`), as xpet does; modules that were trained whole are
its `modules_to_save`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xpet.core.config import MethodConfig
from xpet.core.errors import ModelError
from xpet.core.regular_files import check_regular
from xpet.core.tensors import to_safetensors
from xpet.methods import embeddings
from xpet.methods.naming import as_in_tower, in_backbone, parts_of, selecting
from xpet.methods.parts import PARTS
from xpet.methods.table import find_method
from xpet.methods.tensorfile import read_settings, read_tensors
from xpet.version import VERSION

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
"""Names that the file of weights may have, in order of preference."""
_MAKER = "xpet"
"""Entry of the weights' metadata that marks adapters xpet wrote."""
PREFIX = "base_model.model."
"""What PEFT puts before every name."""
DOWN, UP = ".lora.lora_A", ".lora.lora_B"
"""How names of the factors A and B end in a run's delta."""
_ENDINGS = {".lora_A.weight": DOWN, ".lora_B.weight": UP}
"""How names of a product's factors end: in PEFT -> in xpet."""
_HALVES = {**_ENDINGS, ".lora_embedding_A": DOWN, ".lora_embedding_B": UP}
"""The same, with the factors of a product on an embedding; the second is [hidden, rank]."""
_SAVED = ".modules_to_save"
"""What PEFT puts into names of modules that are trained whole."""
_WORDS = embeddings.WORDS.rpartition(".")[2]
_EMBEDDING_DOWN, _EMBEDDING_UP = "lora_embedding_A", "lora_embedding_B"
_INITIAL = (True, False, None, "gaussian", "eva", "orthogonal")
"""Values of `init_lora_weights` that leave the base's own weights as they are."""
_READ = {
    "peft_type", "r", "lora_alpha", "use_rslora", "bias", "init_lora_weights", "target_modules", "modules_to_save",
    "rank_pattern", "alpha_pattern",
}  # fmt: skip
"""Settings that are read."""
_HARMLESS = {
    "peft_version", "auto_mapping", "base_model_name_or_path", "revision", "task_type", "inference_mode",
    "lora_dropout", "layers_to_transform", "layers_pattern", "exclude_modules", "megatron_core", "qalora_group_size",
    "fan_in_fan_out", "eva_config", "runtime_config",
}  # fmt: skip
"""Settings that do not change what a trained adapter on linear layers computes."""


def write(
    folder: Path, config: MethodConfig, delta: Mapping[str, Tensor], modules: Iterable[str], base: str, vocabulary: int
) -> None:
    """Write a LoRA run as PEFT would; an embedding delta becomes LoRA on the word embeddings, zero for other tokens.

    Args:
        folder: an empty folder.
        config: the run's method.
        delta: what was trained, by its names in the tower.
        modules: names of all modules of the tower, among which the endings written select those with additions.
        base: what the tower is called.
        vocabulary: how many word embeddings it has.

    Raises ModelError when products are missing a half or parts were trained that PEFT could not name.
    """
    names = tuple(modules)
    delta, words = embeddings.split(delta)
    tensors = _embedding_tensors(words, config.embedding_rank, vocabulary) if words else {}
    for name, value in delta.items():
        for peft_ending, ending in _ENDINGS.items():
            if name.endswith(ending):
                name = name.removesuffix(ending) + peft_ending
        tensors[PREFIX + name] = value.float().contiguous()
    hosts = {name.removesuffix(DOWN) for name in delta if name.endswith(DOWN)}
    whole = {name.rpartition(".")[0] for name in delta if not name.endswith((DOWN, UP))}
    saved = selecting(whole, names, [PARTS[part] for part in parts_of((f"{w}.weight" for w in whole), str(folder))])
    settings: dict[str, Any] = {
        "peft_type": "LORA", "task_type": None, "inference_mode": True, "base_model_name_or_path": base,
        "r": config.rank, "lora_alpha": config.alpha, "lora_dropout": 0.0, "bias": "none", "fan_in_fan_out": False,
        "target_modules": list(selecting(hosts, names, config.modules or find_method(config).modules)),
        "modules_to_save": list(saved) or None,
    }  # fmt: skip
    if words:
        pattern = {_WORDS: config.embedding_rank}  # alpha equal to the rank: a scale of 1
        settings |= {"rank_pattern": pattern, "alpha_pattern": pattern}
        settings["target_modules"] = [*settings["target_modules"], _WORDS]
    to_safetensors(tensors, folder / WEIGHTS[0], {"format": "pt", _MAKER: VERSION})
    (folder / CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _embedding_tensors(words: Mapping[str, Tensor], rank: int, vocabulary: int) -> dict[str, Tensor]:
    """An embedding delta as PEFT's LoRA on an embedding: A [rank, vocabulary] and B [hidden, rank], by PEFT's names."""
    embeddings.check(words, rank)
    down = torch.zeros(rank, vocabulary)
    down[:, words[embeddings.TOKENS]] = words[embeddings.DOWN].float().T
    start = f"{PREFIX}{embeddings.WORDS}."
    up = words[embeddings.UP].float().T.contiguous()
    return {start + _EMBEDDING_DOWN: down, start + _EMBEDDING_UP: up}


def is_ours(folder: Path) -> bool:
    """Whether xpet wrote the adapter, and not somebody else."""
    from safetensors import SafetensorError, safe_open

    try:
        check_regular(folder / WEIGHTS[0])
        with safe_open(folder / WEIGHTS[0], framework="pt") as file:
            return _MAKER in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def read(folder: Path) -> tuple[MethodConfig, dict[str, Tensor]]:
    """Method and trained tensors, by their names in the tower, of an adapter that PEFT or xpet wrote.

    Products of different ranks or scales (PEFT's patterns) are filled up with zeros to the largest rank, and what is
    left of their scale is multiplied into B: the weights change the same. Raises ModelError for what is no LoRA, for
    settings that change what it computes and that xpet does not have, and for tensors of another model.
    """
    settings = read_settings(folder / CONFIG, "the settings of a PEFT adapter")
    scaling = _scaling(settings, folder)
    products, delta = _products(folder)
    words = [product for product in products if product.host == embeddings.WORDS]
    linear = [product for product in products if product.host != embeddings.WORDS]
    if not linear:
        present = "none but on the word embeddings" if words else "none at all"
        raise ModelError(f"{folder}: expected a product of lora_A and lora_B in every layer, found {present}")
    for product in products:
        if (rank := scaling.rank(product.key)) != product.rank:
            raise ModelError(
                f"{folder}: expected products of rank {rank} as in {CONFIG}, found {product.rank} in {product.host}"
            )
    rank = max(product.rank for product in linear)
    scales = [scaling.scale(product.key) for product in linear]
    alike = len({(p.rank, scale) for p, scale in zip(linear, scales, strict=True)}) == 1
    common = scales[0] if alike and scales[0] > 0 else 1.0
    for product, scale in zip(linear, scales, strict=True):
        missing = rank - product.rank
        up = product.up if scale == common else product.up * scale
        delta[product.host + DOWN] = torch.nn.functional.pad(product.down, (0, 0, 0, missing))
        delta[product.host + UP] = torch.nn.functional.pad(up, (0, missing))
    train = parts_of((name for name in delta if not name.endswith((DOWN, UP))), str(folder))
    for product in words:
        delta |= _embedding_delta(product, scaling.scale(product.key))
        train = (*train, embeddings.PART)
    method = MethodConfig(
        "lora", rank=rank, alpha=common * rank, modules=in_backbone([p.host for p in linear], str(folder)), train=train,
        embedding_rank=words[0].rank if words else MethodConfig().embedding_rank,
    )  # fmt: skip
    return method, delta


@dataclass(frozen=True)
class _Product:
    """The two factors of a low-rank change as a file holds them, in float32.

    Attributes:
        key: PEFT's name of the changed module, which patterns are matched with.
        host: the tower's name of it.
        down: A [rank, in].
        up: B [out, rank].
    """

    key: str
    host: str
    down: Tensor
    up: Tensor

    @property
    def rank(self) -> int:
        """The rank of the product."""
        return len(self.down)


def _products(folder: Path) -> tuple[list[_Product], dict[str, Tensor]]:
    """Read an adapter's file: its products, and other trained tensors by name in the tower; raises ModelError."""
    file = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if file is None:
        raise ModelError(f"{folder}: expected weights in {' or '.join(WEIGHTS)}, found neither")
    halves: dict[str, dict[str, Tensor]] = {}
    keys: dict[str, str] = {}
    rest: dict[str, Tensor] = {}
    for name, value in read_tensors(file).items():
        plain = _plain(name)
        for ours, tensor in as_in_tower({plain: value}, str(folder)).items():
            ending = next((ending for ending in _HALVES if ours.endswith(ending)), "")
            host = ours.removesuffix(ending)
            if ending and ending.startswith(".lora_embedding") != (host == embeddings.WORDS):
                raise ModelError(f"{folder}: expected LoRA on linear layers and the word embeddings, found {name}")
            tensors = halves.setdefault(host, {}) if ending else rest
            if _HALVES.get(ending, ours) in tensors:
                raise ModelError(f"{folder}: expected every tensor once, found {ours} under two names")
            tensors[_HALVES.get(ending, ours)] = tensor
            keys[host] = plain.removesuffix(ending).removeprefix(PREFIX)
    for host, pair in sorted(halves.items()):
        if len(pair) != 2 or any(half.dim() != 2 for half in pair.values()) or len(pair[DOWN]) != pair[UP].shape[1]:
            raise ModelError(f"{folder}: expected a product of lora_A and lora_B in every layer, found {host}")
    return [_Product(keys[host], host, pair[DOWN], pair[UP]) for host, pair in sorted(halves.items())], rest


def _embedding_delta(product: _Product, scale: float) -> dict[str, Tensor]:
    """LoRA on the word embeddings as an embedding delta: tokens [n] that it changes, A [n, rank], B [rank, hidden]."""
    tokens = (product.down != 0).any(dim=0).nonzero().flatten()
    rows = (product.down[:, tokens].T * scale).contiguous()
    return {embeddings.TOKENS: tokens, embeddings.DOWN: rows, embeddings.UP: product.up.T.contiguous()}


def weight_changes(folder: Path) -> dict[str, Callable[[Tensor], Tensor]]:
    """What an adapter makes of the tower's weights, straight from its file by PEFT's formula, to verify a merge by.

    `W + s B A` [out, in], transposed for the word embeddings, with `s` alpha over the rank that the halves have (over
    its root with rsLoRA); modules trained whole are replaced. Shares nothing with `read` but the names. Raises
    ModelError.
    """
    settings = read_settings(folder / CONFIG, "the settings of a PEFT adapter")
    products, rest = _products(folder)
    changes: dict[str, Callable[[Tensor], Tensor]] = {name: _put(value) for name, value in rest.items()}
    for product in products:
        alpha = settings["lora_alpha"]
        for pattern, value in (settings.get("alpha_pattern") or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", product.key):
                alpha = value
                break
        change = product.up.double() @ product.down.double() * alpha
        change = change / (product.rank**0.5 if settings.get("use_rslora") else product.rank)
        changes[product.host + ".weight"] = _add(change.T if product.host == embeddings.WORDS else change)
    return changes


def _put(value: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda base: value.to(base)


def _add(change: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda base: (base.double() + change.to(base.device)).to(base)


def base_of(folder: Path) -> str | None:
    """The base that an adapter names; None where it names none."""
    name = read_settings(folder / CONFIG, "the settings of a PEFT adapter").get("base_model_name_or_path")
    return name if isinstance(name, str) and name else None


def _plain(name: str) -> str:
    """A tensor's name without what PEFT puts into it for its bookkeeping."""
    name = name.replace(_SAVED, "").replace(".default.", ".")
    return name.removesuffix(".default")


@dataclass(frozen=True)
class _Scaling:
    """An adapter's ranks and alphas: a module's are those of the first pattern it matches, else `r` and `alpha`."""

    r: int
    alpha: float
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    stabilised: bool

    def rank(self, key: str) -> int:
        """The rank of a module's product."""
        return int(self._of(self.rank_pattern, key, self.r))

    def scale(self, key: str) -> float:
        """What a module's product is multiplied by: alpha over its rank, with rsLoRA (`stabilised`) over its root."""
        rank = self.rank(key)
        return self._of(self.alpha_pattern, key, self.alpha) / (math.sqrt(rank) if self.stabilised else rank)

    @staticmethod
    def _of(patterns: Mapping[str, float], key: str, default: float) -> float:
        return next((v for pattern, v in patterns.items() if re.match(_expression(pattern), key)), default)


def _expression(pattern: str) -> str:
    """PEFT's regular expression for a pattern: it matches a module's whole name, or the end of it behind a dot."""
    return rf"(.*\.)?({pattern})$"


def _scaling(settings: Mapping[str, Any], folder: Path) -> _Scaling:
    """Read ranks and alphas from an adapter's settings; raises ModelError for wrong ones, or ones xpet lacks."""
    kind, rank, alpha = settings.get("peft_type"), settings.get("r"), settings.get("lora_alpha")
    if kind != "LORA":
        raise ModelError(f"{folder}: expected a PEFT adapter of type LORA, found {kind!s:.60}")
    if not (_is_rank(rank) and _is_number(alpha)):
        raise ModelError(f"{folder}/{CONFIG}: expected a rank r and a lora_alpha, found {rank!s:.60} and {alpha!s:.60}")
    if not isinstance(settings.get("use_rslora") or False, bool):
        value = json.dumps(settings["use_rslora"])
        raise ModelError(f"{folder}/{CONFIG}: expected use_rslora true or false, found {value:.60}")
    patterns: dict[str, Any] = {}
    for name, sound in (("rank_pattern", _is_rank), ("alpha_pattern", _is_number)):
        patterns[name] = settings.get(name) or {}
        if not (isinstance(patterns[name], dict) and all(map(_is_pattern, patterns[name]))) or not all(
            map(sound, patterns[name].values())
        ):
            value = json.dumps(patterns[name])
            raise ModelError(f"{folder}/{CONFIG}: expected {name} from names to numbers, found {value:.60}")
    _check_plain(settings, folder)
    return _Scaling(**patterns, r=int(str(rank)), alpha=float(str(alpha)), stabilised=bool(settings.get("use_rslora")))


def _is_rank(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(float(str(value)))


def _is_pattern(text: str) -> bool:
    try:
        return bool(text) and bool(re.compile(_expression(text)))
    except (re.error, OverflowError, RecursionError):
        return False


def _check_plain(settings: Mapping[str, Any], folder: Path) -> None:
    """Raise ModelError for settings that change what an adapter computes in a way xpet does not have."""
    bias, initial = settings.get("bias", "none"), settings.get("init_lora_weights", True)
    plain = _READ | _HARMLESS
    odd = {name: v for name, v in settings.items() if name not in plain and v not in (None, False, {}, [])}
    odd |= {"bias": bias} if bias != "none" else {}
    odd |= {"init_lora_weights": initial} if not any(initial == known for known in _INITIAL) else {}
    if odd:
        name, value = min(odd.items())
        raise ModelError(
            f"{folder}/{CONFIG}: expected plain LoRA, found {name:.60} = {json.dumps(value):.60}, which xpet does not "
            "have; merge the adapter with PEFT (merge_and_unload) and use the checkpoint as --model"
        )
