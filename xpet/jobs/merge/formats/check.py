"""Whether a form can be written at all: asked before anything is loaded."""

from __future__ import annotations

from dataclasses import fields
from importlib.util import find_spec

from xpet.core.config import MergeConfig, MethodConfig
from xpet.core.errors import ConfigError
from xpet.jobs.merge.formats.base import Form

_OPTIONS = {"dtype": "--dtype", "shard_size": "--shard-size", "pytorch_bin": "--pytorch-bin"}
"""Settings of how weights are stored, by which not every form stores any."""


def check_settings(form: Form, config: MergeConfig) -> None:
    """Raise ConfigError for settings the form does not heed, and for packages it needs and that are not installed."""
    usual = {field.name: field.default for field in fields(MergeConfig)}
    unused = [o for name, o in _OPTIONS.items() if name not in form.options and getattr(config, name) != usual[name]]
    lacking = [package for package in form.packages if find_spec(package) is None]
    problems = [f"{option} does not go with --export {form.name}" for option in unused]
    if lacking:
        problems.append(
            f"--export {form.name}: expected the package {', '.join(form.packages)}, found no {', '.join(lacking)}; "
            f"pip install 'xpet[{form.extra}]'"
        )
    if problems:
        raise ConfigError(*problems)


def check_method(form: Form, method: MethodConfig, run: str, forms: dict[str, Form]) -> None:
    """Raise ConfigError, saying what works instead, for a run of a method that the form has no place for."""
    from xpet.methods.table import METHODS, check_foldable

    others = [other.name for other in forms.values() if method.name in (other.methods or ())]
    use = f"use the run as it is: xpet eval {run}"
    if form.folds:
        check_foldable(method, run, f"try --export {' or '.join(others)}, or {use}" if others else use)
    elif form.methods is not None and method.name not in form.methods:
        folds = METHODS[method.name].fold is not None
        instead = "fold it: leave out --export" if folds else f"try --export {' or '.join(others)}" if others else use
        raise ConfigError(
            f"{run}: expected a run of {', '.join(form.methods)} for --export {form.name}, found '{method.name}', "
            f"which it has no place for; {instead}"
        )
