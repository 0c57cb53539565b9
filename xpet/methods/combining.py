"""Combining: turns what several languages' runs trained on one base into one change of that base.

Everything is done on task vectors, the differences to the base's weights (Ilharco et al. 2023): for LoRA the full
products `alpha / rank * B A`, so that ranks, alphas and modules may differ (a product that a run lacks is zero), for
LayerNorms, heads and biases what was trained minus the base's own value.

The result is a delta of the runs' own method, such as one run holds, so that a checkpoint, an adapter and a pack are
written from it as from a run. For LoRA, by default, its rank is large enough to hold the change exactly: a weighted sum
is the concatenation of the factors, whose rank is the sum of the ranks; any other change of a matrix is its product
with an identity of the matrix' smaller side. A smaller rank gives the best approximation there is (Eckart and Young
1936).

Arithmetic is in float64 on the CPU. Every tensor is treated alone, as PEFT and mergekit do: changes of LayerNorms and
products differ in size, so that one threshold over all of them would drop or keep all values of a kind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xpet.core.config import MethodConfig
from xpet.core.errors import ModelError
from xpet.methods import lora
from xpet.methods.table import find_method


@dataclass(frozen=True)
class Product:
    """The change `up @ down` of a matrix [out, in], in factors `up` [out, rank] and `down` [rank, in]."""

    up: Tensor
    down: Tensor

    @property
    def rank(self) -> int:
        """The number of columns of `up`."""
        return self.up.shape[1]

    def full(self) -> Tensor:
        """The change itself, [out, in]."""
        return self.up @ self.down


@dataclass(frozen=True)
class TaskVector:
    """A change of the base in float64: `products` of linear layers by name, `values` of other weights by name."""

    products: Mapping[str, Product]
    values: Mapping[str, Tensor]

    @property
    def rank(self) -> int:
        """The largest of the products' ranks; 0 without any."""
        return max((product.rank for product in self.products.values()), default=0)


@dataclass(frozen=True)
class Recipe:
    """How task vectors are combined: `weights` by language; `rank` None: as many as the strategy needs."""

    strategy: str
    weights: Mapping[str, float]
    density: float | None = None
    rank: int | None = None
    seed: int = 1


Changes = Mapping[str, Tensor]
"""Language -> its change of one tensor, all of one shape."""


@dataclass(frozen=True)
class Strategy:
    """One way to combine.

    Attributes:
        summary: one line for the help.
        merge: (name of a tensor, the languages' changes of it, recipe) -> one change of it.
        sums: the result is the weighted sum, which products keep in factors.
        truncates: products are cut to the largest rank of the languages, unless the recipe has one.
    """

    summary: str
    merge: Callable[[str, Changes, Recipe], Tensor]
    sums: bool = False
    truncates: bool = False


