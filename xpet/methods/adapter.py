"""Adapter: a small bottleneck after attention and feed-forward, before dropout and LayerNorm (Houlsby et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from xpet.core.config import MethodConfig
from xpet.methods import bridge
from xpet.methods.base import Method


def _attach(tower: nn.Module, config: MethodConfig, modules: tuple[str, ...]) -> list[bridge.DeltaSite]:
    backbone = tower.get_submodule("transformer")
    return bridge.attach(backbone, "AdapterModel", modules, bottleneck_dim=config.bottleneck, non_linearity="gelu_new")


def _batched(module: nn.Module, parameters: dict[str, Tensor], hidden: Tensor) -> Tensor:
    """Two linear layers with a GELU between them, [runs, n, d], of hidden states [runs, n, d]."""

    def linear(name: str, rows: Tensor) -> Tensor:
        bias, weight = parameters[f"modulelist.{name}.bias"], parameters[f"modulelist.{name}.weight"]
        return torch.baddbmm(bias.unsqueeze(1), rows, weight.mT)

    return linear("up_proj", functional.gelu(linear("down_proj", hidden), approximate="tanh"))


METHOD = Method(
    name="adapter",
    summary="bottleneck of two layers after attention and feed-forward",
    attach=_attach,
    modules=("output.dense",),
    settings=("bottleneck",),
    batched=_batched,
)
