"""Trains runs in a stack: one forward, one backward, one update for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from xpet.core.config import FitPlan
from xpet.core.errors import ConfigError, DataError, LostError
from xpet.core.events import Notice, OnEvent, ignore
from xpet.core.kernels.choice import fused
from xpet.core.losses import PAPER, ImageLoss
from xpet.training import graphs
from xpet.training.compiling import compiled
from xpet.training.device import Engine
from xpet.training.progress import ProgressReporter, StepCounter
from xpet.training.queue import Queue, Run
from xpet.training.reading import ReadAhead
from xpet.training.selection import TrainedRun
from xpet.training.session import Assign, Session
from xpet.training.setup import FitSetup
from xpet.training.slots import admit, occupied, readmit
from xpet.training.spread import Spread
from xpet.training.stacklike import Collate, Reindex, StackLike
from xpet.training.staging import Staging
from xpet.training.step import ReadBatch, read_batch, step_losses


def fit(
    stack: StackLike, runs: Sequence[Run], plan: FitPlan, collate: Collate, engine: Engine,
    on_event: OnEvent = ignore, image_loss: ImageLoss = PAPER,
) -> list[TrainedRun]:  # fmt: skip
    """Train every run of the stack; returns their best checkpoints by validation, in the order of the runs.

    The stack must hold exactly the given runs, newly initialised, on the engine's device; it loses runs that diverge.
    A run whose loss or gradient is not finite is stopped with its best checkpoint so far; the others go on as if it
    were not there. Raises ConfigError when the runs cannot share a stack, or when a batch would hold fewer than 2 rows.
    """
    queue = Queue(runs, plan)
    if len(runs) != stack.runs:
        raise ConfigError(f"expected a stack of {len(runs)} runs, found one of {stack.runs}")
    setup = FitSetup(stack, queue, len(runs), plan, collate, engine, image_loss=image_loss)
    trained = [run for finished in stream(setup, _as_given, on_event) for run in finished]
    return sorted(trained, key=lambda run: run.number)


def stream(
    setup: FitSetup, assign: Assign, on_event: OnEvent = ignore, counter: StepCounter | None = None
) -> Iterator[list[TrainedRun]]:
    """Train the runs that wait in a queue, `setup.slots` of them side by side, and yield them as they end.

    A run that ended or diverged leaves its slot to the next one that waits, which starts from its own first step; when
    none waits any more the stack shrinks to those that are left. What a run learns does not depend on the others.
    `assign` puts runs into the stack. `counter` counts steps where several stacks share the work. Raises ConfigError
    where the plan asks for what the machine does not have. Where processes share the stack (`setup.spread`), all of
    them call this; LostError when one is gone, which no step is left half-done by.
    """
    counter, staging = counter or StepCounter([setup.queue]), _staging(setup, on_event)
    while setup.queue.waiting or (setup.checkpoints is not None and setup.checkpoints.has(setup.queue)):
        graphs.check(setup.fit, setup.engine, setup.spread.world)
        finished: list[TrainedRun] = []
        with _prepared(setup), _reading(setup, staging) as reading:
            session = _next_session(reading, _alike(assign, setup.spread), ProgressReporter(counter, on_event))
            if session is None:
                return
            with _telling_step(session), closing(session.train()) as leaving:
                for finished in leaving:
                    if not session.slots:
                        break
                    yield finished
        yield finished  # the last runs, yielded when the tower is again as it was


def _next_session(setup: FitSetup, assign: Assign, reporter: ProgressReporter) -> Session | None:
    """A stack that goes on from a checkpoint while there are any, then one of runs that wait; None: all is taken."""
    checkpoints = setup.checkpoints
    while checkpoints is not None:
        checkpoints.stop()
        found = checkpoints.take(setup.queue)
        if found is None:
            break
        as_before = setup if setup.fit.stack is not None else replace(setup, slots=found[1].slots)
        try:
            return Session(as_before, readmit(setup, found[1]), assign, reporter, found)
        except DataError as error:
            checkpoints.give_up(found[0], error)
            setup.queue.give_back([run.label for run in found[1].runs if not checkpoints.is_settled(run.label)])
    slots = admit(setup, setup.slots, step=0)
    return Session(setup, slots, assign, reporter) if slots else None


def first_loss(stack: StackLike, run: Run, plan: FitPlan, collate: Collate, engine: Engine) -> Tensor:
    """Unweighted loss (a scalar) of a run's first batch, to measure a step's memory; the stack holds that run alone."""
    setup = FitSetup(stack, Queue([run], plan), 1, plan, collate, engine)
    occupancy = occupied(setup, admit(setup, 1, step=0))
    steps = torch.zeros(1, dtype=torch.long, device=setup.device)
    with fused(plan.fused), _left_in_eval_mode(stack):
        return torch.stack(step_losses(setup, occupancy, read_batch(setup, occupancy.slots), steps)).sum()


@contextmanager
def _prepared(setup: FitSetup) -> Iterator[None]:
    """Hold the frozen weights in the engine's precision, and compile layers where wanted, for the time of the block."""
    stack = setup.stack
    kernels = fused(setup.fit.fused)
    with (
        kernels,
        stack.lowered(setup.engine.dtype),
        compiled(stack.tower, setup.fit.compile),
        _left_in_eval_mode(stack),
    ):
        yield


@contextmanager
def _reading(setup: FitSetup, staging: Staging | None) -> Iterator[FitSetup]:
    """The setup, with which batches are read ahead if there is `staging`."""
    if staging is None:
        yield setup
        return
    with closing(ReadAhead[ReadBatch](staging)) as ahead:
        yield replace(setup, ahead=ahead)


def _staging(setup: FitSetup, on_event: OnEvent) -> Staging | None:
    """How batches that are read ahead get to the device; None for a CPU, which gains nothing by it.

    Laying a batch out takes 0.15 ms for one run and 5 ms for 128, of steps that take 30 ms and more there.
    """
    if setup.device.type == "cpu":
        return None
    staging = Staging(setup.device)
    problem = staging.problem()
    if problem:
        on_event(Notice(f"batches are laid out one by one, not ahead: {problem}", "warning"))
    return None if problem else staging


@contextmanager
def _left_in_eval_mode(stack: StackLike) -> Iterator[None]:
    """Put the tower into eval mode, which has no dropout, after the block."""
    try:
        yield
    finally:
        stack.tower.eval()


@contextmanager
def _telling_step(session: Session) -> Iterator[None]:
    """Say at which step of the session another process was found to be gone."""
    try:
        yield
    except LostError as error:
        raise LostError(error.world, error.found, f" at step {session.step}") from error


def _alike(assign: Assign, spread: Spread) -> Assign:
    """The same as `assign`, after which the parameters of all processes are equal to the last bit."""

    def assign_alike(stack: StackLike, kept: Sequence[int], runs: Sequence[Run]) -> Reindex:
        reindex = assign(stack, kept, runs)
        spread.copy_first(stack.flat)
        return reindex

    return assign if spread.alone else assign_alike


def _as_given(stack: StackLike, kept: Sequence[int], runs: Sequence[Run]) -> Reindex:
    """`Assign` of a stack whose first runs are in it already, newly initialised; later calls only keep runs."""
    return stack.reindex(kept, []) if kept else torch.zeros_like
