"""Checks, before anything is loaded, whether a run can be written in a format with the given settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from importlib.util import find_spec

from xpet.core.choices import EXPORT_OPTIONS
from xpet.core.config import MergeConfig, MethodConfig
from xpet.core.errors import ConfigError
from xpet.jobs.merge.formats.base import ExportFormat

_OPTIONS = {"dtype": "--dtype", "shard_size": "--shard-size", "pytorch_bin": "--pytorch-bin"}
"""Settings of how weights are stored, with their options; not every format uses them."""


def check_settings(export_format: ExportFormat, config: MergeConfig) -> None:
    """Raise ConfigError for settings the format does not use, and for packages it needs that are not installed."""
    name, used = export_format.name, EXPORT_OPTIONS[export_format.name]
    default = {field.name: field.default for field in fields(MergeConfig)}
    changed = [setting for setting in _OPTIONS if getattr(config, setting) != default[setting]]
    unused = [_OPTIONS[setting] for setting in changed if setting not in used]
    lacking = [package for package in export_format.packages if find_spec(package) is None]
    problems = [f"{option} does not go with --export {name}" for option in unused]
    if lacking:
        problems.append(
            f"--export {name}: expected the package {', '.join(export_format.packages)}, found no "
            f"{', '.join(lacking)}; pip install 'xpet[{export_format.extra}]'"
        )
    if problems:
        raise ConfigError(*problems)


def check_method(
    export_format: ExportFormat, method: MethodConfig, run: str, formats: Mapping[str, ExportFormat]
) -> None:
    """Raise ConfigError, saying what works instead, for a method that the format cannot hold."""
    from xpet.methods.table import METHODS, check_foldable

    others = [other.name for other in formats.values() if method.name in (other.methods or ())]
    use = f"use the run as it is: xpet eval {run}"
    if export_format.folds:
        check_foldable(method, run, f"try --export {' or '.join(others)}, or {use}" if others else use)
    elif export_format.methods is not None and method.name not in export_format.methods:
        folds = METHODS[method.name].fold is not None
        instead = "fold it: leave out --export" if folds else f"try --export {' or '.join(others)}" if others else use
        raise ConfigError(
            f"{run}: expected a run of {', '.join(export_format.methods)} for --export {export_format.name}, found "
            f"'{method.name}', which it has no place for; {instead}"
        )
