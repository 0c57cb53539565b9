"""Trains several stacks at once on a CPU, each in a thread of its own.

PyTorch's own threads divide every matrix product among them and wait for each other after it. With small towers, or on
a machine whose cores are shared with other programs, they mostly wait. Threads that train whole stacks never do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

import torch

from xpet.core.events import Event, OnEvent
from xpet.training.stacklike import StackLike

Result = TypeVar("Result")
Work = Callable[[StackLike, OnEvent], Iterator[Result]]
"""(stack, on_event) -> trains on that stack and yields results."""


class _Stopped(Exception):
    """Raised inside a worker when nobody reads its results any more."""


class _WorkerEnd:
    """A worker's last message: the error that ended it; None: it is done."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def side_by_side(stacks: Sequence[StackLike], work: Work[Result], on_event: OnEvent) -> Generator[Result, None, None]:
    """Yield what `work(stack, on_event)` yields on every stack, as it comes.

    Each stack is used by one thread, with its share of PyTorch's threads. When a thread raises an error, or the caller
    stops reading, the other threads stop at their next event; the error is raised here.
    """
    if len(stacks) == 1:
        yield from work(stacks[0], on_event)
        return
    results: SimpleQueue[Result | _WorkerEnd] = SimpleQueue()
    stopped, one_at_a_time = threading.Event(), threading.Lock()

    def listen(event: Event) -> None:
        if stopped.is_set():
            raise _Stopped
        with one_at_a_time:
            on_event(event)

    def run(stack: StackLike) -> None:
        error: BaseException | None = None
        try:
            for result in work(stack, listen):
                results.put(result)
        except BaseException as raised:
            error = raised
        results.put(_WorkerEnd(error))

    threads = max(1, torch.get_num_threads() // len(stacks))
    with ThreadPoolExecutor(len(stacks), initializer=torch.set_num_threads, initargs=(threads,)) as pool:
        try:
            for stack in stacks:
                pool.submit(run, stack)
            yield from _collected(results, len(stacks))
        finally:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _collected(results: SimpleQueue[Result | _WorkerEnd], workers: int) -> Iterator[Result]:
    """Yield results until all workers ended; raises the error of the first that fails."""
    while workers:
        result = results.get()
        if not isinstance(result, _WorkerEnd):
            yield result
        elif result.error is not None:
            raise result.error
        else:
            workers -= 1
