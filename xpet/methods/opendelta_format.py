"""OpenDelta's own formats: its folder (config.json, pytorch_model.bin), and state dicts with its names inside.

The folder is what `save_finetuned` writes of a backbone whose state holds only what was trained, and what
`AutoDeltaModel.from_finetuned(folder, backbone_model=tower.transformer)` loads. States are those the paper's published
code saves as `text_model_best.ckpt`: the text tower's state dict, whole or only what was trained.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from xpet.core.config import MethodConfig
from xpet.core.errors import ModelError
from xpet.core.json_files import parsed
from xpet.core.regular_files import read_text
from xpet.methods import embeddings
from xpet.methods.compacter import DIVISION
from xpet.methods.naming import OUTER, as_in_tower, in_backbone, parts_of
from xpet.methods.parts import PARTS, ends_with
from xpet.methods.table import find_method
from xpet.methods.tensorfile import read_settings, read_tensors
from xpet.version import VERSION

CONFIG, WEIGHTS = "config.json", "pytorch_model.bin"
KIND = "delta_type"
"""Entry of config.json that tells an OpenDelta folder from others."""
NOTE = "xpet"
"""Entry of config.json that marks folders xpet wrote; OpenDelta ignores entries it does not know."""
ALPHA = 16.0
"""OpenDelta's default alpha, which the published code uses and a state dict does not hold."""


@dataclass(frozen=True)
class Kind:
    """A method as OpenDelta stores it.

    Attributes:
        marker: what stands between host and parameter in every name that the method adds.
        settings: makes OpenDelta's settings from a configuration.
        config: makes a configuration from OpenDelta's settings and the tensors of one host.
    """

    marker: str
    settings: Callable[[MethodConfig], dict[str, Any]]
    config: Callable[[Mapping[str, Any], Mapping[str, Tensor]], MethodConfig]


