"""Imports the part of transformers that every tower is built of, which takes twice as long as torch."""

from __future__ import annotations

import importlib

from xpet.core.collector import importing


def import_modelling() -> None:
    """Import it now, without collections of garbage meanwhile; towers would import it later."""
    with importing():
        importlib.import_module("transformers.modeling_utils")
