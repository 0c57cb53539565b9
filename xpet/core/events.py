"""Events of a running job: progress and notices, handed to the caller's `on_event`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """`done` of `total` steps of a stage, shown as a bar with an ETA. `note` is a short live figure.

    `unit` is "" for things that are counted, or "bytes".
    """

    stage: str
    done: int
    total: int
    note: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Notice:
    """Something a person should read; `level` is 'info' or 'warning'."""

    text: str
    level: str = "info"


Event = Progress | Notice
OnEvent = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The default `on_event`: does nothing."""
