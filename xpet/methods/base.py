"""What a PET method is: its defaults, and functions that attach it, compute it for many runs, and fold it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from xpet.core.config import MethodConfig
from xpet.core.fitted_candidate import FittedCandidate
from xpet.methods.bridge import DeltaSite

Attach = Callable[[nn.Module, MethodConfig, tuple[str, ...]], list[DeltaSite]]
"""(tower, settings, module names) -> delta sites; may instead unfreeze parameters of the tower itself."""

Beside = Callable[[nn.Linear, nn.Module, dict[str, Tensor], Tensor], Tensor]
"""(the host, a run's delta module, parameters of all runs by name [runs, ...], hidden [rows, length, d]) -> the host's
output with what the delta adds to it [rows, length, d_out]; rows come run after run."""

Behind = Callable[[nn.Module, dict[str, Tensor], Tensor], Tensor]
"""(a run's delta module, parameters of all runs by name [runs, ...], the host's output [rows, length, d]) -> the same
with what the delta adds to it."""

Change = Callable[[Tensor], Tensor]
"""A float32 weight of the base -> the float32 weight of the same shape that takes its place in the merged tower."""

Fold = Callable[[MethodConfig, Mapping[str, Tensor]], dict[str, Change]]
"""(settings, trained parameters by name) -> changes of the tower's weights by name."""

ClosedForm = Callable[[MethodConfig, Tensor, Tensor], Iterable[FittedCandidate]]
"""(settings, features of captions [n, d], those of the same captions in English [n, d]), both of the bare tower ->
candidates, the simplest first."""


@dataclass(frozen=True)
class Method:
    """One PET method.

    Attributes:
        name: as in `--method`.
        summary: one line for the help.
        attach: attaches delta modules to a tower, or unfreezes parameters of the tower's own.
        modules: default of `--modules`, endings of names of the modules to attach to.
        train: default of `--train`, parts of the tower that are trained too.
        settings: fields of MethodConfig the method reads; giving another one is an error.
        beside: computes linear layers with the method's delta modules beside them, for many runs at once; None where it
            has none there.
        behind: computes its delta modules behind a host, for many runs at once; None likewise.
        fold: merges what was trained into the weights; None where that is impossible.
        stackable: many runs can be trained side by side.
        closed_form: fits the parameters that `attach` leaves trainable; None for a method that is trained.
        whole_tower: a run holds every weight of the text tower, so that the base's own are not needed.
    """

    name: str
    summary: str
    attach: Attach
    modules: tuple[str, ...] = ()
    train: tuple[str, ...] = ("layernorm",)
    settings: tuple[str, ...] = ()
    beside: Beside | None = None
    behind: Behind | None = None
    fold: Fold | None = None
    closed_form: ClosedForm | None = None
    stackable: bool = True
    whole_tower: bool = False
