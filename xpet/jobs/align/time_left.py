"""Estimates what the rest of a sweep will take, from the histories of its runs so far."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

History = Sequence[Mapping[str, Any]]
RECENT = 10
"""Validations of a run, the latest, that tell its speed."""


def seconds_left(histories: Sequence[History], missing: int, ended: Sequence[History] = ()) -> float | None:
    """Seconds that runs in training (their growing histories) and `missing` further ones will take.

    Runs train side by side as they do now, and a missing one takes as many steps as those in training do on average.
    Those that `ended` tell the speed of a run that has no two validations yet. Validations count as part of the steps
    between them; the measuring at the end does not. None where nothing is in training, or no speed is known.
    """
    speeds = {number: speed for number, history in enumerate(histories) if (speed := _seconds_per_step(history))}
    known = [*speeds.values()] or [speed for history in ended if (speed := _seconds_per_step(history))]
    if not (histories and known):
        return None
    usual = statistics.median(known)
    rest = [history[-1]["steps"] - history[-1]["step"] for history in histories]
    waiting = missing * statistics.fmean(history[-1]["steps"] for history in histories)
    together = sum(1 / speeds.get(number, usual) for number, steps in enumerate(rest) if steps > 0) or 1 / usual
    longest = max(steps * speeds.get(number, usual) for number, steps in enumerate(rest))
    return max(longest, (sum(rest) + waiting) / together)


def _seconds_per_step(history: History) -> float | None:
    """The median over the latest validations, so that a pause between two of them does not count."""
    speeds = [
        (later["time"] - earlier["time"]) / (later["step"] - earlier["step"])
        for earlier, later in pairwise(history[-RECENT:])
        if later["step"] > earlier["step"] and later["time"] > earlier["time"]
    ]
    return statistics.median(speeds) if speeds else None
