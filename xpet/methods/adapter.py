"""Adapter: a small bottleneck after attention and feed-forward, before dropout and LayerNorm (Houlsby et al. 2019)."""

from __future__ import annotations

from torch import Tensor, nn

from xpet.core.config import MethodConfig
from xpet.core.kernels.bottleneck import TANH_GELU, bottleneck
from xpet.methods import bridge
from xpet.methods.base import Method


def _attach(tower: nn.Module, config: MethodConfig, modules: tuple[str, ...]) -> list[bridge.DeltaSite]:
    backbone = tower.get_submodule("transformer")
    return bridge.attach(backbone, "AdapterModel", modules, bottleneck_dim=config.bottleneck, non_linearity="gelu_new")


def _behind(module: nn.Module, parameters: dict[str, Tensor], output: Tensor) -> Tensor:
    """A host's output [rows, length, d] plus two linear layers of it, with a GELU between them."""
    down, up = "modulelist.down_proj", "modulelist.up_proj"
    return bottleneck(
        output, parameters[f"{down}.weight"], parameters[f"{down}.bias"], parameters[f"{up}.weight"],
        parameters[f"{up}.bias"], TANH_GELU,
    )  # fmt: skip


METHOD = Method(
    name="adapter",
    summary="bottleneck of two layers after attention and feed-forward",
    attach=_attach,
    modules=("output.dense",),
    settings=("bottleneck",),
    behind=_behind,
)
