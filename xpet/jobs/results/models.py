"""The result of `xpet eval --list-models`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from xpet.core.known_models import Facts
from xpet.jobs.results.document import document


@dataclass(frozen=True)
class ModelsResult:
    """The families that `--model` takes."""

    families: tuple[Facts, ...]

    def to_dict(self) -> dict[str, Any]:
        """The whole result as one JSON-ready document."""
        return document("models", asdict(self))
