"""Compacter: an adapter out of Kronecker products of tiny factors (Karimi Mahabadi et al. 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xpet.core.config import MethodConfig
from xpet.core.errors import ConfigError
from xpet.methods import bridge
from xpet.methods.base import Method

DIVISION = 4
"""Hypercomplex division, the number of Kronecker products in a weight, as in the paper's published code."""


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


def _batched(module: nn.Module, parameters: dict[str, Tensor], hidden: Tensor) -> Tensor:
    """Two hypercomplex layers with a ReLU between them, [runs, n, d], of hidden states [runs, n, d]."""
    down = _hypercomplex(parameters, "down_sampler", hidden).relu()  # [runs, n, d / reduction]
    return _hypercomplex(parameters, "up_sampler", down)


def _hypercomplex(parameters: dict[str, Tensor], name: str, hidden: Tensor) -> Tensor:
    """Hidden [runs, n, in] times the sum of Kronecker products, plus bias: [runs, n, out] (Compacter, equation 5)."""
    rule, left, right = (parameters[f"{name}.{part}"] for part in ("phm_rule", "W_left", "W_right"))
    product = torch.einsum("gnac,gnkp->gakcp", rule, left @ right)
    weight = product.reshape(len(product), hidden.shape[-1], -1)  # [runs, in, out]
    return torch.baddbmm(parameters[f"{name}.b"].unsqueeze(1), hidden, weight)


METHOD = Method(
    name="compacter",
    summary="adapter out of Kronecker products, a tenth of its parameters",
    attach=_attach,
    modules=("output.dense",),
    settings=("reduction",),
    batched=_batched,
)
