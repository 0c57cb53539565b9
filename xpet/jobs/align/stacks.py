"""Groups the runs of one `xpet align` into stacks (runs trained side by side on one tower), and trains them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpet.core.config import RunConfig
from xpet.core.events import OnEvent
from xpet.core.processes import here
from xpet.core.routines import ROUTINES
from xpet.jobs.align.prepare import AlignSetup
from xpet.jobs.align.run_data import data_of

if TYPE_CHECKING:
    from xpet.methods.stack import Stack
    from xpet.training.queue import Queue, Run, RunData
    from xpet.training.selection import TrainedRun
    from xpet.training.stacklike import Reindex, StackLike


@dataclass(frozen=True)
class StackPlan:
    """Runs that can share a stack; `slots` of them are trained at a time."""

    queue: Queue
    slots: int


def plan_stacks(setup: AlignSetup, configs: Sequence[RunConfig]) -> tuple[list[StackPlan], int]:
    """The stacks, each of runs with data of one shape and as large as pays and fits; and how many train at a time."""
    from xpet.training.memory import runs_per_stack, workers_for
    from xpet.training.queue import Queue

    fit, pad, engine = setup.config.fit, setup.towers.text.tokenizer.pad, setup.engine
    runs = [(config, data_of(setup, config)) for config in configs]
    if setup.pristine is None:
        return [StackPlan(Queue([run], fit, shared=True), 1) for run in runs], 1
    by_shape: dict[object, list[Run]] = {}
    for run in runs:
        by_shape.setdefault(run[1].shape, []).append(run)
    workers = workers_for(len(configs), fit, engine, alone=False)
    launch = here().launch
    neighbours = launch.local_world if engine.device.type == "cpu" else 1  # processes that share the memory
    plans, stacks = [], 0
    for alike in by_shape.values():
        most, sharing = min(workers * launch.world, len(alike)), neighbours * min(workers, len(alike))
        size = runs_per_stack(setup.stack, alike, fit, pad, engine, most, sharing)
        plans.append(StackPlan(Queue(alike, fit, shared=True), size))
        stacks += -(-len(alike) // size)
    return plans, min(workers, math.ceil(stacks / launch.world))


def train(setup: AlignSetup, plans: Sequence[StackPlan], workers: int, on_event: OnEvent) -> Iterator[TrainedRun]:
    """Train the runs of these stacks, `workers` stacks at a time; yields each run as it ends."""
    from xpet.training.fit import stream
    from xpet.training.progress import StepCounter
    from xpet.training.setup import FitSetup
    from xpet.training.workers import side_by_side

    counter = StepCounter([plan.queue for plan in plans], shared=True)

    def assign(stack: StackLike, kept: Sequence[int], runs: Sequence[Run]) -> Reindex:
        return assign_runs(setup, stack, kept, runs)  # type: ignore[arg-type]

    def work(stack: StackLike, listen: OnEvent) -> Iterator[list[TrainedRun]]:
        collate = setup.towers.text.tokenizer.pad
        for plan in plans:
            fit_setup = FitSetup(stack, plan.queue, plan.slots, setup.config.fit, collate, setup.engine)
            yield from stream(fit_setup, assign, listen, counter)

    # `setup.stack` measures finished runs while others train, so these need stacks of their own
    stacks = [setup.stack] if setup.pristine is None else [setup.another_stack() for _ in range(workers)]
    for outcomes in side_by_side(stacks, work, on_event):
        yield from outcomes


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
