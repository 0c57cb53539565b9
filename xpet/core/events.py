"""What travels upward while a job runs: frozen records handed to `on_event`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """`done` of `total` steps of a stage; the view makes a bar and an ETA of it. `note` is a short live figure.

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
    """The default listener."""
