"""The runs of one `xpet align` in stacks: which are trained side by side, and training them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpet.core.config import RunConfig
from xpet.core.events import OnEvent
from xpet.core.routines import ROUTINES
from xpet.jobs.align.prepare import Bench
from xpet.jobs.align.run_data import data_of

if TYPE_CHECKING:
    from xpet.methods.stack import Stack
    from xpet.training.queue import Queue, Run, RunData
    from xpet.training.selection import Outcome
    from xpet.training.stacklike import Move, StackLike


@dataclass(frozen=True)
class Group:
    """Runs that can share a stack, and how many of them are trained side by side."""

    queue: Queue
    places: int


def stackable(bench: Bench, plans: Sequence[RunConfig]) -> tuple[list[Group], int]:
    """Runs of one shape, in stacks as large as pays and fits; and how many stacks are trained at a time."""
    from xpet.training.memory import runs_per_stack, workers_for
    from xpet.training.queue import Queue

    fit, pad, engine = bench.config.fit, bench.towers.text.tokenizer.pad, bench.engine
    planned = [(plan, data_of(bench, plan)) for plan in plans]
    if bench.pristine is None:
        return [Group(Queue([run], fit), 1) for run in planned], 1
    by_shape: dict[object, list[Run]] = {}
    for run in planned:
        by_shape.setdefault(run[1].shape, []).append(run)
    workers = workers_for(len(plans), fit, engine, alone=False)
    groups, stacks = [], 0
    for runs in by_shape.values():
        size = runs_per_stack(bench.stack, runs, fit, pad, engine, min(workers, len(runs)))
        groups.append(Group(Queue(runs, fit), size))
        stacks += -(-len(runs) // size)
    return groups, min(workers, stacks)


def trained(bench: Bench, plans: Sequence[RunConfig], on_event: OnEvent) -> Iterator[Outcome]:
    """The runs as they end."""
    from xpet.training.fit import stream
    from xpet.training.queue import Tally
    from xpet.training.workers import side_by_side

    groups, workers = stackable(bench, plans)
    tally = Tally([group.queue for group in groups])

    def seat(stack: StackLike, kept: Sequence[int], runs: Sequence[Run]) -> Move:
        return start(bench, stack, kept, runs)  # type: ignore[arg-type]

    def work(stack: StackLike, listen: OnEvent) -> Iterator[list[Outcome]]:
        pad = bench.towers.text.tokenizer.pad
        for group in groups:
            yield from stream(
                stack, group.queue, group.places, bench.config.fit, pad, bench.engine, seat, listen, tally
            )

    # runs are measured while others train: not with the same stack, unless they are trained one by one
    stacks = [bench.stack] if bench.pristine is None else [bench.another_stack() for _ in range(workers)]
    for outcomes in side_by_side(stacks, work, on_event):
        yield from outcomes


def start(bench: Bench, stack: Stack, kept: Sequence[int], runs: Sequence[Run]) -> Move:
    """Fresh parameters for runs behind those that are kept, or those of the runs that training goes on from."""
    from xpet.jobs.align.resume import widened

    tokens = [_own_tokens(bench, plan, data) for plan, data in runs]
    move = stack.exchange(kept, [plan.seed for plan, _ in runs], tokens)
    for place, (plan, _) in enumerate(runs, start=len(kept)):
        record = bench.started.get((plan.language, plan.seed))
        if record is not None:
            stack.load(place, widened(record.delta, stack.state(place)))
    return move


def _own_tokens(bench: Bench, plan: RunConfig, data: RunData) -> Sequence[int]:
    """The tokens of what a run's student reads, whose embeddings it may train."""
    if ROUTINES[plan.routine].text_only:
        return bench.pairs[plan.language].own
    return sorted({token for row in data.student for token in row})
