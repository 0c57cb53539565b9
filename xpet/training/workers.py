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

from xpet.core.events import Event, OnEvent, Progress
from xpet.training.stacklike import StackLike

Group = TypeVar("Group")
Done = TypeVar("Done")
Work = Callable[[StackLike, Group, OnEvent], Done]


class _Stopped(Exception):
    """Raised inside a worker when nobody waits for it any more."""


def in_order(
    stacks: Sequence[StackLike], groups: Sequence[Group], work: Work[Group, Done], on_event: OnEvent
) -> Iterator[Done]:
    """`work(stack, group, on_event)` of every group, in order; as many at a time as there are stacks.

    Each stack is used by one thread, with its share of PyTorch's threads. Progress is told of all groups together.
    An error, or whoever stops reading, stops the other threads at their next step that tells of its progress.
    """
    tell = _Together(len(groups), on_event)
    if len(stacks) == 1:
        for number, group in enumerate(groups):
            yield work(stacks[0], group, tell.of(number))
        return
    free: SimpleQueue[StackLike] = SimpleQueue()
    for stack in stacks:
        free.put(stack)
    threads = max(1, torch.get_num_threads() // len(stacks))

    def one(number: int, group: Group) -> Done:
        stack = free.get()
        try:
            return work(stack, group, tell.of(number))
        finally:
            free.put(stack)

    with ThreadPoolExecutor(len(stacks), initializer=torch.set_num_threads, initargs=(threads,)) as pool:
        waiting = [pool.submit(one, number, group) for number, group in enumerate(groups)]
        try:
            for future in waiting:
                yield future.result()
        finally:
            tell.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)


class _Together:
    """Makes the progress of many groups that of the whole; groups are taken to be equally long."""

    def __init__(self, groups: int, on_event: OnEvent) -> None:
        self.done = [0.0] * groups
        self.on_event = on_event
        self.lock = threading.Lock()
        self.stopped = threading.Event()

    def of(self, number: int) -> OnEvent:
        """The listener of one group."""

        def listen(event: Event) -> None:
            if self.stopped.is_set():
                raise _Stopped
            with self.lock:
                self.on_event(self._whole(number, event) if isinstance(event, Progress) else event)

        return listen

    def _whole(self, number: int, event: Progress) -> Progress:
        self.done[number] = event.done / event.total
        total = event.total * len(self.done)
        return Progress(event.stage, round(sum(self.done) * event.total), total, event.note, event.unit)
