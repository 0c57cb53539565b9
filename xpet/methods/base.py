"""What a PET method is: a row with its defaults and one function that hangs it into a tower."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from xpet.core.config import MethodConfig
from xpet.methods.bridge import DeltaSite

Attach = Callable[[nn.Module, MethodConfig, tuple[str, ...]], list[DeltaSite]]
"""(tower, settings, module names) -> delta sites; may instead unfreeze parameters of the tower itself."""


@dataclass(frozen=True)
class Method:
    """One PET method.

    `modules` and `train` are the defaults of `--modules` and `--train`; `settings` names the MethodConfig fields the
    method reads (recorded in the run, shown in the help). `foldable`: can be merged into the weights. `stackable`:
    many runs can be trained side by side.
    """

    name: str
    summary: str
    attach: Attach
    modules: tuple[str, ...] = ()
    train: tuple[str, ...] = ("layernorm",)
    settings: tuple[str, ...] = ()
    foldable: bool = False
    stackable: bool = True
