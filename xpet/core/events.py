"""Events of a running job: progress, notices and validations, handed to the caller's `on_event`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


@dataclass(frozen=True)
class Validated:
    """The run `label` was validated after `step` of its `steps` steps; `figures` by name as its history has them."""

    label: str
    step: int
    steps: int
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Diverged:
    """The run `label` was stopped: the loss or a gradient of its step `step` was not finite. A notice says so, too."""

    label: str
    step: int


Event = Progress | Notice | Validated | Diverged
OnEvent = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The default `on_event`: does nothing."""
