"""The runs of one `xpet align` in stacks: which are trained side by side, and training them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from xpet.core.config import RunConfig
from xpet.core.events import OnEvent
from xpet.core.routines import ROUTINES
from xpet.jobs.bench import Bench
from xpet.jobs.rundata import data_of

if TYPE_CHECKING:
    from xpet.methods.stack import Stack
    from xpet.training.fit import RunData
    from xpet.training.selection import Outcome
    from xpet.training.stacklike import StackLike

Planned = tuple[RunConfig, "RunData"]


def stackable(bench: Bench, plans: Sequence[RunConfig]) -> tuple[list[list[Planned]], int]:
    """Runs of one shape, in stacks as large as pays and fits; and how many stacks are trained at a time."""
    from xpet.training.memory import runs_per_stack, workers_for

    by_shape: dict[object, list[Planned]] = {}
    for plan in plans:
        data = data_of(bench, plan)
        by_shape.setdefault(data.shape, []).append((plan, data))
    stacks = []
    fit, pad, engine = bench.config.fit, bench.towers.text.tokenizer.pad, bench.engine
    alone = bench.pristine is None
    workers = workers_for(len(plans), fit, engine, alone)
    for runs in by_shape.values():
        size = 1 if alone else runs_per_stack(bench.stack, runs, fit, pad, engine, min(workers, len(runs)))
        stacks += [runs[start : start + size] for start in range(0, len(runs), size)]
    return stacks, min(workers, len(stacks))


def trained(bench: Bench, plans: Sequence[RunConfig], on_event: OnEvent) -> Iterator[tuple[list[Outcome], float]]:
    """Outcomes of one stack after another, in order, and the seconds each of its runs took."""
    import torch

    from xpet.training.fit import fit
    from xpet.training.workers import in_order

    groups, workers = stackable(bench, plans)
    drawing = threading.Lock()  # initial values come from the process's one generator

    def work(stack: StackLike, group: list[Planned], listen: OnEvent) -> tuple[list[Outcome], float]:
        with drawing:
            start(bench, stack, group)  # type: ignore[arg-type]
            torch.manual_seed(group[0][0].seed)  # dropout, where it is on
        started = time.monotonic()
        outcomes = fit(stack, group, bench.config.fit, bench.towers.text.tokenizer.pad, bench.engine, listen)
        return outcomes, (time.monotonic() - started) / len(group)

    stacks = [bench.stack] if workers == 1 else [bench.another_stack() for _ in range(workers)]
    yield from in_order(stacks, groups, work, on_event)


def start(bench: Bench, stack: Stack, group: Sequence[Planned]) -> None:
    """Fresh parameters for every run of a stack, or those of the runs that training goes on from."""
    from xpet.jobs.start import widened

    stack.reset([plan.seed for plan, _ in group], [_own_tokens(bench, plan, data) for plan, data in group])
    for place, (plan, _) in enumerate(group):
        record = bench.started.get((plan.language, plan.seed))
        if record is not None:
            stack.load(place, widened(record.delta, stack.state(place)))


def _own_tokens(bench: Bench, plan: RunConfig, data: RunData) -> Sequence[int]:
    """The tokens of what a run's student reads, whose embeddings it may train."""
    if ROUTINES[plan.routine].text_only:
        return bench.pairs[plan.language].own
    return sorted({token for row in data.student for token in row})
