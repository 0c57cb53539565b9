"""Groups the runs of one `xpet align` into stacks (runs trained side by side on one tower), and trains them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from xpet.core.config import RunConfig
from xpet.core.events import OnEvent
from xpet.core.processes import here
from xpet.core.routines import ROUTINES
from xpet.core.stopping import caught_signals
from xpet.jobs.align.prepare import AlignSetup
from xpet.jobs.align.run_data import data_of

if TYPE_CHECKING:
    from xpet.methods.stack import Stack
    from xpet.training.closed_form import Fitting
    from xpet.training.progress import StepCounter
    from xpet.training.queue import Queue, Run, RunData
    from xpet.training.resuming import Checkpoints
    from xpet.training.selection import TrainedRun
    from xpet.training.session import Assign
    from xpet.training.setup import FitSetup
    from xpet.training.spread import Spread
    from xpet.training.stacklike import Reindex, StackLike

    Stream = Callable[[FitSetup, Assign, OnEvent, StepCounter], Iterator[list[TrainedRun]]]
    """(setup, assign, on_event, counter) -> trains the runs that wait in a queue; yields them as they end."""


ROOM = 8 << 30
"""Bytes of a GPU, free before training, from which on runs are measured beside it: that takes one or two GiB."""


@dataclass(frozen=True)
class StackPlan:
    """Runs that can share a stack; `slots` of them are trained at a time."""

    queue: Queue
    slots: int


@dataclass(frozen=True)
class TrainingPlan:
    """The stacks of a command, seen from one of its processes.

    Attributes:
        stacks: the stacks; processes admit runs from the same queues, or train every stack together.
        workers: how many stacks train at a time in this process.
        spread: the processes that train every stack together; this one alone where each trains stacks of its own.
    """

    stacks: Sequence[StackPlan]
    workers: int
    spread: Spread

    @property
    def is_reported_here(self) -> bool:
        """Whether this process measures and writes the runs that it trains."""
        return self.spread.rank == 0


def plan_stacks(setup: AlignSetup, configs: Sequence[RunConfig]) -> TrainingPlan:
    """The stacks, each of runs with data of one shape and as large as pays and fits; and how many train at a time.

    Fewer runs than processes are trained by all processes together, more are divided among them.
    """
    from xpet.training.memory import workers_for
    from xpet.training.queue import Queue
    from xpet.training.spread import Spread

    launch, fit = here().launch, setup.config.fit
    together = len(configs) < launch.world
    spread = Spread(launch.rank, launch.world) if together else Spread(0, 1)
    runs = [(config, data_of(setup, config)) for config in configs]
    if setup.pristine is None or setup.config.is_fitted:
        steps = replace(fit, steps=1) if setup.config.is_fitted else fit
        return TrainingPlan([StackPlan(Queue([run], steps, not together), 1) for run in runs], 1, spread)
    by_shape: dict[object, list[Run]] = {}
    for run in runs:
        by_shape.setdefault(run[1].shape, []).append(run)
    workers = workers_for(len(configs), fit, setup.engine, alone=together)
    apart = 1 if together else launch.world
    stacks = [
        StackPlan(Queue(alike, fit, not together), _slots(setup, alike, workers, apart)) for alike in by_shape.values()
    ]
    count = sum(-(-len(stack.queue.runs) // stack.slots) for stack in stacks)
    return TrainingPlan(stacks, min(workers, math.ceil(count / apart)), spread)


def _slots(setup: AlignSetup, runs: Sequence[Run], workers: int, apart: int) -> int:
    """How many runs of one shape are trained at a time in a stack, with so many `workers` in each of `apart` processes.

    Processes that train a stack together agree on the least.
    """
    import torch

    from xpet.training.memory import runs_per_stack

    threads = max(1, torch.get_num_threads() // workers)
    neighbours = here().launch.local_world if setup.engine.device.type == "cpu" else 1  # which share the memory
    slots = runs_per_stack(
        setup.stack, runs, setup.config.fit, setup.towers.text.tokenizer.pad, setup.engine,
        min(workers * apart, len(runs)), neighbours * min(workers, len(runs)), threads,
    )  # fmt: skip
    return slots if apart > 1 else min(here().gather("slots", slots))


def checkpoints_of(setup: AlignSetup, plan: TrainingPlan, on_event: OnEvent) -> Checkpoints:
    """The checkpoints of this command's stacks, with those that an earlier one left.

    Of several processes the first looks for these, for all.
    """
    from xpet.training.resuming import Checkpoints

    unfinished, config, processes = setup.unfinished, setup.config, here()
    paths = {run.label: unfinished.run_folder(config, run.label) for run in config.runs()}
    claims = processes.new_name("claims")
    checkpoints = Checkpoints(
        folder=unfinished.checkpoints, numbers={label: number for number, label in enumerate(paths)},
        every=60 * config.checkpoint_every, identity=json.dumps(setup.towers.fingerprints, sort_keys=True),
        is_settled=lambda label: unfinished.is_settled(paths[label], label),
        claim=lambda name: not plan.spread.alone or processes.world == 1 or processes.add(f"{claims}/{name}", 1) == 1,
        is_writer=plan.is_reported_here, stop=caught_signals().check, on_event=on_event,
    )  # fmt: skip
    if setup.goes_on:
        checkpoints.adopt(processes.first("checkpoints", checkpoints.find))
    return checkpoints


def goes_on_beside(setup: AlignSetup, plan: TrainingPlan) -> bool:
    """Whether a single stack trains while finished runs are measured: on a GPU, which does both at a time.

    Not where the same tower does both, where other processes wait for this one in every step, in compiled layers, which
    torch makes in the main thread, or where memory might not do for both.
    """
    from xpet.training.memory import free_bytes

    if setup.engine.device.type != "cuda" or setup.pristine is None or not plan.spread.alone:
        return False
    return not (setup.config.fit.compile or setup.config.is_fitted) and free_bytes(setup.engine) >= ROOM


def train(
    setup: AlignSetup, plan: TrainingPlan, checkpoints: Checkpoints, on_event: OnEvent, beside: bool = False
) -> Generator[TrainedRun, None, None]:
    """Train the runs of these stacks that are not settled, several stacks at a time; yields each run as it ends.

    Runs that went on together with others may come although they are settled. `beside`: a single stack trains in a
    thread of its own (see `goes_on_beside`), else it waits while the caller looks at a run.
    """
    from xpet.training.progress import StepCounter
    from xpet.training.setup import FitSetup
    from xpet.training.workers import side_by_side

    queues, stream = [stack.queue for stack in plan.stacks], _stream(setup)
    counter = StepCounter(queues, shared=plan.spread.alone)
    settled = here().first("finished runs", lambda: list(filter(checkpoints.is_settled, checkpoints.numbers)))
    for queue in queues:
        queue.leave_out(checkpoints.held.union(settled))
        if here().is_first or not plan.spread.alone:
            counter.add(queue.steps * (len(queue.runs) - queue.waiting - len(checkpoints.in_stacks & queue.labels)))
    yield from checkpoints.ended(queues)

    def assign(stack: StackLike, kept: Sequence[int], runs: Sequence[Run]) -> Reindex:
        return assign_runs(setup, stack, kept, runs)  # type: ignore[arg-type]

    def work(stack: StackLike, listen: OnEvent) -> Iterator[list[TrainedRun]]:
        collate = setup.towers.text.tokenizer.pad
        for each in plan.stacks:
            fit_setup = FitSetup(
                stack,
                each.queue,
                each.slots,
                setup.config.fit,
                collate,
                setup.engine,
                plan.spread,
                checkpoints,
                image_loss=setup.image_loss,
            )
            yield from stream(fit_setup, assign, listen, counter)

    # `setup.stack` measures finished runs while others train, so these need stacks of their own
    stacks = [setup.stack] if setup.pristine is None else [setup.another_stack() for _ in range(plan.workers)]
    with closing(side_by_side(stacks, work, on_event, beside)) as results:
        for outcomes in results:
            yield from outcomes


def _stream(setup: AlignSetup) -> Stream:
    """What trains the runs of a stack, or fits them where the method has a closed form."""
    from xpet.training.fit import stream

    fitting = fitting_of(setup)
    return stream if fitting is None else fitting.stream


def fitting_of(setup: AlignSetup) -> Fitting | None:
    """What fits the runs in closed form; None where they are trained."""
    from xpet.methods.table import METHODS
    from xpet.training.closed_form import Fitting

    closed_form = METHODS[setup.config.method.name].closed_form
    return None if closed_form is None else Fitting(partial(closed_form, setup.config.method))


def assign_runs(setup: AlignSetup, stack: Stack, kept: Sequence[int], runs: Sequence[Run]) -> Reindex:
    """Rebuild a stack: keep the runs in slots `kept`, then append `runs`, new or with the parameters of their start.

    Returns the function that re-indexes optimiser state in the same way.
    """
    from xpet.methods.embeddings import widened

    vocabularies = [_vocabulary(setup, config, data) for config, data in runs]
    reindex = stack.reindex(kept, [config.seed for config, _ in runs], vocabularies)
    for slot, (config, _) in enumerate(runs, start=len(kept)):
        record = setup.starts.get((config.language, config.seed))
        if record is not None:
            stack.load(slot, widened(record.delta, stack.state(slot)))
    return reindex


def _vocabulary(setup: AlignSetup, config: RunConfig, data: RunData) -> Sequence[int]:
    """The distinct token numbers that a run's student reads; `--train embeddings` trains only these."""
    if ROUTINES[config.routine].text_only:
        return setup.pairs[config.language].vocabulary
    return sorted({token for row in data.student for token in row})
