"""The methods by name. A new one is a file of this room that defines `METHOD`, and its name in `core.choices`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module

from torch import Tensor

from xpet.core.choices import METHOD_NAMES
from xpet.core.config import MethodConfig
from xpet.core.errors import ConfigError
from xpet.methods import embeddings
from xpet.methods.base import Change, Method


def method_named(name: str) -> Method:
    """The `METHOD` of the file with this name, hyphens as underscores."""
    method: Method = import_module(f"xpet.methods.{name.replace('-', '_')}").METHOD
    return method


METHODS: dict[str, Method] = {name: method_named(name) for name in METHOD_NAMES}
"""The methods by their names in `--method`."""

SETTINGS = {
    field.name: field.default
    for field in fields(MethodConfig)
    if field.name not in ("name", "modules", "train", "embedding_rank")
}
"""Settings that belong to some methods only, and their defaults."""


def find_method(config: MethodConfig) -> Method:
    """The method of a configuration.

    Raises ConfigError for an unknown method, and for settings that the method does not have.
    """
    problems = config.problems()
    if problems:
        raise ConfigError(*problems)
    method = METHODS[config.name]
    foreign = [name for name in SETTINGS if name not in method.settings and getattr(config, name) != SETTINGS[name]]
    if not method.stackable and embeddings.PART in (config.train or ()):
        raise ConfigError(f"method '{method.name}' trains all embeddings: leave '{embeddings.PART}' out of --train")
    if method.closed_form is not None and config.train:
        raise ConfigError(f"method '{method.name}' is fitted in closed form and trains nothing: leave out --train")
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
    return METHODS[config.name].whole_tower


def fold(config: MethodConfig, delta: Mapping[str, Tensor]) -> dict[str, Change]:
    """The changes that a run's delta makes to the tower's weights, by the weights' names.

    Raises ConfigError for a method that cannot be folded, ModelError when the delta does not fit its settings.
    """
    fold_method = find_method(config).fold
    if fold_method is None:
        raise ConfigError(f"method '{config.name}' cannot be folded")
    method_part, words = embeddings.split(delta)
    return {**fold_method(config, method_part), **embeddings.fold(words, config.embedding_rank)}
