"""Compacter: an adapter out of Kronecker products of tiny factors (Karimi Mahabadi et al. 2021)."""

from __future__ import annotations

from torch import nn

from xpet.core.config import MethodConfig
from xpet.core.errors import ConfigError
from xpet.methods import bridge
from xpet.methods.base import Method

DIVISION = 4
"""Hypercomplex division of the reference (SPEC section 5)."""


def _attach(tower: nn.Module, config: MethodConfig, modules: tuple[str, ...]) -> list[bridge.DeltaSite]:
    backbone = tower.get_submodule("transformer")
    hidden = int(backbone.config.hidden_size)  # type: ignore[union-attr, arg-type]
    if hidden % DIVISION or (hidden // config.reduction) % DIVISION or hidden < config.reduction * DIVISION:
        raise ConfigError(
            f"reduction {config.reduction} does not fit a hidden size of {hidden}: "
            f"expected hidden / reduction to be a multiple of {DIVISION}; try --reduction {hidden // (2 * DIVISION)}"
        )
    return bridge.attach(
        backbone, "CompacterModel", modules, reduction_factor=config.reduction,
        hypercomplex_division=DIVISION, phm_rank=1, non_linearity="relu",
    )  # fmt: skip


COMPACTER = Method(
    name="compacter",
    summary="adapter out of Kronecker products, a tenth of its parameters",
    attach=_attach,
    modules=("output.dense",),
    settings=("reduction",),
)
