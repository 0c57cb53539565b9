"""What a PET method is: a row with its defaults and one function that hangs it into a tower."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from xpet.core.config import MethodConfig
from xpet.methods.bridge import DeltaSite

Attach = Callable[[nn.Module, MethodConfig, tuple[str, ...]], list[DeltaSite]]
"""(tower, settings, module names) -> delta sites; may instead unfreeze parameters of the tower itself."""

Change = Callable[[Tensor], Tensor]
"""A float32 weight of the base -> what stands in its place in the merged tower, float32 of the same shape."""

Fold = Callable[[MethodConfig, Mapping[str, Tensor]], dict[str, Change]]
"""(settings, what was trained by name) -> changes of the tower's weights by name."""


@dataclass(frozen=True)
class Method:
    """One PET method.

    `modules` and `train` are the defaults of `--modules` and `--train`; `settings` names the MethodConfig fields the
    method reads (recorded in the run, shown in the help). `fold` merges what was trained into the
    weights, None where that is impossible. `stackable`: many runs can be trained side by side.
    """

    name: str
    summary: str
    attach: Attach
    modules: tuple[str, ...] = ()
    train: tuple[str, ...] = ("layernorm",)
    settings: tuple[str, ...] = ()
    fold: Fold | None = None
    stackable: bool = True
