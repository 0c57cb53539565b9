"""Trains stacks in threads of their own: several at once on a CPU, one on a GPU while finished runs are measured.

On a CPU, PyTorch's own threads divide every matrix product among them and wait for each other after it. With small
towers, or on a machine whose cores are shared with other programs, they mostly wait. Threads that train whole stacks
never do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from queue import Full, Queue
from typing import TypeVar, cast

import torch

from xpet.core.events import Event, OnEvent
from xpet.training.stacklike import StackLike

Result = TypeVar("Result")
Work = Callable[[StackLike, OnEvent], Iterator[Result]]
"""(stack, on_event) -> a generator that trains on that stack and yields results."""


MOST_WAITING = 16
"""Results that wait to be read; then the threads wait, too, so that memory is bounded."""
PATIENCE = 0.1
"""Seconds after which a thread that waits looks whether anybody still reads."""


class _Stopped(Exception):
    """Raised inside a worker when nobody reads its results any more."""


class _WorkerEnd:
    """A worker's last message: the error that ended it; None: it is done."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def side_by_side(
    stacks: Sequence[StackLike], work: Work[Result], on_event: OnEvent, apart: bool = False
) -> Generator[Result, None, None]:
    """Yield what `work(stack, on_event)` yields on every stack, as it comes.

    Each stack is used by one thread, with its share of PyTorch's threads: a single one by the caller's thread, unless
    it is to go on `apart` from what the caller does with results. When a thread raises an error, or the caller stops
    reading, the other threads stop at their next event or result; the error is raised here.
    """
    if len(stacks) == 1 and not apart:
        yield from work(stacks[0], on_event)
        return
    results: Queue[Result | _WorkerEnd] = Queue(MOST_WAITING)
    stopped, one_at_a_time = threading.Event(), threading.Lock()

    def listen(event: Event) -> None:
        if stopped.is_set():
            raise _Stopped
        with one_at_a_time:
            on_event(event)

    def put(result: Result | _WorkerEnd) -> None:
        while not stopped.is_set():
            with suppress(Full):
                results.put(result, timeout=PATIENCE)
                return
        raise _Stopped

    def run(stack: StackLike) -> None:
        error: BaseException | None = None
        try:
            with closing(cast("Generator[Result, None, None]", work(stack, listen))) as found:
                for result in found:
                    put(result)
        except BaseException as raised:
            error = raised
        with suppress(_Stopped):
            put(_WorkerEnd(error))

    threads = max(1, torch.get_num_threads() // len(stacks))
    gpu = torch.cuda.current_device() if torch.cuda.is_initialized() else None
    with ThreadPoolExecutor(len(stacks), initializer=_begin, initargs=(threads, gpu)) as pool:
        try:
            for stack in stacks:
                pool.submit(run, stack)
            yield from _collected(results, len(stacks))
        finally:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _begin(threads: int, gpu: int | None) -> None:
    """Give a new thread its share of PyTorch's threads, and the caller's GPU: by itself it would take the first."""
    torch.set_num_threads(threads)
    if gpu is not None:
        torch.cuda.set_device(gpu)


def _collected(results: Queue[Result | _WorkerEnd], workers: int) -> Iterator[Result]:
    """Yield results until all workers ended; raises the error of the first that fails."""
    while workers:
        result = results.get()
        if not isinstance(result, _WorkerEnd):
            yield result
        elif result.error is not None:
            raise result.error
        else:
            workers -= 1
