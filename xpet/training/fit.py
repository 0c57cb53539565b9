"""Fits a stack of runs: one forward, one backward, one update for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from xpet.core.config import FitPlan
from xpet.core.errors import ConfigError
from xpet.core.events import OnEvent, ignore
from xpet.training.compiling import compiled
from xpet.training.device import Engine
from xpet.training.queue import Queue, Run, Tally
from xpet.training.selection import Outcome
from xpet.training.session import Seat, Session
from xpet.training.stacklike import Move, Pad, StackLike


def fit(
    stack: StackLike,
    runs: Sequence[Run],
    config: FitPlan,
    pad: Pad,
    engine: Engine,
    on_event: OnEvent = ignore,
) -> list[Outcome]:
    """Train every run of the stack and return its best checkpoint by validation, in the order of the runs.

    The stack must hold exactly the given runs, freshly drawn, on the engine's device; it loses runs that diverge. A run
    whose loss or gradient is not finite is stopped with its best checkpoint so far; the others do not notice. Raises
    ConfigError when the runs cannot share a stack or leave the loss nothing to tell apart.
    """
    queue = Queue(runs, config)
    if len(runs) != stack.runs:
        raise ConfigError(f"expected a stack of {len(runs)} runs, found one of {stack.runs}")
    found = [o for outcomes in stream(stack, queue, len(runs), config, pad, engine, _drawn, on_event) for o in outcomes]
    return sorted(found, key=lambda outcome: outcome.number)


def stream(
    stack: StackLike,
    queue: Queue,
    places: int,
    config: FitPlan,
    pad: Pad,
    engine: Engine,
    seat: Seat,
    on_event: OnEvent = ignore,
    tally: Tally | None = None,
) -> Iterator[list[Outcome]]:
    """Train what waits in a queue, at most `places` runs side by side, and yield runs as they end.

    A run that ended or diverged leaves its place to the next one that waits, which starts from its own first step;
    when none waits any more the stack shrinks to those that are left. What a run learns does not depend on it. `seat`
    puts runs into the stack. `tally` counts steps where several stacks share the work.
    """
    if not queue.waiting:
        return
    session = Session(stack, queue, places, config, pad, engine, seat, on_event, tally or Tally([queue]))
    outcomes: list[Outcome] = []
    with stack.lowered(engine.dtype), compiled(stack.tower, config.compile), _left_in_eval_mode(stack):
        for outcomes in session.outcomes():
            if session.over:
                break
            yield outcomes
    yield outcomes  # the last ones, when the tower is again as it was


def first_loss(stack: StackLike, run: Run, config: FitPlan, pad: Pad, engine: Engine) -> Tensor:
    """The loss of a run's first batch, to see what a step takes; the stack holds that run alone."""
    queue = Queue([run], config)
    session = Session(stack, queue, 1, config, pad, engine, _drawn, ignore, Tally([queue]))
    session.take([])
    with _left_in_eval_mode(stack):
        return torch.stack(session.losses()).sum()


@contextmanager
def _left_in_eval_mode(stack: StackLike) -> Iterator[None]:
    """Without dropout again after the block."""
    try:
        yield
    finally:
        stack.tower.eval()


def _drawn(stack: StackLike, kept: Sequence[int], runs: Sequence[Run]) -> Move:
    """The first runs are in the stack as they were given."""
    return stack.exchange(kept, []) if kept else torch.zeros_like
