"""Measures how fast texts are encoded: single queries, in turns with the bare tower, and many at once."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

Encode = Callable[[Sequence[str]], object]
"""Encodes texts; the result is not used."""
Use = Callable[[], AbstractContextManager[object]]
"""Makes the context in which texts are encoded."""
BATCH = 256
"""Texts encoded at once for the throughput."""


@dataclass(frozen=True)
class Speed:
    """How fast a tower encodes texts."""

    milliseconds_per_query: float
    """Median time of a single query."""
    texts_per_second: float
    """Texts per second in batches of at most BATCH, from the median time."""
    against_bare: float
    """Median time of a single query, divided by the bare tower's."""


def compare_speed(
    encode: Encode,
    texts: Sequence[str],
    use: Use = nullcontext,
    bare: Use = nullcontext,
    device: str | torch.device = "cpu",
    rounds: int = 30,
    batches: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> Speed:
    """Time `encode` (tokenising included) under `use()`, query by query in turns with `bare()`.

    `use` and `bare` make the contexts that choose what is measured, such as `lambda: stack.one(0)` and `stack.bare`;
    entering them is not timed. Each way is warmed up once. `texts`: at least one; single queries cycle through them,
    and batches hold up to BATCH. GPU work is waited for.
    """
    where = torch.device(device)

    def timed(context: Use, batch: Sequence[str]) -> float:
        with context():
            _wait(where)
            started = clock()
            encode(batch)
            _wait(where)
            return clock() - started

    many = texts[:BATCH]
    for context in (use, bare):
        timed(context, texts[:1])
    single, reference = [], []
    for turn in range(rounds):
        query = [texts[turn % len(texts)]]
        single.append(timed(use, query))
        reference.append(timed(bare, query))
    together = [timed(use, many) for _ in range(batches)]
    seconds, bare_seconds, batch_seconds = (statistics.median(times) for times in (single, reference, together))
    return Speed(1000 * seconds, len(many) / batch_seconds, seconds / bare_seconds)


def _wait(device: torch.device) -> None:
    """Wait until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
