"""Search for the weights of a combination: coordinate moves in a seeded order, every evaluation counted."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

FIRST_STEP, LAST_STEP = 2.0, 1.05
"""Factors a number is first and last multiplied or divided by."""

Score = tuple[float, ...]
"""What is to be large: compared from the left, so that later figures only decide ties."""


@dataclass(frozen=True)
class Point:
    """A weight per language and, where a strategy drops values, the share it keeps."""

    weights: tuple[float, ...]
    density: float | None = None

    def scaled(self, factor: float) -> Point:
        """All weights times a factor."""
        return replace(self, weights=tuple(weight * factor for weight in self.weights))

    def weighted(self, place: int, factor: float) -> Point:
        """One weight times a factor."""
        own = tuple(weight * factor if i == place else weight for i, weight in enumerate(self.weights))
        return replace(self, weights=own)

    def thinned(self, factor: float) -> Point:
        """The density times a factor, at most 1."""
        return self if self.density is None else replace(self, density=min(1.0, self.density * factor))


Move = Callable[[Point, float], Point]


def search(
    start: Point, evaluate: Callable[[Point], Score], budget: int, seed: int
) -> tuple[Point, dict[Point, Score]]:
    """The best point found and the score of each tried, the start first; at most `budget`, the start among them.

    The common scale of the weights comes first, since it matters most (task arithmetic has nothing else: Ilharco et al.
    2023), then the density, each going on in a direction while that helps. Then, by the root of that step, rounds over
    all coordinates in random order, one step each, so that a small budget reaches every language and no weight runs
    away on the noise of few images; a round without success takes the root of the step. The earlier point wins ties.
    """
    rng = random.Random(seed)
    tried: dict[Point, Score] = {start: evaluate(start)}
    best = start
    moves: list[Move] = [Point.scaled, *([Point.thinned] if start.density is not None else [])]
    for move in moves:
        best = _climb(best, move, FIRST_STEP, evaluate, tried, budget)
    moves += [_of(place) for place in range(len(start.weights))]
    step = math.sqrt(FIRST_STEP)
    while step > LAST_STEP and len(tried) < budget:
        before = best
        for move in rng.sample(moves, len(moves)):
            best = _climb(best, move, step, evaluate, tried, budget, most=1)
        if best == before:
            step = math.sqrt(step)
    return best, tried


def _of(place: int) -> Move:
    return lambda point, factor: point.weighted(place, factor)


def _climb(
    best: Point, move: Move, step: float, evaluate: Callable[[Point], Score], tried: dict[Point, Score], budget: int,
    most: int | None = None,
) -> Point:  # fmt: skip
    """Larger while that helps, else smaller while that helps; `most` steps of success at most."""
    for factor in (step, 1 / step):
        taken = 0
        while len(tried) < budget and taken != most:
            point = move(best, factor)
            if point in tried:
                break
            tried[point] = evaluate(point)
            if tried[point] <= tried[best]:
                break
            best, taken = point, taken + 1
        if taken:
            break
    return best
