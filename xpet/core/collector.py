"""Python's garbage collector while large libraries are imported, where it finds nothing and takes a fifth of the time.

In a process of the command line what was imported is also exempt from later collections, each of which would look
through half a million objects that stay for good. In other people's processes nothing is changed.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_ours = False
"""Whether this process runs one command and nothing else."""


def process_is_ours() -> None:
    """Let blocks of `importing` do what they say: this process was started for one command of xpet."""
    global _ours
    _ours = True


@contextmanager
def importing() -> Iterator[None]:
    """Import large libraries in the block without collections; all that is there then is exempt from later ones."""
    if not _ours or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