def _rank(settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> int:
    """The rank of a product; raises ValueError where the settings state another, which OpenDelta would divide by."""
    rank = len(tensors["lora_A"])
    if (stated := settings.get("lora_r", rank)) != rank:
        raise ValueError(f"lora_r {stated!s:.60} and a product of rank {rank}")
    return rank


KINDS = {
    "lora": Kind(
        ".lora.",
        lambda c: {"lora_r": c.rank, "lora_alpha": c.alpha, "lora_dropout": 0.0},
        lambda s, t: MethodConfig("lora", rank=_rank(s, t), alpha=float(s.get("lora_alpha", ALPHA))),
    ),
    "adapter": Kind(
        ".adapter.",
        lambda c: {"bottleneck_dim": c.bottleneck, "non_linearity": "gelu_new"},
        lambda s, t: MethodConfig("adapter", bottleneck=len(t["modulelist.down_proj.bias"])),
    ),
    "compacter": Kind(
        ".compactor.",
        lambda c: {
            "reduction_factor": c.reduction, "hypercomplex_division": DIVISION, "phm_rank": 1, "non_linearity": "relu",
        },
        lambda s, t: MethodConfig("compacter", reduction=len(t["up_sampler.b"]) // len(t["down_sampler.b"])),
    ),
}  # fmt: skip
"""The methods that OpenDelta stores, by xpet's name, which is OpenDelta's `delta_type`."""
_FIXED: dict[str, dict[str, object]] = {
    "adapter": {"non_linearity": "gelu_new"},
    "compacter": {"non_linearity": "relu", "hypercomplex_division": DIVISION, "phm_rank": 1},
}
"""Settings that xpet supports with one value only."""


def check_inside(delta: Iterable[str], source: str) -> None:
    """Raise ModelError where something beside the transformer was trained, which OpenDelta's backbone does not have."""
    outside = sorted(name for name in delta if not name.startswith(OUTER[0]) or name.startswith(embeddings.WORDS))
    if outside:
        raise ModelError(
            f"{source}: expected a run that trained nothing beside the transformer, OpenDelta's backbone, found "
            f"{outside[0]}; fold it into a checkpoint, or train without head and embeddings"
        )


def write(folder: Path, config: MethodConfig, delta: Mapping[str, Tensor]) -> None:
    """Write a run of the methods in KINDS into an empty folder; its names lose the tower's `transformer.`.

    Raises ModelError as `check_inside` does.
    """
    import torch

    check_inside(delta, str(folder))
    modules = config.modules or find_method(config).modules
    settings = {
        KIND: config.name, **KINDS[config.name].settings(config), "modified_modules": list(modules),
        "unfrozen_modules": ["deltas"], "common_structure": False, NOTE: VERSION,
    }  # fmt: skip
    state = {name.removeprefix(OUTER[0]): value.float().contiguous() for name, value in delta.items()}
    torch.save(state, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def is_delta(folder: Path) -> bool:
    """Whether a folder is one of OpenDelta's."""
    try:
        return KIND in parsed(read_text(folder / CONFIG))
    except (OSError, ValueError, TypeError):
        return False


def is_ours(folder: Path) -> bool:
    """Whether xpet wrote the folder."""
    return is_delta(folder) and NOTE in read_settings(folder / CONFIG, "the settings of an OpenDelta module")


def read(folder: Path) -> tuple[MethodConfig, dict[str, Tensor]]:
    """Read a folder of OpenDelta's: method and trained tensors by their names in the tower; raises ModelError."""
    settings = read_settings(folder / CONFIG, "the settings of an OpenDelta module")
    kind = settings.get(KIND)
    if not isinstance(kind, str) or kind not in KINDS:
        raise ModelError(f"{folder}/{CONFIG}: expected a {KIND} of {', '.join(KINDS)}, found {kind!s:.60}")
    alpha = settings.get("lora_alpha", ALPHA)
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not abs(alpha) < math.inf:
        raise ModelError(f"{folder}/{CONFIG}: expected a number lora_alpha, found {alpha!s:.60}")
    for name, expected in _FIXED.get(kind, {}).items():
        if (value := settings.get(name, expected)) != expected:
            raise ModelError(f"{folder}/{CONFIG}: expected {name} {expected} as xpet has it, found {value}")
    return _parse(read_tensors(folder / WEIGHTS), settings, str(folder))


def read_state(path: Path) -> tuple[MethodConfig, dict[str, Tensor]]:
    """Read a file with the state of a text tower, as `text_model_best.ckpt` is: method and trained tensors by name.

    With names of OpenDelta's inside: these, and the parts of the tower that its file holds, which are taken for trained
    (LayerNorms, head, pooler); what is frozen is left to the base. Without: BitFit where there are no weights but those
    of such parts, else full fine-tuning. Alpha and activations are those of the published code. Raises ModelError.
    """
    return _parse(read_tensors(path), {}, str(path))


def _parse(
    tensors: Mapping[str, Tensor], settings: Mapping[str, Any], source: str
) -> tuple[MethodConfig, dict[str, Tensor]]:
    """Method and trained tensors of a state by names of OpenDelta's; raises ModelError."""
    state = as_in_tower(tensors, source)
    kinds = [name for name, kind in KINDS.items() if any(kind.marker in key for key in state)]
    if len(kinds) > 1:
        raise ModelError(f"{source}: expected modules of one method, found {' and '.join(kinds)}")
    if not kinds:
        return _plain(state)
    kind = KINDS[kinds[0]]
    added = {name for name in state if kind.marker in name}
    hosts = {name.partition(kind.marker)[0] for name in added}
    parts = {name for name in state.keys() - added if ends_with(name.rpartition(".")[0], PARTS.values())}
    first = min(hosts) + kind.marker
    try:
        config = kind.config(settings, {n.removeprefix(first): state[n] for n in added if n.startswith(first)})
    except (KeyError, ValueError, TypeError, ZeroDivisionError, OverflowError) as error:
        raise ModelError(
            f"{source}: expected {kinds[0]} modules as OpenDelta makes them, found others ({error})"
        ) from None
    method = MethodConfig(**{**vars(config), "modules": in_backbone(hosts, source), "train": parts_of(parts, source)})
    if problems := method.problems():
        raise ModelError(f"{source}: expected {kinds[0]} modules as OpenDelta makes them, found others ({problems[0]})")
    return method, {name: state[name] for name in sorted(added | parts)}


def _plain(state: dict[str, Tensor]) -> tuple[MethodConfig, dict[str, Tensor]]:
    """Method and trained tensors of a state without added modules: BitFit or full fine-tuning."""
    parts = {name for name in state if ends_with(name.rpartition(".")[0], PARTS.values())}
    rest = state.keys() - parts
    if rest and all(name.endswith(".bias") for name in rest):
        return MethodConfig("bitfit", train=parts_of(parts, "")), state
    return MethodConfig("full"), state
