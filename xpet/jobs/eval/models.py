"""`xpet eval --list-models`: the model families that are read, with published checkpoints and what was verified."""

from __future__ import annotations

from xpet.core.known_models import KNOWN
from xpet.jobs.results.models import ModelsResult


def list_models() -> ModelsResult:
    """The families in the order in which they are told apart; torch is not loaded."""
    return ModelsResult(tuple(KNOWN.values()))
