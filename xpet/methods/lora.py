"""LoRA: a low-rank product beside linear layers (Hu et al. 2021; paper, section 4.2)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from xpet.core.config import MethodConfig
from xpet.core.errors import ModelError
from xpet.core.kernels.low_rank import low_rank_linear
from xpet.methods import bridge
from xpet.methods.base import Change, Method
from xpet.methods.folding import replaced

_DOWN, _UP = ".lora.lora_A", ".lora.lora_B"
"""Endings of the trained names: A [rank, in] and B [out, rank]."""


def _attach(tower: nn.Module, config: MethodConfig, modules: tuple[str, ...]) -> list[bridge.DeltaSite]:
    backbone = tower.get_submodule("transformer")
    return bridge.attach(backbone, "LoraModel", modules, lora_r=config.rank, lora_alpha=config.alpha)


def _beside(host: nn.Linear, module: nn.Module, parameters: dict[str, Tensor], hidden: Tensor) -> Tensor:
    """The host's output plus `scaling * hidden A^T B^T`, [rows, length, out], of hidden states [rows, length, in]."""
    scaling: float = module.scaling  # type: ignore[assignment]
    return low_rank_linear(hidden, host.weight, host.bias, parameters["lora_A"], parameters["lora_B"], scaling)


def _fold(config: MethodConfig, delta: Mapping[str, Tensor]) -> dict[str, Change]:
    """`W + alpha / rank * B A` [out, in] where there is a product (Hu et al. 2021, eq. 3); the rest is replaced."""
    products, others = split(config, delta)
    if not products:
        raise ModelError(f"delta does not fit: expected products of rank {config.rank}, found other in []")
    scaling = config.alpha / config.rank
    return {
        **replaced(config, others),
        **{f"{host}.weight": _add_product(*pair, scaling) for host, pair in products.items()},
    }


def split(
    config: MethodConfig, delta: Mapping[str, Tensor]
) -> tuple[dict[str, tuple[Tensor, Tensor]], dict[str, Tensor]]:
    """Split a delta into products and the rest: linear layer -> its A [rank, in] and B [out, rank]; name -> tensor.

    Raises ModelError for a product of another rank, or half of one.
    """
    downs = {name.removesuffix(_DOWN): value for name, value in delta.items() if name.endswith(_DOWN)}
    ups = {name.removesuffix(_UP): value for name, value in delta.items() if name.endswith(_UP)}
    unfit = [host for host in downs if downs[host].shape[0] != config.rank] + sorted(downs.keys() ^ ups.keys())
    if unfit:
        raise ModelError(f"delta does not fit: expected products of rank {config.rank}, found other in {unfit[:3]}")
    others = {name: value for name, value in delta.items() if not name.endswith((_DOWN, _UP))}
    return {host: (downs[host], ups[host]) for host in downs}, others


def join(products: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Products A [rank, in] and B [out, rank] by linear layer -> a delta by name; the reverse of `split`."""
    downs = {host + _DOWN: down for host, (down, _) in products.items()}
    return {**downs, **{host + _UP: up for host, (_, up) in products.items()}}


def _add_product(down: Tensor, up: Tensor, scaling: float) -> Change:
    return lambda base: base + (up.float() @ down.float()) * scaling


METHOD = Method(
    name="lora",
    summary="low-rank product beside the attention's query and value",
    attach=_attach,
    modules=("query", "value"),
    settings=("rank", "alpha"),
    beside=_beside,
    fold=_fold,
)
