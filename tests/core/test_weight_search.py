"""The search for weights: finds what is best, counts what it tries, repeats itself."""

from __future__ import annotations

import math

import pytest

from xpet.core.weight_search import Point, Score, objective, search

BEST = Point((1.2, 0.3, 0.7), 0.4)


def score(point: Point) -> Score:
    """One peak, in the logarithms of the numbers."""
    pairs = [*zip(point.weights, BEST.weights, strict=True), (point.density or 1.0, BEST.density or 1.0)]
    return (-sum(math.log(found / best) ** 2 for found, best in pairs),)


def test_finds_the_peak() -> None:
    start = Point((1 / 3,) * 3, 0.9)
    best, tried = search(start, score, 300, seed=1)
    assert next(iter(tried)) == start
    assert tried[best] == max(tried.values())
    assert len(tried) < 300  # it stops by itself
    for found, right in zip((*best.weights, best.density or 0), (*BEST.weights, BEST.density or 0), strict=True):
        assert right / 1.1 < found < right * 1.1


@pytest.mark.parametrize("budget", [1, 2, 7, 25])
def test_tries_as_many_as_allowed_and_gets_no_worse(budget: int) -> None:
    start = Point((1 / 3,) * 3, 0.9)
    calls: list[Point] = []

    def counted(point: Point) -> Score:
        calls.append(point)
        return score(point)

    best, tried = search(start, counted, budget, seed=1)
    assert len(calls) == len(set(calls)) == len(tried) == budget
    assert list(tried) == calls
    assert search(start, score, budget, seed=1) == (best, tried)
    assert score(best) == max(map(score, calls))
    assert list(search(start, score, 300, seed=1)[1])[:budget] == calls


def test_the_common_scale_comes_first() -> None:
    _, tried = search(Point((0.5, 0.5)), lambda point: (-abs(sum(point.weights) - 4),), 3, seed=1)
    assert [point.weights for point in tried] == [(0.5, 0.5), (1.0, 1.0), (2.0, 2.0)]


def test_later_figures_decide_ties_and_the_earlier_point_the_rest() -> None:
    best, _ = search(Point((1.0,)), lambda point: (0.0, point.weights[0] == 2.0), 20, seed=1)
    assert best == Point((2.0,))
    assert search(Point((1.0,)), lambda point: (0.0,), 20, seed=1)[0] == Point((1.0,))


def test_density_is_a_share_and_a_weight_of_zero_stays() -> None:
    best, tried = search(Point((0.0, 1.0), 0.3), lambda p: ((p.density or 0) - abs(p.weights[1] - 1),), 40, seed=2)
    assert max(point.density or 0 for point in tried) == best.density == 1.0
    assert {point.weights[0] for point in tried} == {0.0}


def test_the_objective_is_the_mean_and_then_the_smaller_range() -> None:
    close, apart = {"en": 60.0, "de": 40.0}, {"en": 90.0, "de": 10.0}
    assert objective(close) == (50.0, -20.0)
    assert max(apart, close, {"en": 49.0, "de": 49.0}, key=objective) is close
