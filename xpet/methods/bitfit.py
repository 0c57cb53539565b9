"""BitFit: only the bias terms of the transformer layers are trained (Ben Zaken et al. 2021)."""

from __future__ import annotations

from torch import nn

from xpet.core.config import MethodConfig
from xpet.methods import bridge
from xpet.methods.base import Method
from xpet.methods.folding import replaced


def _attach(tower: nn.Module, config: MethodConfig, modules: tuple[str, ...]) -> list[bridge.DeltaSite]:
    bridge.unfreeze_biases(tower.get_submodule("transformer.encoder"), modules)
    return []


METHOD = Method(
    name="bitfit",
    summary="the bias terms of every layer",
    attach=_attach,
    modules=("attention", "intermediate", "output"),
    fold=replaced,
)
