"""The result of `xpet eval --list-models`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from xpet.jobs.results.document import document


@dataclass(frozen=True)
class FamilyInfo:
    """A model family, as `xpet.models.families.base.Facts` has it."""

    name: str
    checkpoints: tuple[str, ...]
    partners: Mapping[str, str]
    """Text tower on the hub -> image tower on the hub; empty where both are in one checkpoint."""
    parameters: str
    dimensions: str
    languages: str
    licence: str
    verified: str
    notes: str


@dataclass(frozen=True)
class ModelsResult:
    """The families that `--model` takes."""

    families: tuple[FamilyInfo, ...]

    def to_dict(self) -> dict[str, Any]:
        """The whole result as one JSON-ready document."""
        return document("models", asdict(self))
