"""Full fine-tuning: every parameter of the text tower; the baseline to beat."""

from __future__ import annotations

from torch import nn

from xpet.core.config import MethodConfig
from xpet.methods.base import Method
from xpet.methods.bridge import DeltaSite
from xpet.methods.folding import replaced


def _attach(tower: nn.Module, config: MethodConfig, modules: tuple[str, ...]) -> list[DeltaSite]:
    tower.requires_grad_(True)
    return []


METHOD = Method(
    name="full",
    summary="every parameter of the text tower (baseline, no PET)",
    attach=_attach,
    train=(),
    fold=replaced,
    stackable=False,
    whole_tower=True,
)
