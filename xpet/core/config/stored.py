"""Reads the configurations that `xpet align` and `xpet eval` store with their results, to do the same again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from xpet.core.config.align import AlignConfig
from xpet.core.config.evaluate import EvalConfig
from xpet.core.config.fit import FitConfig
from xpet.core.config.parts import DataConfig, MethodConfig, ModelConfig, RunConfig, TextConfig
from xpet.core.errors import DataError
from xpet.core.typed import build

_SECTIONS: Mapping[str, type] = {"model": ModelConfig, "data": DataConfig, "method": MethodConfig, "fit": FitConfig}


def align_config(document: Mapping[str, Any], source: str) -> AlignConfig:
    """The configuration that trains a run again, from its `config.json`: every setting is given, none by default.

    Raises DataError, naming `source` and the field, for any other document.
    """
    run = _section(document, "run", RunConfig, source)
    parts = {name: _section(document, name, kind, source) for name, kind in _SECTIONS.items()}
    text = _section(document, "text", TextConfig, source) if "text" in document else TextConfig()
    return AlignConfig(
        languages=(run.language,), routines=(run.routine,), losses=(run.loss,), align_weights=(run.align_weight,),
        learning_rates=(run.learning_rate,), seeds=(run.seed,), image_weight=run.image_weight, text=text,
        start=document.get("from"), **parts,
    )  # fmt: skip


def sweep_config(document: Mapping[str, Any], source: str) -> AlignConfig:
    """What goes on with unfinished work whose plan stands in `source`; raises DataError, naming it and the field."""
    config: AlignConfig = _section(document, "config", AlignConfig, source)
    return replace(config, overwrite=False)


def eval_config(document: Mapping[str, Any], source: str) -> EvalConfig:
    """The configuration that measures a result of `xpet eval` again; raises DataError, naming `source` and field."""
    config: EvalConfig = _section(document, "configuration", EvalConfig, source)
    if not config.runs and config.split_of is None:
        return config
    # The result records the split that its runs brought; beside runs it may not be given.
    return replace(config, data=replace(config.data, shots=None, val_shots=None, split_file=None))


def _section(document: Mapping[str, Any], name: str, kind: type, source: str) -> Any:
    try:
        return build(kind, document[name])
    except KeyError:
        raise DataError(f"{source}: expected an object {name}, found none; it is no stored configuration") from None
    except (TypeError, ValueError) as error:
        raise DataError(f"{source}: {name}: {error}") from None
