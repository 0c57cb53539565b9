"""Batches read ahead: a thread lays out the next ones while the device works on those before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import Empty, Queue
from typing import Generic, TypeVar

from xpet.training.staging import Staging

Item = TypeVar("Item")

DEPTH = 2
"""Items that wait to be taken; one more is being read."""
PATIENCE = 0.01
"""Seconds between two looks at a thread that is to end."""


class ReadAhead(Generic[Item]):
    """Items in the order in which a thread reads them, before they are needed; `staging` takes them to the device.

    One source is read at a time; nothing is lost of one that is left for another.
    """

    def __init__(self, staging: Staging, depth: int = DEPTH) -> None:
        self.staging, self.depth = staging, depth
        self._source: tuple[object, ...] = ()
        self._thread: _ReadingThread[Item] | None = None

    def next(self, source: Sequence[object], read: Callable[[], Item], put_back: Callable[[Item], None]) -> Item:
        """What `read` returns next; raises what it raises, when its turn comes.

        `source` are the objects that `read` reads from. Where they are others than in the last call, what was read too
        early is given to `put_back`, last item first, and these are read by this `read`.
        """
        if self._thread is None or not _are_same(self._source, source):
            self.close()
            self._source, self._thread = tuple(source), _ReadingThread(read, put_back, self.depth)
        return self._thread.next()

    def close(self) -> None:
        """End the thread, and put back what it read too early."""
        if self._thread is not None:
            self._thread.close()
            self._thread = None


def _are_same(some: Sequence[object], others: Sequence[object]) -> bool:
    return len(some) == len(others) and all(one is other for one, other in zip(some, others, strict=True))


class _Failure:
    """Stands for the item whose reading raised an error."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _ReadingThread(Generic[Item]):
    """A thread that reads items until it is closed, or until reading fails."""

    def __init__(self, read: Callable[[], Item], put_back: Callable[[Item], None], depth: int) -> None:
        self._read, self._put_back = read, put_back
        self._items: Queue[Item | _Failure] = Queue(depth)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="xpet reads ahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._closed.is_set():
                self._items.put(self._read())
        except BaseException as error:
            self._items.put(_Failure(error))

    def next(self) -> Item:
        """The next item; raises the error of its reading, with the traceback of this thread."""
        item = self._items.get()
        if isinstance(item, _Failure):
            self._items.put(item)  # for whoever asks again
            raise item.error
        return item

    def close(self) -> None:
        """Wait for the thread's end, which may have to put what it just read; then put back what nobody took."""
        self._closed.set()
        left: list[Item] = []
        while self._thread.is_alive():
            self._thread.join(PATIENCE)
            left += self._taken()
        left += self._taken()
        for item in reversed(left):
            self._put_back(item)

    def _taken(self) -> list[Item]:
        """Take all items that wait."""
        items: list[Item] = []
        while True:
            try:
                item = self._items.get_nowait()
            except Empty:
                return items
            if not isinstance(item, _Failure):
                items.append(item)
