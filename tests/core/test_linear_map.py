"""Closed-form maps: against scipy and plain solves, and what must hold of each."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from xpet.core.choices import MAP_NAMES
from xpet.core.errors import ModelError
from xpet.core.linear_map import (
    MAPS,
    STRENGTHS,
    LinearMap,
    MapCandidate,
    best,
    candidates,
    identity,
    ridge,
    ridges,
    rotation,
    shift,
)

D = 6


def pairs(n: int, dtype: torch.dtype = torch.float64, noise: float = 0.3) -> tuple[Tensor, Tensor]:
    """Features [n, D] of uneven scales, and an affine image of them with noise."""
    rng = torch.Generator().manual_seed(n)
    source = torch.randn(n, D, generator=rng, dtype=torch.float64) * torch.tensor([3, 2, 1, 1, 0.5, 0.2]) + 4
    weight = torch.eye(D) + 0.3 * torch.randn(D, D, generator=rng, dtype=torch.float64)
    target = source @ weight.T - 2 + noise * torch.randn(n, D, generator=rng, dtype=torch.float64)
    return source.to(dtype), target.to(dtype)


def centred(rows: Tensor) -> np.ndarray:
    array = rows.double().numpy()
    return array - array.mean(axis=0)


def oracle(source: Tensor, target: Tensor, strength: float) -> np.ndarray:
    """The normal equations of the penalised problem, one dense solve: W - 1 = residual^T x (x^T x + c)^-1."""
    x, residual = centred(source), centred(target) - centred(source)
    c = strength * np.trace(np.cov(x.T, bias=True)) / D * len(x)
    return np.eye(D) + np.linalg.solve(x.T @ x + c * np.eye(D), x.T @ residual).T


def test_names_are_those_of_the_command_line() -> None:
    assert tuple(MAPS) == MAP_NAMES


def test_a_map_is_affine() -> None:
    fitted = LinearMap(torch.tensor([[1.0, 2.0], [0.0, 3.0]]), torch.tensor([5.0, 7.0]))
    assert fitted(torch.tensor([[1.0, 10.0]])).tolist() == [[26.0, 37.0]]


def test_shift_is_the_difference_of_the_means() -> None:
    source, target = pairs(20)
    moved = shift(source, target)(source).numpy()
    np.testing.assert_allclose(moved, source.numpy() + (target.numpy().mean(0) - source.numpy().mean(0)), rtol=1e-12)


def test_rotation_is_scipys() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    source, target = pairs(50)
    right, _ = linalg.orthogonal_procrustes(centred(source), centred(target))
    np.testing.assert_allclose(rotation(source, target).weight.numpy(), right.T, atol=1e-10)


@pytest.mark.parametrize("n", [1, 3, 50])
def test_rotation_keeps_lengths_and_no_other_brings_rows_nearer(n: int) -> None:
    source, target = pairs(n)
    fitted = rotation(source, target)
    np.testing.assert_allclose((fitted.weight @ fitted.weight.T).numpy(), np.eye(D), atol=1e-10)
    error = float((fitted(source) - target).square().sum())
    rng = torch.Generator().manual_seed(1)
    for size in (1.0, 0.1, 1e-3):
        skew = size * torch.randn(D, D, generator=rng, dtype=torch.float64)
        turned = torch.linalg.matrix_exp(skew - skew.T) @ fitted.weight
        other = LinearMap(turned, target.mean(0) - turned @ source.mean(0))
        assert float((other(source) - target).square().sum()) >= error - 1e-9


def test_rotation_leaves_alone_what_captions_do_not_span() -> None:
    source, target = torch.zeros(10, D).double(), torch.zeros(10, D).double()
    source[:, :2], target[:, :2] = torch.randn(10, 2, generator=torch.Generator().manual_seed(1)).double(), 0
    target[:, 0], target[:, 1] = -source[:, 1], source[:, 0]
    expected = torch.eye(D).double()
    expected[:2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    np.testing.assert_allclose(rotation(source, target).weight.numpy(), expected.numpy(), atol=1e-10)
    one = rotation(source[:1], target[:1])
    np.testing.assert_allclose(one.weight.numpy(), np.eye(D), atol=1e-12)


@pytest.mark.parametrize("n", [4, D, 50])
@pytest.mark.parametrize("strength", [1e-3, 0.5, 100.0])
def test_ridge_is_the_plain_solve(n: int, strength: float) -> None:
    source, target = pairs(n)
    fitted = ridge(source, target, strength)
    np.testing.assert_allclose(fitted.weight.numpy(), oracle(source, target, strength), atol=1e-9)
    np.testing.assert_allclose(fitted(source.mean(0, keepdim=True)), target.mean(0, keepdim=True), atol=1e-9)


def test_a_weak_ridge_is_least_squares_and_a_strong_one_the_shift() -> None:
    source, target = pairs(50)
    with_one = np.hstack([source.numpy(), np.ones((50, 1))])
    solution = np.linalg.lstsq(with_one, target.numpy(), rcond=None)[0]
    weak, strong = ridge(source, target, 1e-13), ridge(source, target, 1e13)
    np.testing.assert_allclose(weak.weight.numpy(), solution[:-1].T, atol=1e-8)
    np.testing.assert_allclose(weak.bias.numpy(), solution[-1], atol=1e-7)
    np.testing.assert_allclose(strong(source).numpy(), shift(source, target)(source).numpy(), atol=1e-9)


def test_strengths_mean_the_same_at_every_scale() -> None:
    source, target = pairs(50)
    small = ridge(source / 1000, target / 1000, 0.5)
    np.testing.assert_allclose(small.weight.numpy(), ridge(source, target, 0.5).weight.numpy(), atol=1e-10)


def test_all_strengths_together_equal_each_alone() -> None:
    source, target = pairs(5)
    found = dict(ridges(source, target, STRENGTHS))
    assert list(found) == sorted(STRENGTHS, reverse=True)
    for strength, fitted in found.items():
        assert torch.equal(fitted.weight, ridge(source, target, strength).weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_known_map_is_found(dtype: torch.dtype) -> None:
    source, target = pairs(50, dtype, noise=0.0)
    exact = ridge(source, target, 1e-12)
    assert exact.weight.dtype == exact.bias.dtype == dtype
    torch.testing.assert_close(exact(source), target, atol=1e-4 if dtype == torch.float32 else 1e-8, rtol=0)
    turn = rotation(source, target).weight  # any orthogonal matrix
    known = LinearMap(turn, torch.arange(D).to(dtype))
    torch.testing.assert_close(rotation(source, known(source)).weight, turn, atol=1e-5, rtol=0)


def test_one_pair_is_shifted_by_every_map() -> None:
    source, target = pairs(1)
    for candidate in list(candidates(source, target))[1:]:
        np.testing.assert_allclose(candidate.map(source).numpy(), target.numpy(), atol=1e-12)
        np.testing.assert_allclose(candidate.map.weight.numpy(), np.eye(D), atol=1e-12)


def test_candidates_come_from_simple_to_free() -> None:
    source, target = pairs(20)
    named = [(candidate.name, candidate.strength) for candidate in candidates(source, target)]
    assert named == [("identity", None), ("shift", None), ("rotation", None), *(("ridge", s) for s in STRENGTHS)]
    some = [candidate.name for candidate in candidates(source, target, ("rotation", "shift"))]
    assert some == ["identity", "shift", "rotation"]
    assert torch.equal(next(candidates(source, target)).map(source), source)


def test_the_best_on_validation_is_chosen_and_the_simpler_of_equal_ones() -> None:
    source, target = pairs(60, noise=0.01)
    held, wanted = source[40:], target[40:]

    def score(fitted: LinearMap) -> float:
        return -float((fitted(held) - wanted).square().mean())

    chosen = best(candidates(source[:40], target[:40]), score)
    assert (chosen.name, chosen.strength) == ("ridge", 0.001)
    assert best(candidates(source, target), lambda _: 1.0).name == "identity"
    nan = MapCandidate("shift", None, identity(source))
    assert best([*candidates(source, target, ()), nan], lambda _: float("nan")).name == "identity"


def test_features_that_do_not_fit_are_refused() -> None:
    source, target = pairs(4)
    with pytest.raises(ModelError, match=r"expected features of the same captions .* found \[4, 6\] and \[3, 6\]"):
        list(candidates(source, target[:3]))
    with pytest.raises(ModelError, match=r"expected features of the same captions .* found \[0, 6\] and \[0, 6\]"):
        list(candidates(source[:0], target[:0]))
    source[1, 2] = torch.nan
    with pytest.raises(ModelError, match="expected finite text features"):
        list(candidates(source, target))
