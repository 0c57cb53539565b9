"""Adapter: a small bottleneck after attention and feed-forward, before dropout and LayerNorm (Houlsby et al. 2019)."""

from __future__ import annotations

from torch import nn

from xpet.core.config import MethodConfig
from xpet.methods import bridge
from xpet.methods.base import Method


def _attach(tower: nn.Module, config: MethodConfig, modules: tuple[str, ...]) -> list[bridge.DeltaSite]:
    backbone = tower.get_submodule("transformer")
    return bridge.attach(backbone, "AdapterModel", modules, bottleneck_dim=config.bottleneck, non_linearity="gelu_new")


ADAPTER = Method(
    name="adapter",
    summary="bottleneck of two layers after attention and feed-forward",
    attach=_attach,
    modules=("output.dense",),
    settings=("bottleneck",),
)
