"""Compacter: an adapter out of Kronecker products of tiny factors (Karimi Mahabadi et al. 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xpet.core.config import MethodConfig
from xpet.core.errors import ConfigError
from xpet.core.kernels.bottleneck import RELU, bottleneck
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


def _behind(module: nn.Module, parameters: dict[str, Tensor], output: Tensor) -> Tensor:
    """A host's output [rows, length, d] plus two hypercomplex layers of it, with a ReLU between them."""
    down, up = (_hypercomplex(parameters, name) for name in ("down_sampler", "up_sampler"))
    return bottleneck(output, down, parameters["down_sampler.b"], up, parameters["up_sampler.b"], RELU)


def _hypercomplex(parameters: dict[str, Tensor], name: str) -> Tensor:
    """The sum of Kronecker products as weights [runs, out, in] of a linear layer (Compacter, equation 5)."""
    rule, left, right = (parameters[f"{name}.{part}"] for part in ("phm_rule", "W_left", "W_right"))
    product = torch.einsum("gnac,gnkp->gcpak", rule, left @ right)
    return product.flatten(3).flatten(1, 2)


METHOD = Method(
    name="compacter",
    summary="adapter out of Kronecker products, a tenth of its parameters",
    attach=_attach,
    modules=("output.dense",),
    settings=("reduction",),
    behind=_behind,
)
