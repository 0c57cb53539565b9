"""Combining task vectors: naive loops as oracles, what must not change, and that a tower computes what is combined."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy
import pytest
import torch
from torch import Tensor

from tests import towers
from xpet.core.config import MethodConfig
from xpet.core.errors import ModelError
from xpet.methods import combining as c
from xpet.methods.build import build_stack
from xpet.methods.table import fold

HOST, NORM = "x.query", "x.output.LayerNorm.weight"
BASE = {NORM: torch.tensor([1.0, 2.0, 3.0, 4.0])}
WEIGHTS = {"de": 0.5, "ja": 0.25, "tr": 1.5}


def vector(seed: int, rank: int = 2, alpha: float = 6.0) -> c.TaskVector:
    draw = torch.Generator().manual_seed(seed)
    delta = {
        f"{HOST}.lora.lora_A": torch.randn(rank, 5, generator=draw),
        f"{HOST}.lora.lora_B": torch.randn(4, rank, generator=draw),
        NORM: BASE[NORM] + torch.randn(4, generator=draw),
    }
    return c.task_vector(MethodConfig("lora", rank=rank, alpha=alpha), delta, BASE)


def three() -> dict[str, c.TaskVector]:
    """Three languages of other ranks and alphas."""
    return {"de": vector(1), "ja": vector(2, 1, 1.0), "tr": vector(3, 3, 2.0)}


def whole(vectors: Mapping[str, c.TaskVector], recipe: c.Recipe) -> tuple[Tensor, Tensor]:
    """Full product and LayerNorm change of a combination."""
    combined = c.combine(vectors, recipe)
    return combined.products[HOST].full(), combined.values[NORM]


def naive_sum(changes: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    total = torch.zeros_like(next(iter(changes.values())))
    for language, change in changes.items():
        for place in itertools.product(*map(range, change.shape)):
            total[place] += weights[language] * change[place]
    return total


def naive_ties(changes: Mapping[str, Tensor], weights: Mapping[str, float], density: float) -> Tensor:
    """Yadav et al. 2023, algorithm 1, value by value."""
    kept = {}
    for language, change in changes.items():
        count = max(1, round(density * change.numel()))
        border = sorted((abs(float(v)) for v in change.flatten()), reverse=True)[count - 1]
        kept[language] = [float(v) if abs(float(v)) >= border else 0.0 for v in change.flatten()]
    found = []
    for values in zip(*kept.values(), strict=True):
        each = dict(zip(kept, values, strict=True))
        elected = math.copysign(1, sum(weights[lang] * v for lang, v in each.items()))
        agree = [lang for lang, v in each.items() if v * elected > 0]
        mean = sum(weights[lang] * each[lang] for lang in agree) / sum(weights[lang] for lang in agree) if agree else 0
        found.append(mean * sum(weights.values()))
    return torch.tensor(found, dtype=torch.float64).reshape(next(iter(changes.values())).shape)


def parts(vectors: Mapping[str, c.TaskVector]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    products = {lang: v.products[HOST].full() for lang, v in vectors.items()}
    return products, {lang: v.values[NORM] for lang, v in vectors.items()}


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


def test_a_task_vector_is_the_scaled_product_and_the_difference_to_the_base() -> None:
    config = MethodConfig("lora", rank=1, alpha=3.0)
    delta = {f"{HOST}.lora.lora_A": torch.tensor([[1.0, 2.0]]), f"{HOST}.lora.lora_B": torch.tensor([[5.0], [7.0]])}
    found = c.task_vector(config, {**delta, NORM: torch.tensor([1.5, 2.0, 3.0, 3.0])}, BASE)
    assert found.products[HOST].full().tolist() == [[15.0, 30.0], [21.0, 42.0]]
    assert found.values[NORM].tolist() == [0.5, 0.0, 0.0, -1.0]
    with pytest.raises(ModelError, match=r"^delta does not fit: expected weights of the base, found other in \['y'\]$"):
        c.task_vector(config, {**delta, "y": torch.zeros(1)}, BASE)
    with pytest.raises(ModelError, match=r"^delta does not fit: expected products of rank 2, found other in"):
        c.task_vector(MethodConfig("lora", rank=2), delta, BASE)


def test_linear_is_the_weighted_sum_of_mixed_ranks() -> None:
    vectors = three()
    combined = c.combine(vectors, c.Recipe("linear", WEIGHTS))
    products, values = parts(vectors)
    assert combined.rank == 2 + 1 + 3
    close(combined.products[HOST].full(), naive_sum(products, WEIGHTS))
    close(combined.values[NORM], naive_sum(values, WEIGHTS))


@pytest.mark.parametrize("density", [0.2, 0.5, 1.0])
def test_ties_is_the_paper_s_algorithm(density: float) -> None:
    vectors = three()
    product, value = whole(vectors, c.Recipe("ties", WEIGHTS, density))
    products, values = parts(vectors)
    close(product, naive_ties(products, WEIGHTS, density))
    close(value, naive_ties(values, WEIGHTS, density))


def test_ties_where_all_agree_is_the_weighted_sum() -> None:
    signs = torch.randn(4, generator=torch.Generator().manual_seed(5)).sign().double()
    changes = {lang: own.values[NORM].abs() * signs for lang, own in three().items()}
    recipe = c.Recipe("ties", WEIGHTS, 1.0)
    close(c.STRATEGIES["ties"].merge(NORM, changes, recipe), naive_sum(changes, WEIGHTS))
    against = {"de": torch.tensor([1.0, 3.0]).double(), "ja": torch.tensor([-1.0, -1.0]).double()}
    found = c.STRATEGIES["ties"].merge(NORM, against, c.Recipe("ties", {"de": 0.5, "ja": 0.5}, 1.0))
    assert found.tolist() == [0.0, 3.0]  # a draw is nothing; else the winner's own mean


def test_dare_drops_and_rescales() -> None:
    change = torch.randn(200, 50, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    merge = c.STRATEGIES["dare"].merge
    found = merge("w", {"de": change}, c.Recipe("dare", {"de": 2.0}, 0.3, seed=4))
    stays = found != 0
    close(found[stays], 2.0 * change[stays] / 0.3)
    assert abs(stays.double().mean().item() - 0.3) < 4 * math.sqrt(0.3 * 0.7 / 10_000)
    again, other = (merge("w", {"de": change}, c.Recipe("dare", {"de": 2.0}, 0.3, seed=seed)) for seed in (4, 5))
    assert torch.equal(again, found)
    assert not torch.equal(other, found)
    assert not torch.equal(merge("v", {"de": change}, c.Recipe("dare", {"de": 2.0}, 0.3, seed=4)), found)
    two = merge("w", {"de": change, "ja": change}, c.Recipe("dare", {"de": 1.0, "ja": 1.0}, 0.3, seed=4))
    assert abs((two == 0).double().mean().item() - 0.49) < 0.02  # languages are dropped independently


def test_dare_that_drops_nothing_is_linear() -> None:
    for found, expected in zip(
        whole(three(), c.Recipe("dare", WEIGHTS, 1.0)), whole(three(), c.Recipe("linear", WEIGHTS)), strict=True
    ):
        close(found, expected)


def test_svd_is_the_best_approximation() -> None:
    vectors = three()
    exact, values = whole(vectors, c.Recipe("linear", WEIGHTS))
    u, s, vt = numpy.linalg.svd(exact.numpy())
    for rank in (1, 2, 3):
        found = c.combine(vectors, c.Recipe("svd", WEIGHTS, rank=rank))
        assert found.products[HOST].rank == rank
        close(found.products[HOST].full(), torch.from_numpy(u[:, :rank] * s[:rank] @ vt[:rank]))
        close(found.values[NORM], values)
    assert c.combine(vectors, c.Recipe("svd", WEIGHTS)).rank == 3  # the largest of the runs'
    close(whole(vectors, c.Recipe("svd", WEIGHTS, rank=4))[0], exact)


@pytest.mark.parametrize("strategy", ["ties", "dare"])
def test_a_rank_cuts_every_strategy(strategy: str) -> None:
    recipe = c.Recipe(strategy, WEIGHTS, 0.5)
    exact = whole(three(), recipe)[0]
    assert c.combine(three(), recipe).rank == 4  # all of a matrix [4, 5]
    cut = c.combine(three(), c.Recipe(strategy, WEIGHTS, 0.5, rank=2)).products[HOST]
    u, s, vt = numpy.linalg.svd(exact.numpy())
    close(cut.full(), torch.from_numpy(u[:, :2] * s[:2] @ vt[:2]))


@pytest.mark.parametrize("strategy", c.STRATEGIES)
def test_order_does_not_matter_and_scale_carries_over(strategy: str) -> None:
    recipe = c.Recipe(strategy, WEIGHTS, 0.5, rank=3)
    turned = dict(reversed(three().items()))
    double = c.Recipe(strategy, {lang: 2 * weight for lang, weight in WEIGHTS.items()}, 0.5, rank=3)
    for first, other, twice in zip(whole(three(), recipe), whole(turned, recipe), whole(three(), double), strict=True):
        torch.testing.assert_close(first, other)
        torch.testing.assert_close(2 * first, twice)


def test_what_a_run_lacks_is_zero() -> None:
    less = c.TaskVector({}, {NORM: vector(4).values[NORM]})
    more = vector(5)
    assert c.absent({"de": less, "ja": more}) == {"de": [HOST]}
    vectors = c.completed({"de": less, "ja": more})
    assert c.absent(vectors) == {}
    recipe = c.Recipe("linear", {"de": 3.0, "ja": 0.5})
    close(whole(vectors, recipe)[0], 0.5 * more.products[HOST].full())
    close(whole(vectors, c.Recipe("ties", {"de": 0.5, "ja": 0.5}, 1.0))[0], more.products[HOST].full())
    delta, config = c.as_delta(vectors["de"], MethodConfig("lora"), BASE, rank=2)
    assert (config.rank, config.alpha) == (2, 2.0)
    assert [tuple(delta[f"{HOST}.lora.{name}"].shape) for name in ("lora_A", "lora_B")] == [(2, 5), (4, 2)]
    assert not delta[f"{HOST}.lora.lora_B"].any()


def test_one_run_of_weight_1_is_itself() -> None:
    """Exactly, with a scaling of a power of two, also with a larger rank."""
    config = MethodConfig("lora", rank=2, alpha=4.0)
    down, up = torch.randn(2, 5), torch.randn(4, 2)
    delta = {f"{HOST}.lora.lora_A": down, f"{HOST}.lora.lora_B": up, NORM: torch.randn(4)}
    mine = c.task_vector(config, delta, BASE)
    found, settings = c.as_delta(c.combine({"de": mine}, c.Recipe("linear", {"de": 1.0})), config, BASE)
    assert set(found) == set(delta)
    assert torch.equal(found[f"{HOST}.lora.lora_A"], down)
    assert torch.equal(found[f"{HOST}.lora.lora_B"], 2 * up)
    assert torch.equal(found[NORM], delta[NORM])
    assert (settings.rank, settings.alpha) == (2, 2.0)
    wider, settings = c.as_delta(mine, config, BASE, rank=3)
    assert (settings.rank, settings.alpha) == (3, 3.0)
    product = wider[f"{HOST}.lora.lora_B"] @ wider[f"{HOST}.lora.lora_A"]
    torch.testing.assert_close(product, 2 * up @ down, atol=2e-6, rtol=0)  # float32 sums of three, one of them 0


def test_settings_that_cover_all_runs() -> None:
    plain, wide = MethodConfig("lora", rank=4), MethodConfig("lora", modules=("key", "value"), train=("head",))
    found = c.joint([plain, wide])
    assert (found.modules, found.train) == (("query", "value", "key"), ("layernorm", "head"))
    full = c.joint([MethodConfig("full"), MethodConfig("full")])
    assert (full.modules, full.train) == (None, ())


@pytest.mark.parametrize("strategy", c.STRATEGIES)
def test_a_tower_computes_the_combination(strategy: str) -> None:
    """Runs of other ranks and modules: loaded, folded, and added to the weights by hand give the same features."""
    names = ("lora", "lora-scripts")
    configs = {"de": towers.METHOD_CONFIGS[names[0]], "ja": towers.METHOD_CONFIGS[names[1]]}
    base = towers.tower().state_dict()
    vectors = {}
    for seed, (language, config) in enumerate(configs.items()):
        state = build_stack(towers.tower(), config, [1]).state(0)
        draw = torch.Generator().manual_seed(seed)
        state = {k: v + 0.05 * torch.randn(v.shape, generator=draw, dtype=v.dtype) for k, v in state.items()}
        vectors[language] = c.task_vector(config, state, base)
    assert len(c.absent(vectors)["de"]) == 2 * 2 + 2  # key and attention.output.dense of two layers, and the head
    combined = c.combine(c.completed(vectors), c.Recipe(strategy, {"de": 0.7, "ja": 0.6}, 0.5))
    delta, config = c.as_delta(combined, c.joint(list(configs.values())), base)
    stack = build_stack(towers.tower(), config, [1])
    stack.load(0, {name: value.double() for name, value in delta.items()})
    changes = fold(config, delta)
    by_hand = {f"{host}.weight": base[f"{host}.weight"] + p.full() for host, p in combined.products.items()}
    by_hand |= {name: base[name] + value for name, value in combined.values.items()}
    rows = towers.pad(towers.texts(6, seed=9))
    with torch.no_grad():
        with stack.one(0):
            loaded = stack(*rows)
        with stack.bare():
            bare = stack(*rows)
        folded = _features({**base, **{name: changes[name](base[name].float()).double() for name in changes}}, rows)
        expected = _features({**base, **by_hand}, rows)
    assert changes.keys() == by_hand.keys()
    for found in (loaded, folded):
        assert (found - expected).norm(dim=1).max() < 1e-5 * expected.norm(dim=1).max()
    assert (expected - bare).norm(dim=1).min() > 1e-3 * expected.norm(dim=1).max()


def _features(state: Mapping[str, Tensor], rows: tuple[Tensor, Tensor]) -> Tensor:
    plain = towers.tower()
    plain.load_state_dict(state)
    found: Tensor = plain(*rows)
    return found
