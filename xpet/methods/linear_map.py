"""A linear map of the tower's output onto English, fitted in closed form: the yardstick of what is trained.

The map stands behind the tower's head and is folded into it: `W' = M W`, `b' = M b + c`. So a run holds a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from torch import Tensor, nn

from xpet.core.config import MethodConfig
from xpet.core.errors import ModelError
from xpet.core.fitted_candidate import FittedCandidate
from xpet.core.linear_map import LinearMap, candidates
from xpet.methods.base import Method
from xpet.methods.bridge import DeltaSite
from xpet.methods.folding import replaced

HEAD = "LinearTransformation"
"""The module of the tower whose output are the features."""
WEIGHT, BIAS = f"{HEAD}.weight", f"{HEAD}.bias"
"""Names of a run's parameters, [d, hidden] and [d]."""


def _attach(tower: nn.Module, config: MethodConfig, modules: tuple[str, ...]) -> list[DeltaSite]:
    head = tower.get_submodule(HEAD)
    if getattr(head, "bias", None) is None:
        raise ModelError(
            "linear-map folds into the bias of the tower's head: expected one, found a tower without; choose another "
            "method, such as lora, or --train head beside one"
        )
    head.requires_grad_(True)
    return []


def _closed_form(config: MethodConfig, source: Tensor, target: Tensor) -> Iterator[FittedCandidate]:
    """The maps of features of captions [n, d] onto those of English ones [n, d], the identity first."""
    for found in candidates(source, target, config.maps):
        name = found.name if found.strength is None else f"{found.name} {found.strength:g}"
        yield FittedCandidate(name, found.map, partial(behind_head, found.map))


def behind_head(fitted: LinearMap, head: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The head's weight [d, hidden] and bias [d], by name, with a map behind it; computed in float64."""
    weight, bias = fitted.weight.double(), fitted.bias.double()
    return {
        WEIGHT: (weight @ head[WEIGHT].double()).to(head[WEIGHT]),
        BIAS: (weight @ head[BIAS].double() + bias).to(head[BIAS]),
    }


METHOD = Method(
    name="linear-map",
    summary="a map of the output onto English, fitted in closed form: nothing is trained",
    attach=_attach,
    train=(),
    settings=("maps",),
    fold=replaced,
    closed_form=_closed_form,
)
