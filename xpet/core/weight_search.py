"""Search for the weights of a combination: coordinate moves in a seeded order, every evaluation counted."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

FIRST_STEP, LAST_STEP = 2.0, 1.05
"""Factors that a weight or density is multiplied or divided by in the first step and, at least, in the last."""

Score = tuple[float, ...]
"""Higher is better; compared from the left, so that later figures only decide ties."""


@dataclass(frozen=True)
class Point:
    """A weight per language and, where a strategy drops values, the share it keeps."""

    weights: tuple[float, ...]
    density: float | None = None

    def scaled(self, factor: float) -> Point:
        """All weights times a factor."""
        return replace(self, weights=tuple(weight * factor for weight in self.weights))

    def weighted(self, index: int, factor: float) -> Point:
        """The weight of one language times a factor."""
        weights = tuple(weight * factor if i == index else weight for i, weight in enumerate(self.weights))
        return replace(self, weights=weights)

    def thinned(self, factor: float) -> Point:
        """The density times a factor, at most 1."""
        return self if self.density is None else replace(self, density=min(1.0, self.density * factor))


Step = Callable[[Point, float], Point]
"""(point, factor) -> the point moved along one coordinate."""


def objective(recall: Mapping[str, float]) -> Score:
    """What a combination is chosen by: mean R@1 over languages in percent; the smaller range decides ties."""
    from xpet.core.disparity import disparity

    figures = disparity(recall)
    return figures.mean, -figures.range


def search(
    start: Point, evaluate: Callable[[Point], Score], budget: int, seed: int
) -> tuple[Point, dict[Point, Score]]:
    """The best point found and the score of each tried, the start first; at most `budget`, the start among them.

    The common scale of the weights comes first, since it matters most (task arithmetic has nothing else: Ilharco et al.
    2023), then the density; each goes on in a direction while that helps. Then come rounds over all coordinates in
    random order, one step each, with the square root of that factor: so a small budget reaches every language, and no
    weight runs away on the noise of few images. A round without success takes the root of the factor again. The
    earlier point wins ties.
    """
    rng = random.Random(seed)
    tried: dict[Point, Score] = {start: evaluate(start)}
    best = start
    moves: list[Step] = [Point.scaled, *([Point.thinned] if start.density is not None else [])]
    for move in moves:
        best = _climb(best, move, FIRST_STEP, evaluate, tried, budget)
    moves += [_weight(index) for index in range(len(start.weights))]
    step = math.sqrt(FIRST_STEP)
    while step > LAST_STEP and len(tried) < budget:
        before = best
        for move in rng.sample(moves, len(moves)):
            best = _climb(best, move, step, evaluate, tried, budget, most=1)
        if best == before:
            step = math.sqrt(step)
    return best, tried


def _weight(index: int) -> Step:
    return lambda point, factor: point.weighted(index, factor)


def _climb(
    best: Point, move: Step, factor: float, evaluate: Callable[[Point], Score], tried: dict[Point, Score], budget: int,
    most: int | None = None,
) -> Point:  # fmt: skip
    """Move the best point by the factor while the score rises, else by its inverse; at most `most` moves are kept."""
    for step in (factor, 1 / factor):
        successes = 0
        while len(tried) < budget and successes != most:
            point = move(best, step)
            if point in tried:
                break
            tried[point] = evaluate(point)
            if tried[point] <= tried[best]:
                break
            best, successes = point, successes + 1
        if successes:
            break
    return best
