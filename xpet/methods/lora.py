"""LoRA: a low-rank product beside linear layers (Hu et al. 2021; paper section 4.2)."""

from __future__ import annotations

from torch import nn

from xpet.core.config import MethodConfig
from xpet.methods import bridge
from xpet.methods.base import Method


def _attach(tower: nn.Module, config: MethodConfig, modules: tuple[str, ...]) -> list[bridge.DeltaSite]:
    backbone = tower.get_submodule("transformer")
    return bridge.attach(backbone, "LoraModel", modules, lora_r=config.rank, lora_alpha=config.alpha)


LORA = Method(
    name="lora",
    summary="low-rank product beside the attention's query and value",
    attach=_attach,
    modules=("query", "value"),
    settings=("rank", "alpha"),
    foldable=True,
)
