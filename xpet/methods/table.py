"""The explicit table of methods; a new method is one file and one row here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from torch import Tensor

from xpet.core.config import MethodConfig
from xpet.core.errors import ConfigError
from xpet.methods import embeddings
from xpet.methods.adapter import ADAPTER
from xpet.methods.base import Change, Method
from xpet.methods.bitfit import BITFIT
from xpet.methods.compacter import COMPACTER
from xpet.methods.full import FULL
from xpet.methods.lora import LORA
from xpet.methods.soft_prompt import SOFT_PROMPT

METHODS: dict[str, Method] = {m.name: m for m in (LORA, ADAPTER, COMPACTER, SOFT_PROMPT, BITFIT, FULL)}

SETTINGS = {
    field.name: field.default
    for field in fields(MethodConfig)
    if field.name not in ("name", "modules", "train", "embedding_rank")
}
"""Settings that belong to some methods only, and their defaults."""


def find_method(config: MethodConfig) -> Method:
    """The method of a configuration.

    Raises ConfigError listing the known methods, or naming settings that the method does not have.
    """
    problems = config.problems()
    if problems:
        raise ConfigError(*problems)
    method = METHODS[config.name]
    foreign = [name for name in SETTINGS if name not in method.settings and getattr(config, name) != SETTINGS[name]]
    if not method.stackable and embeddings.PART in (config.train or ()):
        raise ConfigError(f"method '{method.name}' trains all embeddings: leave '{embeddings.PART}' out of --train")
    if config.modules is not None and not method.modules:
        foreign.append("modules")
    if foreign:
        have = ", ".join((*method.settings, *(["modules"] if method.modules else []))) or "no settings"
        raise ConfigError(f"method '{method.name}' does not take {', '.join(foreign)}: it has {have}")
    return method


def check_foldable(config: MethodConfig, run: str, instead: str | None = None) -> None:
    """Raise ConfigError, saying what works instead, for a run of a method that cannot be folded into the weights."""
    if find_method(config).fold is None:
        able = ", ".join(name for name, method in METHODS.items() if method.fold is not None)
        raise ConfigError(
            f"{run}: expected a run of a method that folds into the weights ({able}), found '{config.name}', which "
            f"adds computations of its own; {instead or f'use the run as it is: xpet eval {run}'}"
        )


def is_whole_tower(config: MethodConfig) -> bool:
    """Whether a run of the method holds every weight of the text tower, so that the base's own are not needed."""
    return config.name == FULL.name


def fold(config: MethodConfig, delta: Mapping[str, Tensor]) -> dict[str, Change]:
    """Changes of a tower's weights by name; raises ConfigError, and ModelError when the delta does not fit."""
    folding = find_method(config).fold
    if folding is None:
        raise ConfigError(f"method '{config.name}' cannot be folded")
    own, words = embeddings.split(delta)
    return {**folding(config, own), **embeddings.fold(words, config.embedding_rank)}
