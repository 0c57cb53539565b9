"""Several stacks at once on a CPU, one a thread: cores that share no product never wait for each other.

PyTorch's own threads share every product and meet after each; for small towers, or where the machine lends its cores to
others too, most of the time goes into waiting. Whole stacks side by side need no meeting at all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

import torch

from xpet.core.events import Event, OnEvent
from xpet.training.stacklike import StackLike

Done = TypeVar("Done")
Work = Callable[[StackLike, OnEvent], Iterator[Done]]


class _Stopped(Exception):
    """Raised inside a worker when nobody waits for it any more."""


class _Ended:
    """What a worker leaves behind: the error that ended it, None where all is done."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def side_by_side(stacks: Sequence[StackLike], work: Work[Done], on_event: OnEvent) -> Iterator[Done]:
    """What `work(stack, on_event)` yields on every stack, as it comes.

    Each stack is used by one thread, with its share of PyTorch's threads. An error, or whoever stops reading, stops the
    other threads at their next event.
    """
    if len(stacks) == 1:
        yield from work(stacks[0], on_event)
        return
    found: SimpleQueue[Done | _Ended] = SimpleQueue()
    stopped, speaking = threading.Event(), threading.Lock()

    def listen(event: Event) -> None:
        if stopped.is_set():
            raise _Stopped
        with speaking:
            on_event(event)

    def one(stack: StackLike) -> None:
        error: BaseException | None = None
        try:
            for done in work(stack, listen):
                found.put(done)
        except BaseException as raised:
            error = raised
        found.put(_Ended(error))

    threads = max(1, torch.get_num_threads() // len(stacks))
    with ThreadPoolExecutor(len(stacks), initializer=torch.set_num_threads, initargs=(threads,)) as pool:
        try:
            for stack in stacks:
                pool.submit(one, stack)
            yield from _collected(found, len(stacks))
        finally:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _collected(found: SimpleQueue[Done | _Ended], workers: int) -> Iterator[Done]:
    """What comes until all workers ended; raises the error of the first that fails."""
    while workers:
        done = found.get()
        if not isinstance(done, _Ended):
            yield done
        elif done.error is not None:
            raise done.error
        else:
            workers -= 1