def task_vector(config: MethodConfig, delta: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> TaskVector:
    """What a run changed of its base's weights; both are given by name. Raises ModelError where they do not fit.

    A product's factors are [out, rank] and [rank, in], any other change has its weight's shape.
    """
    pairs, others = lora.split(config, delta)
    scaling = config.alpha / config.rank
    products = {host: Product(up.double() * scaling, down.double()) for host, (down, up) in pairs.items()}
    unfit = [name for name, value in others.items() if name not in base or base[name].shape != value.shape]
    if unfit:
        raise ModelError(f"delta does not fit: expected weights of the base, found other in {unfit[:3]}")
    return TaskVector(products, {name: value.double() - base[name].double() for name, value in others.items()})


def completed(vectors: Mapping[str, TaskVector]) -> dict[str, TaskVector]:
    """The same task vectors by language, with changes of zero added, so that all have the same weights."""
    products = {host: product for vector in vectors.values() for host, product in vector.products.items()}
    values = {name: value for vector in vectors.values() for name, value in vector.values.items()}
    zero_products = {host: Product(product.up[:, :0], product.down[:0]) for host, product in products.items()}
    zero_values = {name: torch.zeros_like(value) for name, value in values.items()}
    return {
        language: TaskVector({**zero_products, **vector.products}, {**zero_values, **vector.values})
        for language, vector in vectors.items()
    }


def absent(vectors: Mapping[str, TaskVector]) -> dict[str, list[str]]:
    """Language -> names of weights that others changed and it did not; only languages with any."""
    every = dict.fromkeys(name for v in vectors.values() for name in (*v.products, *v.values))
    lacking = {lang: [n for n in every if n not in v.products and n not in v.values] for lang, v in vectors.items()}
    return {language: names for language, names in lacking.items() if names}


def combine(vectors: Mapping[str, TaskVector], recipe: Recipe) -> TaskVector:
    """Combine the languages' task vectors, which must be `completed`, into one; deterministic for a recipe."""
    first = next(iter(vectors.values()))
    merge = STRATEGIES[recipe.strategy].merge
    products, values = {}, {}
    for host in first.products:
        products[host] = _product(host, {lang: vector.products[host] for lang, vector in vectors.items()}, recipe)
    for name in first.values:
        values[name] = merge(name, {lang: vector.values[name] for lang, vector in vectors.items()}, recipe)
    return TaskVector(products, values)


def as_delta(
    vector: TaskVector, config: MethodConfig, base: Mapping[str, Tensor], rank: int | None = None
) -> tuple[dict[str, Tensor], MethodConfig]:
    """A task vector as a run's delta, float32 by name, and its settings; weights without a change are the base's.

    LoRA gets one rank everywhere, that of the largest product or a larger `rank`, filled up with zeros, and an alpha
    that makes its scaling 1. `config` names the method and what it covers, see `joint`.
    """
    values = {name: (base[name].double() + value).float() for name, value in vector.values.items()}
    if not vector.products:
        return values, config
    rank = max(vector.rank, rank or 1)
    pairs = {host: _padded(product, rank) for host, product in vector.products.items()}
    return {**lora.join(pairs), **values}, replace(config, rank=rank, alpha=float(rank))


def joint(configs: Sequence[MethodConfig]) -> MethodConfig:
    """The first run's settings, with the modules and parts of all these runs, which have one method."""
    method = find_method(configs[0])
    modules = dict.fromkeys(name for config in configs for name in config.modules or method.modules)
    train = dict.fromkeys(
        part for config in configs for part in (method.train if config.train is None else config.train)
    )
    return replace(configs[0], modules=tuple(modules) or None, train=tuple(train))


def truncated(product: Product, rank: int) -> Product:
    """The best approximation of this rank (Frobenius norm; Eckart and Young 1936).

    Both new factors get the roots of the singular values. The given ones are orthogonalised first, so that only a small
    matrix is decomposed.
    """
    left, tall = torch.linalg.qr(product.up)
    right, wide = torch.linalg.qr(product.down.mT)
    u, s, vt = torch.linalg.svd(tall @ wide.mT, full_matrices=False)
    root = s[:rank].sqrt()
    return Product(left @ u[:, :rank] * root, (root.unsqueeze(1) * vt[:rank]) @ right.mT)


def _product(host: str, parts: Mapping[str, Product], recipe: Recipe) -> Product:
    """One product from the languages' of a linear layer [out, in], in the rank that recipe and strategy give."""
    strategy = STRATEGIES[recipe.strategy]
    if strategy.sums:
        ups = [part.up * recipe.weights[lang] for lang, part in parts.items()]
        product = Product(torch.cat(ups, dim=1), torch.cat([part.down for part in parts.values()]))
    else:
        product = _exact(strategy.merge(host, {lang: part.full() for lang, part in parts.items()}, recipe))
    rank = recipe.rank
    if rank is None and strategy.truncates:
        rank = max(part.rank for part in parts.values())
    return product if rank is None or rank >= product.rank else truncated(product, rank)


def _exact(change: Tensor) -> Product:
    """A matrix [out, in] as a product with the identity of its smaller side."""
    outputs, inputs = change.shape
    if outputs <= inputs:
        return Product(torch.eye(outputs, dtype=change.dtype), change)
    return Product(change, torch.eye(inputs, dtype=change.dtype))


def _padded(product: Product, rank: int) -> tuple[Tensor, Tensor]:
    """A [rank, in] and B [out, rank] in float32, with rows and columns of zeros behind."""
    more = rank - product.rank
    down = torch.nn.functional.pad(product.down, (0, 0, 0, more))
    return down.float(), torch.nn.functional.pad(product.up, (0, more)).float()


def _sum(name: str, changes: Changes, recipe: Recipe) -> Tensor:
    """`sum w_i t_i` of changes of one shape (task arithmetic, Ilharco et al. 2023; an average for weights of sum 1)."""
    return torch.stack([change * recipe.weights[language] for language, change in changes.items()]).sum(dim=0)


def _ties(name: str, changes: Changes, recipe: Recipe) -> Tensor:
    """Trim, elect sign, disjoint merge (Yadav et al. 2023, algorithm 1).

    Of every change the share `density` of largest magnitude stays; each value takes the sign of the weighted sum; the
    weighted mean is over the languages of that sign. Times the sum of all weights, which is the paper's lambda (1 for
    weights of sum 1): where all languages agree the outcome is their weighted sum. Where the sum is exactly zero the
    outcome is zero.
    """
    weights = torch.tensor([recipe.weights[language] for language in changes], dtype=torch.float64)
    kept = torch.stack([_trimmed(change, recipe.density) for change in changes.values()])
    weighted = kept * weights.reshape(-1, *[1] * (kept.dim() - 1))
    agree = (kept.sign() == weighted.sum(dim=0).sign()) & (kept != 0)
    votes = (agree * weights.reshape(-1, *[1] * (kept.dim() - 1))).sum(dim=0)
    mean = (weighted * agree).sum(dim=0) / votes.clamp(min=torch.finfo(votes.dtype).tiny)
    return mean * sum(recipe.weights.values())


def _trimmed(change: Tensor, density: float | None) -> Tensor:
    """Zero all values of a tensor but the share `density` of largest magnitude; equal ones at the border all stay."""
    keep = max(1, round((density or 1.0) * change.numel()))
    border = change.abs().flatten().kthvalue(change.numel() - keep + 1).values
    return torch.where(change.abs() >= border, change, 0)


def _dare(name: str, changes: Changes, recipe: Recipe) -> Tensor:
    """Values dropped at random and the others divided by the share that stays, then summed (Yu et al. 2024).

    The draw depends on seed, language and tensor alone.
    """
    density = recipe.density or 1.0
    thinned = {}
    for language, change in changes.items():
        key = hashlib.sha256(f"{recipe.seed}/{language}/{name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key[:7], "big"))
        stays = torch.rand(change.shape, generator=generator, dtype=torch.float64) < density
        thinned[language] = change * stays / density
    return _sum(name, thinned, recipe)


STRATEGIES: dict[str, Strategy] = {
    "linear": Strategy("weighted sum", _sum, sums=True),
    "ties": Strategy("trim, elect sign, disjoint mean", _ties),
    "dare": Strategy("random drop with rescaling, then the weighted sum", _dare),
    "svd": Strategy("weighted sum, cut to a small rank", _sum, sums=True, truncates=True),
}
"""`--strategy`: the ways to combine."""
